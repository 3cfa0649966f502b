"""The lane by itself: its timing, outside the comparison with the SDK."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from mcp_facade.fast.lane import FastLane
from tests.facade.lane.twins import AsgiExchange, Twin, twins
from tests.facade.people import Era
from tests.hostile.messages import TOOLS, Draft, in_session, modern, opening
from tests.support.fake_clock import settle

pytestmark = pytest.mark.anyio

PING = b": ping\r\n\r\n"
ARGUMENTS = {
    "send_message": {"room_id": "r", "message": "hello"},
    "wait_for_events": {"cursor": 0},
    "leave_chat": {"room_id": "r"},
    "next_partner": {"room_id": "r"},
    "block_partner": {"room_id": "r"},
    "report_partner": {"room_id": "r", "category": "spam"},
}


class Lone:
    """The twin with the lane, by itself."""

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        lane = twin.app.endpoint.fast_lane
        assert lane is not None
        self.lane: FastLane = lane

    async def ask(self, draft: Draft) -> AsgiExchange:
        """Send a request; return the exchange with its immediate effects."""
        asked = AsgiExchange(self.twin.app, draft.request())
        await settle(100)
        return asked

    async def session(self) -> str:
        """Open a session, and return its id."""
        session_id = (await self.ask(opening())).header(b"mcp-session-id")
        await self.ask(in_session("tools/list", {}, session_id))
        return session_id

    async def call(self, era: Era, name: str, arguments: dict[str, object]) -> AsgiExchange:
        """Call a tool."""
        params = {"name": name, "arguments": arguments}
        if era == "2026":
            return await self.ask(modern("tools/call", params, 1, name))
        return await self.ask(in_session("tools/call", params, await self.session()))


@pytest.mark.parametrize("name", TOOLS)
async def test_a_well_formed_call_is_for_the_lane(era: Era, name: str) -> None:
    """The lane takes calls of every tool, in both eras, with any result."""
    async with twins(Counter()) as both:
        lone = Lone(both.lane)
        assert (await lone.call(era, name, ARGUMENTS.get(name, {}))).is_over
        assert lone.lane.taken == 1


async def test_the_first_call_of_a_session_is_for_the_lane() -> None:
    """The session's id proves a good handshake."""
    async with twins(Counter()) as both:
        lone = Lone(both.lane)
        session_id = (await lone.ask(opening())).header(b"mcp-session-id")
        assert (await lone.ask(in_session("tools/call", {"name": "get_status"}, session_id))).is_over
        assert lone.lane.taken == 1


async def test_a_wait_hears_a_ping_every_fifteen_seconds(era: Era) -> None:
    """A ping turns the answer into a stream; its last event is the result."""
    async with twins(Counter()) as both:
        lone = Lone(both.lane)
        entered = await lone.call("2026", "enter_queue", {})
        given = entered.results[0]["result"]["structuredContent"]
        wait = {"handle": given["handle"], "cursor": given["cursor"], "wait_seconds": 40}
        waiting = await lone.call(era, "wait_for_events", wait)
        assert waiting.status == (0 if era == "2026" else 200)
        await both.lane.clock.advance(31_000)
        await settle(100)
        assert waiting.body == 2 * PING
        assert waiting.header(b"content-type") == "text/event-stream"
        await both.lane.clock.advance(10_000)
        await settle(100)
        assert waiting.is_over
        result = json.loads(waiting.body.rpartition(b"data: ")[2])["result"]
        assert result["structuredContent"]["timed_out"] is True


async def test_a_listen_stream_hears_a_ping_every_fifteen_seconds() -> None:
    """Pings come in silence, also after an event."""
    async with twins(Counter()) as both:
        stream = await Lone(both.lane).ask(modern("subscriptions/listen", {"notifications": {}}))
        await both.lane.clock.advance(31_000)
        assert stream.body.count(PING) == 2
        stream.hang_up()
        await asyncio.wait({stream.task}, timeout=5)
        assert stream.task.done()


async def test_a_body_in_pieces_is_the_sdks() -> None:
    """The SDK puts the pieces together and answers."""
    async with twins(Counter()) as both:
        lone = Lone(both.lane)
        request = modern("tools/call", {"name": "get_status"}, 1, "get_status").request()
        asked = AsgiExchange(both.lane.app, request, cut=40)
        await settle(200)
        assert asked.status == 200
        assert lone.lane.taken == 0
