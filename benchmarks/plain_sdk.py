"""The reference: the same chat on the official SDK's low-level server and nothing else, in both eras.

No log, no limits, no cleaning, no cursor: a dictionary of members, and a notification on the partner's stream. The
broker's cost above it is the price of its promises; its own cost above the bare one is the SDK's.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import UTC, datetime
from typing import Any, cast

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.session import ServerSession
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ServerNotification,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    TextContent,
)
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.serving import serve

STREAM_KEY = "io.github.mcp-chat-broker/events"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"

Context = ServerRequestContext[Any, Any]


class PlainNotification(BaseModel):
    """Any notification."""

    method: str
    params: dict[str, Any]


class PlainMember:
    """One connection: its partner and its stream."""

    def __init__(self, session: ServerSession, name: str) -> None:
        self.handle = secrets.token_urlsafe(24)
        self.session = session
        self.name = name
        self.room_id = ""
        self.partner: PlainMember | None = None
        self.frames: asyncio.Queue[dict[str, Any]] | None = None  # of its listen, if it has one

    async def tell(self, params: dict[str, Any]) -> None:
        """On the listen stream if there is one, else on the session's GET stream."""
        if self.frames is not None:
            self.frames.put_nowait(params)
        else:
            frame = PlainNotification(method="message.received", params=params)
            await self.session.send_notification(cast("ServerNotification", frame))


class PlainChat:
    """The handlers."""

    def __init__(self) -> None:
        self._members: dict[str, PlainMember] = {}
        self._waiting: PlainMember | None = None
        self._cursor = 0

    async def call(self, ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        """`enter_queue` and `send_message`."""
        arguments = params.arguments or {}
        payload = self._enter(ctx, arguments) if params.name == "enter_queue" else await self._send(ctx, arguments)
        return CallToolResult(content=[TextContent(type="text", text=json.dumps(payload))], structured_content=payload)

    async def listen(self, ctx: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """A stream for one handle."""
        asked = (params.notifications.model_extra or {})[STREAM_KEY]
        member = self._members[asked["handles"][0]]
        member.frames = asyncio.Queue(1_000)
        stamp = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        frame = PlainNotification(method=ACKNOWLEDGED, params={"notifications": {STREAM_KEY: asked}, "_meta": stamp})
        while True:
            await ctx.session.send_notification(cast("ServerNotification", frame), related_request_id=ctx.request_id)
            frame = PlainNotification(method="message.received", params={**await member.frames.get(), "_meta": stamp})

    def _enter(self, ctx: Context, arguments: dict[str, Any]) -> dict[str, Any]:
        member = PlainMember(ctx.session, arguments.get("display_name", "Anonymous"))
        self._members[member.handle] = self._members[_session_id(ctx)] = member
        answer = {"handle": member.handle, "connection_id": member.handle[:16], "cursor": self._cursor}
        partner, self._waiting = self._waiting, None
        if partner is None:
            self._waiting = member
            return answer | {"status": "waiting", "position": 1}
        member.partner, partner.partner = partner, member
        member.room_id = partner.room_id = secrets.token_hex(16)
        return answer | {"status": "matched", "room_id": member.room_id, "partner": partner.name}

    async def _send(self, ctx: Context, arguments: dict[str, Any]) -> dict[str, Any]:
        partner = self._members[arguments.get("handle") or _session_id(ctx)].partner
        assert partner is not None, "nobody talks alone"
        self._cursor += 1
        timestamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        params = {"room_id": partner.room_id, "message": arguments["message"], "timestamp": timestamp}
        await partner.tell({**params, "cursor": self._cursor, "sender": "stranger"})
        return {"success": True, "timestamp": timestamp}


def _session_id(ctx: Context) -> str:
    assert ctx.request is not None
    session_id: str = ctx.request.headers.get("mcp-session-id", "")
    return session_id


async def _ready(request: Request) -> Response:
    return JSONResponse({})


if __name__ == "__main__":
    chat = PlainChat()
    server: Server[Any] = Server(
        "plain", get_tool_input_schema=lambda name: None, on_call_tool=chat.call, on_subscriptions_listen=chat.listen
    )
    serve(server.streamable_http_app(custom_starlette_routes=[Route("/readyz", _ready)]), __doc__)
