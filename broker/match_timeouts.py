"""Match timeouts: another matching of a connection, once it has waited long enough to meet less fitting partners.

Those share no interest with it, or have met it before.

The log holds the decision: when a timeout is due, the broker submits `MatchDue`, a command like any other. A timeout is
due by the clock of commit timestamps, which may jump with the wall clock.
"""

from __future__ import annotations

import asyncio

from broker.batch import CommandAnswer
from broker.clock import Clock
from broker.deadlines import Deadlines
from broker.decision import Rejection
from broker.matching import LOOK_AGAIN_MS, patience_steps_ms
from broker.roster import Roster
from broker.writer import LogWriter
from events.commands import MatchDue
from events.commit import Commit
from events.events import PolicyAdopted, QueueEntered
from events.ids import ConnectionId, Position
from projections.state import State


class MatchTimeouts:
    """The match timeout of each waiting connection."""

    def __init__(self, clock: Clock, deadlines: Deadlines, writer: LogWriter, roster: Roster | None = None) -> None:
        """In a shared log with `roster`, one broker is named for each connection; the others look a second later."""
        self._roster = roster
        self._clock = clock
        self._deadlines = deadlines
        self._writer = writer
        self._generation = 0  # of the valid deadlines; those of an earlier one are ignored

    def start(self) -> None:
        """Schedule every waiting connection; also after a change of policy, as it may change the deadlines."""
        self._generation += 1
        state = self._writer.replica.state
        now_ms, steps_ms = self._writer.time_ms(), patience_steps_ms(state.policy)
        for entered, who in state.queue.entries.items():
            since_ms = state.connections.by_id[who].waiting_since_ms()
            if since_ms + steps_ms[0] <= now_ms:
                self._add(since_ms + steps_ms[0], who, entered)
            else:
                self._add_next(state, who, entered, now_ms)

    def observe(self, commit: Commit, state: State) -> None:
        """Schedule the connections that begin to wait. A message makes none wait."""
        for event in commit.events:
            if isinstance(event, PolicyAdopted):
                self.start()
            elif isinstance(event, QueueEntered):
                who = event.connection_id
                entered = state.queue.entered.get(who)
                if entered is None:
                    continue
                if event.earlier is not None:
                    self._add(commit.at_ms, who, entered)  # others may have come since it waited first
                else:
                    self._add_next(state, who, entered, commit.at_ms)

    def _add_next(self, state: State, who: ConnectionId, entered: Position, last_ms: int) -> None:
        """Schedule the first step of a connection's patience after `last_ms`, if there is one.

        It may be due already: a commit is announced late if its append took long.
        """
        since_ms = state.connections.by_id[who].waiting_since_ms()
        for step_ms in patience_steps_ms(state.policy):
            if since_ms + step_ms > last_ms:
                self._add(since_ms + step_ms, who, entered)
                return

    def _add(self, due_ms: int, who: ConnectionId, entered: Position) -> None:
        delay_ms = max(0, due_ms - self._writer.time_ms())
        if self._roster is not None and not self._roster.is_named(who):
            delay_ms += LOOK_AGAIN_MS
        self._deadlines.add(self._clock.now_ms() + delay_ms, self._match, who, entered, self._generation, due_ms)

    def _match(self, who: ConnectionId, entered: Position, generation: int, due_ms: int) -> None:
        """Submit a match, and schedule the next one. If the connection waits alone, the next newcomer will meet it."""
        state = self._writer.replica.state
        if state.queue.entered.get(who) != entered or generation != self._generation:
            return
        if due_ms > self._writer.time_ms():  # the wall clock was set back
            self._add(due_ms, who, entered)
            return
        if len(state.queue) > 1:
            answer = self._writer.submit(MatchDue(who))
            answer.add_done_callback(lambda answer: self._go_on(answer, who, entered, generation, due_ms))
        else:
            self._add_next(state, who, entered, due_ms)

    def _go_on(
        self, answer: asyncio.Future[CommandAnswer], who: ConnectionId, entered: Position, generation: int, due_ms: int
    ) -> None:
        """Schedule the match due at `due_ms` again in a second, if it was refused; else the next one."""
        state = self._writer.replica.state
        if answer.cancelled() or state.queue.entered.get(who) != entered or generation != self._generation:
            return
        if isinstance(answer.result(), Rejection):
            self._deadlines.add(self._clock.now_ms() + LOOK_AGAIN_MS, self._match, who, entered, generation, due_ms)
        else:
            self._add_next(state, who, entered, due_ms)
