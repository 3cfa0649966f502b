"""A complete chat through real clients: the official SDK's in both modes, and FastMCP's."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Sequence
from typing import Any

import fastmcp
import mcp_types as types
import pytest
from mcp.client.client import Client
from mcp.client.extension import ClientExtension, NotificationBinding
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from pydantic import BaseModel, ConfigDict

from mcp_facade.streams.frames import CONNECTION_META_KEY, EXTENSION
from tests.facade.people import SUBSCRIPTION_ID, Crowd, Json, events_of
from tests.support.limits import SOON_SECONDS
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio

METHODS = ("chatroom.found", "message.received", "partner.disconnected")
MODES = ["legacy", "2026-07-28"]


class Params(BaseModel):
    """The params of any of the three notifications, as they came."""

    model_config = ConfigDict(extra="allow")


class ChatEvents(ClientExtension):
    """The extension a host writes to receive our notifications."""

    identifier = EXTENSION

    def __init__(self) -> None:
        self.heard: list[tuple[str, Json]] = []

    def notifications(self) -> Sequence[NotificationBinding[Any]]:
        """Return one binding a method."""

        def binding(method: str) -> NotificationBinding[Params]:
            async def handle(params: Params) -> None:
                self.heard.append((method, params.model_dump(by_alias=True)))

            return NotificationBinding(method=method, params_type=Params, handler=handle)

        return [binding(method) for method in METHODS]

    async def next(self) -> tuple[str, Json]:
        """Return the next notification, which must come soon."""
        await eventually(lambda: self.heard)
        return self.heard.pop(0)


class Host:
    """An SDK client with our extension, and its handle."""

    def __init__(self, url: str, mode: str) -> None:
        self.events = ChatEvents()
        self.acknowledged = asyncio.Event()
        self.updated: list[str] = []
        self.mode = mode
        self.handle = ""
        self.connection_id = ""
        self.client = Client(url, mode=mode, extensions=[self.events], message_handler=self._told)
        self._listening: asyncio.Task[Any] | None = None

    async def _told(self, message: Any) -> None:
        if isinstance(message, types.SubscriptionsAcknowledgedNotification):
            self.acknowledged.set()
        if isinstance(message, types.ResourceUpdatedNotification):
            self.updated.append(str(message.params.uri))

    async def call(self, tool: str, **arguments: Any) -> Json:
        """Call a tool; the client checks the result against the output schema."""
        if self.handle and self.mode != "legacy":
            arguments["handle"] = self.handle
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result
        given = result.structured_content
        assert given is not None
        assert isinstance(result.content[0], types.TextContent)
        assert json.loads(result.content[0].text) == given
        return given

    async def enter(self, name: str) -> Json:
        """Call `enter_queue`, and listen, unless the session has a stream."""
        given = await self.call("enter_queue", display_name=name)
        self.handle, self.connection_id = given["handle"], given["connection_id"]
        if self.mode != "legacy":
            wanted = types.SubscriptionFilter.model_validate(events_of(self.handle))
            request = types.SubscriptionsListenRequest(
                params=types.SubscriptionsListenRequestParams(notifications=wanted)
            )
            sending = self.client.session.send_request(request, types.SubscriptionsListenResult)
            self._listening = asyncio.create_task(sending)
            await asyncio.wait_for(self.acknowledged.wait(), SOON_SECONDS)
        return given

    async def result_of_listening(self) -> types.SubscriptionsListenResult:
        """Return the result of the `subscriptions/listen`."""
        assert self._listening is not None
        result: types.SubscriptionsListenResult = await asyncio.wait_for(self._listening, SOON_SECONDS)
        return result

    async def hang_up(self) -> None:
        """Stop listening."""
        if self._listening is not None and not self._listening.done():
            self._listening.cancel()
            await asyncio.wait({self._listening})


async def streams_are_open(there: Crowd, mode: str, count: int) -> None:
    """Return once the server has so many streams of that mode."""
    kind = "get" if mode == "legacy" else "listen"
    await eventually(lambda: there.running.metric(f'chat_broker_streams{{kind="{kind}"}}') == count)


@pytest.mark.parametrize("mode", MODES)
async def test_the_whole_story_with_the_official_client(there: Crowd, mode: str) -> None:
    """Enter, match, talk, next partner and leave each arrive as their own notification."""
    ann, bob, cat = [Host(there.running.url, mode) for _ in range(3)]
    async with ann.client, bob.client, cat.client:
        assert (await ann.client.list_tools()).tools[0].name == "enter_queue"
        assert (await ann.enter("Ann"))["status"] == "waiting"
        await streams_are_open(there, mode, 3 if mode == "legacy" else 1)
        matched = await bob.enter("Bob")
        assert matched["partner"] == "Ann"
        await streams_are_open(there, mode, 3 if mode == "legacy" else 2)
        room = {"room_id": matched["room_id"]}
        method, found = await ann.events.next()
        assert (method, found["partner"], found["room_id"]) == ("chatroom.found", "Bob", matched["room_id"])
        assert found["_meta"][CONNECTION_META_KEY] == ann.connection_id
        if mode == "legacy":
            assert (await bob.events.next())[0] == "chatroom.found"
        else:
            assert SUBSCRIPTION_ID in found["_meta"]
        await bob.call("send_message", message="hello Ann", **room)
        method, said = await ann.events.next()
        assert (method, said["message"], said["sender"]) == ("message.received", "hello Ann", "stranger")
        answered = await ann.call("send_message", message="hello Bob", cursor=found["cursor"], wait_seconds=5, **room)
        assert [event["params"]["message"] for event in answered["events"]] == ["hello Ann"]
        assert (await bob.events.next())[1]["message"] == "hello Bob"
        queued = await bob.call("next_partner", **room)
        assert queued["status"] == "waiting"
        method, parted = await ann.events.next()
        assert (method, parted["reason"]) == ("partner.disconnected", "next")
        again = await cat.enter("Cat")
        assert again["partner"] == "Bob"
        assert (await bob.events.next())[1]["partner"] == "Cat"
        if mode == "legacy":
            assert (await cat.events.next())[0] == "chatroom.found"
        await bob.call("leave_chat", room_id=again["room_id"])
        method, parted = await cat.events.next()
        assert (method, parted["reason"]) == ("partner.disconnected", "left")
        assert (await ann.call("get_status"))["status"] == "idle"
        for host in (ann, bob, cat):
            assert host.events.heard == []
            await host.hang_up()


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_gets_refusals_as_results(there: Crowd, mode: str) -> None:
    """A refusal does not raise, and passes the client's own check of the output schema; an unknown tool raises."""
    ann = Host(there.running.url, mode)
    async with ann.client:
        await ann.client.list_tools()
        result = await ann.client.call_tool("leave_chat", {"room_id": "x", "handle": "cb_unknown"})
        assert result.is_error
        assert result.structured_content is not None
        assert result.structured_content["code"] == "unknown_handle"
        with pytest.raises(MCPError):
            await ann.client.call_tool("nonsense", {})


async def test_the_official_client_listens_to_an_inbox(there: Crowd) -> None:
    """It listens by `Client.listen` with a resource, and a read after a notification brings new events."""
    ann, bob = Host(there.running.url, "2026-07-28"), Host(there.running.url, "2026-07-28")
    async with ann.client, bob.client:
        given = await ann.call("enter_queue", display_name="Ann")
        uri = f"chat://inbox/{given['handle']}"
        async with ann.client.listen(resource_subscriptions=[uri, "chat://inbox/cb_unknown"]) as subscription:
            assert subscription.honored.resource_subscriptions == [uri]
            await bob.call("enter_queue", display_name="Bob")
            event = await asyncio.wait_for(anext(subscription), SOON_SECONDS)
            assert str(event.uri) == uri
            read = await ann.client.read_resource(uri)
            assert isinstance(read.contents[0], types.TextResourceContents)
            assert json.loads(read.contents[0].text)["events"][0]["params"]["partner"] == "Bob"


async def test_the_official_client_subscribes_in_a_session(there: Crowd) -> None:
    """It uses `resources/subscribe` of 2025, deprecated in the newer SDK."""
    ann, bob = Host(there.running.url, "legacy"), Host(there.running.url, "legacy")
    async with ann.client, bob.client:
        await ann.enter("Ann")
        await streams_are_open(there, "legacy", 2)
        uri = f"chat://inbox/{ann.handle}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)  # the way of that era
            await ann.client.subscribe_resource(uri)
        await bob.enter("Bob")
        await eventually(lambda: ann.updated == [uri])


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_sees_progress(there: Crowd, mode: str) -> None:
    """A waiting call may have a progress callback; its result stays the same."""
    ann = Host(there.running.url, mode)
    async with ann.client:
        given = await ann.enter("Ann")
        progress: list[float] = []

        async def on_progress(done: float, total: float | None, message: str | None) -> None:
            progress.append(done)

        arguments = {"cursor": given["cursor"], "wait_seconds": 0.01, "handle": ann.handle}
        result = await ann.client.call_tool("wait_for_events", arguments, progress_callback=on_progress)
        assert result.structured_content is not None
        assert result.structured_content["timed_out"] is True
        assert progress == []
        await ann.hang_up()


async def test_the_official_client_is_answered_at_shutdown() -> None:
    """The listen request of 2026 has a result, and the wait ends in good order."""
    async with serving() as running:
        ann = Host(running.url, "2026-07-28")
        async with ann.client:
            given = await ann.enter("Ann")
            waiting = asyncio.create_task(ann.call("wait_for_events", cursor=given["cursor"], wait_seconds=60))
            await running.waits(ann.connection_id)
            running.stop()
            assert (await waiting)["timed_out"] is True
            assert await ann.result_of_listening()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_whole_story_with_fastmcp(there: Crowd, mode: Any) -> None:
    """FastMCP's client, by tools alone, can enter, match, talk, go to the next partner, and leave."""
    ann, bob = fastmcp.Client(there.running.url, mode=mode), fastmcp.Client(there.running.url, mode=mode)

    async def call(client: Any, tool: str, **arguments: Any) -> Json:
        result = await client.call_tool(tool, arguments)
        given: Json = result.structured_content
        return given

    async with ann, bob:
        waiting = await call(ann, "enter_queue", display_name="Ann")
        matched = await call(bob, "enter_queue", display_name="Bob", interests=["tea"])
        assert matched["partner"] == "Ann"
        anns, bobs = {"handle": waiting["handle"]}, {"handle": matched["handle"]}
        room = {"room_id": matched["room_id"]}
        asking = asyncio.create_task(
            call(bob, "send_message", message="hello", cursor=matched["cursor"], wait_seconds=10, **room, **bobs)
        )
        heard = await call(ann, "wait_for_events", cursor=waiting["cursor"], wait_seconds=10, **anns)
        if len(heard["events"]) == 1:
            heard = await call(ann, "wait_for_events", cursor=heard["cursor"], wait_seconds=10, **anns)
        assert heard["events"][-1]["params"]["message"] == "hello"
        await call(ann, "send_message", message="hello you", **room, **anns)
        assert (await asking)["events"][0]["params"]["message"] == "hello you"
        assert (await call(ann, "next_partner", **room, **anns))["status"] == "waiting"
        assert (await call(bob, "enter_queue", display_name="Bob", **bobs))["status"] == "matched"
        status = await call(ann, "get_status", **anns)
        assert (status["status"], status["partner"]) == ("chatting", "Bob")
        assert await call(ann, "leave_chat", room_id=status["room_id"], **anns) == {"success": True}
        refused = await ann.call_tool("send_message", {"message": "x", **room, **anns}, raise_on_error=False)
        assert refused.is_error
        assert json.loads(refused.content[0].text)["error"] == "Chat has ended"


async def test_clients_of_different_makers_meet(there: Crowd) -> None:
    """An SDK session and a FastMCP client share one room."""
    ann = Host(there.running.url, "legacy")
    async with ann.client, fastmcp.Client(there.running.url) as bob:
        await ann.enter("Ann")
        await streams_are_open(there, "legacy", 1)
        result = await bob.call_tool("enter_queue", {"display_name": "Bob"})
        given: Json = result.structured_content
        assert (await ann.events.next())[0] == "chatroom.found"
        await bob.call_tool("send_message", {"room_id": given["room_id"], "message": "hi", "handle": given["handle"]})
        assert (await ann.events.next())[1]["message"] == "hi"
