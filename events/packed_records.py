"""Records beside a log, as stores without tables keep them: some in each entry, as a JSON array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from events.ids import ConnectionId, Position
from events.log import DeliveryRecord, OperationRecord, UnusableLogError

RECORDS_AT_ONCE = 500
"""Entries of records that are read at once."""

_decode_deliveries = msgspec.json.Decoder(list[DeliveryRecord]).decode
_decode_operations = msgspec.json.Decoder(list[OperationRecord]).decode


def deliveries_in(packed: bytes) -> list[DeliveryRecord]:
    """Return the delivery records of an entry.

    Raises:
        UnusableLogError: it is damaged.
    """
    try:
        return _decode_deliveries(packed)
    except msgspec.DecodeError as error:
        raise _damaged("deliveries", error) from error


def operations_in(packed: bytes) -> list[OperationRecord]:
    """Return the operation records of an entry.

    Raises:
        UnusableLogError: it is damaged.
    """
    try:
        return _decode_operations(packed)
    except msgspec.DecodeError as error:
        raise _damaged("operations", error) from error


def deliveries_of(
    records: Iterable[DeliveryRecord], after: Position, last: Position, connection_id: ConnectionId | None
) -> Sequence[DeliveryRecord]:
    """Return each of `records` once, by position, then by time, of the commits after `after` up to `last`.

    `connection_id` limits them to one recipient.
    """
    wanted = {one for one in records if after < one.position <= last and connection_id in (None, one.connection_id)}
    return sorted(wanted, key=lambda record: (record.position, record.at_ms, record))


def operations_since(records: Iterable[OperationRecord], base: Position, since_ms: int) -> Sequence[OperationRecord]:
    """Return those of `records` from position `base` and from Unix time `since_ms` on, by time."""
    wanted = (record for record in records if record.after >= base and record.at_ms >= since_ms)
    return sorted(wanted, key=lambda record: record.at_ms)


def _damaged(of: str, error: msgspec.DecodeError) -> UnusableLogError:
    return UnusableLogError(f"the log's records of {of} are damaged ({error}); restore it from a backup")
