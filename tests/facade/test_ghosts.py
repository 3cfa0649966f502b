"""Matches with a vanished client, and slow thinkers, which are not taken for gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import Message

from broker.reads import Page
from events.commands import CancelMatch, MatchDue
from events.events import RoomOpened
from events.ids import ConnectionId
from mcp_facade.http.direct_response import DIRECT_RESPONSE_KEY, NoDirectResponse
from mcp_facade.http.exchange import HttpExchange
from mcp_facade.http.proxies import TrustedProxies
from tests.facade.people import Crowd, Era, crowd
from tests.support.fake_clock import FakeClock
from tests.support.people import ANN, BOB, enter
from tests.support.server import GatedLog, eventually, serving

pytestmark = pytest.mark.anyio

GRACE = 25_000
CONFIRMED = {"confirm_grace_ms": GRACE, "requeue_on_missed_match": 1}


class Haunted(Crowd):
    """People at a broker with confirmed matches, and its clock."""

    clock: FakeClock

    async def ghost(self, era: Era) -> Any:
        """Return a person who enters the queue and is never heard of again."""
        ghost = await self.person(era)
        await ghost.enter("Ghost")
        await ghost.close()
        return ghost

    async def gone(self, connections: int) -> None:
        """Return once the server has so many TCP connections left."""
        await eventually(lambda: self.running.connections <= connections)


@asynccontextmanager
async def haunted(log: GatedLog | None = None, **limits: Any) -> AsyncIterator[Haunted]:
    """Run a broker with confirmed matches."""
    clock = FakeClock()
    async with serving(log=log, clock=clock, **(CONFIRMED | limits)) as running:
        people = Haunted(running)
        people.clock = clock
        try:
            yield people
        finally:
            await people.close()


async def test_the_partner_of_a_ghost_meets_the_next_one(era: Era) -> None:
    """It does so within the grace, from its old place, and by a commit of its own."""
    async with haunted() as there:
        await there.ghost(era)
        bob, cat = await there.person(era), await there.person(era)
        missed = (await bob.enter("Bob"))["room_id"]
        await cat.enter("Cat")
        hearing = asyncio.create_task(bob.hear(wait_seconds=100))
        await there.running.waits(bob.connection_id)
        await there.clock.advance(GRACE - 1)
        assert not hearing.done()
        await there.clock.advance(1)
        (parted, *_) = await hearing
        assert parted["method"] == "partner.disconnected"
        assert (parted["params"]["room_id"], parted["params"]["requeued"]) == (missed, True)
        status = await bob.call("get_status", handle=bob.handle)
        assert (status["status"], status["partner"]) == ("chatting", "Cat")
        commits = await there.running.broker.log.read(there.running.broker.state.position - 2, 2)
        assert [type(commit.command) for commit in commits] == [CancelMatch, MatchDue]
        (met,) = commits[1].events
        assert isinstance(met, RoomOpened)
        assert (met.first, met.second) == (bob.connection_id, cat.connection_id)


async def test_one_that_waits_again_is_given_no_old_cursor(era: Era) -> None:
    """A repeated `enter_queue` does not bring back the ghost's room and its end."""
    async with haunted() as there:
        await there.ghost(era)
        bob = await there.person(era)
        await bob.enter("Bob")
        await there.clock.advance(GRACE)
        again = await bob.enter("Bob", handle=bob.handle)
        assert (again["status"], again["position"]) == ("waiting", 1)
        assert await bob.hear(wait_seconds=0) == []


async def test_the_partner_of_a_ghost_waits_on(era: Era) -> None:
    """Its cursor leads to the next match; its status says that it waits."""
    async with haunted() as there:
        await there.ghost(era)
        bob = await there.person(era)
        await bob.enter("Bob")
        async with bob.stream() as frames:
            await there.clock.advance(GRACE)
            parted = await frames.next()
            assert (parted.method, parted.params["reason"]) == ("partner.disconnected", "timeout")
            assert parted.params["requeued"] is True
        heard = await bob.call("wait_for_events", handle=bob.handle, cursor=bob.cursor)
        assert heard["status"] == "waiting"
        assert [event["params"]["requeued"] for event in heard["events"]] == [True]
        status = await bob.call("get_status", handle=bob.handle)
        assert (status["status"], status["position"]) == ("waiting", 1)
        assert "idle_reason" not in status
        waiting = bob.calling("wait_for_events", handle=bob.handle, cursor=heard["cursor"], wait_seconds=20)
        await there.running.waits(bob.connection_id)
        await (await there.person(era)).enter("Cat")
        assert [event["params"]["partner"] for event in (await waiting)["events"]] == ["Cat"]


async def test_the_ghost_hears_of_it_when_it_comes_back(era: Era) -> None:
    """Each way of asking tells it about the missed match."""
    async with haunted() as there:
        ghost = await there.ghost(era)
        bob, back = await there.person(era), await there.person(era)
        await bob.enter("Bob")
        await there.clock.advance(GRACE)
        status = await back.call("get_status", handle=ghost.handle)
        waited = await back.call("wait_for_events", handle=ghost.handle, cursor=status["cursor"])
        inbox = await back.read(f"chat://inbox/{ghost.handle}")
        for said in (status, waited, inbox):
            assert (said["status"], said["idle_reason"]) == ("idle", "missed_match")


async def test_one_that_calls_in_time_is_no_ghost(era: Era) -> None:
    """Any call will do."""
    async with haunted() as there:
        ghost = await there.ghost(era)
        bob, back = await there.person(era), await there.person(era)
        await bob.enter("Bob")
        await there.clock.advance(GRACE - 1)
        await back.call("get_status", handle=ghost.handle)
        await there.clock.advance(4 * GRACE)
        assert there.running.broker.state.rooms.open_count == 1


async def test_those_who_only_call_tools_may_think(era: Era) -> None:
    """The results with the room were written to them; then neither calls for long."""
    async with haunted() as there:
        ann, bob = await there.person(era), await there.person(era)
        await ann.enter("Ann")
        hearing = asyncio.create_task(ann.hear(wait_seconds=100))
        await there.running.waits(ann.connection_id)
        assert (await bob.enter("Bob"))["status"] == "matched"
        await hearing
        assert there.running.broker.presence.confirmation.unconfirmed == {}
        await there.clock.advance(4 * GRACE)
        assert there.running.broker.state.rooms.open_count == 1


async def test_the_next_partner_may_think_too(era: Era) -> None:
    """The result of `next_partner` tells of the room, also on a connection that closes with its answer."""
    async with haunted() as there:
        ann, bob = await there.pair(era, era)
        cat = await there.person(era)
        await cat.enter("Cat")
        hearing = asyncio.create_task(cat.hear(wait_seconds=100))
        await there.running.waits(cat.connection_id)
        bob.http.headers["connection"] = "close"
        moved = await bob.call("next_partner", room_id=bob.room_id, handle=bob.handle)
        assert (moved["status"], moved["partner"]) == ("matched", "Cat")
        await hearing
        await there.clock.advance(4 * GRACE)
        assert there.running.broker.state.rooms.open_count == 1
        await ann.close()


async def test_one_that_only_listens_may_think(era: Era) -> None:
    """The frame with the room was written to its open stream."""
    async with haunted() as there:
        ann, bob = await there.person(era), await there.person(era)
        await ann.enter("Ann")
        async with ann.stream() as frames:
            await bob.enter("Bob")
            assert (await frames.next()).method == "chatroom.found"
        await there.clock.advance(4 * GRACE)
        assert there.running.broker.state.rooms.open_count == 1


async def test_a_stream_that_hung_up_before_the_match_is_no_sign(era: Era) -> None:
    """Its connection can't be written to any more."""
    async with haunted() as there:
        ann = await there.person(era)
        await ann.enter("Ann")
        async with ann.stream():
            pass
        await ann.close()
        await there.gone(0)
        bob = await there.person(era)
        await bob.enter("Bob")
        assert set(there.running.broker.presence.confirmation.unconfirmed) == {ann.connection_id}
        await there.clock.advance(GRACE)
        assert there.running.broker.state.queue.place_of(bob.connection_id) == 1


async def test_a_wait_that_hung_up_before_the_match_is_no_sign(era: Era) -> None:
    """It was in flight when its client vanished."""
    async with haunted() as there:
        ann = await there.person(era)
        await ann.enter("Ann")
        waiting = ann.calling("wait_for_events", handle=ann.handle, cursor=ann.cursor, wait_seconds=100)
        await there.running.waits(ann.connection_id)
        waiting.cancel()
        await asyncio.wait({waiting})
        await ann.close()
        await there.gone(0)
        bob = await there.person(era)
        await bob.enter("Bob")
        await there.clock.advance(GRACE)
        assert there.running.broker.state.queue.place_of(bob.connection_id) == 1


async def test_a_result_for_one_that_hung_up_is_no_sign(era: Era) -> None:
    """The match comes from a call without a client any more; the log was slow."""
    log = GatedLog()
    async with haunted(log) as there:
        ann, bob = await there.person(era), await there.person(era)
        await bob.enter("Bob")
        await bob.call("leave_queue", handle=bob.handle)
        await ann.enter("Ann")
        hearing = asyncio.create_task(ann.hear(wait_seconds=100))
        await there.running.waits(ann.connection_id)
        log.gate.clear()
        entering = bob.calling("enter_queue", handle=bob.handle)
        await eventually(lambda: log.standing)
        entering.cancel()
        await asyncio.wait({entering})
        await bob.close()
        await there.gone(1)
        log.gate.set()
        await hearing
        assert set(there.running.broker.presence.confirmation.unconfirmed) == {bob.connection_id}
        await there.clock.advance(GRACE)
        status = await ann.call("get_status", handle=ann.handle)
        assert (status["status"], status["position"]) == ("waiting", 1)


async def test_a_frame_on_a_connection_that_closes_is_no_sign(era: Era) -> None:
    """The server has not yet noticed the loss."""
    async with haunted() as there:
        ann = await there.person(era)
        await ann.enter("Ann")
        async with ann.stream():
            for connection in there.running.uvicorn.server_state.connections:
                connection.transport.abort()
            there.running.broker.writer.submit(enter(BOB))
            assert set(there.running.broker.presence.confirmation.unconfirmed) == {ann.connection_id, BOB}
            await there.gone(0)


async def test_a_read_that_began_before_the_match_tells_of_it(era: Era, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inbox was read from a slow log: its result is a sign, though the call began too early."""
    async with haunted() as there:
        ann = await there.person(era)
        await ann.enter("Ann")
        broker = there.running.broker
        read = broker.reads.page

        async def read_slowly(who: ConnectionId, cursor: int | None) -> Page:
            broker.writer.submit(enter(BOB))
            return await read(who, cursor)

        monkeypatch.setattr(broker.reads, "page", read_slowly)
        inbox = await ann.read(f"chat://inbox/{ann.handle}")
        assert inbox["events"][-1]["method"] == "chatroom.found"
        assert set(broker.presence.confirmation.unconfirmed) == {BOB}


class Wire(NoDirectResponse):
    """A connection that closes, or is lost, at a given moment of a write."""

    def __init__(self, open_until: int) -> None:
        self.looks = 0
        self.open_until = open_until

    def is_open(self) -> bool:
        """Return true for the first looks at it."""
        self.looks += 1
        return self.looks <= self.open_until


@pytest.mark.parametrize(("open_until", "is_confirmed"), [(0, False), (1, False), (2, True)])
async def test_a_result_that_was_not_written_is_no_sign(open_until: int, *, is_confirmed: bool) -> None:
    """The connection was about to close, or was lost while the write waited for the client to read."""
    async with haunted() as there:
        broker = there.running.broker
        broker.writer.submit(enter(ANN))
        broker.writer.submit(enter(BOB))

        async def nothing() -> Message:
            raise NotImplementedError

        async def written(message: Message) -> None:
            pass

        scope = {"headers": [], "extensions": {DIRECT_RESPONSE_KEY: Wire(open_until)}}
        exchange = HttpExchange(broker, TrustedProxies(()), scope, {}, nothing, written, None)
        exchange.called_by(ANN)
        exchange.answer_ready(broker.state.position)
        await exchange.send({"type": "http.response.body", "body": b"{}"})
        assert (ANN not in broker.presence.confirmation.unconfirmed) is is_confirmed


async def test_an_inbox_that_tells_of_the_room_is_a_sign(era: Era) -> None:
    """A read of the inbox is a call, and its result counts like a wait's."""
    async with haunted() as there:
        ghost = await there.ghost(era)
        bob, back = await there.person(era), await there.person(era)
        await bob.enter("Bob")
        inbox = await back.read(f"chat://inbox/{ghost.handle}")
        assert inbox["events"][-1]["method"] == "chatroom.found"
        await there.clock.advance(4 * GRACE)
        assert there.running.broker.state.rooms.open_count == 1


async def test_only_a_requeued_partner_is_told_that_it_waits(there: Crowd, era: Era) -> None:
    """The field is left out otherwise: in results, in the inbox, and on a stream."""
    ann, bob = await there.pair(era, era)
    async with ann.stream() as frames:
        await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
        frame = await frames.next()
    heard = await ann.hear()
    inbox = await ann.read(f"chat://inbox/{ann.handle}")
    for params in (frame.params, heard[-1]["params"], inbox["events"][-1]["params"]):
        assert set(params) == {"room_id", "reason", "timestamp", "cursor"}


async def test_the_silence_of_a_partner_is_told(era: Era) -> None:
    """`get_status`, waits and the inbox tell it in steps of five seconds; there is none while it listens or waits."""
    async with haunted() as there:
        ann, bob = await there.pair(era, era)

        async def told() -> set[int | None]:
            status = await ann.call("get_status", handle=ann.handle)
            waited = await ann.call("wait_for_events", handle=ann.handle, cursor=status["cursor"], wait_seconds=0)
            said = await ann.say("hello?", cursor=status["cursor"], wait_seconds=0)
            inbox = await ann.read(f"chat://inbox/{ann.handle}")
            return {one.get("partner_idle_seconds") for one in (status, waited, said, inbox)}

        assert await told() == {0}
        for passed_ms, seconds in ((1, 5), (4_999, 5), (1, 10), (9_999, 15)):
            await there.clock.advance(passed_ms)
            assert await told() == {seconds}
        async with bob.stream():
            assert await told() == {0}
        await eventually(lambda: not there.running.broker.hub._subscribers)
        await there.clock.advance(3_000)
        assert await told() == {5}
        await bob.hear()
        waiting = bob.calling("wait_for_events", handle=bob.handle, cursor=bob.cursor, wait_seconds=20)
        await there.running.waits(bob.connection_id)
        status = await ann.call("get_status", handle=ann.handle)
        assert status["partner_idle_seconds"] == 0
        await ann.say("hello?")
        await waiting


async def test_without_a_partner_no_silence_is_told(there: Crowd, era: Era) -> None:
    """Neither a waiting nor an idle client is told one."""
    ann = await there.person(era)
    await ann.enter("Ann")
    assert "partner_idle_seconds" not in await ann.call("get_status", handle=ann.handle)
    await ann.call("leave_queue", handle=ann.handle)
    assert "partner_idle_seconds" not in await ann.call("get_status", handle=ann.handle)


async def test_the_silence_of_a_partner_from_before_a_restart_is_not_told(there: Crowd, era: Era) -> None:
    """It is told once the partner has called again."""
    ann, bob = await there.pair(era, era)
    there.running.stop()
    async with serving(log=there.running.broker.log) as running, crowd(running) as again:
        other = await again.person(era)
        assert "partner_idle_seconds" not in await other.call("get_status", handle=ann.handle)
        assert (await other.call("get_status", handle=bob.handle))["partner_idle_seconds"] <= 5
        assert (await other.call("get_status", handle=ann.handle))["partner_idle_seconds"] <= 5
