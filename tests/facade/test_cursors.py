"""A cursor means 'I have everything up to here', and is always true."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.facade.people import Crowd, Era, Modern, crowd, texts
from tests.support.server import serving

pytestmark = pytest.mark.anyio


async def test_ones_own_message_does_not_pass_what_the_partner_said_meanwhile(there: Crowd, era: Era) -> None:
    """All events between the cursor and the new message are in the result of sending it."""
    ann, bob = await there.pair(era, era)
    await ann.hear()
    await bob.say("first")
    await bob.say("second")
    sent = await ann.say("mine", cursor=ann.cursor)
    assert texts(sent["events"]) == ["first", "second"]
    await bob.say("third")
    assert texts(await ann.hear()) == ["third"]


async def test_two_who_talk_at_once_hear_everything_once_and_in_order(there: Crowd, era: Era) -> None:
    """Under any crossing of sends, the sender's own cursor gives each message once, in order."""
    ann, bob = await there.pair(era, era)
    await ann.hear()

    async def talk(person: Any) -> list[str]:
        heard = []
        for number in range(30):
            sent = await person.say(f"{number}", cursor=person.cursor)
            heard += texts(sent["events"])
        while len(heard) < 30:
            heard += texts(await person.hear())
        return heard

    expected = [f"{number}" for number in range(30)]
    assert [*await asyncio.gather(talk(ann), talk(bob))] == [expected, expected]


async def test_without_a_cursor_a_message_moves_none(there: Crowd, era: Era) -> None:
    """A plain `send_message` gives no cursor."""
    ann, _ = await there.pair(era, era)
    assert set(await ann.say("hello")) == {"success", "timestamp"}


async def test_the_cursor_of_who_waits_comes_before_the_match(there: Crowd, era: Era) -> None:
    """`enter_queue` answers its own commit's position, again and again, so the match comes after it."""
    ann, bob = await there.person(era), await there.person(era)
    waiting = await ann.enter("Ann")
    assert waiting["cursor"] == 2
    for name in ("Cat", "Dan"):  # others come and go; Ann's cursor stays
        cat = await there.person(era)
        await cat.enter(name)
        await cat.call("leave_chat", room_id=cat.room_id, handle=cat.handle)
        assert [event["method"] for event in await ann.hear()] == ["chatroom.found", "partner.disconnected"]
        waiting = await ann.enter(handle=ann.handle)
        position = there.running.broker.state.position
        assert waiting["cursor"] == position
    matched = await bob.enter("Bob")
    assert matched["cursor"] == there.running.broker.state.position
    assert [event["params"]["partner"] for event in await ann.hear()] == ["Bob"]


async def test_the_result_of_a_match_is_its_notice(there: Crowd, era: Era) -> None:
    """A cursor from an immediate match is after the match, and the first message is heard first."""
    ann, bob = await there.pair(era, era)
    await ann.say("hello")
    assert texts(await bob.hear()) == ["hello"]


async def test_the_cursor_of_next_partner_leaves_the_old_room_behind(there: Crowd, era: Era) -> None:
    """Messages of the last room are not heard again in the next."""
    ann, bob = await there.pair(era, era)
    await bob.say("old")
    cat = await there.person(era)
    await cat.enter("Cat")
    matched = await ann.call("next_partner", room_id=ann.room_id, handle=ann.handle)
    assert (matched["status"], matched["partner"]) == ("matched", "Cat")
    assert matched["cursor"] == there.running.broker.state.position
    cat.room_id = ann.room_id
    await cat.say("new")
    assert texts(await ann.hear()) == ["new"]
    assert [event["params"]["reason"] for event in await bob.hear()] == ["next"]


async def test_get_status_gives_the_whole_conversation_again(there: Crowd, era: Era) -> None:
    """Its cursor is just before the last room, open or closed: the match and every message come after it."""
    ann, bob = await there.pair(era, era)
    await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
    await ann.enter("Ann", handle=ann.handle)
    await bob.enter("Bob", handle=bob.handle)
    await bob.say("one")
    await bob.say("two")
    status = await ann.call("get_status", handle=ann.handle)
    assert status["cursor"] == there.running.broker.state.position - 3
    heard = await ann.hear()
    assert heard[0]["method"] == "chatroom.found"
    assert texts(heard) == ["one", "two"]
    await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
    for person, last in ((ann, ["partner.disconnected"]), (bob, [])):
        again = await person.call("get_status", handle=person.handle)
        assert again["cursor"] == status["cursor"]
        person.cursor = again["cursor"]
        methods = [event["method"] for event in await person.hear() if event["method"] != "message.received"]
        assert methods == ["chatroom.found", *last]


async def test_a_cursor_that_nobody_gave_is_refused(there: Crowd, era: Era) -> None:
    """A cursor above the tip is `invalid_arguments`, and a message with it is not sent."""
    ann, bob = await there.pair(era, era)
    position = there.running.broker.state.position
    above = {"handle": ann.handle, "cursor": position + 1}
    refusal = await ann.refused("wait_for_events", **above)
    assert refusal["code"] == "invalid_arguments"
    assert "get_status" in refusal["error"]
    refusal = await ann.refused("send_message", room_id=ann.room_id, message="lost?", **above)
    assert refusal["code"] == "invalid_arguments"
    assert there.running.broker.state.position == position
    assert (await bob.call("wait_for_events", handle=bob.handle, cursor=position, wait_seconds=0))["events"] == []


async def test_an_old_cursor_loses_nothing(there: Crowd, era: Era) -> None:
    """The same cursor twice gives the same events twice."""
    ann, bob = await there.pair(era, era)
    await bob.say("hello")
    given = [await ann.call("wait_for_events", handle=ann.handle, cursor=0, wait_seconds=wait) for wait in (0, 5)]
    assert given[0] == given[1]
    assert texts(given[0]["events"]) == ["hello"]


async def test_a_page_is_full_at_once_and_the_next_goes_on(era: Era) -> None:
    """At most `events_per_page_max` events a result; its cursor is the last one's position."""
    async with serving(events_per_page_max=3) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        for number in range(6):
            await bob.say(f"{number}")
        pages = []
        ann.cursor = 0
        while events := await ann.hear(wait_seconds=0):
            pages.append([event["params"].get("message", "found") for event in events])
            assert ann.cursor >= events[-1]["params"]["cursor"]
            if len(events) == 3:
                assert ann.cursor == events[-1]["params"]["cursor"]
        assert pages == [["found", "0", "1"], ["2", "3", "4"], ["5"]]
        sent = await ann.call(
            "send_message", room_id=bob.room_id, message="x", handle=ann.handle, cursor=0, wait_seconds=9
        )
        assert len(sent["events"]) == 3
        assert sent["cursor"] == sent["events"][-1]["params"]["cursor"]


async def test_a_page_of_newest_events_is_the_inbox_without_a_cursor(era: Era) -> None:
    """The inbox gives its newest page, and a cursor after which nothing of it remains."""
    async with serving(events_per_page_max=3) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        for number in range(6):
            await bob.say(f"{number}")
        inbox = await ann.read(f"chat://inbox/{ann.handle}")
        assert texts(inbox["events"]) == ["3", "4", "5"]
        assert inbox["cursor"] == running.broker.state.position


async def test_a_cursor_from_before_the_logs_base_says_that_something_is_missed(era: Era) -> None:
    """The rest is given, with `missed: true`; a cursor after the base gets no such mark."""
    async with serving(log_commits_max=10) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        for number in range(20):
            await bob.say(f"{number}")
        given = await ann.call("wait_for_events", handle=ann.handle, cursor=0, wait_seconds=0)
        assert given["missed"] is True
        left = texts(given["events"])
        assert left == [f"{number}" for number in range(20)][-len(left) :]
        assert 5 <= len(left) <= 10
        assert given["cursor"] == running.broker.state.position
        sent = await ann.call("send_message", room_id=bob.room_id, message="x", handle=ann.handle, cursor=0)
        assert sent["missed"] is True
        again = await ann.call("wait_for_events", handle=ann.handle, cursor=given["cursor"], wait_seconds=0)
        assert "missed" not in again


async def test_what_the_inbox_forgot_is_read_from_the_log(era: Era) -> None:
    """`inbox_events_max` bounds only an index: an old cursor reaches everything in the log."""
    async with serving(inbox_events_max=64) as running, crowd(running) as there:
        ann, bob = await there.pair(era, era)
        for number in range(130):
            await bob.say(f"{number}")
        given = await ann.call("wait_for_events", handle=ann.handle, cursor=0, wait_seconds=0)
        assert "missed" not in given
        assert texts(given["events"]) == [f"{number}" for number in range(130)]


async def test_someone_of_each_era_share_a_room(there: Crowd) -> None:
    """A 2025 session and a stateless client talk, and follow the same positions."""
    ann, bob = await there.pair("2025", "2026")
    assert isinstance(bob, Modern)
    await ann.hear()
    await bob.say("from 2026")
    assert texts(await ann.hear()) == ["from 2026"]
    await ann.say("from 2025")
    assert texts(await bob.hear()) == ["from 2025"]
