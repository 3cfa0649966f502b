"""Handings on their way to the file: gathered for a moment, so that one transaction keeps many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress

from events.log import DeliveryRecord, LogUnavailableError, UnusableLogError

DELAY_SECONDS = 0.2
BATCH = 1_000
PENDING_MAX = 100_000


class PendingDeliveries:
    """At most `PENDING_MAX`; what comes above is lost, as is what can't be stored."""

    def __init__(self, thread: Executor, store: Callable[[Sequence[DeliveryRecord]], None]) -> None:
        self._thread, self._store = thread, store
        self._pending: list[DeliveryRecord] = []
        self._timer: asyncio.TimerHandle | None = None
        self._storing: Future[None] | None = None

    def add(self, delivery_records: Sequence[DeliveryRecord]) -> None:
        """Have `delivery_records` stored soon; never an error."""
        self._pending += delivery_records[: PENDING_MAX - len(self._pending)]
        is_free = self._storing is None or self._storing.done()
        if len(self._pending) >= BATCH and is_free:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY_SECONDS, self._when_due)

    def flush(self) -> None:
        """Have all that are pending stored now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._pending = self._pending, []
        if batch:
            self._storing = self._thread.submit(self._store_what_can_be, batch)

    def _when_due(self) -> None:
        self._timer = None
        if self._storing is None or self._storing.done():
            self.flush()
        else:
            self.add(())  # the disk is slow: later

    def _store_what_can_be(self, batch: Sequence[DeliveryRecord]) -> None:
        with suppress(LogUnavailableError, UnusableLogError):
            self._store(batch)
