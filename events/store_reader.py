"""Reading a log in a shared store without writing, for tools, while brokers write to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from events.commit import Tip
from events.ids import ConnectionId, Position
from events.log import DeliveryRecord, OperationRecord, Snapshot, StateCodec

CLOCKS_DIFFER_MS = 60_000
"""The difference of two clocks, of brokers or of a store, up to which late records are found."""


class StoreReader(Protocol):
    """A log's reader; it needs no more than the right to read.

    Every method but `close` raises `LogUnavailableError` if the store does not answer, and `UnusableLogError` if the
    log is damaged.
    """

    base: Tip
    """The last trimmed commit, as of the last call."""

    recorded_after: Position
    """Deliveries of commits up to here may not be recorded."""

    async def tip(self) -> Tip:
        """Return the last commit's position and id."""
        ...

    async def lines(self, after: Position, limit: int) -> Sequence[bytes]:
        """Return up to `limit` commits after `after`, in order, as lines of JSON without their ends.

        Raises:
            UnusableLogError: the first of them is missing, or can't be read. A later one ends the result.
        """
        ...

    async def snapshot_tips(self) -> Sequence[Tip]:
        """Return the tips of the snapshots, from the base on, in order."""
        ...

    async def load_snapshot(self, at_most: Position | None, codec: StateCodec) -> Snapshot | None:
        """Return the newest readable snapshot at or below position `at_most` (`None`: of all); `None` if there is none.

        Raises:
            UnusableLogError: commits are trimmed, and the snapshot in their place can't be read.
        """
        ...

    async def position_at(self, at_ms: int) -> Position:
        """Return the last position with a commit at Unix time `at_ms` or before; the base's if there is none."""
        ...

    async def delivery_records(
        self, *, after: Position, last: Position, connection_id: ConnectionId | None
    ) -> Sequence[DeliveryRecord]:
        """Return the deliveries of the commits after `after` up to `last`, by position, then by time.

        `connection_id` limits them to one recipient.
        """
        ...

    async def operation_records(self, since_ms: int = 0) -> Sequence[OperationRecord] | None:
        """Return the operation records of Unix time `since_ms` or later, from the base on, by time.

        Return `None` if the store has no room for them yet. Late records are found if the clocks of the brokers and of
        the store differ by less than `CLOCKS_DIFFER_MS`.
        """
        ...

    async def close(self) -> None:
        """Release all resources."""
        ...
