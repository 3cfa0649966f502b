"""Requests as bytes, and the used parts of the answers."""

import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec

EXTENSION: Final = "io.github.mcp-chat-broker/events"
RESOURCE_UPDATED: Final = "notifications/resources/updated"
MODERN: Final = "2026-07-28"
SESSIONS: Final = "2025-11-25"

TEXT_LENGTH: Final = 64
_TEXT_MARK: Final = "#" * TEXT_LENGTH
_ID_MARK: Final = 999_999_999
_ID_FIRST: Final = 100_000_000
_CLIENT: Final = {"name": "benchmark", "version": "1"}


class NotificationMeta(msgspec.Struct):
    """The `_meta` of a notification on a stream."""

    connection_id: str = msgspec.field(default="", name="io.github.mcp-chat-broker/connection")


class NotificationParams(msgspec.Struct):
    """The parameters of a notification."""

    message: str | None = None
    cursor: int = 0
    room_id: str = ""
    partner: str = ""
    reason: str = ""
    timestamp: str = ""
    meta: NotificationMeta = msgspec.field(default_factory=NotificationMeta, name="_meta")


class StreamFrame(msgspec.Struct):
    """A message on a stream or an event in a page; one with an id is the answer that ends the stream."""

    method: str = ""
    params: NotificationParams | None = None
    id: int | str | None = None


class ToolResult(msgspec.Struct):
    """The used parts of the tools' results."""

    success: bool = False
    handle: str = ""
    connection_id: str = ""
    status: str = ""
    room_id: str = ""
    partner: str = ""
    cursor: int = 0
    events: list[StreamFrame] = []
    timed_out: bool = False
    missed: bool = False
    timestamp: str = ""
    code: str = ""
    retry_after_ms: int = 0


class ResourceContent(msgspec.Struct):
    """A part of a resource."""

    text: str = ""


class CallResult(msgspec.Struct, rename="camel"):
    """The result of a `tools/call` or a `resources/read`."""

    is_error: bool = False
    structured_content: ToolResult | None = None
    contents: list[ResourceContent] = msgspec.field(default_factory=list)


class CallResponse(msgspec.Struct):
    """A JSON-RPC answer."""

    id: int
    result: CallResult | None = None


_answers: Final = msgspec.json.Decoder(CallResponse)
_frames: Final = msgspec.json.Decoder(StreamFrame)
_inboxes: Final = msgspec.json.Decoder(list[NotificationParams])


def answer(body: bytes) -> CallResponse:
    """Return the answer in a body of JSON, or in the last event of a body that is a stream."""
    if not body.startswith(b"{"):
        start = body.rfind(b"data:") + 5
        body = body[start : body.find(b"\n", start)]
    return _answers.decode(body)


def frame(data: bytes) -> StreamFrame:
    """Return the message in one event of a stream."""
    return _frames.decode(data)


def messages_in(read: CallResult) -> list[NotificationParams]:
    """Return the messages in a read inbox."""
    return _inboxes.decode(read.contents[0].text)


@dataclass(frozen=True)
class MessageRequest:
    """A prepared `send_message`; the request's id and the text, both of fixed length, are left open."""

    head: bytes
    middle: bytes
    tail: bytes

    def with_text(self, number: int, text: str) -> bytes:
        """Return the whole request; `answer(...).id` will be `request_id(number)`."""
        return b"%s%d%s%s%s" % (self.head, _ID_FIRST + number, self.middle, text.encode(), self.tail)


def request_id(number: int) -> int:
    """Return the JSON-RPC id of a numbered message."""
    return _ID_FIRST + number


@dataclass(frozen=True)
class RequestBuilder:
    """Builds one client's requests to one server: with a session's id those of 2025-11-25, else of 2026-07-28.

    A client with `reads` is only notified that its inbox has grown, and has to read it.
    """

    port: int
    session_id: str = ""
    reads: bool = False

    def call(self, tool: str, arguments: dict[str, Any], call_id: int = 1) -> bytes:
        """Return a `tools/call`."""
        return self._post("tools/call", {"name": tool, "arguments": arguments}, call_id, tool)

    def message(self, handle: str, room_id: str) -> MessageRequest:
        """Return the prepared `send_message` of one client; a session leaves the handle out."""
        arguments = {"room_id": room_id, "message": _TEXT_MARK}
        if not self.session_id:
            arguments["handle"] = handle
        request = self.call("send_message", arguments, _ID_MARK)
        before, _, tail = request.partition(_TEXT_MARK.encode())
        head, _, middle = before.partition(str(_ID_MARK).encode())
        return MessageRequest(head, middle, tail)

    def stream(self, handle: str, last_event_id: bytes = b"") -> bytes:
        """Return the request for the stream of that handle's notifications; a session's may be resumed."""
        if self.session_id:
            resumed = {"Last-Event-ID": last_event_id.decode()} if last_event_id else {}
            return self._head("GET", "text/event-stream", self._session_headers() | resumed) + b"\r\n"
        asked = {"resourceSubscriptions": [_inbox(handle)]} if self.reads else {EXTENSION: {"handles": [handle]}}
        return self._post("subscriptions/listen", {"notifications": asked}, 2)

    def read(self, handle: str) -> bytes:
        """Return the request to read the inbox of that handle."""
        return self._post("resources/read", {"uri": _inbox(handle)}, 3, _inbox(handle))

    def initialize(self) -> bytes:
        """Return the first request of a session."""
        params = {"protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": _CLIENT}
        return self._body({}, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})

    def initialized(self) -> bytes:
        """Return the second request of a session."""
        return self._body(self._session_headers(), {"jsonrpc": "2.0", "method": "notifications/initialized"})

    def end_session(self) -> bytes:
        """Return the last request of a session."""
        return self._head("DELETE", "application/json", self._session_headers()) + b"\r\n"

    def _post(self, method: str, params: dict[str, Any], call_id: int, name: str = "") -> bytes:
        body = {"jsonrpc": "2.0", "id": call_id, "method": method, "params": params}
        if self.session_id:
            return self._body(self._session_headers(), body)
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method} | ({"Mcp-Name": name} if name else {})
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": _CLIENT,
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
        }
        return self._body(headers, body)

    def _session_headers(self) -> dict[str, str]:
        return {"MCP-Protocol-Version": SESSIONS, "Mcp-Session-Id": self.session_id}

    def _body(self, headers: dict[str, str], body: dict[str, Any]) -> bytes:
        content = json.dumps(body, separators=(",", ":")).encode()
        headers = {**headers, "Content-Type": "application/json", "Content-Length": str(len(content))}
        return self._head("POST", "application/json, text/event-stream", headers) + b"\r\n" + content

    def _head(self, verb: str, accept: str, headers: dict[str, str]) -> bytes:
        fields = {"Host": f"127.0.0.1:{self.port}", "Accept": accept, **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{verb} /mcp HTTP/1.1\r\n{lines}".encode()


def _inbox(handle: str) -> str:
    return f"chat://inbox/{handle}"
