"""Records of notifications handed over, with time and way, for debugging.

They are kept beside the log and are no part of it: they may be lost, and nothing depends on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.clock import Clock, Timer
from events.ids import ConnectionId, Position
from events.log import DeliveredBy, DeliveryRecord, EventLog

FLUSH_MS = 1_000
BATCH_MAX = 1_000
PENDING_MAX = 100_000


class DeliveryLog:
    """Buffers delivery records, and has the log store them a batch at a time.

    A record reaches the log within a second, sooner if `BATCH_MAX` are pending. One batch is stored at a time; while a
    slow disk stores it, later records are buffered up to `PENDING_MAX`, and those above are dropped.
    """

    def __init__(self, log: EventLog, clock: Clock, time_ms: Callable[[], int]) -> None:
        """`time_ms` reads the clock of commit timestamps, so that the way of a notification can be timed."""
        self._log = log
        self._is_kept = log.keeps_delivery_records
        self._clock = clock
        self._time_ms = time_ms
        self._pending: list[DeliveryRecord] = []
        self._timer: Timer | None = None
        self._storing: asyncio.Task[None] | None = None

    def record(self, position: Position, connection_id: ConnectionId, by: DeliveredBy) -> None:
        """Record that `connection_id` was handed the notification of the commit at `position`."""
        if not self._is_kept or len(self._pending) >= PENDING_MAX:
            return
        self._pending.append(DeliveryRecord(position, connection_id, by, self._time_ms()))
        self._store_soon()

    async def close(self) -> None:
        """Store the pending records."""
        self._cancel_timer()
        if self._storing is not None:
            await asyncio.wait({self._storing})
        self._cancel_timer()
        pending, self._pending = self._pending, []
        await self._log.record(pending)

    def _store_soon(self) -> None:
        """Have the pending records stored: at once, within `FLUSH_MS`, or after the batch in progress."""
        if self._storing is not None or not self._pending:
            return
        if len(self._pending) >= BATCH_MAX:
            self._store()
        elif self._timer is None:
            self._timer = self._clock.call_at(self._clock.now_ms() + FLUSH_MS, self._store)

    def _store(self) -> None:
        self._cancel_timer()
        batch, self._pending = self._pending, []
        self._storing = asyncio.get_running_loop().create_task(self._log.record(batch))
        self._storing.add_done_callback(self._stored)

    def _stored(self, storing: asyncio.Task[None]) -> None:
        self._storing = None
        self._store_soon()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
