"""A call that lasts until there is something to tell, or its time is up. Nothing is lost when it breaks off.

It holds no event of its own: it looks into the log after the cursor, again whenever a commit has to do with its
connection. So two waits of one connection both get what comes, and so does the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from broker.reads import Page
from events.ids import ConnectionId, Position
from projections.connections import Idle
from projections.state import State

if TYPE_CHECKING:
    from broker.broker import Broker

PROGRESS_MS = 10_000


class Waited(NamedTuple):
    """How a wait ended: with a page, which is empty if it `timed_out` or if nothing can come."""

    page: Page
    state: State
    timed_out: bool


class Wait:
    """One wait of one connection."""

    def __init__(self, broker: Broker, connection_id: ConnectionId, cursor: Position, wait_ms: int) -> None:
        self._broker = broker
        self._connection_id = connection_id
        self._cursor = cursor
        self._deadline_ms = broker.clock.now_ms() + wait_ms
        self._progress_ms = broker.clock.now_ms() + PROGRESS_MS
        self._touched = asyncio.Event()
        self._given_up = False

    def give_up(self) -> None:
        """Whoever asked has gone: end now."""
        self._given_up = True
        self._touched.set()

    async def run(self, on_progress: Callable[[], Awaitable[None]] | None = None) -> Waited:
        """Wait; `on_progress` is called every ten seconds of it."""
        with self._broker.notifier.waiting(self._connection_id, self._touched):
            while True:
                self._touched.clear()
                waited = await self._look()
                if waited is not None:
                    return waited
                await self._sleep(on_progress)

    async def _look(self) -> Waited | None:
        """What to answer now, if the wait is over."""
        broker = self._broker
        state = broker.state
        page = await broker.page(self._connection_id, self._cursor)
        known = state.connections.get(self._connection_id)
        if page.events or known is None or isinstance(known.place, Idle):
            return Waited(page, state, timed_out=False)
        if self._given_up or broker.draining or broker.clock.now_ms() >= self._deadline_ms:
            return Waited(page, state, timed_out=True)
        return None

    async def _sleep(self, on_progress: Callable[[], Awaitable[None]] | None) -> None:
        """Return when there may be something to see, or it is time to speak up or to end."""
        clock = self._broker.clock
        alarm_ms = min(self._progress_ms, self._deadline_ms) if on_progress is not None else self._deadline_ms
        timer = clock.call_at(alarm_ms, self._touched.set)
        try:
            await self._touched.wait()
        finally:
            timer.cancel()
        if on_progress is not None and self._progress_ms <= clock.now_ms() < self._deadline_ms:
            self._progress_ms = clock.now_ms() + PROGRESS_MS
            await on_progress()
