"""`subscriptions/listen` of 2026-07-28, with the filter key of our extension and without it."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.server import _streamable_http_modern as modern_transport

from broker import streams as heartbeat
from mcp_facade.streams.frames import EXTENSION
from tests.facade.people import SUBSCRIPTION_ID, Crowd, crowd, events_of, last_answer, texts
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


async def test_the_acknowledgement_comes_first_with_what_is_honoured(there: Crowd) -> None:
    """Lists never change here and an unknown handle is of no connection, so neither is in the acknowledgement."""
    ann, bob = await there.pair()
    wanted = events_of(ann.handle, "cb_unknown") | {"toolsListChanged": True, "resourcesListChanged": True}
    async with ann.listening(wanted, request_id="my id") as frames:
        await bob.say("hello")
        acknowledged, said = await frames.take(2)
        assert acknowledged.method == ACKNOWLEDGED
        assert acknowledged.params == {"notifications": events_of(ann.handle)}
        assert acknowledged.meta == {SUBSCRIPTION_ID: "my id"}
        assert texts([said]) == ["hello"]


@pytest.mark.parametrize("request_id", ["text", 7, 0])
async def test_every_frame_is_stamped_with_the_requests_id(there: Crowd, request_id: Any) -> None:
    """The subscription's id is the request's, in its own type; each frame also has its connection."""
    ann, bob = await there.modern(), await there.modern()
    await ann.enter("Ann")
    async with ann.listening(events_of(ann.handle), request_id=request_id) as frames:
        assert (await frames.next()).meta == {SUBSCRIPTION_ID: request_id}
        await bob.enter("Bob")
        await bob.say("hello")
        await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
        events = await frames.take(3)
    assert [event.method for event in events] == ["chatroom.found", "message.received", "partner.disconnected"]
    for event in events:
        assert event.meta == {
            SUBSCRIPTION_ID: request_id,
            "io.github.mcp-chat-broker/connection": ann.connection_id,
        }
        assert event.params["cursor"] > 0


async def test_a_frame_says_what_the_tools_say(there: Crowd) -> None:
    """Push and pull give the same params."""
    ann, bob = await there.pair()
    async with ann.stream() as frames:
        await bob.say("hello")
        pushed = await frames.next()
    assert {"method": pushed.method, "params": pushed.params} == (await ann.hear())[-1]


async def test_a_stream_may_be_for_several_handles(there: Crowd) -> None:
    """With both members of a room on one stream, each frame names its connection."""
    ann, bob = await there.pair()
    async with ann.stream(ann.handle, bob.handle) as frames:
        await ann.say("to Bob")
        await bob.say("to Ann")
        events = await frames.take(2)
        assert [event.connection_id for event in events] == [bob.connection_id, ann.connection_id]


async def test_several_streams_may_be_for_one_handle(there: Crowd) -> None:
    """Each gets each frame, once, under its own id; a handle named twice is named once."""
    ann, bob = await there.pair()
    async with (
        ann.listening(events_of(ann.handle, ann.handle), request_id=1) as first,
        ann.listening(events_of(ann.handle), request_id=2) as second,
    ):
        await first.next()
        await second.next()
        await bob.say("one")
        await bob.say("two")
        assert texts(await first.take(2)) == texts(await second.take(2)) == ["one", "two"]


async def test_without_the_extension_its_filter_key_is_refused(there: Crowd) -> None:
    """The error is -32021, with the extension to declare in `requiredCapabilities`."""
    ann = await there.modern(extension=False)
    await ann.enter()
    answer = await ann.request("subscriptions/listen", {"notifications": events_of(ann.handle)})
    assert answer["error"]["code"] == -32021
    assert answer["error"]["data"] == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    assert ann.handle not in str(answer)


async def test_without_the_extension_an_inbox_can_be_listened_to(there: Crowd) -> None:
    """`resourceSubscriptions` is the core protocol's, and needs no declaration."""
    ann, bob = await there.modern(extension=False), await there.modern()
    await ann.enter()
    uri = f"chat://inbox/{ann.handle}"
    async with ann.listening({"resourceSubscriptions": [uri, "chat://lobby", "chat://inbox/x"]}) as frames:
        assert (await frames.next()).params == {"notifications": {"resourceSubscriptions": [uri]}}
        await bob.enter()
        updated = await frames.next()
        assert (updated.method, updated.params) == ("notifications/resources/updated", {"uri": uri})
        assert updated.connection_id == ann.connection_id


@pytest.mark.parametrize(
    "value", [None, [], "cb_x", {}, {"handles": "cb_x"}, {"handles": [7]}, {"handles": [["cb_x"]]}, {"handles": None}]
)
async def test_a_filter_that_can_not_be_read_is_invalid(there: Crowd, value: Any) -> None:
    """The extension's key holds `{"handles": [...]}` and nothing else."""
    ann = await there.modern()
    answer = await ann.request("subscriptions/listen", {"notifications": {EXTENSION: value}})
    assert answer["error"]["code"] == -32602


async def test_a_stream_carries_so_many_handles_and_no_more() -> None:
    """More than `handles_per_stream_max`, of handles or of inboxes, is refused."""
    async with serving(handles_per_stream_max=2) as running, crowd(running) as there:
        ann = await there.modern()
        for wanted in (events_of("a", "b", "c"), {"resourceSubscriptions": ["chat://inbox/a"] * 3}):
            answer = await ann.request("subscriptions/listen", {"notifications": wanted})
            assert answer["error"]["code"] == -32602
        async with ann.listening(events_of("a", "b")) as frames:
            assert (await frames.next()).params == {"notifications": events_of()}


async def test_when_the_broker_stops_the_request_has_a_result() -> None:
    """The last frame is the answer to the request, with its subscription's id, after all earlier events."""
    async with serving() as running, crowd(running) as there:
        ann, bob = await there.pair()
        async with ann.listening(events_of(ann.handle), request_id="bye") as frames:
            await frames.next()
            await bob.say("last words")
            running.stop()
            said, result = await frames.rest()
        assert texts([said]) == ["last words"]
        assert result.data["id"] == "bye"
        assert result.data["result"]["_meta"][SUBSCRIPTION_ID] == "bye"


async def test_hanging_up_ends_the_stream(there: Crowd) -> None:
    """Nothing is kept of a listener after its hang-up."""
    ann, _ = await there.pair()
    async with ann.stream():
        assert there.running.metric('chat_broker_streams{kind="listen"}') == 1
    await eventually(lambda: there.running.metric('chat_broker_streams{kind="listen"}') == 0)


async def test_a_request_id_may_be_used_by_others_at_the_same_time(there: Crowd) -> None:
    """Stateless requests stand alone: two people's streams of the same id are two streams."""
    ann, bob = await there.pair()
    async with ann.listening(events_of(ann.handle)) as anns, bob.listening(events_of(bob.handle)) as bobs:
        await anns.next()
        await bobs.next()
        await ann.say("to Bob")
        await bob.say("to Ann")
        assert texts([await anns.next()]) == ["to Ann"]
        assert texts([await bobs.next()]) == ["to Bob"]


async def test_a_silent_stream_is_kept_alive(there: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment now and then (every fifteen seconds, the SDK's or the lane's), and events between comments."""
    assert modern_transport._SSE_PING_INTERVAL == heartbeat.SLOTS * heartbeat.SLOT_MS / 1_000 == 15
    monkeypatch.setattr(modern_transport, "_SSE_PING_INTERVAL", 0.01)
    monkeypatch.setattr(heartbeat, "SLOT_MS", 0.1)
    ann, bob = await there.pair()
    async with ann.stream() as frames:
        await frames.until(lambda: frames.comments >= 2)
        await bob.say("hello")
        assert texts([await frames.next()]) == ["hello"]


async def test_discover_names_the_extension(there: Crowd) -> None:
    """`server/discover` names the version and the extension, and says that inboxes can be subscribed to."""
    response = await (await there.modern()).exchange("server/discover", {})
    assert "mcp-session-id" not in response.headers
    result = last_answer(response)["result"]
    assert "2026-07-28" in result["supportedVersions"]
    assert EXTENSION in result["capabilities"]["extensions"]
    assert result["capabilities"]["resources"]["subscribe"] is True
    assert not result["capabilities"]["tools"].get("listChanged")
    assert "untrusted" in result["instructions"]


async def test_listen_is_not_for_sessions(there: Crowd) -> None:
    """A 2025 session has its GET stream; the method is unknown to it."""
    ann = await there.session()
    answer = await ann.request("subscriptions/listen", {"notifications": {}})
    assert answer["error"]["code"] == -32601
