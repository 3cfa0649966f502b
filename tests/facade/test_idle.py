"""A model's view after a conversation: the reason, the last words, and the cursor to read on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.facade.people import Crowd, Era, crowd, texts
from tests.support.fake_clock import FakeClock
from tests.support.server import serving

pytestmark = pytest.mark.anyio


async def reasons(person: Any) -> set[str]:
    """Return the idle reasons of that person, by every way of asking."""
    status = await person.call("get_status", handle=person.handle)
    waited = await person.call("wait_for_events", handle=person.handle, cursor=status["cursor"])
    inbox = await person.read(f"chat://inbox/{person.handle}")
    assert status["status"] == waited["status"] == inbox["status"] == "idle"
    return {one["idle_reason"] for one in (status, waited, inbox)}


async def test_who_left_and_who_was_left(there: Crowd, era: Era) -> None:
    """Each gets its own reason."""
    ann, bob = await there.pair(era, era)
    await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
    assert await reasons(ann) == {"partner_left"}
    assert await reasons(bob) == {"you_left"}


async def test_who_was_left_for_another(there: Crowd, era: Era) -> None:
    """The partner goes on; leaving the queue again is one's own act."""
    ann, bob = await there.pair(era, era)
    await bob.call("next_partner", room_id=bob.room_id, handle=bob.handle)
    assert await reasons(ann) == {"partner_next"}
    await bob.call("leave_queue", handle=bob.handle)
    assert await reasons(bob) == {"you_left"}


async def test_the_last_words_can_be_read_from_wherever_one_has_gone(there: Crowd, era: Era) -> None:
    """The cursor of `get_status` is from before the last room, also within the queue and after it."""
    ann, bob = await there.pair(era, era)
    before = (await ann.call("get_status", handle=ann.handle))["cursor"]
    await bob.say("bye")
    await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
    for step in (None, "enter_queue", "leave_queue"):
        if step is not None:
            await ann.call(step, handle=ann.handle)
        status = await ann.call("get_status", handle=ann.handle)
        assert status["cursor"] == before
        heard = await ann.call("wait_for_events", handle=ann.handle, cursor=status["cursor"])
        assert texts(heard["events"]) == ["bye"]
        assert heard["status"] == status["status"]


async def test_who_vanished_and_whose_partner_did(era: Era) -> None:
    """Both hear of a long absence, and so does a client that waited too long in the queue."""
    clock = FakeClock()
    graces = {"idle_grace_room_ms": 60_000, "idle_grace_queue_ms": 20_000}
    async with serving(clock=clock, **graces) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        await clock.advance(59_000)
        await ann.call("get_status", handle=ann.handle)
        await clock.advance(1_000)
        assert await reasons(ann) == {"partner_gone"}
        assert await reasons(bob) == {"you_timed_out"}
        await ann.enter(handle=ann.handle)
        await clock.advance(20_000)
        assert await reasons(ann) == {"you_timed_out"}


async def test_who_never_entered(there: Crowd, era: Era) -> None:
    """Without a handle there is no other answer."""
    status = await (await there.person(era)).call("get_status")
    assert (status["status"], status["idle_reason"]) == ("idle", "never_entered")


async def test_a_reason_that_the_log_no_longer_holds_is_left_out(era: Era) -> None:
    """A log in memory forgets; the rest of the answer is as ever."""
    async with serving(log_commits_max=10) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
        cat, dan = await there.pair(era, era)
        for number in range(20):
            await cat.say(f"{number}")
        assert running.broker.log.base.position > 5
        status = await ann.call("get_status", handle=ann.handle)
        assert status["status"] == "idle"
        assert "idle_reason" not in status
        assert len(await dan.hear()) > 0


async def test_the_last_words_come_with_the_refusal(there: Crowd, era: Era) -> None:
    """A message to a closed room brings the last messages, if the call has a cursor."""
    ann, bob = await there.pair(era, era)
    await ann.hear()
    await bob.say("one more thing")
    await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
    said = {"room_id": ann.room_id, "message": "what?", "handle": ann.handle}
    refusal = await ann.refused("send_message", **said, cursor=ann.cursor, wait_seconds=20)
    assert (refusal["error"], refusal["code"]) == ("Chat has ended", "chat_ended")
    assert [event["method"] for event in refusal["events"]] == ["message.received", "partner.disconnected"]
    assert texts(refusal["events"]) == ["one more thing"]
    assert await ann.call("wait_for_events", handle=ann.handle, cursor=refusal["cursor"]) | {"idle_seconds": 0} == {
        "events": [],
        "cursor": refusal["cursor"],
        "status": "idle",
        "timed_out": False,
        "idle_reason": "partner_left",
        "idle_seconds": 0,
    }
    assert await ann.refused("send_message", **said) == {"error": "Chat has ended", "code": "chat_ended"}


async def test_a_message_that_waits_says_how_the_wait_ended(there: Crowd, era: Era) -> None:
    """The result tells a reply, no reply, and the end of the chat apart."""
    ann, bob = await there.pair(era, era)
    await ann.hear()
    alone = await ann.say("hello?", cursor=ann.cursor, wait_seconds=0.01)
    assert (alone["status"], alone["timed_out"], alone["events"]) == ("chatting", True, [])
    await bob.say("hello")
    heard = await ann.say("who is there?", cursor=ann.cursor, wait_seconds=20)
    assert (heard["status"], heard["timed_out"], texts(heard["events"])) == ("chatting", False, ["hello"])
    ending = ann.calling(
        "send_message", room_id=ann.room_id, message="bye", handle=ann.handle, cursor=heard["cursor"], wait_seconds=20
    )
    await there.running.waits(ann.connection_id)
    await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
    ended = await ending
    assert (ended["status"], ended["timed_out"], ended["idle_reason"]) == ("idle", False, "partner_left")


async def test_no_result_tells_when_others_speak(there: Crowd, era: Era) -> None:
    """Neither a cursor, nor a refusal of one, nor the first id of a stream moves with others' acts."""
    eve = await there.person(era)
    ann, bob = await there.pair(era, era)
    await eve.enter("Eve")

    async def seen() -> list[Any]:
        stranger = await (await there.person(era)).call("get_status")
        results = [
            await eve.call("get_status", handle=eve.handle),
            await eve.call("wait_for_events", handle=eve.handle, cursor=eve.cursor, wait_seconds=0),
            await eve.call("enter_queue", handle=eve.handle),
            await eve.read(f"chat://inbox/{eve.handle}"),
            await eve.refused("wait_for_events", handle=eve.handle, cursor=eve.cursor + 1),
        ]
        return [stranger, *[{**result, "idle_seconds": 0} for result in results]]

    before = await seen()
    for text in ("one", "two"):
        await ann.say(text)
        await bob.say(text)
    assert await seen() == before
    assert "cursor" not in before[0]
