"""When a notification was handed over is noted beside the log, for whoever asks where a message went."""

from __future__ import annotations

from broker.delivery_log import BATCH_MAX, FLUSH_MS
from events.log import DeliveryRecord
from tests.support.bench import BrokerBench, with_broker
from tests.support.people import ANN, BOB, say


@with_broker()
async def test_a_stream_that_has_written_has_handed_over(bench: BrokerBench) -> None:
    """Not when it was told, but when it wrote; noted within a second."""
    room = await bench.pair(ANN, BOB)
    stream = bench.stream(BOB)
    await bench.do(say(ANN, "hello", None, room))
    position = bench.broker.state.position
    await bench.clock.advance(FLUSH_MS)
    assert bench.log.delivery_records == []
    stream.written(await stream.next())
    written_ms = bench.clock.wall_ms()
    await bench.clock.advance(FLUSH_MS)
    assert bench.log.delivery_records == [DeliveryRecord(position, BOB, "get", written_ms)]


@with_broker()
async def test_a_page_that_was_given_has_handed_over(bench: BrokerBench) -> None:
    """Each notification in it, by the way that it was given."""
    room = await bench.pair(ANN, BOB)
    await bench.do(say(ANN, "one", None, room))
    await bench.do(say(ANN, "two", None, room))
    opened = bench.broker.state.rooms.by_id[room].opened_position
    bench.broker.given(BOB, await bench.broker.page(BOB, opened), "result")
    await bench.clock.advance(FLUSH_MS)
    assert [(one.position, one.to) for one in bench.log.delivery_records] == [
        (opened + 1, "result"),
        (opened + 2, "result"),
    ]


@with_broker()
async def test_many_notes_are_not_kept_waiting(bench: BrokerBench) -> None:
    """A full batch goes at once."""
    for position in range(BATCH_MAX):
        bench.broker.delivery_records.note(position, ANN, "inbox")
    await bench.clock.advance(0)
    assert len(bench.log.delivery_records) == BATCH_MAX


@with_broker()
async def test_the_end_keeps_the_last_notes(bench: BrokerBench) -> None:
    """They are handed to the log before it is closed."""
    bench.broker.delivery_records.note(7, ANN, "result")
    await bench.broker.close()
    assert [one.position for one in bench.log.delivery_records] == [7]
