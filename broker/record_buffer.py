"""Records beside the log, for debugging: of notifications handed over, and of what made no commit.

They are kept beside the log and are no part of it: they may be lost, and nothing depends on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker.clock import Clock, Timer
from broker.replica import Replica
from events.ids import ConnectionId, Position
from events.log import RUNNING_EVERY_MS, DeliveredBy, DeliveryRecord, EventLog, OperationKind, OperationRecord

FLUSH_MS = 1_000
BATCH_MAX = 1_000
PENDING_MAX = 100_000
REFUSALS_PER_S_MAX = 50
"""Refusals recorded one by one; those beyond are counted in one record."""


class RecordBuffer:
    """Buffers delivery and operation records, and has the log store them a batch at a time.

    A record reaches the log within a second, sooner if `BATCH_MAX` are pending. One batch is stored at a time; while a
    slow disk stores it, later records are buffered up to `PENDING_MAX`, and those above are dropped. While the log is
    known to take no commits, nothing is stored.
    """

    def __init__(
        self, log: EventLog, clock: Clock, replica: Replica, time_ms: Callable[[], int], broker_id: bytes | None
    ) -> None:
        """`time_ms` reads the clock of commit timestamps, so that the way of a notification can be timed.

        `broker_id` tells this broker from others of the log; `None` if the log is not shared.
        """
        self._log = log
        self._clock = clock
        self._replica = replica
        self._time_ms = time_ms
        self._broker = broker_id.hex() if broker_id is not None else ""
        self._deliveries: list[DeliveryRecord] = []
        self._operations: list[OperationRecord] = []
        self._is_started = False
        self._is_log_lost = False
        self._refusals_from_ms = 0.0  # the beginning of the second that is counted
        self._refusals = 0
        self._uncounted: OperationRecord | None = None  # the refusals beyond the limit, as one record
        self._timer: Timer | None = None
        self._running_timer: Timer | None = None
        self._storing: asyncio.Task[None] | None = None

    def record_delivery(self, position: Position, connection_id: ConnectionId, by: DeliveredBy) -> None:
        """Record that `connection_id` was handed the notification of the commit at `position`."""
        if not self._log.keeps_delivery_records or self._pending >= PENDING_MAX:
            return
        self._deliveries.append(DeliveryRecord(position, connection_id, by, self._time_ms()))
        self._store_soon()

    def record_refusal(self, who: ConnectionId | None, command: str, code: str) -> None:
        """Record that a client was refused something, at most `REFUSALS_PER_S_MAX` times a second with its details.

        `command` is the tag of a command, or the name of a tool that was refused before there was one.
        """
        if not self._log.keeps_operation_records:
            return
        now_ms = self._clock.now_ms()
        if now_ms >= self._refusals_from_ms + 1_000:
            self._refusals_from_ms, self._refusals = now_ms, 0
        self._refusals += 1
        if self._refusals > REFUSALS_PER_S_MAX:
            first = self._uncounted or self._operation("refused")._replace(times=0)
            self._uncounted = first._replace(times=first.times + 1)
            self._store_soon()
            return
        self._record(self._operation("refused")._replace(connection_id=who, command=command, code=code))

    async def record_start(self) -> None:
        """Record the start of the broker, before anything is handed over.

        It is stored at once: a start after one without an end is how an unclean end is known.
        """
        self._is_started = True
        if self._log.keeps_operation_records:
            await self._log.record([], [self._operation("started")])
            self._run_on()

    def record_log_lost(self) -> None:
        """Record that the log takes no commits, and keep all records until it does."""
        self._record(self._operation("log_unavailable"))
        self._is_log_lost = True

    def record_log_back(self) -> None:
        """Record that the log takes commits again."""
        self._is_log_lost = False
        self._record(self._operation("log_available"))

    async def close(self) -> None:
        """Store the pending records, and with them that the broker stopped in good order."""
        self._cancel_timer()
        if self._running_timer is not None:
            self._running_timer.cancel()
        if self._storing is not None:
            await asyncio.wait({self._storing})
        self._cancel_timer()
        deliveries, operations = self._taken()
        if self._is_started and self._log.keeps_operation_records:
            operations.append(self._operation("stopped"))
        await self._log.record(deliveries, operations)

    @property
    def _pending(self) -> int:
        return len(self._deliveries) + len(self._operations) + (self._uncounted is not None)

    def _operation(self, kind: OperationKind) -> OperationRecord:
        return OperationRecord(kind, self._time_ms(), self._replica.state.position, broker=self._broker)

    def _run_on(self) -> None:
        """Give a sign of life in a while, and again and again; a broker with a log of its own needs none."""
        if self._broker:
            self._running_timer = self._clock.call_at(self._clock.now_ms() + RUNNING_EVERY_MS, self._is_running)

    def _is_running(self) -> None:
        self._record(self._operation("running"))
        self._run_on()

    def _record(self, operation: OperationRecord) -> None:
        if self._log.keeps_operation_records and self._pending < PENDING_MAX:
            self._operations.append(operation)
            self._store_soon()

    def _taken(self) -> tuple[list[DeliveryRecord], list[OperationRecord]]:
        """Take all pending records."""
        deliveries, operations = self._deliveries, self._operations
        if self._uncounted is not None:
            operations.append(self._uncounted)
        self._deliveries, self._operations, self._uncounted = [], [], None
        return deliveries, operations

    def _store_soon(self) -> None:
        """Have the pending records stored: at once, within `FLUSH_MS`, or after the batch in progress."""
        if self._storing is not None or self._is_log_lost or not self._pending:
            return
        if self._pending >= BATCH_MAX:
            self._store()
        elif self._timer is None:
            self._timer = self._clock.call_at(self._clock.now_ms() + FLUSH_MS, self._store)

    def _store(self) -> None:
        self._cancel_timer()
        if self._is_log_lost:
            return
        self._storing = asyncio.get_running_loop().create_task(self._log.record(*self._taken()))
        self._storing.add_done_callback(self._stored)

    def _stored(self, storing: asyncio.Task[None]) -> None:
        self._storing = None
        self._store_soon()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
