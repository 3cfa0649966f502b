"""The reference for a chat server written the usual way: the official SDK's `MCPServer`, in both eras.

Tools and a resource by decorators, no log, no limits, no cursor. In a 2025 session a message goes to the partner's GET
stream as a notification. In 2026-07-28 `MCPServer` can only mark the partner's inbox as grown; the partner then reads
it.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, cast

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.session import ServerSession
from mcp_types import ServerNotification
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from benchmarks.serving import serve

server = MCPServer("mcpserver", log_level="ERROR")


class McpServerNotification(BaseModel):
    """Any notification."""

    method: str
    params: dict[str, Any]


class EnterResult(BaseModel):
    """Result of `enter_queue`."""

    handle: str
    status: str
    room_id: str = ""


class SendResult(BaseModel):
    """Result of `send_message`."""

    success: bool
    timestamp: str


class InboxMessage(BaseModel):
    """A message, as its recipient sees it."""

    room_id: str
    message: str
    timestamp: str
    cursor: int


class McpServerMember:
    """One connection: its partner, its session if it has one, and its unread messages."""

    def __init__(self, session: ServerSession) -> None:
        self.handle = secrets.token_urlsafe(24)
        self.session = session
        self.room_id = ""
        self.partner: McpServerMember | None = None
        self.unread: list[InboxMessage] = []


class McpServerChat:
    """All members."""

    def __init__(self) -> None:
        self.members: dict[str, McpServerMember] = {}
        self.waiting: McpServerMember | None = None
        self.cursor = 0


chat = McpServerChat()


@server.tool()
async def enter_queue(ctx: Context[Any, Request], display_name: str = "Anonymous") -> EnterResult:
    """Wait for a stranger."""
    member = McpServerMember(ctx.request_context.session)
    chat.members[member.handle] = chat.members[_session_id(ctx)] = member
    partner, chat.waiting = chat.waiting, None
    if partner is None:
        chat.waiting = member
        return EnterResult(handle=member.handle, status="waiting")
    member.partner, partner.partner = partner, member
    member.room_id = partner.room_id = secrets.token_hex(16)
    return EnterResult(handle=member.handle, status="matched", room_id=member.room_id)


@server.tool()
async def send_message(ctx: Context[Any, Request], room_id: str, message: str, handle: str = "") -> SendResult:
    """Send a message to the stranger."""
    partner = chat.members[handle or _session_id(ctx)].partner
    assert partner is not None, "nobody talks alone"
    chat.cursor += 1
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    said = InboxMessage(room_id=room_id, message=message, timestamp=timestamp, cursor=chat.cursor)
    if handle:
        partner.unread.append(said)
        await ctx.notify_resource_updated(f"chat://inbox/{partner.handle}")
    else:
        frame = McpServerNotification(method="message.received", params=said.model_dump())
        await partner.session.send_notification(cast("ServerNotification", frame))
    return SendResult(success=True, timestamp=timestamp)


@server.resource("chat://inbox/{handle}", mime_type="application/json")
async def inbox(handle: str) -> list[InboxMessage]:
    """Return the messages for `handle` since the last read."""
    member = chat.members[handle]
    unread, member.unread = member.unread, []
    return unread


@server.custom_route("/readyz", methods=["GET"])  # type: ignore[untyped-decorator] # the SDK gives it none
async def ready(request: Request) -> Response:
    """The process answers."""
    return JSONResponse({})


def _session_id(ctx: Context[Any, Request]) -> str:
    request = ctx.request_context.request
    assert request is not None
    session_id: str = request.headers.get("mcp-session-id", "")
    return session_id


if __name__ == "__main__":
    serve(server.streamable_http_app(session_idle_timeout=None), __doc__)
