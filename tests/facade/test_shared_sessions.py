"""Sessions of 2025 with requests to alternating brokers of one log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import cycle
from typing import Any, NamedTuple

import httpx
import httpx2
import pytest
from mcp.client.streamable_http import streamable_http_client

from broker.roster import BEAT_MS, LEASE_MS
from events.session_records import Fields, MemorySessionRecords
from mcp_facade.session import digest_of
from mcp_facade.session_notes import CANCELS_PER_10S_MAX
from tests.facade.people import Crowd, InSession, Modern, crowd, last_answer, texts
from tests.facade.test_clients import Host
from tests.support.channel import MemoryChannel
from tests.support.fake_clock import FakeClock, settle
from tests.support.limits import SOON_SECONDS
from tests.support.logs import FaultyLog, unavailable, until
from tests.support.server import Running, eventually, serving

pytestmark = pytest.mark.anyio

IDLE_MS = 60_000


class CountedRecords(MemorySessionRecords):
    """Records of sessions with a count of their reads, and with delays and failures."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        self.before_load: list[Callable[[], Awaitable[None]]] = []
        self.after_keep: list[Callable[[], Awaitable[None]]] = []

    async def load(self, key: str, *, now_ms: int) -> Fields:
        """Count the read, run the prepared act, and read."""
        self.loads += 1
        if self.before_load:
            await self.before_load.pop(0)()
        return await super().load(key, now_ms=now_ms)

    async def keep(self, key: str, changes: Mapping[str, bytes | None], *, until_ms: int) -> None:
        """Keep, and run the prepared act."""
        await super().keep(key, changes, until_ms=until_ms)
        if self.after_keep:
            await self.after_keep.pop(0)()


class Alternating(InSession):
    """A client of alternating brokers: each request goes to the other one."""

    def __init__(self, first: Running, second: Running) -> None:
        super().__init__(first)
        self._brokers = cycle((second, first))

    async def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Send a body to the next broker."""
        self.running = next(self._brokers)
        return await super().post(body, headers)


class Two(NamedTuple):
    """People at either broker of one log, and the brokers' channel and records."""

    here: Crowd
    there: Crowd
    channel: MemoryChannel
    records: CountedRecords

    @asynccontextmanager
    async def at_both(self, session: InSession) -> AsyncIterator[tuple[InSession, InSession]]:
        """Yield a session as a client of either broker."""
        there = session.at(self.there.running)
        try:
            yield session, there
        finally:
            await there.close()

    def notes_are_lost(self) -> None:
        """Lose all notes from now on, until `loss_is_noticed`."""
        self.channel.is_lossy = True

    def loss_is_noticed(self) -> None:
        """Let the next note show that others are missing."""
        self.channel.is_lossy = False


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    """Start two connected brokers."""
    async with two_brokers() as two:
        yield two


@asynccontextmanager
async def two_brokers(**settings: Any) -> AsyncIterator[Two]:
    """Start two connected brokers with these settings."""
    one, other = FaultyLog.shared(2)
    records = one.inner.session_records = CountedRecords()
    assert one.coordination is not None
    async with (
        serving(log=one, **settings) as first,
        serving(log=other, **settings) as second,
        crowd(first) as here,
        crowd(second) as there,
    ):
        for running in (first, second):
            await knows_the_other(running)
        yield Two(here, there, one.coordination, records)


async def knows_the_other(running: Running) -> None:
    """Return once a broker has all notes of the other."""
    broker = running.broker
    roster = broker.roster
    assert roster is not None
    async with asyncio.timeout(SOON_SECONDS):
        while roster.brokers < 2 or roster.lacks_rows:
            if isinstance(broker.clock, FakeClock):
                await broker.clock.advance(BEAT_MS)
            await settle(1)


async def waiting(crowd: Crowd) -> Modern:
    """Return a person with a handle and no session, out of the queue."""
    person = await crowd.modern()
    await person.enter("Old")
    await person.call("leave_queue", handle=person.handle)
    return person


async def is_noticed(running: Running, session: InSession, *, stale: bool) -> None:
    """Return once the broker's doubt about its copy of that session is as in `stale`."""
    held = running.app.endpoint._sessions._by_id[session.session_id]
    await eventually(lambda: held.is_in_doubt is stale)


def notes_are_missing(running: Running) -> None:
    """Let the broker find that some were lost."""
    assert running.broker.roster is not None
    assert running.broker.roster_link is not None
    running.broker.roster.gaps += 1
    running.broker.roster_link._check_gaps()


async def is_over(session: InSession) -> None:
    """Return once calls in the session are 404."""
    async with asyncio.timeout(SOON_SECONDS):
        while (await session.exchange("ping", {})).status_code != 404:
            pass


async def test_a_whole_life_goes_to_one_broker_after_the_other(two: Two) -> None:
    """Each request goes to another broker than the last: calls, a handle left out, a message with a wait, the end."""
    ann = Alternating(two.here.running, two.there.running)
    bob = Alternating(two.there.running, two.here.running)
    for one in (ann, bob):
        await one.start()
    assert (await ann.enter("Ann"))["status"] == "waiting"
    assert (await bob.enter("Bob"))["status"] == "matched"
    assert [event["method"] for event in await ann.hear()] == ["chatroom.found"]
    for number in range(4):
        await bob.call("send_message", room_id=bob.room_id, message=f"{number}")
        assert texts(await ann.hear()) == [f"{number}"]
        heard_to = ann.cursor
        assert (await ann.call("get_status"))["connection_id"] == ann.connection_id
        ann.cursor = heard_to  # the cursor of a status is from before the room
    hearing = asyncio.create_task(ann.call("wait_for_events", cursor=ann.cursor, wait_seconds=20))
    await bob.call("leave_chat", room_id=bob.room_id)
    assert (await hearing)["events"][0]["method"] == "partner.disconnected"
    for one in (ann, bob):
        assert (await one.delete()).status_code == 200
        await is_over(one)
        await one.close()


async def test_the_official_client_notices_nothing(two: Two) -> None:
    """Handshake, stream, calls and the end go each to another broker than the last."""
    ports = cycle((two.here.running.port, two.there.running.port))

    class EachInTurn(httpx2.AsyncHTTPTransport):
        """A transport to alternating brokers."""

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            request.url = request.url.copy_with(port=next(ports))
            request.headers["host"] = f"127.0.0.1:{request.url.port}"
            return await super().handle_async_request(request)

    async with httpx2.AsyncClient(transport=EachInTurn(), timeout=20) as http:
        ann = Host(streamable_http_client(two.here.running.url, http_client=http), "legacy")
        async with ann.client:
            assert len((await ann.client.list_tools()).tools) > 5
            assert (await ann.enter("Ann"))["status"] == "waiting"
            for crowd in (two.here, two.there, two.here):
                bob = await crowd.modern()
                await bob.enter("Bob")
                found = await ann.events.next()
                assert found[0] == "chatroom.found"
                await bob.say("hello")
                assert (await ann.events.next())[1]["message"] == "hello"
                await ann.call("send_message", room_id=bob.room_id, message="hello to you")
                await bob.call("leave_chat", handle=bob.handle, room_id=bob.room_id)
                assert (await ann.events.next())[0] == "partner.disconnected"
                await ann.call("enter_queue", display_name="Ann")


async def test_a_stream_carries_what_happens_by_calls_at_the_other_broker(two: Two) -> None:
    """It also has the events of the call with the handle, before the stream's broker knew of it."""
    old = await waiting(two.here)
    bob = await two.here.modern()
    await bob.enter("Bob")
    async with two.at_both(await two.here.session()) as (ann, there), there.stream() as frames:
        matched = await ann.call("enter_queue", display_name="Ann", handle=old.handle)
        assert matched["status"] == "matched"
        found = await frames.next()
        assert (found.method, found.params["partner"]) == ("chatroom.found", "Bob")
        bob.room_id = matched["room_id"]
        for text in ("one", "two"):
            await bob.say(text)
        assert texts(await frames.take(2)) == ["one", "two"]
        assert len(frames.events) == 3


async def test_a_stream_makes_up_for_a_note_that_was_lost(two: Two) -> None:
    """Once the gap shows, it carries the handle, with its missed events first, in order."""
    old, bob, other = await waiting(two.here), await two.here.modern(), await waiting(two.here)
    await bob.enter("Bob")
    async with two.at_both(await two.here.session()) as (ann, there), there.stream() as frames:
        two.notes_are_lost()
        matched = await ann.call("enter_queue", display_name="Ann", handle=old.handle)
        bob.room_id = matched["room_id"]
        await bob.say("one")
        for shown_again in (other, old):
            await ann.call("get_status", handle=shown_again.handle)
        await two.there.running.broker.replica.confirm()
        assert frames.events == []
        two.loss_is_noticed()
        assert [event.method for event in await frames.take(2)] == ["chatroom.found", "message.received"]
        await bob.say("two")
        assert texts([await frames.next()]) == ["two"]


async def test_a_handle_that_is_shown_to_a_stream_about_to_carry_it_is_carried_once() -> None:
    """During the read of missed events, the same handle is shown at its own broker, and gets a message."""
    async with two_brokers() as two:
        old, bob = await waiting(two.here), await two.here.modern()
        await bob.enter("Bob")
        log, may_read = two.there.running.broker.log, asyncio.Event()
        assert isinstance(log, FaultyLog)
        async with two.at_both(await two.here.session()) as (ann, there), there.stream() as frames:
            log.before_read = [until(may_read)]
            matched = await ann.call("enter_queue", display_name="Ann", handle=old.handle)
            await eventually(lambda: not log.before_read)
            await there.call("get_status", handle=old.handle)
            bob.room_id = matched["room_id"]
            await bob.say("one")
            await two.there.running.broker.replica.confirm()
            may_read.set()
            await bob.say("two")
            assert [event.method for event in await frames.take(3)] == ["chatroom.found", *["message.received"] * 2]
            assert texts(frames.events[1:]) == ["one", "two"]


async def test_a_later_stream_makes_up_for_one_that_never_knew(two: Two) -> None:
    """A stream that ended without one handle has carried later events of others; nothing is lost."""
    old, bob, cat = await waiting(two.here), await two.here.modern(), await two.here.modern()
    async with two.at_both(await two.here.session()) as (ann, there):
        await ann.enter("Ann")
        await bob.enter("Bob")
        async with there.stream() as frames:
            two.notes_are_lost()
            await cat.enter("Cat")
            matched = await ann.call("enter_queue", display_name="Old", handle=old.handle)
            cat.room_id = matched["room_id"]
            await cat.say("missed")
            await bob.say("heard")
            heard = await frames.next()
            assert texts([heard]) == ["heard"]
        async with ann.stream(heard.id) as frames:
            made_up = await frames.take(2)
            assert [event.method for event in made_up] == ["chatroom.found", "message.received"]
            await bob.say("live")
            assert texts([await frames.next()]) == ["live"]
        for position in (str(event.id).split(".")[1] for event in made_up):
            assert len(position) == 32, "it is sealed, since it may be that of others' events"
        async with there.stream(made_up[1].id) as frames:
            await cat.say("once")
            assert texts(await frames.take(2)) == ["live", "once"]
        async with there.stream(made_up[0].id) as frames:  # it broke off within: the missed events come again
            again = [event.method for event in await frames.take(4)]
            assert again == ["chatroom.found", "message.received", "message.received", "message.received"]


async def test_a_left_out_handle_means_the_one_that_the_other_broker_was_shown(two: Two) -> None:
    """It does so at once, and also if no note arrives."""
    two.notes_are_lost()
    first, second = await waiting(two.here), await waiting(two.here)
    async with two.at_both(await two.here.session()) as (ann, there):
        for old in (first, second, first):
            await ann.call("get_status", handle=old.handle)
            assert (await there.call("get_status"))["connection_id"] == old.connection_id
        await ann.enter("Ann", handle=second.handle)
        assert (await there.call("get_status"))["connection_id"] == second.connection_id


async def test_a_subscription_at_one_broker_is_for_the_stream_at_the_other(two: Two) -> None:
    """It holds from the subscription until its end, at either broker."""
    async with two.at_both(await two.here.session()) as (ann, there), there.stream() as frames:
        await ann.enter("Ann")
        uri = f"chat://inbox/{ann.handle}"
        assert (await ann.request("resources/subscribe", {"uri": uri}))["result"] == {}
        held = two.there.running.app.endpoint._sessions._by_id[ann.session_id]
        await eventually(lambda: held.subscriptions)
        bob = await two.here.modern()
        await bob.enter("Bob")
        mark, found = await frames.take(2)
        assert (mark.method, mark.params) == ("notifications/resources/updated", {"uri": uri})
        assert found.method == "chatroom.found"
        two.notes_are_lost()
        assert (await there.request("resources/unsubscribe", {"uri": uri}))["result"] == {}
        two.loss_is_noticed()
        await bob.say("hello")
        assert (await frames.next()).method == "message.received"


async def test_a_subscription_is_taken_back_by_a_broker_that_was_not_told_of_it(two: Two) -> None:
    """That broker's own copy has no such subscription."""
    async with two.at_both(await two.here.session()) as (ann, there):
        await ann.enter("Ann")
        await there.call("get_status")
        two.notes_are_lost()
        uri = f"chat://inbox/{ann.handle}"
        await ann.request("resources/subscribe", {"uri": uri})
        assert (await there.request("resources/unsubscribe", {"uri": uri}))["result"] == {}
        async with ann.stream() as frames:
            await (await two.here.modern()).enter("Bob")
            assert (await frames.next()).method == "chatroom.found"


async def test_a_call_is_cancelled_by_way_of_the_other_broker(two: Two) -> None:
    """It ends with the error of a cancelled call, and no other call does."""
    async with two.at_both(await two.here.session()) as (ann, there):
        await ann.enter("Ann")
        calls = [
            asyncio.create_task(
                ann.exchange(
                    "tools/call",
                    {"name": "wait_for_events", "arguments": {"cursor": ann.cursor, "wait_seconds": 20}},
                    request_id=request_id,
                )
            )
            for request_id in ("off", "on")
        ]
        await two.here.running.waits(ann.connection_id, 2)
        assert (await there.notify("notifications/cancelled", {"requestId": "off"})).status_code == 202
        assert "cancelled" in last_answer(await calls[0])["error"]["message"].lower()
        await two.here.running.waits(ann.connection_id, 1)
        await (await two.there.modern()).enter("Bob")
        assert last_answer(await calls[1])["result"]["structuredContent"]["events"]


async def test_a_peer_has_so_many_calls_looked_for_at_other_brokers() -> None:
    """A flood of cancellations of invented calls is no flood of notes."""
    clock, ids = FakeClock(), [f"made up {number}" for number in range(CANCELS_PER_10S_MAX + 20)]
    async with two_brokers(clock=clock, exempt_peers=()) as two:
        ann = await two.here.session()
        for request_id in ids:
            await ann.notify("notifications/cancelled", {"requestId": request_id})
        await clock.advance(1_000)
        told = b"".join(two.channel.notes)
        assert sum(digest_of(request_id).encode() in told for request_id in ids) == CANCELS_PER_10S_MAX


async def test_a_session_ends_at_every_broker(two: Two) -> None:
    """Its stream and its waits end too, and it is 404 from then on."""
    async with two.at_both(await two.here.session()) as (ann, there):
        await ann.enter("Ann")
        async with there.stream() as frames:
            waiting = there.calling("wait_for_events", cursor=ann.cursor, wait_seconds=20)
            await two.there.running.waits(ann.connection_id)
            assert (await ann.delete()).status_code == 200
            assert await frames.rest() == []
            assert (await asyncio.wait_for(waiting, SOON_SECONDS))["timed_out"] is True
        await is_over(there)
        assert (await there.delete()).status_code == 404
        async with there.stream() as frames:
            assert frames.response.status_code == 404


async def test_an_end_that_was_not_told_is_noticed(two: Two) -> None:
    """No stream opens from then on; calls are served until the gap in the notes shows."""
    async with two.at_both(await two.here.session()) as (ann, there):
        await there.exchange("ping", {})
        two.notes_are_lost()
        assert (await ann.delete()).status_code == 200
        assert (await there.exchange("ping", {})).status_code == 200
        async with there.stream() as frames:
            assert frames.response.status_code == 404
        assert (await there.exchange("ping", {})).status_code == 404


async def test_a_gap_in_the_notes_ends_what_was_ended_elsewhere(two: Two) -> None:
    """An open stream of an ended session ends as soon as a later note shows the loss of one."""
    async with two.at_both(await two.here.session()) as (ann, there), there.stream() as frames:
        two.notes_are_lost()
        assert (await ann.delete()).status_code == 200
        assert not frames.ended
        two.loss_is_noticed()
        assert await frames.rest() == []


async def test_the_newer_stream_ends_the_older_one_at_the_other_broker(two: Two) -> None:
    """The newer stream is the session's from then on."""
    async with two.at_both(await two.here.session()) as (ann, there):
        await ann.enter("Ann")
        async with ann.stream() as older, there.stream() as newer:
            assert await older.rest() == []
            await (await two.here.modern()).enter("Bob")
            assert (await newer.next()).method == "chatroom.found"
            async with ann.stream() as newest:
                assert await newer.rest() == []
                assert not newest.ended


async def test_of_two_streams_that_open_at_the_same_moment_one_survives(two: Two) -> None:
    """The two do not end each other."""
    async with two.at_both(await two.here.session()) as (ann, there):
        await ann.enter("Ann")
        opened = [crowd.running.metric('chat_broker_streams{kind="get"}') for crowd in (two.here, two.there)]
        assert opened == [0, 0]
        together = [ann.stream(), there.stream()]
        streams = await asyncio.gather(*(one.__aenter__() for one in together))
        await eventually(lambda: any(one.ended for one in streams))
        survivor = next(one for one in streams if not one.ended)
        await (await two.here.modern()).enter("Bob")
        assert (await survivor.next()).method == "chatroom.found"
        assert not survivor.ended
        for one in together:
            await one.__aexit__(None, None, None)


async def test_a_stream_whose_opening_is_answered_late_gives_way_to_a_newer_one(two: Two) -> None:
    """The newer one is kept, while the older one's broker still waits to hear that its own was."""
    async with two.at_both(await two.here.session()) as (ann, there):
        answered = asyncio.Event()
        two.records.after_keep = [until(answered)]
        async with ann.stream() as older:
            await eventually(lambda: not two.records.after_keep)
            held = two.here.running.app.endpoint._sessions._by_id[ann.session_id]
            doubts = held.doubts
            async with there.stream() as newer:
                await eventually(lambda: held.doubts_resolved > doubts)
                answered.set()
                assert await older.rest() == []
                assert not newer.ended


async def test_what_a_session_showed_lives_as_long_as_any_broker_serves_it() -> None:
    """The broker that renews its record knows nothing of a handle, and renews it with the others."""
    clock = FakeClock()
    async with two_brokers(clock=clock, session_idle_ms=IDLE_MS) as two:
        old = await waiting(two.here)
        async with two.at_both(await two.here.session()) as (ann, there):
            await there.enter("Ann")
            await there.call("leave_queue")
            two.notes_are_lost()
            await ann.call("get_status", handle=old.handle)
            for _ in range(12):
                await clock.advance(IDLE_MS / 6)
                await there.call("get_status", handle=there.handle)
            async with ann.stream() as frames:
                await old.enter("Old", handle=old.handle)
                await (await two.there.modern()).enter("Bob")
                assert (await frames.next()).connection_id == old.connection_id


async def test_a_broker_that_was_held_up_forgets_nothing_of_an_open_stream() -> None:
    """The record expired before its renewal; it is kept anew."""
    clock = FakeClock()
    async with two_brokers(clock=clock, session_idle_ms=IDLE_MS) as two:
        old = await waiting(two.here)
        ann = await two.here.session()
        await ann.call("get_status", handle=old.handle)
        async with ann.stream() as frames:
            two.records._records.clear()
            notes_are_missing(two.here.running)
            await is_noticed(two.here.running, ann, stale=False)
            await old.enter("Old", handle=old.handle)
            await (await two.there.modern()).enter("Bob")
            assert (await frames.next()).connection_id == old.connection_id


async def test_while_records_can_not_be_read_a_session_in_doubt_is_put_off(two: Two) -> None:
    """The answer is 503 with `Retry-After`, and not one from an old copy; then all is as before."""
    ann = await two.there.session()
    await ann.enter("Ann")
    notes_are_missing(two.there.running)
    two.records.before_load = [unavailable]
    response = await ann.exchange("ping", {})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert (await ann.exchange("ping", {})).status_code == 200


async def test_a_stream_in_doubt_is_settled_once_records_can_be_read_again() -> None:
    """The broker tries again by itself."""
    clock = FakeClock()
    async with two_brokers(clock=clock) as two:
        ann = await two.here.session()
        await ann.enter("Ann")
        async with ann.stream() as frames:
            await is_noticed(two.here.running, ann, stale=False)
            two.records.before_load = [unavailable]
            notes_are_missing(two.here.running)
            await eventually(lambda: not two.records.before_load)
            await is_noticed(two.here.running, ann, stale=True)
            await clock.advance(1_000)
            await is_noticed(two.here.running, ann, stale=False)
            assert not frames.ended


async def test_a_lost_broker_may_have_told_not_all() -> None:
    """Copies are in doubt once a broker has fallen silent."""
    clock = FakeClock()
    async with two_brokers(clock=clock) as two:
        ann = await two.there.session()
        await clock.advance(LEASE_MS)
        await ann.enter("Ann")
        link = two.here.running.broker.roster_link
        assert link is not None
        assert link._timer is not None
        link._timer.cancel()
        await is_noticed(two.there.running, ann, stale=False)
        await clock.advance(2 * LEASE_MS)
        await is_noticed(two.there.running, ann, stale=True)


async def test_no_note_holds_a_secret(two: Two) -> None:
    """Notes have neither handles nor session ids, nor ids of requests."""
    old = await waiting(two.here)
    async with two.at_both(await two.here.session()) as (ann, there), there.stream():
        await ann.call("enter_queue", display_name="Ann", handle=old.handle)
        await ann.request("resources/subscribe", {"uri": f"chat://inbox/{old.handle}"})
        await there.notify("notifications/cancelled", {"requestId": "my request"})
        await ann.delete()
        await eventually(lambda: any(b"off" in note for note in two.channel.notes))
        told = b"".join(two.channel.notes)
        for secret in (old.handle, ann.session_id, "my request", old.handle[3:], ann.session_id[3:]):
            assert secret.encode() not in told


async def test_a_log_that_is_not_shared_reads_a_record_once() -> None:
    """Left-out handles, streams, subscriptions and renewals need no further reads."""
    log, clock = FaultyLog(), FakeClock()
    records = log.inner.session_records = CountedRecords()
    async with serving(log=log, clock=clock, session_idle_ms=IDLE_MS) as running, crowd(running) as there:
        ann = await there.session()
        await ann.enter("Ann")
        async with ann.stream() as frames:
            await ann.request("resources/subscribe", {"uri": f"chat://inbox/{ann.handle}"})
            for _ in range(6):
                await clock.advance(IDLE_MS / 3)
                await ann.call("get_status")
            await (await there.modern()).enter("Bob")
            assert str((await frames.next()).id).count(".") == 2
        assert records.loads == 1
        (fields,) = records._records.values()
        assert "stream" not in fields
        await ann.delete()
