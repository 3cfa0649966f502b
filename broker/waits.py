"""Calls that wait until there is an event to return, or their time is up. An interrupted wait loses nothing.

A wait holds no event. It reads the log after its cursor, and again after every commit that concerns its connection.
So two waits of one connection both return the same event, and so does the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from broker.clock import Clock
from broker.hub import Hub
from broker.reads import Page, Reads
from broker.replica import Replica
from events.ids import ConnectionId, Position
from projections.connections import Idle
from projections.state import State

PROGRESS_MS = 10_000


class Waited(NamedTuple):
    """The end of a wait: a page, empty if the wait `timed_out`, if nothing can come, or if it is partial."""

    page: Page
    state: State
    timed_out: bool


class Waits:
    """The waiting calls of one broker."""

    def __init__(self, clock: Clock, hub: Hub, replica: Replica, reads: Reads) -> None:
        self.clock = clock
        self.hub = hub
        self.replica = replica
        self.reads = reads
        self.is_draining = False

    def may_start(self, connection_id: ConnectionId) -> bool:
        """Return whether `connection_id` has fewer than `waits_per_connection_max` waits."""
        return self.hub.waits_of(connection_id) < self.replica.state.policy.waits_per_connection_max

    def start(self, connection_id: ConnectionId, cursor: Position, wait_ms: int) -> Wait:
        """Start a wait of at most `wait_ms` for a notification after `cursor`."""
        return Wait(self, connection_id, cursor, wait_ms)

    def drain(self) -> None:
        """End every wait with what it has; later ones end at once."""
        self.is_draining = True
        self.hub.wake_all()


class Wait:
    """One wait of one connection."""

    def __init__(self, waits: Waits, connection_id: ConnectionId, cursor: Position, wait_ms: int) -> None:
        now_ms = waits.clock.now_ms()
        self._waits = waits
        self._connection_id = connection_id
        self._cursor = cursor
        self._deadline_ms = now_ms + wait_ms
        self._is_look = wait_ms == 0
        self._progress_ms = now_ms + PROGRESS_MS
        self._wake = asyncio.Event()
        self._given_up = False

    def give_up(self) -> None:
        """End now: the caller has gone."""
        self._given_up = True
        self._wake.set()

    async def run(self, on_progress: Callable[[], Awaitable[None]] | None = None) -> Waited:
        """Wait; `on_progress` is called every ten seconds meanwhile.

        Raises:
            LogUnavailableError: the log could not be read.
        """
        with self._waits.hub.waiting(self._connection_id, self._wake):
            while True:
                self._wake.clear()
                waited = await self._look()
                if waited is not None:
                    return waited
                await self._sleep(on_progress)

    async def _look(self, *, is_confirmed: bool = False) -> Waited | None:
        """Return the answer, if the wait is over.

        At the tip of a shared log it is confirmed that nothing can come, and that a wait of no time has missed nothing.
        """
        waits = self._waits
        state = waits.replica.state
        page = await waits.reads.page(self._connection_id, self._cursor)
        known = state.connections.get(self._connection_id)
        is_idle = known is None or isinstance(known.place, Idle)
        if not page.events and (is_idle or self._is_look) and not is_confirmed:
            await waits.replica.confirm()
            if waits.replica.state is not state:
                return await self._look(is_confirmed=True)
        if page.events or page.is_partial or is_idle:
            return Waited(page, state, timed_out=False)
        if self._given_up or waits.is_draining or waits.clock.now_ms() >= self._deadline_ms:
            return Waited(page, state, timed_out=True)
        return None

    async def _sleep(self, on_progress: Callable[[], Awaitable[None]] | None) -> None:
        """Return after a commit that concerns the connection, or when progress or the end is due."""
        clock = self._waits.clock
        alarm_ms = min(self._progress_ms, self._deadline_ms) if on_progress is not None else self._deadline_ms
        timer = clock.call_at(alarm_ms, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()
        if on_progress is not None and self._progress_ms <= clock.now_ms() < self._deadline_ms:
            self._progress_ms = clock.now_ms() + PROGRESS_MS
            await on_progress()
