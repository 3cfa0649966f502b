"""Presence, seen through HTTP: streams, calls and graces."""

from __future__ import annotations

import asyncio

import pytest

from tests.facade.people import Crowd, Era, crowd, texts
from tests.support.fake_clock import FakeClock
from tests.support.server import Running, eventually, serving

pytestmark = pytest.mark.anyio

GRACES = {"stream_grace_ms": 30_000, "idle_grace_queue_ms": 20_000, "idle_grace_room_ms": 10_000}


async def no_streams(running: Running) -> None:
    """Return once the server knows the end of every stream."""
    await eventually(lambda: not any(running.metric(f'chat_broker_streams{{kind="{k}"}}') for k in ("get", "listen")))


async def test_who_hangs_up_is_disconnected_after_the_streams_grace(era: Era) -> None:
    """The partner hears `disconnected`, at the end of the grace and not before."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        async with bob.stream() as frames:
            async with ann.stream():
                await clock.advance(60_000)
            await eventually(
                lambda: sum(running.metric(f'chat_broker_streams{{kind="{k}"}}') for k in ("get", "listen")) == 1
            )
            await clock.advance(29_999)
            assert running.broker.state.rooms.open_count == 1
            await clock.advance(1)
            parted = await frames.next()
        assert (parted.method, parted.params["reason"]) == ("partner.disconnected", "disconnected")
        status = await ann.call("get_status", handle=ann.handle)
        assert status["status"] == "idle"


async def test_who_falls_silent_times_out(era: Era) -> None:
    """Without a stream the calls are the only sign; the partner hears `timeout`."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        async with bob.stream() as frames:
            await clock.advance(9_000)
            await ann.say("still here")
            assert texts([await frames.next()]) == ["still here"]
            await clock.advance(9_999)
            assert running.broker.state.rooms.open_count == 1
            await clock.advance(1)
            parted = await frames.next()
        assert (parted.method, parted.params["reason"]) == ("partner.disconnected", "timeout")


async def test_who_waits_in_line_times_out(era: Era) -> None:
    """After the queue's grace no client is matched with the missing one; the handle stays good."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        ann, bob = await there.person(era), await there.person(era)
        await ann.enter("Ann")
        await clock.advance(19_999)
        assert len(running.broker.state.queue) == 1
        await clock.advance(1)
        assert len(running.broker.state.queue) == 0
        assert (await bob.enter("Bob"))["status"] == "waiting"
        assert (await ann.enter("Ann", handle=ann.handle))["partner"] == "Bob"


async def test_an_open_stream_is_presence_enough(era: Era) -> None:
    """A client with a stream may be silent for any time."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        async with ann.stream(), bob.stream() as frames:
            for _ in range(10):
                await clock.advance(60_000)
            await ann.say("I was reading")
            assert texts([await frames.next()]) == ["I was reading"]


async def test_a_call_that_waits_is_presence_enough(era: Era) -> None:
    """No client times out during `wait_for_events`; the grace starts with its answer."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        ann = await there.person(era)
        await ann.enter()
        wait = ann.calling("wait_for_events", cursor=ann.cursor, handle=ann.handle, wait_seconds=100)
        await running.waits(ann.connection_id)
        await clock.advance(100_000)
        assert (await wait)["status"] == "waiting"
        await clock.advance(19_999)
        assert len(running.broker.state.queue) == 1
        await clock.advance(1)
        assert len(running.broker.state.queue) == 0


async def test_coming_back_within_the_grace_changes_nothing(era: Era) -> None:
    """A stream reopened in time counts as never closed."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        async with bob.stream() as frames:
            for _ in range(3):
                async with ann.stream():
                    await clock.advance(20_000)
                await eventually(
                    lambda: sum(running.metric(f'chat_broker_streams{{kind="{k}"}}') for k in ("get", "listen")) == 1
                )
                await clock.advance(20_000)
            await ann.say("here I am")
            assert texts([await frames.next()]) == ["here I am"]


async def test_deleting_a_session_is_not_leaving() -> None:
    """The partner of a client with a dropped session hears of it only after the graces."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        ann, bob = await there.pair("2025", "2025")
        async with ann.stream() as frames:
            await ann.delete()
            await frames.rest()
        await no_streams(running)
        await clock.advance(5_000)
        assert running.broker.state.rooms.open_count == 1
        assert (await bob.call("get_status"))["status"] == "chatting"
        await clock.advance(25_000)
        assert running.broker.state.rooms.open_count == 0


async def test_a_session_that_shows_no_handle_keeps_nobody_present() -> None:
    """Only calls that present the connection's handle, or are made in its session, count."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        ann = await there.session()
        await ann.enter()
        for _ in range(3):
            await clock.advance(9_000)
            await ann.request("tools/list")
        assert len(running.broker.state.queue) == 0


async def test_the_lost_partner_of_a_waiting_call_is_told_by_it(era: Era) -> None:
    """A wait hears of the disconnection like of any event."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        _, bob = await there.pair(era, era)
        wait = asyncio.create_task(bob.hear(wait_seconds=100))
        await running.waits(bob.connection_id)
        await clock.advance(10_000)
        assert [event["params"]["reason"] for event in await wait] == ["timeout"]


async def test_after_a_restart_the_graces_start_anew(there: Crowd, era: Era) -> None:
    """Each connection in a place at the broker's stop has a whole grace to come back."""
    ann, bob = await there.pair(era, era)
    log = there.running.broker.log
    there.running.stop()
    clock = FakeClock(wall_ms=there.running.broker.clock.wall_ms() + 3_600_000)
    async with serving(log=log, clock=clock, **GRACES) as running, crowd(running) as again:
        other = await again.person(era)
        await clock.advance(9_999)
        assert (await other.call("get_status", handle=ann.handle))["status"] == "chatting"
        await clock.advance(1)
        status = await other.call("get_status", handle=bob.handle)
        assert status["status"] == "idle"
