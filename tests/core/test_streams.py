"""Open streams: bounded backlogs, and no wait for a slow client."""

from __future__ import annotations

import asyncio

import pytest

from broker.hub import Delivery
from broker.streams import DRAIN_MS, SLOT_MS, SLOTS, SPREAD_MS, Stream, TooManyStreamsError
from events.log import Snapshot
from events.policy import Policy
from projections.state import fold
from tests.support.bench import BrokerBench, with_broker
from tests.support.fake_clock import settle
from tests.support.logs import FaultyLog, run
from tests.support.people import ANN, BOB, CAT, enter, leave, say

ROUND_MS = SLOTS * SLOT_MS


def methods(taken: list[Delivery]) -> list[str]:
    """Return the methods of a writer's frames."""
    return [delivery.notification.method for delivery in taken]


@with_broker()
async def test_a_stream_carries_what_its_connections_are_told(bench: BrokerBench) -> None:
    """All new deliveries are written at once, in order; attaching twice is attaching once."""
    stream = bench.stream(ANN, BOB, ANN)
    room = await bench.pair(ANN, BOB)
    await bench.do(say(ANN, "hi", None, room))
    taken = await bench.taken(stream)
    assert [(d.connection_id, d.notification.method) for d in taken] == [
        (ANN, "chatroom.found"),
        (BOB, "chatroom.found"),
        (BOB, "message.received"),
    ]


@with_broker()
async def test_a_stream_waits_for_the_next(bench: BrokerBench) -> None:
    """The next delivery is written at once."""
    stream = bench.stream(ANN)
    running = asyncio.ensure_future(stream.run())
    await settle()
    await bench.pair(ANN, BOB)
    assert methods(bench.client_of(stream).written) == ["chatroom.found"]
    stream.end()
    await running


@with_broker()
async def test_a_detached_connection_is_carried_no_more(bench: BrokerBench) -> None:
    """The others are; to detach it again does nothing."""
    stream = bench.stream(ANN, BOB)
    for _ in range(2):
        stream.detach(ANN)
    await bench.pair(ANN, BOB)
    assert [d.connection_id for d in await bench.taken(stream)] == [BOB]


@with_broker(Policy(stream_backlog_max=3, messages_per_10s_max=100))
async def test_a_full_backlog_cuts_the_stream(bench: BrokerBench) -> None:
    """The sender does not wait, the backlog is dropped, and the log has its events."""
    stream = bench.stream(BOB)
    room = await bench.pair(ANN, BOB)
    cursor = bench.broker.state.position
    for number in range(2):
        await bench.do(say(ANN, f"{number}", None, room))
    assert (stream.ended, bench.cuts) == (False, 0)
    await bench.do(say(ANN, "one too many", None, room))
    assert (stream.ended, bench.cuts) == (True, 1)
    assert await bench.taken(stream) == []
    await bench.do(say(ANN, "and more", None, room))
    assert bench.cuts == 1
    page = await bench.broker.reads.page(BOB, cursor)
    assert len(page.events) == 4


@with_broker(Policy(stream_backlog_max=3, messages_per_10s_max=100))
async def test_a_stream_that_is_read_is_never_cut(bench: BrokerBench) -> None:
    """However much goes through it."""
    stream = bench.stream(BOB)
    room = await bench.pair(ANN, BOB)
    heard = methods(await bench.taken(stream))
    for number in range(20):
        await bench.do(say(ANN, f"{number}", None, room))
        heard += methods(await bench.taken(stream))
    assert heard == ["chatroom.found", *["message.received"] * 20]
    assert not stream.ended


@with_broker(Policy(stream_backlog_max=1))
async def test_one_slow_stream_does_not_cut_another(bench: BrokerBench) -> None:
    """Each has a backlog of its own."""
    slow, quick = bench.stream(BOB), bench.stream(BOB)
    room = await bench.pair(ANN, BOB)
    await bench.taken(quick)
    await bench.do(say(ANN, "hi", None, room))
    assert (slow.ended, quick.ended) == (True, False)
    assert methods(await bench.taken(quick)) == ["message.received"]


@with_broker()
async def test_an_ended_stream_writes_what_it_has(bench: BrokerBench) -> None:
    """It gets nothing more, and no connection can be attached to it."""
    stream = bench.stream(ANN)
    room = await bench.pair(ANN, BOB)
    stream.end()
    stream.attach(BOB)
    await bench.do(leave(BOB, room))
    assert methods(await bench.taken(stream)) == ["chatroom.found"]
    assert await bench.taken(stream) == []
    assert bench.broker.hub._subscribers == {}


@with_broker()
async def test_an_end_wakes_the_loop(bench: BrokerBench) -> None:
    """It would wait for ever."""
    stream = bench.stream(ANN)
    running = asyncio.ensure_future(stream.run())
    await settle()
    stream.end()
    await settle()
    assert running.done()


@with_broker()
async def test_a_delivery_to_an_ended_stream_is_dropped(bench: BrokerBench) -> None:
    """A delivery may be under way at the end."""
    stream = bench.stream(ANN)
    await bench.pair(ANN, BOB)
    delivery = (await bench.taken(stream))[0]
    stream.end()
    stream.deliver(delivery)
    assert await bench.taken(stream) == []


@with_broker(Policy(streams_max=2))
async def test_there_are_only_so_many_streams(bench: BrokerBench) -> None:
    """One more is refused; a closed one makes room."""
    first = bench.stream(ANN)
    bench.stream(BOB)
    with pytest.raises(TooManyStreamsError):
        bench.stream(ANN)
    first.close()
    bench.stream(ANN)


@with_broker()
async def test_a_broker_that_shuts_down_opens_none(bench: BrokerBench) -> None:
    """They would be ended at once."""
    bench.broker.drain()
    with pytest.raises(TooManyStreamsError):
        bench.stream(ANN)


@with_broker()
async def test_a_shutdown_ends_all(bench: BrokerBench) -> None:
    """Each stream writes its backlog; no ping comes after."""
    streams = [bench.stream(ANN, pinged=True), bench.stream(BOB)]
    await bench.pair(ANN, BOB)
    bench.streams.end_all()
    await bench.clock.advance(3 * ROUND_MS)
    assert [methods(await bench.taken(stream)) for stream in streams] == [["chatroom.found"]] * 2
    assert all(stream.ended for stream in streams)
    assert not any(bench.client_of(stream).pinged_ms for stream in streams)
    bench.streams.end_all()


@with_broker()
async def test_a_stream_that_asks_for_it_is_pinged(bench: BrokerBench) -> None:
    """Within every fifteen seconds, each in its turn; the others never."""
    quiet, pinged = bench.stream(ANN), []
    for _ in range(3):
        pinged.append(bench.stream(BOB, pinged=True))
        await bench.clock.advance(1_700)
    running = [asyncio.ensure_future(stream.run()) for stream in (quiet, *pinged)]
    await bench.clock.advance(60_000)
    for number, stream in enumerate(pinged):
        opened_ms, times = number * 1_700, bench.client_of(stream).pinged_ms
        assert all(
            later - earlier <= ROUND_MS + 1_000 for earlier, later in zip([opened_ms, *times], times, strict=False)
        )
        assert len(times) >= 4
    assert bench.client_of(quiet).pinged_ms == []
    bench.streams.end_open()
    await asyncio.gather(*running)


@with_broker()
async def test_pinging_stops_with_the_last_stream_and_starts_again(bench: BrokerBench) -> None:
    """One deadline at a time for all, and none without a stream."""
    stream = bench.stream(ANN, pinged=True)
    stream.close()
    await bench.clock.advance(2 * ROUND_MS)
    assert await bench.taken(stream) == []
    assert bench.client_of(stream).pinged_ms == []
    assert bench.broker.deadlines._heap == []
    again = bench.stream(ANN, pinged=True)
    await bench.clock.advance(ROUND_MS)
    await bench.taken(again)
    assert len(bench.client_of(again).pinged_ms) == 1


@with_broker()
async def test_open_streams_and_what_is_written_are_measured(bench: BrokerBench) -> None:
    """Each delivery is timed from its commit to the transport."""
    stream = bench.stream(ANN)
    await bench.clock.advance(10)
    await bench.pair(ANN, BOB)
    await bench.clock.advance(2_000)
    await bench.taken(stream)
    text = bench.broker.metrics.render().decode()
    assert 'chat_broker_streams{kind="get"} 1.0' in text
    assert "chat_broker_delivery_seconds_count 1.0" in text
    assert "chat_broker_delivery_seconds_sum 2.0" in text
    stream.close()
    assert 'chat_broker_streams{kind="get"} 0.0' in bench.broker.metrics.render().decode()


@with_broker()
async def test_a_listener_is_present(bench: BrokerBench) -> None:
    """Presence lasts from attaching to detaching."""
    await bench.do(enter(ANN))
    stream = bench.stream(ANN)
    await bench.clock.advance(10 * bench.broker.state.policy.idle_grace_queue_ms)
    assert bench.waits(ANN)
    stream.detach(ANN)
    await bench.clock.advance(bench.broker.state.policy.stream_grace_ms)
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
async def test_a_stream_that_waits_writes_at_once(bench: BrokerBench) -> None:
    """A delivery is written before any other task has a turn, and counts as written."""
    stream = bench.stream(BOB)
    room, client = await bench.pair(ANN, BOB), bench.client_of(stream)
    assert client.written == []  # the loop does not run yet
    running = asyncio.ensure_future(stream.run())
    await settle()
    assert methods(client.written) == ["chatroom.found"]
    for number, text in enumerate(("one", "two"), 2):
        await bench.do(say(ANN, text, None, room))
        assert len(client.written) == number
    assert "chat_broker_delivery_seconds_count 3.0" in bench.broker.metrics.render().decode()
    stream.end()
    await running


@with_broker()
async def test_a_delivery_that_has_to_wait_is_written_in_its_turn(bench: BrokerBench) -> None:
    """After one delivery that has to wait, all later ones wait behind it until the loop is back."""
    stream = bench.stream(BOB)
    room, client = await bench.pair(ANN, BOB), bench.client_of(stream)
    running = asyncio.ensure_future(stream.run())
    await settle()
    client.written.clear()
    client.reads = False
    bench.broker.writer.submit(say(ANN, "one", None, room))
    client.reads = True
    bench.broker.writer.submit(say(ANN, "two", None, room))
    await settle()
    assert [delivery.notification.params.message for delivery in client.written] == ["one", "two"]
    stream.end()
    await running


@with_broker()
async def test_a_ping_that_is_due_is_written(bench: BrokerBench) -> None:
    """Also if a message comes before the loop has had its turn; nothing is lost."""
    stream = bench.stream(BOB)
    room, client = await bench.pair(ANN, BOB), bench.client_of(stream)
    running = asyncio.ensure_future(stream.run())
    await settle()
    stream.ping()
    await bench.do(say(ANN, "hi", None, room))
    await settle()
    assert methods(client.written) == ["chatroom.found", "message.received"]
    assert len(client.pinged_ms) == 1
    stream.end()
    await running


def test_the_streams_of_one_of_several_brokers_end_one_by_one() -> None:
    """They end over a second in random order, so that their clients do not reach the others all at once."""

    async def scenario() -> None:
        (log,) = FaultyLog.shared(1)
        bench = BrokerBench(log)
        await bench.broker.start(Policy())
        streams = [bench.stream() for _ in range(200)]
        bench.broker.drain()
        ended: list[Stream[Delivery]] = []
        for _ in range(SPREAD_MS // 100):
            ended += [stream for stream in streams if stream.ended and stream not in ended]
            assert len(ended) <= 200 * (bench.clock.now_ms() / SPREAD_MS) + 4
            await bench.clock.advance(100)
        assert all(stream.ended for stream in streams)
        ended += [stream for stream in streams if stream not in ended]
        assert ended != streams
        assert bench.cuts == 0
        await bench.clock.advance(DRAIN_MS)
        assert bench.cuts == 200  # none of their clients has read the end
        with pytest.raises(TooManyStreamsError):
            bench.stream()
        await bench.broker.close()

    run(scenario)


def test_a_second_end_is_at_once() -> None:
    """A second shutdown does not spread the ends."""

    async def scenario() -> None:
        (log,) = FaultyLog.shared(1)
        bench = BrokerBench(log)
        await bench.broker.start(Policy())
        streams = [bench.stream() for _ in range(200)]
        bench.broker.drain()
        assert not all(stream.ended for stream in streams)
        bench.broker.drain()
        assert all(stream.ended for stream in streams)
        await bench.broker.close()

    run(scenario)
