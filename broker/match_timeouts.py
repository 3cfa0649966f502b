"""Match timeouts: another matching of a connection, once it has waited long enough for a shared interest.

The log holds the decision: when a timeout is due, the broker submits `MatchDue`, a command like any other. Deadlines
are kept in one heap with one timer, by the clock of commit timestamps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush

from broker.batch import Accepted, CommandAnswer
from broker.clock import Clock, Timer
from broker.decide import Rejection
from broker.matching import patience_ms
from events.commands import MatchDue
from events.commit import Commit
from events.events import PolicyAdopted, QueueEntered
from events.ids import ConnectionId, Position
from projections.state import State

LOOK_AGAIN_MS = 1_000


class MatchTimeouts:
    """The match timeout of each waiting connection."""

    def __init__(
        self,
        clock: Clock,
        time_ms: Callable[[], int],
        state_now: Callable[[], State],
        submit: Callable[[MatchDue], Awaitable[CommandAnswer]],
    ) -> None:
        """`time_ms` reads the clock of commit timestamps."""
        self._clock = clock
        self._time_ms = time_ms
        self._state_now = state_now
        self._submit = submit
        self._heap: list[tuple[int, Position, ConnectionId]] = []  # due, by the clock of commits; entered
        self._timer: Timer | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._stopped = False

    def start(self) -> None:
        """Schedule every waiting connection; also after a change of policy, as it may change the deadlines."""
        state = self._state_now()
        self._heap.clear()
        if len(state.queue) > 1 or patience_ms(state.policy):
            for position, who in state.queue.entries.items():
                self._note(state.connections.by_id[who].last_at_ms, position, who)
        self._set_timer()

    def stop(self) -> None:
        """Fire no more timeouts, and cancel those in progress."""
        self._stopped = True
        self._heap.clear()
        self._set_timer()
        for asking in self._asking:
            asking.cancel()

    def observe(self, commit: Commit, state: State) -> None:
        """Schedule the connections that begin to wait (an `Observer` of the replica)."""
        for event in commit.events:
            if isinstance(event, PolicyAdopted):
                self.start()
            elif isinstance(event, QueueEntered):
                self._entered(event.connection_id, commit, state)

    def _entered(self, who: ConnectionId, commit: Commit, state: State) -> None:
        holds_out = patience_ms(state.policy) and state.queue.entered.get(who) == commit.position
        if holds_out:
            self._note(commit.at_ms, commit.position, who)
            self._set_timer()

    def _note(self, entered_at_ms: int, entered: Position, who: ConnectionId) -> None:
        heappush(self._heap, (entered_at_ms + patience_ms(self._state_now().policy), entered, who))

    def _waits(self, who: ConnectionId, entered: Position) -> bool:
        return self._state_now().queue.entered.get(who) == entered

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap and not self._stopped:
            delay_ms = max(0, self._heap[0][0] - self._time_ms())
            self._timer = self._clock.call_at(self._clock.now_ms() + delay_ms, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now_ms = self._time_ms()
        while self._heap and self._heap[0][0] <= now_ms:
            _, entered, who = heappop(self._heap)
            if self._waits(who, entered):
                asking = asyncio.get_running_loop().create_task(self._ask(entered, who))
                self._asking.add(asking)
                asking.add_done_callback(self._asking.discard)
        self._set_timer()

    async def _ask(self, entered: Position, who: ConnectionId) -> None:
        """Submit a match of `who`. If no other connection waits, that is all: the next newcomer will meet `who`."""
        answer = await self._submit(MatchDue(who))
        # Another connection waits, and yet there was no match: the clock was set back in between.
        too_early = isinstance(answer, Accepted) and answer.commit is None and len(answer.state.queue) > 1
        if (isinstance(answer, Rejection) or too_early) and self._waits(who, entered) and not self._stopped:
            heappush(self._heap, (self._time_ms() + LOOK_AGAIN_MS, entered, who))
            self._set_timer()
