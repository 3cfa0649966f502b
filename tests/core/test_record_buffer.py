"""Each notification handed over is recorded beside the log, in batches, and never more than memory has room for."""

from __future__ import annotations

import asyncio
from typing import get_args

from broker.decision import Rejection
from broker.record_buffer import BATCH_MAX, FLUSH_MS, PENDING_MAX, REFUSALS_PER_S_MAX, RecordBuffer
from broker.store_watch import IDLE_PROBE_MS, LOST_PROBE_MS
from broker.testing.clock import settle
from events.ids import Position
from events.log import RUNNING_EVERY_MS, DeliveredBy, DeliveryRecord, OperationKind, OperationRecord
from tests.support.bench import BrokerBench, with_broker
from tests.support.logs import nothing, unavailable
from tests.support.people import ANN, BOB, enter, say


def record(bench: BrokerBench, count: int, first: Position = 1) -> None:
    """Record as many deliveries, of one position each from `first` on."""
    for position in range(first, first + count):
        bench.broker.records.record_delivery(position, ANN, "inbox")


def stored(bench: BrokerBench) -> list[Position]:
    """Return the positions of stored deliveries."""
    return [one.position for one in bench.log.delivery_records]


def positions(count: int, first: Position = 1) -> list[Position]:
    """Return `count` positions, from `first` on."""
    return list(range(first, first + count))


@with_broker()
async def test_a_delivery_is_recorded_when_the_stream_has_written_it(bench: BrokerBench) -> None:
    """Not when it was announced; the record is stored within a second."""
    room = await bench.pair(ANN, BOB)
    stream = bench.stream(BOB)
    await bench.do(say(ANN, "hello", None, room))
    position = bench.broker.state.position
    await bench.clock.advance(FLUSH_MS)
    assert bench.log.delivery_records == []
    await bench.taken(stream)
    written_ms = bench.clock.wall_ms()
    await bench.clock.advance(FLUSH_MS)
    assert bench.log.delivery_records == [DeliveryRecord(position, BOB, "get", written_ms)]


@with_broker()
async def test_a_page_that_was_given_is_a_delivery_of_each_event_in_it(bench: BrokerBench) -> None:
    """The record names the way of the page."""
    room = await bench.pair(ANN, BOB)
    await bench.do(say(ANN, "one", None, room))
    await bench.do(say(ANN, "two", None, room))
    opened = bench.broker.state.rooms.by_id[room].opened_position
    bench.broker.reads.record(BOB, await bench.broker.reads.page(BOB, opened), "result")
    await bench.clock.advance(FLUSH_MS)
    assert [(one.position, one.to) for one in bench.log.delivery_records] == [
        (opened + 1, "result"),
        (opened + 2, "result"),
    ]


@with_broker()
async def test_a_full_batch_is_stored_at_once(bench: BrokerBench) -> None:
    """And the next one by its own second."""
    record(bench, BATCH_MAX)
    await settle()
    assert stored(bench) == positions(BATCH_MAX)
    record(bench, 1, BATCH_MAX + 1)
    await bench.clock.advance(FLUSH_MS - 1)
    assert stored(bench) == positions(BATCH_MAX)
    await bench.clock.advance(1)
    assert stored(bench) == positions(BATCH_MAX + 1)


@with_broker()
async def test_one_batch_is_stored_at_a_time_and_the_rest_follows(bench: BrokerBench) -> None:
    """While the disk is busy, nothing within memory's bound is lost."""
    disk_is_free = asyncio.Event()
    bench.log.before_record.append(disk_is_free.wait)
    record(bench, BATCH_MAX)
    record(bench, BATCH_MAX + 5, BATCH_MAX + 1)
    await bench.clock.advance(10 * FLUSH_MS)
    assert stored(bench) == []
    disk_is_free.set()
    await settle()
    assert stored(bench) == positions(2 * BATCH_MAX + 5)


@with_broker()
async def test_records_above_the_limit_are_dropped(bench: BrokerBench) -> None:
    """A blocked disk does not fill the memory; the first records are kept."""
    disk_is_free = asyncio.Event()
    bench.log.before_record.append(disk_is_free.wait)
    record(bench, BATCH_MAX)
    record(bench, PENDING_MAX + 7, BATCH_MAX + 1)
    disk_is_free.set()
    await settle()
    assert stored(bench) == positions(BATCH_MAX + PENDING_MAX)


@with_broker()
async def test_the_end_stores_what_is_pending(bench: BrokerBench) -> None:
    """It stores them before the log is closed, and after the batch under way."""
    disk_is_free = asyncio.Event()
    bench.log.before_record.append(disk_is_free.wait)
    record(bench, BATCH_MAX)
    record(bench, 3, BATCH_MAX + 1)
    closing = asyncio.ensure_future(bench.broker.close())
    await settle()
    assert not closing.done()
    disk_is_free.set()
    await closing
    assert stored(bench) == positions(BATCH_MAX + 3)


@with_broker()
async def test_a_start_is_recorded_at_once_and_an_end_with_the_last_records(bench: BrokerBench) -> None:
    """A start before anything is handed over; an end in the same batch, so it is there only if they are."""
    assert [one.kind for one in bench.log.operation_records] == ["started"]
    record(bench, 1)
    await bench.broker.close()
    assert [one.kind for one in bench.log.operation_records] == ["started", "stopped"]
    assert stored(bench) == [1]


@with_broker()
async def test_a_client_s_refusal_is_recorded_without_its_text(bench: BrokerBench) -> None:
    """With the connection, the command and the code; what is accepted is not recorded."""
    await bench.do(enter(ANN))
    assert isinstance(await bench.broker.writer.submit(say(ANN, "a secret")), Rejection)
    await bench.clock.advance(FLUSH_MS)
    (refused,) = bench.log.operation_records[1:]
    position = bench.broker.state.position
    assert refused == OperationRecord("refused", refused.at_ms, position, ANN, "send_message", "room_not_found")


@with_broker()
async def test_a_flood_of_refusals_is_counted_in_one_record(bench: BrokerBench) -> None:
    """Above the limit of a second; the next second has its own."""
    for _ in range(2):
        for _ in range(REFUSALS_PER_S_MAX + 7):
            await bench.broker.writer.submit(say(ANN))
        await bench.clock.advance(FLUSH_MS)
    times = [one.times for one in bench.log.operation_records[1:]]
    assert times == [*[1] * REFUSALS_PER_S_MAX, 7] * 2
    assert bench.log.operation_records[-1].connection_id is None


@with_broker()
async def test_records_wait_in_memory_while_the_log_is_lost(bench: BrokerBench) -> None:
    """The loss, the return and what came in between are stored once it is back."""
    bench.log.before_probe = [unavailable, unavailable, nothing]
    await bench.clock.advance(IDLE_PROBE_MS)
    assert bench.broker.store_watch.reason is not None
    record(bench, 1)
    await bench.clock.advance(LOST_PROBE_MS)
    assert ([one.kind for one in bench.log.operation_records], stored(bench)) == (["started"], [])
    await bench.clock.advance(LOST_PROBE_MS + FLUSH_MS)
    kinds = [one.kind for one in bench.log.operation_records]
    assert kinds == ["started", "log_unavailable", "log_available"]
    assert stored(bench) == [1]


def test_the_kinds_of_operations_have_names_that_stay() -> None:
    """They are stored."""
    assert get_args(OperationKind) == ("started", "running", "stopped", "refused", "log_unavailable", "log_available")


def test_the_ways_have_names_that_stay() -> None:
    """They are stored."""
    assert get_args(DeliveredBy) == ("get", "listen", "result", "inbox")


@with_broker()
async def test_one_of_several_brokers_gives_signs_of_life(bench: BrokerBench) -> None:
    """Again and again from its start to its end, under its own name; one that is alone gives none."""
    await bench.clock.advance(2 * RUNNING_EVERY_MS)
    assert [one.kind for one in bench.log.operation_records] == ["started"]
    bench.log.operation_records.clear()
    broker = bench.broker
    records = RecordBuffer(bench.log, bench.clock, broker.replica, broker.writer.time_ms, b"\x01\xab")
    await records.record_start()
    await bench.clock.advance(2 * RUNNING_EVERY_MS + FLUSH_MS)
    await records.close()
    await bench.clock.advance(RUNNING_EVERY_MS)
    expected = [("started", "01ab"), ("running", "01ab"), ("running", "01ab"), ("stopped", "01ab")]
    assert [(one.kind, one.broker) for one in bench.log.operation_records] == expected
