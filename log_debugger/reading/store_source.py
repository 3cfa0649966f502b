"""A log in a store that brokers share, as a `Source`: read-only, while they write to it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from broker.stores import store_module, without_password
from events.commit import Tip
from events.ids import ConnectionId, Position
from events.log import DeliveryRecord, LogUnavailableError, OperationRecord, Snapshot
from log_debugger.reading.dumps import UNTRIMMED_BASE
from projections.snapshots import STATE_CODEC

T = TypeVar("T")

PAGE_COMMITS = 1_000
DELIVERIES_COMMITS = 10_000
"""The delivery records of so many commits are read at once: a store may have to look through all of them each time."""


class LogTrimmedError(LogUnavailableError):
    """The next commits were trimmed while the log was read."""


class StoreRunner:
    """A private event loop, for a command that waits for one answer of a store after the other."""

    def __init__(self, url: str) -> None:
        self.name = without_password(url)
        self._runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of `work`; ^C cancels it.

        Raises:
            LogUnavailableError: the store did not answer; the text names the log, without a password.
        """
        try:
            if _is_in_loop():  # the stepper's, which waits for this answer
                with ThreadPoolExecutor(1) as thread:
                    return thread.submit(self._runner.run, work).result()
            return self._runner.run(work)
        except LogUnavailableError as error:
            raise LogUnavailableError(f"{self.name}: {error}") from error

    def close(self) -> None:
        """End the loop."""
        self._runner.close()


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class StoreSource:
    """A log in a shared store; brokers may be running."""

    def __init__(self, url: str) -> None:
        """Open the log at `url`; nothing is made where there is none.

        Raises:
            UnusableLogError: there is none, or it can't be used, or the store's library is not installed.
            LogUnavailableError: the store can't be reached.
        """
        self._store = StoreRunner(url)
        self.name = self._store.name
        try:
            self._reader = self._store.run(store_module(url).open_reader(url))
        except BaseException:
            self._store.close()
            raise
        try:
            self.base = self._read_base()
        except BaseException:
            self.close()
            raise
        self._deliveries_after: Position | None = None
        self._deliveries: Mapping[Position, Sequence[DeliveryRecord]] = {}

    @property
    def recorded_after(self) -> Position:
        """See `Source.recorded_after`; it rises when old records make room for new ones."""
        return self._reader.recorded_after

    def tip(self) -> Tip:
        """See `Source.tip`."""
        return self._store.run(self._reader.tip())

    def lines(self, after: Position) -> Iterator[bytes]:
        """See `Source.lines`; reads one page at a time.

        Raises:
            LogTrimmedError: the next commits were trimmed meanwhile.
        """
        after = max(after, self.base.tip.position)
        while page := self._page(after):
            yield from page
            after += len(page)

    def snapshots(self) -> Sequence[Position]:
        """See `Source.snapshots`."""
        base = self.base.tip.position
        tips = self._store.run(self._reader.snapshot_tips())
        return sorted({base, *(tip.position for tip in tips if tip.position > base)})

    def snapshot(self, at_most: Position) -> Snapshot:
        """See `Source.snapshot`."""
        found = self._store.run(self._reader.load_snapshot(at_most, STATE_CODEC))
        return found if found is not None and found.tip.position >= self.base.tip.position else self.base

    def position_at(self, at_ms: int) -> Position:
        """See `Source.position_at`."""
        return self._store.run(self._reader.position_at(at_ms))

    def delivery_records(
        self, after: Position, last: Position, connection_id: ConnectionId | None
    ) -> Sequence[DeliveryRecord]:
        """See `Source.delivery_records`. Those of one commit are remembered for a while, with its neighbours'."""
        if last != after + 1 or connection_id is not None:
            return self._read_deliveries(after, last, connection_id)
        start = after // DELIVERIES_COMMITS * DELIVERIES_COMMITS
        if start != self._deliveries_after:
            by_position: dict[Position, list[DeliveryRecord]] = {}
            for record in self._read_deliveries(start, start + DELIVERIES_COMMITS, None):
                by_position.setdefault(record.position, []).append(record)
            self._deliveries_after, self._deliveries = start, by_position
        return self._deliveries.get(last, ())

    def operation_records(self, since_ms: int = 0) -> Sequence[OperationRecord] | None:
        """See `Source.operation_records`."""
        return self._store.run(self._reader.operation_records(since_ms))

    def close(self) -> None:
        """See `Source.close`."""
        try:
            self._store.run(self._reader.close())
        finally:
            self._store.close()

    def _read_base(self) -> Snapshot:
        self.tip()
        if not (position := self._reader.base.position):
            return UNTRIMMED_BASE
        base = self._store.run(self._reader.load_snapshot(position, STATE_CODEC))
        if base is None:  # trimmed further meanwhile
            raise self._trimmed()
        return base

    def _read_deliveries(
        self, after: Position, last: Position, connection_id: ConnectionId | None
    ) -> Sequence[DeliveryRecord]:
        return self._store.run(self._reader.delivery_records(after=after, last=last, connection_id=connection_id))

    def _page(self, after: Position) -> Sequence[bytes]:
        page = self._store.run(self._reader.lines(after, PAGE_COMMITS))
        if self._reader.base.position > after:
            raise self._trimmed()
        return page

    def _trimmed(self) -> LogTrimmedError:
        position = self._reader.base.position
        return LogTrimmedError(f"{self.name} was trimmed up to position {position} while it was read; start again")
