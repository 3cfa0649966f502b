"""A batch of commands: each is decided on the state after the ones before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from broker.clock import RandomBytes
from broker.decide import Rejection, decide
from events.commands import Command, Disconnect, EnterQueue, MatchDue, NextPartner, SendMessage
from events.commit import Commit, Facts, commit_after
from events.ids import ID_BYTES, RoomId, room_id_from
from projections.state import State, evolve

SALT_BYTES = 16
BATCH_COMMITS_MAX = 256
"""The most commands of a batch in a shared log. A batch that takes long to decide loses to quicker writers."""


class Accepted(NamedTuple):
    """The result of a command carried out, or done already: then there is no commit. `state` is right after it."""

    state: State
    commit: Commit | None


CommandAnswer = Accepted | Rejection


class PendingCommand:
    """A command in line, with the facts that every decision on it shares."""

    __slots__ = ("answer", "command", "deadline_ms", "room_id", "salt")

    def __init__(self, command: Command, deadline_ms: float, random_bytes: RandomBytes) -> None:
        self.command = command
        self.deadline_ms = deadline_ms
        self.answer: asyncio.Future[CommandAnswer] = asyncio.get_running_loop().create_future()
        may_match = isinstance(command, EnterQueue | NextPartner | MatchDue)
        self.room_id: RoomId | None = room_id_from(random_bytes(ID_BYTES)) if may_match else None
        self.salt = random_bytes(SALT_BYTES).hex() if isinstance(command, SendMessage) else None

    def resolve(self, answer: CommandAnswer) -> None:
        """Give the caller its answer, unless it has gone or has one."""
        if not self.answer.done():
            self.answer.set_result(answer)


class Batch:
    """The commits and answers of a batch, if no other writer appends first."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.steps: list[Accepted] = []
        self.answers: list[tuple[PendingCommand, CommandAnswer]] = []

    @property
    def commits(self) -> list[Commit]:
        """Return the commits to store, in order."""
        return [step.commit for step in self.steps if step.commit is not None]

    def decide_all(
        self, batch: Sequence[PendingCommand], at_ms: int, overdue: Callable[[], Iterable[Disconnect]]
    ) -> None:
        """Decide `batch` as of `at_ms`. Before the first matching, take out the `overdue` connections."""
        swept = False
        for submitted in batch:
            if submitted.room_id is not None and not swept:
                swept = True
                for absent in overdue():
                    self._decide(absent, Facts(at_ms))
            facts = Facts(at_ms, submitted.room_id, submitted.salt)
            self.answers.append((submitted, self._decide(submitted.command, facts)))

    def _decide(self, command: Command, facts: Facts) -> CommandAnswer:
        decision = decide(self.state, command, facts)
        if isinstance(decision, Rejection):
            return decision
        if not decision:
            return Accepted(self.state, None)
        commit = commit_after(self.state.tip, command, facts, decision)
        self.state = evolve(self.state, commit)
        self.steps.append(Accepted(self.state, commit))
        return self.steps[-1]
