"""The whole broker: the way from a command to its listeners."""

from __future__ import annotations

import asyncio

from msgspec import structs

from broker.batch import Accepted
from broker.decision import Rejection
from events.events import QueueEntered, QueueLeft, RoomClosed, RoomOpened
from events.ids import ConnectionId, connection_id_of
from events.memory import MemoryLog
from events.policy import Policy
from projections.state import digest
from tests.support.bench import LENIENT, BrokerBench, Ear, with_broker
from tests.support.fake_clock import FakeClock, settle
from tests.support.logs import FaultyLog, run, unavailable, until
from tests.support.people import ANN, BOB, CAT, DAN, enter, leave, move_on, say


@with_broker()
async def test_a_conversation(bench: BrokerBench) -> None:
    """Two people meet, talk and part; each hears only the other's acts."""
    ears = {who: Ear() for who in (ANN, BOB)}
    for who, ear in ears.items():
        bench.broker.hub.attach(who, ear)
    room = await bench.pair(ANN, BOB)
    await bench.do(say(ANN, "hi", None, room))
    await bench.do(say(BOB, "ho", None, room))
    await bench.do(leave(BOB, room))
    assert ears[ANN].methods == [
        (ANN, "chatroom.found"),
        (ANN, "message.received"),
        (ANN, "partner.disconnected"),
    ]
    assert ears[BOB].methods == [(BOB, "chatroom.found"), (BOB, "message.received")]
    page = await bench.broker.reads.page(ANN, 0)
    assert [event.method for event in page.events] == [method for _, method in ears[ANN].methods]


@with_broker(Policy(events_per_page_max=2))
async def test_a_page_without_a_cursor_is_the_newest(bench: BrokerBench) -> None:
    """With a cursor, a page has the events after it."""
    room = await bench.pair(ANN, BOB)
    await bench.do(say(ANN, "one", None, room))
    await bench.do(say(ANN, "two", None, room))
    newest, first = await bench.broker.reads.page(BOB, None), await bench.broker.reads.page(BOB, 0)
    assert [event.params.cursor for event in newest.events] == [4, 5]
    assert [event.params.cursor for event in first.events] == [3, 4]


@with_broker()
async def test_a_minted_handle_is_known_once_it_has_entered(bench: BrokerBench) -> None:
    """It stays known when its connection is idle; it is new to the log."""
    handle = bench.broker.minting.mint("192.0.2.1")
    assert isinstance(handle, str)
    who = connection_id_of(handle)
    assert not bench.broker.reads.knows(who)
    await bench.do(enter(who))
    assert bench.broker.reads.knows(who)
    assert bench.broker.minting.mint("192.0.2.1") != handle


@with_broker(Policy(handles_minted_per_10s_max=1))
async def test_too_many_handles_are_refused(bench: BrokerBench) -> None:
    """For each peer, with the time to wait."""
    assert isinstance(bench.broker.minting.mint("192.0.2.1"), str)
    assert bench.broker.minting.mint("192.0.2.1") == Rejection("rate_limited", 10_000)
    assert isinstance(bench.broker.minting.mint("192.0.2.2"), str)


def test_it_is_ready_between_start_and_drain() -> None:
    """A load balancer reads readiness from it."""

    async def scenario() -> None:
        broker = BrokerBench().broker
        assert (broker.ready, broker.draining) == (False, False)
        await broker.start(LENIENT)
        assert (broker.ready, broker.draining) == (True, False)
        broker.drain()
        assert (broker.ready, broker.draining) == (False, True)
        await broker.close()

    run(scenario)


def test_a_restart_knows_all_that_was_answered() -> None:
    """The state is the fold of the log, and people go on where they were."""

    async def scenario() -> None:
        before = BrokerBench()
        await before.broker.start(LENIENT)
        room = await before.pair(ANN, BOB)
        await before.do(say(ANN, "hi", "m1", room))
        after = BrokerBench(before.log, before.clock)
        await after.broker.start(LENIENT)
        assert digest(after.broker.state) == digest(before.broker.state)
        assert (await after.do(say(ANN, "hi", "m1", room))).commit is None
        assert len((await after.broker.reads.page(BOB, 0)).events) == 2

    run(scenario)


def test_a_close_finishes_what_is_being_appended() -> None:
    """Then the log is let go of, and its followers end."""

    async def scenario() -> None:
        bench = BrokerBench()
        await bench.broker.start(LENIENT)
        landed = asyncio.Event()
        bench.log.before_append = [until(landed)]
        answer = asyncio.ensure_future(bench.broker.writer.submit(enter(ANN)))
        await settle()
        closing = asyncio.ensure_future(bench.broker.close())
        await settle()
        assert not closing.done()
        landed.set()
        await closing
        assert isinstance(answer.result(), Accepted)
        assert [commit async for commit in bench.log.follow(0)] == []

    run(scenario)


def test_a_close_ends_what_runs_in_the_background() -> None:
    """Nothing is left behind."""

    async def scenario() -> None:
        bench = BrokerBench()
        await bench.broker.start(LENIENT)
        never = asyncio.Event()
        ended = asyncio.Event()

        async def work() -> None:
            try:
                await never.wait()
            finally:
                ended.set()

        bench.broker.in_background(work())
        await settle()
        await bench.broker.close()
        assert ended.is_set()
        assert bench.broker._tasks == set()

    run(scenario)


@with_broker()
async def test_a_ghost_is_taken_out_of_the_queue(bench: BrokerBench) -> None:
    """No client holds its handle, so the repeated call must not meet it."""
    await bench.do(enter(ANN))
    bench.broker.minting.abandon(ANN)
    await settle()
    assert bench.is_idle(ANN)
    assert (await bench.events())[-1] == QueueLeft(ANN, "disconnected")
    await bench.do(enter(BOB))
    assert bench.waits(BOB)


@with_broker()
async def test_a_ghost_that_is_about_to_enter_is_taken_out(bench: BrokerBench) -> None:
    """Its command belongs to the runtime; it is waited for."""
    landed = asyncio.Event()
    bench.log.before_append = [until(landed)]
    entering = asyncio.ensure_future(bench.broker.writer.submit(enter(ANN)))
    await settle()
    entering.cancel()
    bench.broker.minting.abandon(ANN)
    await settle()
    landed.set()
    await settle()
    assert bench.is_idle(ANN)


@with_broker()
async def test_a_ghost_is_taken_out_even_if_it_was_matched_meanwhile(bench: BrokerBench) -> None:
    """Its partner is notified, even after a match just before the disconnect was decided."""
    await bench.do(enter(ANN))
    landed = asyncio.Event()
    bench.log.before_append = [until(landed)]
    meeting = asyncio.ensure_future(bench.broker.writer.submit(enter(BOB)))
    await settle()
    bench.broker.minting.abandon(ANN)
    await settle()
    landed.set()
    await meeting
    await settle()
    assert bench.is_idle(ANN)
    opened, closed = (await bench.events())[-2:]
    assert isinstance(opened, RoomOpened)
    assert isinstance(closed, RoomClosed)
    assert (closed.closed_by, closed.other, closed.reason) == (ANN, BOB, "disconnected")


@with_broker(structs.replace(LENIENT, confirm_grace_ms=25_000, requeue_on_missed_match=1))
async def test_the_partner_of_a_ghost_keeps_its_place(bench: BrokerBench) -> None:
    """A match with a ghost, whose handle reached no client, was missed at once; no grace has to end."""
    await bench.do(enter(ANN))
    await bench.do(enter(BOB))
    bench.broker.minting.abandon(BOB)
    await settle()
    assert bench.is_idle(BOB)
    assert bench.waits(ANN)
    closed, entered = (await bench.events())[-2:]
    assert isinstance(closed, RoomClosed)
    assert (closed.missed_by, closed.is_other_requeued) == ((BOB,), True)
    assert isinstance(entered, QueueEntered)
    assert entered.earlier is not None
    assert (entered.connection_id, entered.earlier.position) == (ANN, 2)


@with_broker()
async def test_a_ghost_that_is_matched_between_look_and_decision_is_taken_out(bench: BrokerBench) -> None:
    """The match by another worker is newer than the first disconnect, so a second one is submitted."""
    await bench.do(enter(ANN))
    bench.log.before_append = [lambda: bench.log.appended_by_another(enter(BOB), state=bench.broker.state)]
    bench.broker.minting.abandon(ANN)
    await settle()
    assert bench.is_idle(ANN)
    assert bench.is_idle(BOB)


@with_broker()
async def test_a_ghost_that_nobody_knows_is_no_matter(bench: BrokerBench) -> None:
    """It never entered: its command was refused."""
    bench.broker.minting.abandon(CAT)
    await settle()
    assert bench.place_of(CAT) is None


@with_broker()
async def test_a_ghost_that_cannot_be_taken_out_falls_to_its_grace(bench: BrokerBench) -> None:
    """The log is away; presence will ask again."""
    await bench.do(enter(ANN))
    bench.log.before_append = [unavailable] * 10_000
    bench.broker.minting.abandon(ANN)
    await bench.clock.advance(10_000)
    assert bench.waits(ANN)
    assert bench.broker._tasks == set()
    bench.log.before_append = []
    await bench.clock.advance(bench.broker.state.policy.idle_grace_queue_ms)
    assert bench.is_idle(ANN)


@with_broker()
async def test_metrics_count_and_name_nobody(bench: BrokerBench) -> None:
    """Numbers, kinds and codes: no handle, no connection, no room, no name, no word."""
    handle = bench.broker.minting.mint("192.0.2.1")
    assert isinstance(handle, str)
    who = connection_id_of(handle)
    stream = bench.stream(who, ANN)
    await bench.do(enter(who, "Rumpelstiltskin", "straw"))
    await bench.do(enter(ANN))
    room = (await bench.events())[-1].room_id
    await bench.do(say(ANN, "a very secret word", "m-1", room))
    assert await bench.broker.writer.submit(say(BOB, "x", None, room)) == Rejection("room_not_found")
    assert await bench.broker.writer.submit(enter(ANN)) == Rejection("already_chatting")
    bench.broker.metrics.sessions.inc()
    await bench.do(move_on(ANN, room))
    text = bench.broker.metrics.render().decode()
    for secret in (handle, who, ANN, room, "Rumpelstiltskin", "straw", "secret", "m-1", "192.0.2.1"):
        assert secret not in text
    for line in (
        "chat_broker_waiting 1.0",
        "chat_broker_rooms_open 0.0",
        "chat_broker_connections 2.0",
        "chat_broker_position 5.0",
        "chat_broker_commits_total 5.0",
        "chat_broker_sessions 1.0",
        'chat_broker_rejections_total{code="room_not_found"} 1.0',
        'chat_broker_rejections_total{code="already_chatting"} 1.0',
        "chat_broker_deliveries_total 4.0",
        "chat_broker_append_seconds_count 5.0",
    ):
        assert line in text.splitlines()
    stream.close()


def test_two_brokers_in_one_process_count_for_themselves() -> None:
    """Each has a registry of its own."""

    async def scenario() -> None:
        one, other = BrokerBench(), BrokerBench()
        await one.broker.start(LENIENT)
        await other.broker.start(Policy())
        assert b"chat_broker_commits_total 1.0" in one.broker.metrics.render()
        assert b"chat_broker_commits_total 0.0" in other.broker.metrics.render()

    run(scenario)


def test_several_brokers_may_share_one_log() -> None:
    """A commit of another is announced to one's own listeners as soon as it is folded."""

    async def scenario() -> None:
        inner, clock = MemoryLog(), FakeClock()
        here, there = (BrokerBench(FaultyLog(inner), clock) for _ in range(2))
        for bench in (here, there):
            await bench.broker.start(LENIENT)
        ear = Ear()
        here.broker.hub.attach(ANN, ear)
        await here.do(enter(ANN))
        await there.do(enter(BOB))
        await here.do(enter(CAT))
        assert ear.methods == [(ANN, "chatroom.found")]
        assert here.place_of(ANN) == here.place_of(BOB)

    run(scenario)


@with_broker()
async def test_a_cursor_was_given_if_it_is_not_above_ones_own_last_event(bench: BrokerBench) -> None:
    """Cursors begin at 0, and events of others do not count; a forgotten connection may have had any event."""
    await bench.do(enter(ANN))
    own = bench.broker.state.position
    for who in (BOB, CAT):
        await bench.do(enter(who))

    async def may_name(who: ConnectionId, *cursors: int) -> list[bool]:
        return [await bench.broker.reads.has_given(who, cursor) for cursor in cursors]

    assert await may_name(ANN, -1, 0, own, own + 1, own + 2) == [False, True, True, True, False]
    assert await may_name(CAT, own + 2, own + 3) == [True, False]
    assert await may_name(DAN, 0, own + 2, own + 3) == [True, True, False]


def test_a_connection_that_is_unknown_here_is_looked_for_at_the_tip() -> None:
    """It may have entered at another broker of the log; without an entry it stays unknown."""

    async def scenario() -> None:
        clock = FakeClock()
        here, there = (BrokerBench(log, clock) for log in FaultyLog.shared(2))
        for bench in (here, there):
            await bench.broker.start(LENIENT)
        await there.do(enter(ANN))
        assert not here.broker.reads.knows(ANN)
        assert await here.broker.reads.is_known(ANN)
        assert await here.broker.reads.is_known(ANN)
        assert not await here.broker.reads.is_known(BOB)
        for bench in (here, there):
            await bench.broker.close()

    run(scenario)
