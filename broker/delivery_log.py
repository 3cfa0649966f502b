"""A note of each notification that was handed over, for the one who debugs: when, and to which kind of stream.

Notes are kept beside the log, a batch at a time. They may be lost, and nothing depends on them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from broker.clock import Clock, Timer
from events.ids import ConnectionId, Position
from events.log import DeliveredBy, DeliveryRecord, EventLog

FLUSH_MS = 1_000
BATCH_MAX = 1_000


class DeliveryLog:
    """Collects notes, and hands them to the log after a second at the latest."""

    def __init__(self, log: EventLog, clock: Clock, in_background: Callable[[Awaitable[object]], None]) -> None:
        self._log = log
        self._clock = clock
        self._in_background = in_background
        self._notes: list[DeliveryRecord] = []
        self._timer: Timer | None = None

    def note(self, position: Position, connection_id: ConnectionId, to: DeliveredBy) -> None:
        """`connection_id` was handed what the commit at `position` told it."""
        self._notes.append(DeliveryRecord(position, connection_id, to, self._clock.wall_ms()))
        if len(self._notes) >= BATCH_MAX:
            self._flush()
        elif self._timer is None:
            self._timer = self._clock.call_at(self._clock.now_ms() + FLUSH_MS, self._flush)

    async def close(self) -> None:
        """Let the log have the rest."""
        await self._log.record(self._taken())

    def _flush(self) -> None:
        self._in_background(self._log.record(self._taken()))

    def _taken(self) -> Sequence[DeliveryRecord]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        notes, self._notes = self._notes, []
        return notes
