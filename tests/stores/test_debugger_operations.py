"""Operation records of several brokers come back from each store, and tell of unclean ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise

import pytest

from events.commit import EMPTY_TIP, Commit
from events.log import DeliveryRecord, EventLog, OperationRecord, Snapshot
from log_debugger.reading.sources import open_source
from projections.state import fold
from tests.log_debugger.logs import ANN, BOB, START_MS, conversation, run_ok
from tests.log_debugger.tails import running_tail
from tests.stores.debugger_logs import RedisStore, Store, on_log
from tests.support.process import killed, serving

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
ROOM_OPENED = ("--type", "room_opened", "--json")
MISSED_SECONDS_MAX = 60
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


def test_those_since_a_time_can_be_read_alone(store: Store) -> None:
    """It need not be the time of any; records of earlier hours need not be read."""
    hour_ms = 3_600_000
    later = [record._replace(at_ms=record.at_ms + hour_ms, broker=OTHER) for record in RECORDS if record.after > 2]
    calls = [[record] for record in (*RECORDS, *later)]
    with closing(open_source(recorded(store.url(), conversation().commits, calls))) as source:
        everything = source.operation_records()
        assert everything is not None
        for since_ms in (
            0,
            START_MS + 42_301,
            START_MS + 440_000,
            later[0].at_ms,
            later[-1].at_ms,
            later[-1].at_ms + 1,
        ):
            assert source.operation_records(since_ms) == [one for one in everything if one.at_ms >= since_ms], since_ms


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


def test_of_a_broker_that_may_have_ended_nothing_is_concluded_yet(store: Store) -> None:
    """Its silence is too short to prove its end; its last notes may be lost for all that."""
    for lost_ms, words in ((40_000, "no note yet that it was handed to"), (62_000, "no note that it was handed to")):
        signs = [
            OperationRecord("running", START_MS + lost_ms, 4, broker=LOST),
            OperationRecord("running", START_MS + 65_000, 4, broker=OTHER),
        ]
        url = recorded(store.url(), conversation().commits, [[*RECORDS[:2], *signs]])
        after = "\n".join(run_ok("trace", url, "--room", "2370").lines).partition('"Hello!"')[2]
        assert after.split("\n")[1].strip().startswith(words)


@pytest.mark.slow
def test_a_killed_broker_is_missed_by_those_beside_it(valkey: RedisStore) -> None:
    """`tail` tells of it after a while, and `trace` concludes nothing of its last delivery, before and after."""
    url = valkey.url()

    def told() -> str:
        opened = next(one for one in run_ok("replay", url, *ROOM_OPENED).objects if "events" in one)
        lines = run_ok("trace", url, "--room", opened["events"][-1]["room_id"]).lines
        return next(below.strip() for line, below in pairwise(lines) if "Last words." in line)

    async def scenario() -> None:
        async with serving("--log", url) as dying, serving("--log", url) as living:
            crowd = dying.people()
            one, other = await crowd.pair()
            await one.say("Last words.")
            await other.hear()
            await killed(dying.process)
            newcomers = living.people()
            await (await newcomers.modern()).enter()
            with running_tail(url, "--from", "1") as tail:
                assert (await asyncio.to_thread(told)).startswith(("no note yet that it was handed to", "handed to"))
                lines = [""]
                while "for the last time" not in lines[-1]:
                    lines.append(await asyncio.to_thread(tail.line, MISSED_SECONDS_MAX))
                assert lines[-1].endswith(" is seen for the last time, with no note of an orderly end")
                assert "Anonymous" in lines[-2], "it is told when the others have lived on"
            await (await newcomers.modern()).enter()
            assert (await asyncio.to_thread(told)).startswith(("no conclusion whether it was handed to", "handed to"))
            await crowd.close()
            await newcomers.close()
            assert (await living.terminate())[0] == 0

    asyncio.run(scenario())
