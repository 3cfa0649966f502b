"""Records come back from their entries: those that are asked for, each once, in order; damage is said."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from events.ids import ConnectionId
from events.log import DeliveryRecord, OperationRecord, UnusableLogError
from events.packed_records import deliveries_in, deliveries_of, operations_in, operations_since

ANN, BOB = ConnectionId(f"c_{'a' * 32}"), ConnectionId(f"c_{'b' * 32}")
DELIVERIES = [
    DeliveryRecord(3, ANN, "get", 30),
    DeliveryRecord(2, BOB, "result", 21),
    DeliveryRecord(2, ANN, "listen", 20),
    DeliveryRecord(3, ANN, "get", 30),
    DeliveryRecord(4, BOB, "inbox", 40),
]
OPERATIONS = [
    OperationRecord("started", 10, 0, broker="aa"),
    OperationRecord("refused", 25, 2, ANN, "send_message", "room_not_found", broker="aa"),
    OperationRecord("refused", 22, 1, times=7, broker="aa"),
]


def test_an_entry_holds_its_records() -> None:
    """Nothing of them is lost."""
    assert deliveries_in(msgspec.json.encode(DELIVERIES)) == DELIVERIES
    assert operations_in(msgspec.json.encode(OPERATIONS)) == OPERATIONS


@pytest.mark.parametrize(("read", "of"), [(deliveries_in, "deliveries"), (operations_in, "operations")])
@pytest.mark.parametrize("packed", [b"", b"[[1]]", b"{}", b'[["started"'])
def test_a_damaged_entry_is_said(read: Callable[[bytes], object], of: str, packed: bytes) -> None:
    """The words name the records, and what to do."""
    with pytest.raises(UnusableLogError, match=rf"the log's records of {of} are damaged \(.*\); restore it from a"):
        read(packed)


def test_deliveries_come_once_each_and_in_order() -> None:
    """By position, then by time; of some commits, to all or to one."""
    assert deliveries_of(DELIVERIES, 0, 9, None) == [DELIVERIES[2], DELIVERIES[1], DELIVERIES[0], DELIVERIES[4]]
    assert deliveries_of(DELIVERIES, 2, 3, None) == [DELIVERIES[0]]
    assert deliveries_of(DELIVERIES, 0, 9, BOB) == [DELIVERIES[1], DELIVERIES[4]]


def test_operations_come_from_a_position_and_a_time_on() -> None:
    """By time."""
    assert operations_since(OPERATIONS, 0, 0) == [OPERATIONS[0], OPERATIONS[2], OPERATIONS[1]]
    assert operations_since(OPERATIONS, 2, 0) == [OPERATIONS[1]]
    assert operations_since(OPERATIONS, 0, 22) == [OPERATIONS[2], OPERATIONS[1]]
