"""Brokers that share a log: no answer is stale, and no known commit is read again.

*No stale answer.* A command without a commit was refused, or had been carried out before. That is right if the log
confirms it: deciding the same command on the state of some position between the log's tip when the command was
submitted and its tip when it was answered must give the same outcome. The position of the broker's own decision does
not matter: a replica that is behind may be right by chance, and a moving log allows several answers. So every failure
here is an answer that was wrong at each moment of its call.

*No commit is read twice.* A broker knows the commits from following, from conflicts and turns, and from reading. It
must never ask the log for the commits after a position if it knows the first of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from broker.batch import Accepted, Batch, CommandAnswer, PendingCommand
from broker.broker import Broker
from broker.decide import decide
from broker.decision import Rejection
from events.commands import Command
from events.commit import Commit, Facts
from events.ids import ConnectionId, Position, RoomId
from events.log import Conflict
from projections.view import StateView

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.surroundings import Surroundings


class Freshness:
    """A watch on the answers and the reads of one broker."""

    def __init__(self, around: Surroundings, process: Process, broker: Broker) -> None:
        self._around = around
        self._process = process
        self._avoided: dict[ConnectionId | None, tuple[ConnectionId, ...]] = {}  # at the last decision
        self._writer = broker.writer
        self._replica = broker.replica
        self._at_ms: dict[asyncio.Future[CommandAnswer], int] = {}  # time of the last decision
        self._outcomes: dict[asyncio.Future[CommandAnswer], CommandAnswer] = {}
        self._known: set[Position] = set()
        self._watch_avoided(broker)
        self._watch_answers()
        self._watch_reads(broker)

    def _watch_answers(self) -> None:
        writer, submit, decided = self._writer, self._writer.submit, self._writer._storage._decided

        def watched_submit(command: Command) -> asyncio.Future[CommandAnswer]:
            asked_at = self._around.disk.tip.position
            answer = submit(command)
            answer.add_done_callback(lambda done: self._check(command, done, asked_at))
            return answer

        def watched_decided(commands: list[PendingCommand]) -> Batch:
            batch = decided(commands)
            at_ms = writer.time_ms()  # same step, so the same time
            for submitted, outcome in batch.answers:
                self._at_ms[submitted.answer] = at_ms
                if is_empty(self._outcomes.get(submitted.answer)) and not is_empty(outcome):
                    self._around.sometimes.reached("a stale refusal was decided again")
                self._outcomes[submitted.answer] = outcome
            return batch

        writer.submit = watched_submit
        writer._storage._decided = watched_decided

    def _watch_avoided(self, broker: Broker) -> None:
        to_avoid = broker.to_avoid

        def watched_to_avoid(state: StateView, who: ConnectionId) -> tuple[ConnectionId, ...]:
            self._avoided[who] = avoided = to_avoid(state, who)
            return avoided

        broker.to_avoid = watched_to_avoid

    def _check(self, command: Command, answered: asyncio.Future[CommandAnswer], asked_at: Position) -> None:
        at_ms = self._at_ms.pop(answered, None)
        self._outcomes.pop(answered, None)
        if answered.cancelled() or at_ms is None or not is_empty(answer := answered.result()):
            return
        disk, avoid = self._around.disk, self._avoided.get(getattr(command, "connection_id", None), ())
        if len(self._around.processes) == 1:  # it does not ask for late appends of its last life
            asked_at = min(asked_at, self._replica.state.position)
        for position in range(asked_at, disk.tip.position + 1):
            state = disk.state_at(position)
            if state is None:
                return  # too old to be checked
            facts = Facts(max(at_ms, state.at_ms), RoomId("r_asked_again"), "salt", avoid)
            if _is_like(answer, decide(state, command, facts)):
                return
        self._around.world.fail(
            f"{self._process.name} answered {command} with {_short(answer)}, which the log contradicts at each "
            f"position from {asked_at} to {disk.tip.position}"
        )

    def _watch_reads(self, broker: Broker) -> None:
        storage, replica = self._writer._storage, self._replica
        hear, fold, truncated, fold_missed = replica._hear, replica.fold, broker.log_truncated, storage._fold_missed

        async def watched_hear(commit: Commit) -> None:
            self._known.add(commit.position)
            await hear(commit)

        def watched_fold(commits: Sequence[Commit] = ()) -> bool:
            self._known.update(commit.position for commit in commits)
            return fold(commits)

        async def watched_fold_missed(conflict: Conflict) -> None:
            self._known.update(commit.position for commit in conflict.missed)
            await fold_missed(conflict)

        def watched_truncated() -> None:
            self._known.clear()
            truncated()

        storage._fold_missed = watched_fold_missed
        replica._hear = watched_hear
        replica.fold = watched_fold
        broker.log_truncated = watched_truncated
        replica._log = _WatchedReads(replica._log, self)

    def reads(self, after: Position) -> None:
        """Check that the broker knows no commit right after `after`; it asks for them in order to fold them."""
        if after + 1 in self._known:
            self._around.world.fail(f"{self._process.name} reads position {after + 1}, which it knows")


class _WatchedReads:
    """A log as read by one broker's replica; reads of the past for clients do not pass through it."""

    def __init__(self, log: Any, freshness: Freshness) -> None:
        self._log = log
        self._freshness = freshness

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """See `EventLog.read`."""
        self._freshness.reads(after)
        found: Sequence[Commit] = await self._log.read(after, limit)
        return found


def is_empty(answer: CommandAnswer | None) -> bool:
    """Return whether a command led to no event for a reason visible in the log."""
    if isinstance(answer, Rejection):
        return answer.code != "unavailable"
    return isinstance(answer, Accepted) and answer.commit is None


def _is_like(answer: CommandAnswer, decision: Any) -> bool:
    if isinstance(answer, Rejection):
        return isinstance(decision, Rejection) and decision.code == answer.code
    return decision == []


def _short(answer: CommandAnswer) -> str:
    return str(answer) if isinstance(answer, Rejection) else "'done already'"
