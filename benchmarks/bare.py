"""The practical limit: the same JSON-RPC bodies on uvicorn, without an MCP library and without promises.

It queues, pairs, and puts a message as one event on the partner's stream. It checks nothing, keeps nothing, limits
nothing and knows one protocol version, 2026-07-28. The broker's cost above it is the price of the protocol, of the log
and of the rules.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from benchmarks.serving import serve

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

STREAM_KEY = "io.github.mcp-chat-broker/events"
SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"
CONNECTION_KEY = "io.github.mcp-chat-broker/connection"
JSON_TYPE = (b"content-type", b"application/json")
SSE_HEADERS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache, no-transform")]


class BareArguments(msgspec.Struct):
    """Arguments of the tools."""

    handle: str = ""
    message: str = ""
    display_name: str = "Anonymous"


class BareParams(msgspec.Struct):
    """The parameters of a request."""

    name: str = ""
    arguments: BareArguments = msgspec.field(default_factory=BareArguments)
    notifications: dict[str, dict[str, list[str]]] = msgspec.field(default_factory=dict)


class BareRequest(msgspec.Struct):
    """A JSON-RPC request."""

    id: int
    method: str
    params: BareParams


class BareMember:
    """One connection: its partner and its stream."""

    def __init__(self, name: str) -> None:
        self.handle = secrets.token_urlsafe(24)
        self.name = name
        self.room_id = ""
        self.partner: BareMember | None = None
        self.subscription_id = 0
        self.frames: asyncio.Queue[bytes] = asyncio.Queue(1_000)

    def deliver(self, body: bytes) -> None:
        """Put a frame, `body`, on the stream."""
        self.frames.put_nowait(body)


class BareServer:
    """The application."""

    def __init__(self) -> None:
        self._members: dict[str, BareMember] = {}
        self._waiting: BareMember | None = None
        self._cursor = 0
        self._decoder = msgspec.json.Decoder(BareRequest)
        self._encoder = msgspec.json.Encoder()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        if scope["type"] != "http":
            return  # uvicorn takes it for a server without a lifespan
        if scope["path"] == "/readyz":
            await self._answer(send, b"{}")
            return
        content = b""
        more = True
        while more:
            part = await receive()
            content += part.get("body", b"")
            more = part.get("more_body", False)
        request = self._decoder.decode(content)
        if request.method == "subscriptions/listen":
            await self._listen(request, receive, send)
        elif request.params.name == "enter_queue":
            await self._answer(send, self._result(request.id, self._enter(request.params.arguments)))
        else:
            await self._answer(send, self._result(request.id, self._send_message(request.params.arguments)))

    def _enter(self, arguments: BareArguments) -> dict[str, Any]:
        member = BareMember(arguments.display_name)
        self._members[member.handle] = member
        answer = {"handle": member.handle, "connection_id": member.handle[:16], "cursor": self._cursor}
        partner, self._waiting = self._waiting, None
        if partner is None:
            self._waiting = member
            return answer | {"status": "waiting", "position": 1}
        member.partner, partner.partner = partner, member
        member.room_id = partner.room_id = secrets.token_hex(16)
        return answer | {"status": "matched", "room_id": member.room_id, "partner": partner.name}

    def _send_message(self, arguments: BareArguments) -> dict[str, Any]:
        partner = self._members[arguments.handle].partner
        assert partner is not None, "nobody talks alone"
        self._cursor += 1
        timestamp = _timestamp()
        params = {
            "room_id": partner.room_id,
            "message": arguments.message,
            "timestamp": timestamp,
            "cursor": self._cursor,
            "sender": "stranger",
            "_meta": {SUBSCRIPTION_KEY: partner.subscription_id, CONNECTION_KEY: partner.handle[:16]},
        }
        partner.deliver(self._event("message.received", params))
        return {"success": True, "timestamp": timestamp}

    async def _listen(self, request: BareRequest, receive: Receive, send: Send) -> None:
        member = self._member_of(request)
        handle = member.handle
        member.subscription_id = request.id
        params = {"notifications": {STREAM_KEY: {"handles": [handle]}}, "_meta": {SUBSCRIPTION_KEY: request.id}}
        await send({"type": "http.response.start", "status": 200, "headers": SSE_HEADERS})
        frame = self._event("notifications/subscriptions/acknowledged", params)
        while True:
            await send({"type": "http.response.body", "body": frame, "more_body": True})
            frame = await member.frames.get()

    def _member_of(self, request: BareRequest) -> BareMember:
        return self._members[request.params.notifications[STREAM_KEY]["handles"][0]]

    def _event(self, method: str, params: dict[str, Any]) -> bytes:
        body = self._encoder.encode({"jsonrpc": "2.0", "method": method, "params": params})
        return b"event: message\r\ndata: " + body + b"\r\n\r\n"

    def _result(self, request_id: int, structured: dict[str, Any]) -> bytes:
        text = self._encoder.encode(structured).decode()
        result = {
            "content": [{"type": "text", "text": text}],
            "structuredContent": structured,
            "isError": False,
            "resultType": "complete",
        }
        return self._encoder.encode({"jsonrpc": "2.0", "id": request_id, "result": result})

    async def _answer(self, send: Send, body: bytes) -> None:
        headers = [JSON_TYPE, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


if __name__ == "__main__":
    serve(BareServer(), __doc__)
