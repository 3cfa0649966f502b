"""Stands in for the SDK's session manager: from bytes to the real handlers, and back to bytes.

It does what the SDK does with a request's life: in a session the handler goes on when its client has gone, and its
result is dropped; a request that stands alone is cancelled with its connection.
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
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from broker.streams import Streams
from events.log import LogUnavailableError
from mcp_facade.http.headers import SESSION_HEADER
from mcp_facade.resources import Resources
from mcp_facade.sdk.subscriptions import SdkSubscriptions
from mcp_facade.sdk.tools import SdkTools
from mcp_facade.streams.frames import EXTENSION
from mcp_facade.streams.subscriptions import Subscriptions
from mcp_facade.tools.handlers import Tools
from tests.support.fake_clock import settle

if TYPE_CHECKING:
    from tests.simulation.process import Process

MODERN = "2026-07-28"
KEPT = "2025-11-25"
EXTENDED = ClientCapabilities(extensions={EXTENSION: {}})
EVENT_STREAM = [(b"content-type", b"text/event-stream")]


class _Frames:
    """What a handler has to say, in line for its connection."""

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
    """What a handler may say while it works."""

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
    """What a handler is given of its request."""

    def __init__(self, request: Request, version: str, message: dict[str, Any], frames: _Frames) -> None:
        meta = message.get("params", {}).get("_meta") or {}
        token = meta.get("progressToken")
        self.request = request
        self.protocol_version = version
        self.request_id = message["id"]
        self.meta = {"progress_token": token} if token is not None else None
        self.session = _ServerSession(frames, token)


class SessionManager:
    """In the place of `StreamableHTTPSessionManager`."""

    def __init__(self, process: Process, streams: Streams) -> None:
        self._process = process
        resources = Resources(process.broker)
        tools = SdkTools(Tools(process.broker))
        self._sessions: dict[str, dict[asyncio.Task[None], None]] = {}
        listening = SdkSubscriptions(Subscriptions(process.broker, streams, resources))
        self._handlers: dict[str, tuple[Any, Callable[[Any, Any], Awaitable[Any]]]] = {
            "tools/call": (CallToolRequestParams, tools.call),
            "resources/read": (ReadResourceRequestParams, resources.read),
            "resources/subscribe": (SubscribeRequestParams, resources.subscribe),
            "resources/unsubscribe": (UnsubscribeRequestParams, resources.unsubscribe),
            "subscriptions/listen": (SubscriptionsListenRequestParams, listening.listen),
        }

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve; at the end, what still runs in a session is cancelled."""
        yield
        running = [task for tasks in self._sessions.values() for task in tasks]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = dict(scope["headers"])
        version = headers.get(b"mcp-protocol-version", b"").decode()
        session_id = headers.get(SESSION_HEADER, b"").decode()
        body = (await receive()).get("body", b"") if scope["method"] == "POST" else b""
        message = msgspec.json.decode(body) if body else {}
        if version == MODERN:
            await self._answer(scope, receive, send, MODERN, message, None)
        elif message.get("method") == "initialize":
            await self._initialize(send)
        elif session_id not in self._sessions:
            await _plain(send, 404)
        elif scope["method"] == "DELETE":
            for task in self._sessions.pop(session_id):
                task.cancel()
            await _plain(send, 200)
        else:
            await self._answer(scope, receive, send, KEPT, message, self._sessions[session_id])

    async def _initialize(self, send: Send) -> None:
        session_id = self._process.random_bytes(16).hex()
        self._sessions[session_id] = {}
        await _plain(send, 200, [(SESSION_HEADER, session_id.encode())])

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        version: str,
        message: dict[str, Any],
        session: dict[asyncio.Task[None], None] | None,
    ) -> None:
        frames = _Frames()
        ctx = _Context(Request(scope), version, message, frames)
        handling = asyncio.ensure_future(self._handle(ctx, message, frames))
        if session is not None:
            session[handling] = None
            handling.add_done_callback(lambda task: session.pop(task, None))
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
            if session is None and not handling.done():
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


async def _plain(send: Send, status: int, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers or []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
