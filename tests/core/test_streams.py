"""Open streams: bounded backlogs, and nobody waits for a client that does not read."""

from __future__ import annotations

import asyncio

import pytest

from broker.hub import Delivery
from broker.streams import SLOT_MS, SLOTS, Stream, TooManyStreamsError
from events.log import Snapshot
from events.policy import Policy
from projections.state import fold
from tests.support.bench import BrokerBench, with_broker
from tests.support.fake_clock import settle
from tests.support.people import ANN, BOB, CAT, enter, leave, say

ROUND_MS = SLOTS * SLOT_MS


def methods(taken: list[Delivery]) -> list[str]:
    """What a writer takes."""
    return [delivery.notification.method for delivery in taken]


@with_broker()
async def test_a_stream_carries_what_its_connections_are_told(bench: BrokerBench) -> None:
    """In order, all that came since the last look at once; attaching twice is attaching once."""
    stream = bench.stream(ANN, BOB, ANN)
    room = await bench.pair(ANN, BOB)
    await bench.do(say(ANN, "hi", None, room))
    taken = await stream.next()
    assert [(d.connection_id, d.notification.method) for d in taken] == [
        (ANN, "chatroom.found"),
        (BOB, "chatroom.found"),
        (BOB, "message.received"),
    ]


@with_broker()
async def test_a_writer_waits_for_the_next(bench: BrokerBench) -> None:
    """Until something comes."""
    stream = bench.stream(ANN)
    taking = asyncio.ensure_future(stream.next())
    await settle()
    assert not taking.done()
    await bench.pair(ANN, BOB)
    await settle()
    assert methods(taking.result()) == ["chatroom.found"]


@with_broker()
async def test_a_detached_connection_is_carried_no_more(bench: BrokerBench) -> None:
    """The others are; to detach it again does nothing."""
    stream = bench.stream(ANN, BOB)
    for _ in range(2):
        stream.detach(ANN)
    await bench.pair(ANN, BOB)
    assert [d.connection_id for d in await stream.next()] == [BOB]


@with_broker(Policy(stream_backlog_max=3, messages_per_10s_max=100))
async def test_a_full_backlog_cuts_the_stream(bench: BrokerBench) -> None:
    """The sender does not wait, the backlog goes, and the log has what it held."""
    stream = bench.stream(BOB)
    room = await bench.pair(ANN, BOB)
    cursor = bench.broker.state.position
    for number in range(2):
        await bench.do(say(ANN, f"{number}", None, room))
    assert (stream.ended, bench.cuts) == (False, 0)
    await bench.do(say(ANN, "one too many", None, room))
    assert (stream.ended, bench.cuts) == (True, 1)
    assert await stream.next() == []
    await bench.do(say(ANN, "and more", None, room))
    assert bench.cuts == 1
    page = await bench.broker.page(BOB, cursor)
    assert len(page.events) == 4


@with_broker(Policy(stream_backlog_max=3, messages_per_10s_max=100))
async def test_a_stream_that_is_read_is_never_cut(bench: BrokerBench) -> None:
    """However much goes through it."""
    stream = bench.stream(BOB)
    room = await bench.pair(ANN, BOB)
    heard = methods(await stream.next())
    for number in range(20):
        await bench.do(say(ANN, f"{number}", None, room))
        heard += methods(await stream.next())
    assert heard == ["chatroom.found", *["message.received"] * 20]
    assert not stream.ended


@with_broker(Policy(stream_backlog_max=1))
async def test_one_slow_stream_does_not_cut_another(bench: BrokerBench) -> None:
    """Each has a backlog of its own."""
    slow, quick = bench.stream(BOB), bench.stream(BOB)
    room = await bench.pair(ANN, BOB)
    await quick.next()
    await bench.do(say(ANN, "hi", None, room))
    assert (slow.ended, quick.ended) == (True, False)
    assert methods(await quick.next()) == ["message.received"]


@with_broker()
async def test_an_ended_stream_writes_what_it_has(bench: BrokerBench) -> None:
    """And hears no more; nobody can be attached to it."""
    stream = bench.stream(ANN)
    room = await bench.pair(ANN, BOB)
    stream.end()
    stream.attach(BOB)
    await bench.do(leave(BOB, room))
    assert methods(await stream.next()) == ["chatroom.found"]
    assert await stream.next() == []
    assert bench.broker.hub._subscribers == {}


@with_broker()
async def test_an_end_wakes_the_writer(bench: BrokerBench) -> None:
    """It would wait for ever."""
    stream = bench.stream(ANN)
    taking = asyncio.ensure_future(stream.next())
    await settle()
    stream.end()
    await settle()
    assert taking.result() == []


@with_broker()
async def test_a_delivery_to_an_ended_stream_is_dropped(bench: BrokerBench) -> None:
    """As one may be on its way while it ends."""
    stream = bench.stream(ANN)
    await bench.pair(ANN, BOB)
    delivery = (await stream.next())[0]
    stream.end()
    stream.deliver(delivery)
    assert await stream.next() == []


@with_broker(Policy(streams_max=2))
async def test_there_are_only_so_many_streams(bench: BrokerBench) -> None:
    """One more is refused; one that is closed makes room."""
    first = bench.stream(ANN)
    bench.stream(BOB)
    with pytest.raises(TooManyStreamsError):
        bench.stream(ANN)
    bench.streams.close(first)
    bench.stream(ANN)


@with_broker()
async def test_a_broker_that_shuts_down_opens_none(bench: BrokerBench) -> None:
    """They would be ended at once."""
    bench.broker.drain()
    with pytest.raises(TooManyStreamsError):
        bench.stream(ANN)


@with_broker()
async def test_a_shutdown_ends_all(bench: BrokerBench) -> None:
    """Gracefully: each writer writes what it has; no ping comes after."""
    streams = [bench.stream(ANN, pinged=True), bench.stream(BOB)]
    await bench.pair(ANN, BOB)
    bench.streams.end_all()
    assert [methods(await stream.next()) for stream in streams] == [["chatroom.found"]] * 2
    assert all(stream.ended for stream in streams)
    await bench.clock.advance(3 * ROUND_MS)
    assert not any(stream.ping_due for stream in streams)
    bench.streams.end_all()


@with_broker()
async def test_a_stream_that_asks_for_it_is_pinged(bench: BrokerBench) -> None:
    """Within every fifteen seconds, each in its turn; the others never."""
    quiet = bench.stream(ANN)
    pinged: dict[Stream, list[float]] = {}
    for _ in range(3):
        pinged[bench.stream(BOB, pinged=True)] = []
        await bench.clock.advance(1_700)
    for _ in range(60):
        await bench.clock.advance(1_000)
        for stream, times in pinged.items():
            if stream.ping_due:
                assert await stream.next() == []
                stream.ping_due = False
                times.append(bench.clock.now_ms())
    for number, times in enumerate(pinged.values()):
        opened_ms = number * 1_700
        assert all(
            later - earlier <= ROUND_MS + 1_000 for earlier, later in zip([opened_ms, *times], times, strict=False)
        )
        assert len(times) >= 4
    assert not quiet.ping_due


@with_broker()
async def test_pinging_stops_with_the_last_stream_and_starts_again(bench: BrokerBench) -> None:
    """One timer for all, and none for nobody."""
    stream = bench.stream(ANN, pinged=True)
    bench.streams.close(stream)
    await bench.clock.advance(2 * ROUND_MS)
    assert not stream.ping_due
    assert bench.streams.heartbeat._timer is None
    again = bench.stream(ANN, pinged=True)
    await bench.clock.advance(ROUND_MS)
    assert again.ping_due


@with_broker()
async def test_open_streams_and_what_is_written_are_measured(bench: BrokerBench) -> None:
    """A replayed delivery is as old as it is, and does not count."""
    stream = bench.stream(ANN)
    await bench.clock.advance(10)
    await bench.pair(ANN, BOB)
    taken = await stream.next()
    stream.written([*taken, taken[0]._replace(announced_ms=0)])
    text = bench.broker.metrics.render().decode()
    assert 'chat_broker_streams{kind="get"} 1.0' in text
    assert "chat_broker_delivery_seconds_count 1.0" in text
    bench.streams.close(stream)
    assert 'chat_broker_streams{kind="get"} 0.0' in bench.broker.metrics.render().decode()


@with_broker()
async def test_a_listener_is_present(bench: BrokerBench) -> None:
    """From attaching to detaching."""
    await bench.do(enter(ANN))
    stream = bench.stream(ANN)
    await bench.clock.advance(10 * bench.broker.policy.idle_grace_queue_ms)
    assert bench.waits(ANN)
    stream.detach(ANN)
    await bench.clock.advance(bench.broker.policy.stream_grace_ms)
    assert bench.is_idle(ANN)


@with_broker()
async def test_a_stream_ends_where_it_would_have_a_gap(bench: BrokerBench) -> None:
    """Another wrote, and the log was trimmed before it was read here: its client has to read by cursor."""
    stream = bench.stream(ANN)
    log, before = bench.log.inner, bench.broker.state
    await bench.log.appended_by_another(enter(ANN), enter(BOB), state=before)
    after = fold(await log.read(before.position, 10), before)
    await log.compact(Snapshot(after.tip, after))
    await bench.do(enter(CAT))
    assert stream.ended
    assert bench.stream(ANN).ended is False


@with_broker()
async def test_a_writer_that_waits_writes_at_once(bench: BrokerBench) -> None:
    """What comes meanwhile is written before anyone else has a turn, and counts as written."""
    stream, written = bench.stream(BOB), []
    stream.write_now = lambda delivery: written.append(delivery) is None
    room = await bench.pair(ANN, BOB)
    assert methods(await stream.next()) == ["chatroom.found"]
    assert written == []  # the writer was elsewhere, and had to be told
    taking = asyncio.ensure_future(stream.next())
    await settle()
    for text in ("one", "two"):
        await bench.do(say(ANN, text, None, room))
    assert methods(written) == ["message.received"] * 2
    stream.end()
    assert await taking == []


@with_broker()
async def test_what_can_not_be_written_at_once_comes_in_its_turn(bench: BrokerBench) -> None:
    """From the first that has to wait until the writer is back, whatever comes waits behind it."""
    stream, can_write, written = bench.stream(BOB), False, []

    def write(delivery: Delivery) -> bool:
        if can_write:
            written.append(delivery)
        return can_write

    stream.write_now = write
    room = await bench.pair(ANN, BOB)
    await stream.next()
    taking = asyncio.ensure_future(stream.next())
    await settle()
    for text in ("one", "two"):
        await bench.do(say(ANN, text, None, room))
        can_write = True
    taken = await taking
    if len(taken) < 2:
        taken += await stream.next()
    assert [delivery.notification.params.message for delivery in taken] == ["one", "two"]
    assert written == []


@with_broker()
async def test_a_ping_that_is_due_is_written_before_what_comes_after_it(bench: BrokerBench) -> None:
    """The writer is on its way back for it."""
    stream, written = bench.stream(BOB), []
    stream.write_now = lambda delivery: written.append(delivery) is None
    room = await bench.pair(ANN, BOB)
    await stream.next()
    taking = asyncio.ensure_future(stream.next())
    await settle()
    stream.ping()
    await bench.do(say(ANN, "hi", None, room))
    assert written == []
    assert stream.ping_due
    assert methods(await taking or await stream.next()) == ["message.received"]
