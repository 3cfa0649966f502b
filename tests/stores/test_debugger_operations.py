"""Operation records of several brokers come back from each store, and tell of unclean ends."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from events.commit import EMPTY_TIP, Commit
from events.log import DeliveryRecord, EventLog, OperationRecord, Snapshot
from log_debugger.reading.sources import open_source
from projections.state import fold
from tests.log_debugger.logs import ANN, BOB, START_MS, conversation, run_ok
from tests.stores.debugger_logs import Store, on_log

LOST, OTHER = "aa11bb22", "cc33dd44"
RECORDS = [
    OperationRecord("started", START_MS - 100, 0, broker=LOST),
    OperationRecord("started", START_MS - 50, 0, broker=OTHER),
    OperationRecord("running", START_MS + 20_000, 1, broker=LOST),
    OperationRecord("running", START_MS + 30_000, 1, broker=OTHER),
    OperationRecord("running", START_MS + 40_000, 1, broker=LOST),
    OperationRecord("refused", START_MS + 42_300, 3, ANN, "send_message", "room_not_found", broker=OTHER),
    OperationRecord("running", START_MS + 400_000, 6, broker=OTHER),
    OperationRecord("stopped", START_MS + 440_000, 9, broker=OTHER),
]
KEPT = [record for record in RECORDS if record not in (RECORDS[2], RECORDS[3])]


def recorded(
    url: str, commits: Sequence[Commit], calls: Sequence[Sequence[OperationRecord]], base: Snapshot | None = None
) -> str:
    """Store `commits`, a delivery of the last one, and the records of each call; replace those before `base`."""

    async def fill(log: EventLog) -> None:
        await log.append(commits, expected=EMPTY_TIP)
        delivery = DeliveryRecord(len(commits), BOB, "get", START_MS + 440_000)
        for records in calls:
            await log.record([delivery], records)
        if base is not None:
            await log.compact(base)

    on_log(url, fill)
    return url


def test_they_come_back_by_time(store: Store) -> None:
    """Of a broker's signs of life the newest is kept, whether they came in one call or in several."""
    commits = conversation().commits
    for calls in ([RECORDS], [[record] for record in RECORDS]):
        with closing(open_source(recorded(store.url(), commits, calls))) as source:
            assert source.operation_records() == KEPT


def test_trimming_takes_those_before_the_base(store: Store) -> None:
    """Those at the base stay: they stand between it and the next commit."""
    commits = conversation().commits
    state = fold(commits[:6])
    url = recorded(store.url(), commits, [RECORDS], Snapshot(state.tip, state))
    with closing(open_source(url)) as source:
        assert source.operation_records() == [record for record in KEPT if record.after >= 6]


def test_a_broker_that_was_lost_leaves_no_conclusion(store: Store) -> None:
    """Of messages around its last sign of life; the notes tell of that, and of nobody's other signs."""
    url = recorded(store.url(), conversation().commits, [RECORDS])
    lines = run_ok("replay", url).lines
    assert [line[23:] for line in lines if line.startswith("   note")] == [
        "broker aa11 starts",
        "broker cc33 starts",
        "broker aa11 is seen for the last time, with no note of an orderly end",
        "Ann·6f5d is refused send_message: room_not_found",
        "broker cc33 stops in good order",
    ]
    told = "\n".join(run_ok("trace", url, "--room", "2370").lines)
    assert told.count("no conclusion whether it was handed to") == 4
    assert "no note that it was handed" in told.partition('"Hello!"')[2]
