"""Two brokers on one log, the second of them with late news: clients go to either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from tests.facade.people import Crowd, Era, InSession, Modern, crowd, events_of, texts
from tests.support.logs import FaultyLog, unavailable, until
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio


class Two(NamedTuple):
    """Clients of either broker; `log` is the late one's way to the log."""

    here: Crowd
    late: Crowd
    log: FaultyLog

    async def moved(self, person: Any) -> Any:
        """Return the same participant as a client of the late broker."""
        other = await self.late.person(person.era)
        for name in ("handle", "connection_id", "room_id", "cursor"):
            setattr(other, name, getattr(person, name))
        return other

    async def one_heard(self) -> tuple[InSession, Modern, str]:
        """Return Ann's session, her partner Bob at the one broker, and the id of her stream's one event."""
        ann, bob = await self.here.session(), await self.here.modern()
        await ann.enter("Ann")
        await bob.enter("Bob")
        async with ann.stream() as frames:
            await bob.say("one")
            event_id: str = (await frames.next()).id
        return ann, bob, event_id


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    """Start both brokers; the late one gets no news of the log by itself."""
    one, log = FaultyLog.shared(2)
    async with serving(log=one) as first, serving(log=log) as second, crowd(first) as here, crowd(second) as late:
        log.may_hear.clear()
        yield Two(here, late, log)


async def test_who_entered_at_one_broker_is_known_at_the_other(two: Two, era: Era) -> None:
    """The other broker knows the handle, and that it waits."""
    ann = await two.here.person(era)
    await ann.enter("Ann")
    status = await (await two.moved(ann)).call("get_status", handle=ann.handle)
    assert (status["status"], status["connection_id"]) == ("waiting", ann.connection_id)


async def test_a_conversation_goes_on_at_the_other_broker(two: Two, era: Era) -> None:
    """A message at either is heard at either, by cursor; the room is the same."""
    ann, bob = await two.here.pair(era, era)
    await ann.hear()
    there = await two.moved(ann)
    await there.say("from there", cursor=there.cursor)
    assert texts(await bob.hear())[-1:] == ["from there"]
    await bob.say("from here", cursor=bob.cursor)
    two.log.may_hear.set()
    assert texts(await there.hear()) == ["from here"]


async def test_a_status_is_of_now(two: Two, era: Era) -> None:
    """A client matched elsewhere is chatting, and no longer waiting."""
    ann = await two.here.person(era)
    await ann.enter("Ann")
    there = await two.moved(ann)
    assert (await there.call("get_status", handle=ann.handle))["status"] == "waiting"
    bob = await two.here.person(era)
    await bob.enter("Bob")
    status = await there.call("get_status", handle=ann.handle)
    assert (status["status"], status["room_id"]) == ("chatting", bob.room_id)


async def test_a_wait_does_not_end_since_one_was_idle(two: Two, era: Era) -> None:
    """The cursor may be from before: the other broker has entered the client since."""
    ann = await two.late.person(era)
    entered = await ann.enter("Ann")
    await ann.call("leave_queue", handle=ann.handle)
    here = await two.here.person(era)
    await here.enter("Ann", handle=ann.handle)
    bob = await two.here.person(era)
    assert (await bob.enter("Bob"))["status"] == "matched"
    waited = await ann.call("wait_for_events", handle=ann.handle, cursor=entered["cursor"], wait_seconds=5)
    assert waited["status"] == "chatting"
    assert [event["method"] for event in waited["events"]] == ["chatroom.found"]


async def test_a_look_misses_nothing(two: Two, era: Era) -> None:
    """A wait of no time has the other broker's earlier events."""
    ann, bob = await two.here.pair(era, era)
    await ann.hear()
    there = await two.moved(ann)
    assert await there.hear(wait_seconds=0) == []
    await bob.say("hello")
    assert texts(await there.hear(wait_seconds=0)) == ["hello"]


async def test_a_cursor_of_the_other_broker_is_waited_for(two: Two, era: Era) -> None:
    """A cursor beyond the log is refused."""
    ann, _ = await two.here.pair(era, era)
    await ann.hear()
    there = await two.moved(ann)
    given = await there.call("wait_for_events", cursor=ann.cursor, handle=ann.handle, wait_seconds=0)
    assert (given["events"], given["cursor"]) == ([], ann.cursor)
    refusal = await there.refused("wait_for_events", cursor=ann.cursor + 1, handle=ann.handle, wait_seconds=0)
    assert refusal["code"] == "invalid_arguments"


async def test_a_stream_is_for_a_handle_of_the_other_broker(two: Two) -> None:
    """`subscriptions/listen` honours the handle and its inbox."""
    ann = await two.here.modern()
    await ann.enter("Ann")
    there = await two.moved(ann)
    uri = f"chat://inbox/{ann.handle}"
    async with there.listening({**events_of(ann.handle), "resourceSubscriptions": [uri]}) as frames:
        acknowledged = (await frames.next()).params["notifications"]
        assert acknowledged == {**events_of(ann.handle), "resourceSubscriptions": [uri]}
        two.log.may_hear.set()
        await (await two.here.modern()).enter("Bob")
        assert {(await frames.next()).method for _ in range(2)} == {
            "notifications/resources/updated",
            "chatroom.found",
        }


async def test_an_inbox_of_the_other_broker_is_found(two: Two, era: Era) -> None:
    """It gives its newest events, and those after a cursor."""
    ann, _ = await two.here.pair(era, era)
    there = await two.moved(ann)
    inbox = await there.read(f"chat://inbox/{ann.handle}")
    assert [event["method"] for event in inbox["events"]] == ["chatroom.found"]
    assert (await there.read(f"chat://inbox/{ann.handle}?cursor={inbox['cursor']}"))["events"] == []


async def test_an_inbox_of_the_other_broker_can_be_subscribed_to(two: Two) -> None:
    """This is a session of 2025."""
    ann = await two.here.session()
    await ann.enter("Ann")
    there = await two.moved(ann)
    assert isinstance(there, InSession)
    answer = await there.request("resources/subscribe", {"uri": f"chat://inbox/{ann.handle}"})
    assert answer["result"] == {}


async def test_a_session_is_known_to_the_other_broker(two: Two) -> None:
    """Its id is enough: for the handle it may leave out, and for its stream, which resumes without gap or double."""
    ann, bob, last = await two.one_heard()
    await bob.say("two")
    there = ann.at(two.late.running)
    async with there.stream(last) as frames:
        assert texts([await frames.next()]) == ["two"]
        two.log.may_hear.set()
        await bob.say("three")
        assert texts([await frames.next()]) == ["three"]
        assert (await there.call("get_status"))["connection_id"] == ann.connection_id
    await there.close()


async def test_a_stream_waits_for_what_its_client_has(two: Two) -> None:
    """During silence of the log it is not opened: live from an old state, it would repeat the client's events."""
    ann, _, last = await two.one_heard()
    there = ann.at(two.late.running)
    two.log.before_tip = [unavailable] * 100
    async with there.stream(last) as frames:
        assert frames.response.status_code == 503
        assert frames.response.headers["retry-after"] == "1"
    two.log.before_tip = []
    await there.close()


async def test_nothing_is_refused_while_the_log_is_silent(two: Two) -> None:
    """The log may soon have the unknown handle and cursor: the call is unavailable."""
    ann = await two.here.modern()
    await ann.enter("Ann")
    there = await two.moved(ann)
    assert isinstance(there, Modern)
    two.log.before_tip = [unavailable] * 100
    calls = ("get_status", {}), ("wait_for_events", {"cursor": 99}), ("enter_queue", {}), ("leave_queue", {})
    for tool, arguments in calls:
        assert (await there.refused(tool, handle=ann.handle, **arguments))["code"] == "unavailable"
    uri = f"chat://inbox/{ann.handle}"
    assert "can't answer right now" in (await there.request("resources/read", {"uri": uri}))["error"]["message"]
    listening = await there.request("subscriptions/listen", {"notifications": events_of(ann.handle)})
    assert "can't answer right now" in listening["error"]["message"]
    two.log.before_tip = []
    assert (await there.call("get_status", handle=ann.handle))["status"] == "waiting"


async def test_made_up_handles_share_their_questions(two: Two) -> None:
    """A flood costs the log one question at a time, with at most one other in line."""
    people = [await two.late.modern() for _ in range(10)]
    answered = asyncio.Event()
    two.log.before_tip = [until(answered)]
    before = two.log.tips
    asking = [asyncio.create_task(one.refused("leave_queue", handle=f"cb_made_up_{n}")) for n, one in enumerate(people)]
    await eventually(lambda: two.log.tips > before)
    for _ in range(50):
        await people[0].http.get(two.late.running.url.replace("/mcp", "/healthz"))
    assert two.log.tips == before + 1
    answered.set()
    assert {refusal["code"] for refusal in await asyncio.gather(*asking)} == {"unknown_handle"}
    assert two.log.tips <= before + 3
