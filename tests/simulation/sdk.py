"""A replacement for the SDK's side of 2026-07-28: from bytes to the real handlers, and back to bytes.

As in the SDK, a request is cancelled with its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolRequestParams,
    ClientCapabilities,
    ReadResourceRequestParams,
    SubscriptionsListenRequestParams,
)
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from events.log import LogUnavailableError
from mcp_facade.resources import Resources
from mcp_facade.sdk.subscriptions import SdkSubscriptions
from mcp_facade.sdk.tools import SdkTools
from mcp_facade.sessions import Sessions
from mcp_facade.streams.frames import EXTENSION
from mcp_facade.streams.subscriptions import Subscriptions
from mcp_facade.tools.handlers import Tools
from mcp_facade.web.window import ChatWindow
from tests.support.fake_clock import settle

if TYPE_CHECKING:
    from tests.simulation.process import Process

MODERN = "2026-07-28"
KEPT = "2025-11-25"
EXTENDED = ClientCapabilities(extensions={EXTENSION: {}})
EVENT_STREAM = [(b"content-type", b"text/event-stream")]


class _Frames:
    """A handler's frames, in line for its connection."""

    def __init__(self) -> None:
        self.line: deque[bytes] = deque()
        self.over = False
        self.filled = asyncio.Event()

    def put(self, message: dict[str, Any]) -> None:
        body = msgspec.json.encode({"jsonrpc": "2.0", **message})
        self.line.append(b"event: message\r\ndata: %b\r\n\r\n" % body)
        self.filled.set()

    def end(self) -> None:
        self.over = True
        self.filled.set()


class _ServerSession:
    """The session of a handler, for notifications while it works."""

    client_capabilities = EXTENDED

    def __init__(self, frames: _Frames, token: object) -> None:
        self._frames = frames
        self._token = token

    async def report_progress(self, progress: float, total: float | None, message: str | None) -> None:
        params = {"progressToken": self._token, "progress": progress, "total": total, "message": message}
        self._frames.put({"method": "notifications/progress", "params": params})
        await settle(1)

    async def send_notification(self, frame: Any, related_request_id: object) -> None:
        self._frames.put({"method": frame.method, "params": frame.params})
        await settle(1)


class _Context:
    """The context of a handler's request."""

    def __init__(self, request: Request, version: str, message: dict[str, Any], frames: _Frames) -> None:
        meta = message.get("params", {}).get("_meta") or {}
        token = meta.get("progressToken")
        self.request = request
        self.protocol_version = version
        self.request_id = message["id"]
        self.meta = {"progress_token": token} if token is not None else None
        self.session = _ServerSession(frames, token)


class ModernRequests:
    """A replacement for the SDK's manager of 2026-07-28."""

    def __init__(self, process: Process, sessions: Sessions) -> None:
        broker = process.broker
        window = ChatWindow("<!doctype html>")
        resources = Resources(broker, sessions, window)
        tools = SdkTools(Tools(broker, sessions), window)
        subscriptions = SdkSubscriptions(Subscriptions(broker, resources))
        self._handlers: dict[str, tuple[Any, Callable[[Any, Any], Awaitable[Any]]]] = {
            "tools/call": (CallToolRequestParams, tools.call),
            "resources/read": (ReadResourceRequestParams, resources.read),
            "subscriptions/listen": (SubscriptionsListenRequestParams, subscriptions.listen),
        }

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the context is open."""
        yield

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        message = msgspec.json.decode((await receive()).get("body", b""))
        await self._answer(scope, receive, send, message)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, message: dict[str, Any]) -> None:
        frames = _Frames()
        ctx = _Context(Request(scope), MODERN, message, frames)
        handling = asyncio.ensure_future(self._handle(ctx, message, frames))
        leaving = asyncio.ensure_future(_end_when_gone(receive, frames))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
            while frames.line or not frames.over:
                if not frames.line:
                    frames.filled.clear()
                    await frames.filled.wait()
                while frames.line and not leaving.done():
                    await send({"type": "http.response.body", "body": frames.line.popleft(), "more_body": True})
                if leaving.done():
                    break
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            if not handling.done():
                handling.cancel()
                await asyncio.wait({handling})

    async def _handle(self, ctx: Any, message: dict[str, Any], frames: _Frames) -> None:
        params_type, handler = self._handlers[message["method"]]
        try:
            result = await handler(ctx, params_type.model_validate(message["params"]))
            frames.put({"id": ctx.request_id, "result": result.model_dump(by_alias=True, exclude_none=True)})
        except LogUnavailableError:
            frames.put({"id": ctx.request_id, "error": {"code": 0, "message": "Internal error"}})
        except MCPError as error:
            frames.put({"id": ctx.request_id, "error": {"code": error.error.code, "message": error.error.message}})
        finally:
            frames.end()


async def _end_when_gone(receive: Receive, frames: _Frames) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    frames.filled.set()
