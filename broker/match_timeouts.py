"""Match timeouts: another matching of a connection, once it has waited long enough for a shared interest.

The log holds the decision: when a timeout is due, the broker submits `MatchDue`, a command like any other. A timeout is
due by the clock of commit timestamps, which may jump with the wall clock.
"""

from __future__ import annotations

import asyncio

from broker.batch import Accepted, CommandAnswer
from broker.clock import Clock
from broker.deadlines import Deadlines
from broker.decide import Rejection
from broker.matching import patience_ms
from broker.writer import LogWriter
from events.commands import MatchDue
from events.commit import Commit
from events.events import PolicyAdopted, QueueEntered
from events.ids import ConnectionId, Position
from projections.state import State

LOOK_AGAIN_MS = 1_000


class MatchTimeouts:
    """The match timeout of each waiting connection."""

    def __init__(self, clock: Clock, deadlines: Deadlines, writer: LogWriter) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._writer = writer
        self._generation = 0  # of the deadlines that count; those of an earlier one do not

    def start(self) -> None:
        """Schedule every waiting connection; also after a change of policy, as it may change the deadlines."""
        self._generation += 1
        state = self._writer.replica.state
        if len(state.queue) > 1 or patience_ms(state.policy):
            for entered, who in state.queue.entries.items():
                self._add(self._due_ms(state, who), who, entered)

    def observe(self, commit: Commit, state: State) -> None:
        """Schedule the connections that begin to wait. A message makes none wait."""
        for event in commit.events:
            if isinstance(event, PolicyAdopted):
                self.start()
            elif isinstance(event, QueueEntered) and patience_ms(state.policy):
                who = event.connection_id
                if state.queue.entered.get(who) == commit.position:
                    self._add(self._due_ms(state, who), who, commit.position)

    def _due_ms(self, state: State, who: ConnectionId) -> int:
        """Return the time at which `who`, who waits, has waited long enough (Unix ms, as in commits)."""
        return state.connections.by_id[who].last_at_ms + patience_ms(state.policy)

    def _add(self, due_ms: int, who: ConnectionId, entered: Position) -> None:
        delay_ms = max(0, due_ms - self._writer.time_ms())
        self._deadlines.add(self._clock.now_ms() + delay_ms, self._match, who, entered, self._generation)

    def _match(self, who: ConnectionId, entered: Position, generation: int) -> None:
        """Submit a match of `who`. If no other connection waits, that is all: the next newcomer will meet `who`."""
        state = self._writer.replica.state
        if state.queue.entered.get(who) != entered or generation != self._generation:
            return
        due_ms = self._due_ms(state, who)
        if due_ms > self._writer.time_ms():  # a later policy has more patience, or the wall clock was set back
            self._add(due_ms, who, entered)
            return
        answer = self._writer.submit(MatchDue(who))
        answer.add_done_callback(lambda answer: self._look_again(answer, who, entered, generation))

    def _look_again(
        self, answer: asyncio.Future[CommandAnswer], who: ConnectionId, entered: Position, generation: int
    ) -> None:
        """Submit the match again in a second, if the answer leaves it open."""
        if answer.cancelled():
            return
        matched = answer.result()
        # Another connection waits, and yet there was no match: the clock was set back in between.
        too_early = isinstance(matched, Accepted) and matched.commit is None and len(matched.state.queue) > 1
        if isinstance(matched, Rejection) or too_early:
            self._deadlines.add(self._clock.now_ms() + LOOK_AGAIN_MS, self._match, who, entered, generation)
