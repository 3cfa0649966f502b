"""A window enters by `chat_enter`: its connection belongs to a person, and is hidden from the model's session."""

from __future__ import annotations

import pytest

from events.ids import ConnectionId
from projections.connections import Chatting, Idle
from tests.facade.people import Crowd, Era, Json, Person, crowd, texts
from tests.support.fake_clock import FakeClock
from tests.support.server import Running, serving

pytestmark = pytest.mark.anyio

WINDOW = {"display_name": "Window"}


async def window(person: Person) -> Json:
    """Enter by a window in `person`'s host; the person's own handle stays the same."""
    result = await person.tool("chat_enter", WINDOW)
    entered: Json = result["structuredContent"]
    return entered


async def test_a_window_always_gets_a_handle_of_its_own(there: Crowd, era: Era) -> None:
    """Two calls of `chat_enter` are two people, also beside a waiting model in the same session."""
    ann = await there.person(era)
    await ann.enter("Ann", handle=ann.handle or None)
    first = await window(ann)
    assert first["status"] == "matched"
    assert first["partner"] == "Ann"
    second = await window(ann)
    assert len({ann.handle, first["handle"], second["handle"]}) == 3


async def test_a_window_enters_again_with_its_handle(there: Crowd, era: Era) -> None:
    """With its handle, a window is the same connection as before."""
    ann = await there.person(era)
    entered = await window(ann)
    assert (await ann.call("leave_queue", handle=entered["handle"])) == {"success": True}
    again = await ann.call("chat_enter", handle=entered["handle"], **WINDOW)
    assert again["connection_id"] == entered["connection_id"]


async def test_a_models_handle_is_no_windows(there: Crowd, era: Era) -> None:
    """`chat_enter` refuses a handle from `enter_queue`, so no model's connection becomes a window's."""
    ann = await there.person(era)
    await ann.enter("Ann")
    refusal = await ann.refused("chat_enter", handle=ann.handle)
    assert refusal["code"] == "unknown_handle"
    assert "Call chat_enter without a handle" in refusal["error"]
    assert (await ann.refused("chat_enter", handle="cb_" + "x" * 32))["code"] == "unknown_handle"


CALLS = {
    "wait_for_events": {"cursor": 0, "wait_seconds": 0},
    "get_status": {},
    "enter_queue": {},
    "chat_enter": {},
    "leave_queue": {},
}


@pytest.mark.parametrize("tool", CALLS)
async def test_a_persons_chat_never_becomes_the_sessions(there: Crowd, tool: str) -> None:
    """No call with a window's handle makes it the session's default, or puts it on the session's stream.

    The view of a window calls through its host, in the session of the model. If its handle were bound there, the
    model's next call without a handle would act as the person, and the stream would bring a stranger's words to the
    model.
    """
    host, bob = await there.session(), await there.modern()
    async with host.stream() as frames:
        mine = (await window(host))["handle"]
        await host.tool(tool, {**CALLS[tool], "handle": mine})
        status = (await host.tool("get_status", {}))["structuredContent"]
        assert status["idle_reason"] == "never_entered"
        await host.tool("chat_enter", {"handle": mine})
        await bob.enter("Bob")
        await bob.say("for the person alone")
        seen = await host.call("wait_for_events", cursor=0, handle=mine)
        assert texts(seen["events"]) == ["for the person alone"]
        ann, cat = await there.pair("2025", "2025")
        await host.call("get_status", handle=ann.handle)  # a handle shown in the session, with its events on the stream
        await cat.say("for the model")
        heard = await frames.next()
        assert heard.params["message"] == "for the model"
        assert len(frames.events) == 1


async def test_a_windows_inbox_is_announced_to_no_session(there: Crowd) -> None:
    """Reading a window's inbox binds nothing, and a subscription to it is refused with the reason."""
    host, bob = await there.session(), await there.modern()
    uri = f"chat://inbox/{(await window(host))['handle']}"
    assert (await host.read(uri))["status"] == "waiting"
    error = (await host.request("resources/subscribe", {"uri": uri}))["error"]
    assert "belongs to a chat window" in error["message"]
    assert "cb_" not in error["message"]
    async with host.stream() as frames:
        await bob.enter("Bob")
        await bob.say("hello")
        assert (await host.read(uri))["status"] == "chatting"
        ann, cat = await there.pair("2025", "2025")
        await host.call("get_status", handle=ann.handle)
        await cat.say("the first that this stream hears")
        assert (await frames.next()).params["message"] == "the first that this stream hears"


GRACES = {"idle_grace_queue_ms": 90_000, "idle_grace_room_ms": 300_000, "confirm_grace_ms": 0}


def place_of(running: Running, connection_id: str) -> object:
    """Return the place of a connection."""
    return running.broker.state.connections.by_id[ConnectionId(connection_id)].place


async def test_a_window_that_vanishes_leaves_no_ghost(era: Era) -> None:
    """A window without a call for 45 seconds is gone, in the queue and in a room; a model may think for longer."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        ann, bob = await there.person(era), await there.modern()
        waits = await window(ann)
        await clock.advance(44_999)
        assert len(running.broker.state.queue) == 1
        await clock.advance(1)
        assert isinstance(place_of(running, waits["connection_id"]), Idle)
        chats = await ann.call("chat_enter", handle=waits["handle"], **WINDOW)
        await bob.enter("Bob")
        await clock.advance(44_999)
        assert isinstance(place_of(running, chats["connection_id"]), Chatting)
        await clock.advance(1)
        assert isinstance(place_of(running, chats["connection_id"]), Idle)
        (_, parted) = (await bob.call("wait_for_events", cursor=0, handle=bob.handle))["events"]
        assert parted["params"]["reason"] == "timeout"


async def test_the_grace_of_a_window_stays_with_it(era: Era) -> None:
    """After the next partner, and after `enter_queue` with its handle, its grace is the same."""
    clock = FakeClock()
    async with serving(clock=clock, **GRACES) as running, crowd(running) as there:
        ann, bob = await there.person(era), await there.modern()
        mine = await window(ann)
        await bob.enter("Bob")
        room_id = running.broker.state.connections.by_id[ConnectionId(mine["connection_id"])].place.room_id
        await ann.call("next_partner", room_id=room_id, handle=mine["handle"])
        await clock.advance(45_000)
        assert isinstance(place_of(running, mine["connection_id"]), Idle)
        await ann.call("enter_queue", handle=mine["handle"])
        await clock.advance(45_000)
        assert isinstance(place_of(running, mine["connection_id"]), Idle)


async def test_the_grace_is_a_setting_stored_with_the_entry() -> None:
    """`--idle-grace-attended-ms` holds for entries from then on; the log has it with each."""
    clock = FakeClock()
    async with serving(clock=clock, idle_grace_attended_ms=10_000, **GRACES) as running, crowd(running) as there:
        ann = await there.modern()
        mine = await window(ann)
        assert running.broker.state.connections.by_id[ConnectionId(mine["connection_id"])].idle_grace_ms == 10_000
        await clock.advance(10_000)
        assert isinstance(place_of(running, mine["connection_id"]), Idle)


async def test_the_lobby_says_whether_interests_count(era: Era) -> None:
    """The lobby names the matching, so a page asks for interests only where they count."""
    for matching in ("first-come", "interests"):
        async with serving(matching=matching) as running, crowd(running) as there:
            ann = await there.person(era)
            assert (await ann.read("chat://lobby"))["matching"] == matching


async def test_hosts_hide_the_windows_tool_from_models(there: Crowd, era: Era) -> None:
    """`tools/list` marks `chat_enter` as the app's alone, in the standard's way; a model is told to take another."""
    ann = await there.person(era)
    tools = {tool["name"]: tool for tool in (await ann.request("tools/list"))["result"]["tools"]}
    assert tools["chat_enter"]["_meta"] == {"ui": {"visibility": ["app"]}}
    assert "call enter_queue instead" in tools["chat_enter"]["description"]
    assert tools["chat_enter"]["inputSchema"] == tools["enter_queue"]["inputSchema"]
