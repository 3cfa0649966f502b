"""Well-formed requests of both eras, in changeable parts, and JSON-RPC messages of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import strategies as st

from mcp_facade.streams.frames import EXTENSION
from tests.facade.people import ACCEPT, CLIENT_INFO, MODERN, SESSIONS
from tests.hostile.request import Framing, Header, Request
from tests.hostile.values import (
    CATEGORIES,
    CURSORS,
    HANDLES,
    IDS,
    MARK,
    MESSAGE_IDS,
    ROOMS,
    SIMPLE,
    TEXTS,
    URIS,
    VALUES,
    VERSIONS,
    WAITS,
    mostly,
    rarely,
    to_json,
)

Json = dict[str, Any]

VERSION, CAPABILITIES, CLIENT, LEVEL = (
    f"io.modelcontextprotocol/{name}" for name in ("protocolVersion", "clientCapabilities", "clientInfo", "logLevel")
)
TOOLS = [
    *("enter_queue", "send_message", "wait_for_events", "leave_chat", "next_partner"),
    *("block_partner", "report_partner", "leave_queue", "get_status", "open_chat"),
]
ARGUMENTS = [
    *("display_name", "interests", "handle", "room_id", "message", "message_id", "cursor", "wait_seconds"),
    *("category", "note"),
]
NEEDED: dict[str, Sequence[str]] = {
    "send_message": ["room_id", "message"],
    "wait_for_events": ["cursor"],
    "leave_chat": ["room_id"],
    "next_partner": ["room_id"],
    "block_partner": ["room_id"],
    "report_partner": ["room_id", "category"],
}
OPTIONAL: dict[str, Sequence[str]] = {
    "open_chat": ["display_name", "interests"],
    "enter_queue": ["display_name", "interests"],
    "send_message": ["message_id", "cursor", "wait_seconds"],
    "wait_for_events": ["wait_seconds"],
    "report_partner": ["note"],
}
OTHER_METHODS = [
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/list",
    "prompts/get",
    "subscriptions/listen",
    "server/discover",
    "initialize",
    "ping",
    "logging/setLevel",
    "completion/complete",
    "tasks/get",
    "sampling/createMessage",
]
NOTIFICATIONS = [
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/resources/updated",
    f"notifications/{MARK}",
]
_HEADERS: list[Header] = [
    (b"host", b"localhost"),
    (b"content-type", b"application/json"),
    (b"accept", ACCEPT.encode()),
]


@dataclass
class Draft:
    """One HTTP request, in changeable parts."""

    headers: list[Header]
    body: Any  # a JSON value; `None` where there is none
    method: bytes = b"POST"
    target: bytes = b"/mcp"
    version: bytes = b"HTTP/1.1"
    framing: Framing = "length"
    kind: str = ""
    changes: list[str] = field(default_factory=list)
    written: bytes | None = None  # instead of the body

    @property
    def text(self) -> bytes:
        """The body as sent."""
        if self.written is None:
            self.written = to_json(self.body) if self.body is not None else b""
        return self.written

    def without_header(self, *names: bytes) -> None:
        """Remove all headers of those names."""
        self.headers = [header for header in self.headers if header[0] not in names]

    def request(self) -> Request:
        """Return the request; its length is added unless a header gives one already."""
        says_length = any(name == b"content-length" for name, _ in self.headers)
        framing = "none" if says_length and self.framing == "length" else self.framing
        return Request(self.method, self.target, tuple(self.headers), self.text, self.version, framing)


def meta() -> Json:
    """Return the `_meta` of a well-formed request of 2026-07-28."""
    return {VERSION: MODERN, CLIENT: dict(CLIENT_INFO), CAPABILITIES: {"extensions": {EXTENSION: {}}}}


def modern(method: str, params: Json, request_id: Any = 1, name: str | None = None) -> Draft:
    """Return a well-formed request of 2026-07-28."""
    body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {**params, "_meta": meta()}}
    return Draft([*_HEADERS, *modern_headers(method, name)], body, kind=f"2026 {name or method}")


def in_session(method: str, params: Json, session_id: str, request_id: Any = 1, version: str | None = None) -> Draft:
    """Return a well-formed request of a session."""
    body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    headers = [*_HEADERS, *session_headers(session_id, version)]
    return Draft(headers, body, kind=f"2025 {params.get('name', method)}")


def opening(version: str = SESSIONS) -> Draft:
    """Return the request to open a session."""
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": dict(CLIENT_INFO)}
    draft = in_session("initialize", params, "", 0)
    draft.without_header(b"mcp-session-id")
    return draft


def get_stream(session_id: str, version: str | None = SESSIONS) -> Draft:
    """Return the request for the GET stream of a session."""
    headers = [_HEADERS[0], (b"accept", b"text/event-stream"), *session_headers(session_id, version)]
    return Draft(headers, None, b"GET", framing="none", kind="GET")


def end_session(session_id: str) -> Draft:
    """Return the request to end a session."""
    return Draft([*_HEADERS, *session_headers(session_id, None)], None, b"DELETE", framing="none", kind="DELETE")


def modern_headers(method: Any, name: Any) -> list[Header]:
    """Return the headers that repeat the body of a request of 2026-07-28."""
    named = [(b"mcp-name", _header_text(name))] if name is not None else []
    return [(b"mcp-protocol-version", MODERN.encode()), (b"mcp-method", _header_text(method)), *named]


def session_headers(session_id: str, version: str | None) -> list[Header]:
    """Return the headers of a request in a session."""
    versioned = [(b"mcp-protocol-version", _header_text(version))] if version is not None else []
    return [(b"mcp-session-id", _header_text(session_id)), *versioned]


def _header_text(value: Any) -> bytes:
    """Return `value` as a header can hold it."""
    text = value if isinstance(value, str) else "1"
    return "".join(one for one in text if one.isprintable() and ord(one) < 256).encode("latin-1")


def posted(message: Json, session_id: str | None = None, version: str | None = None) -> Draft:
    """Return `message` with its headers: those of that session, or of 2026-07-28."""
    if session_id is not None:
        return Draft([*_HEADERS, *session_headers(session_id, version)], message, kind="2025")
    params = message.get("params")
    name = params.get("name", params.get("uri")) if isinstance(params, dict) else None
    return Draft([*_HEADERS, *modern_headers(message.get("method"), name)], message, kind="2026")


class Known(NamedTuple):
    """Strategies for the referenced values of arguments: mostly existing ones, and rarely others."""

    handles: st.SearchStrategy[Any] = HANDLES
    rooms: st.SearchStrategy[Any] = ROOMS
    cursors: st.SearchStrategy[Any] = CURSORS
    waits: st.SearchStrategy[Any] = WAITS


BY_PLACEHOLDERS = Known()


@st.composite
def arguments(draw: st.DrawFn, tool: str, known: Known = BY_PLACEHOLDERS) -> Json:
    """Draw arguments of that tool, sometimes with one missing."""
    of: dict[str, st.SearchStrategy[Any]] = {
        "display_name": TEXTS,
        "interests": st.lists(TEXTS, max_size=12),
        "handle": known.handles,
        "room_id": known.rooms,
        "message": st.sampled_from(["hello", "hé 😀", "x" * 100]) | TEXTS,
        "message_id": MESSAGE_IDS,
        "cursor": known.cursors,
        "wait_seconds": known.waits,
        "category": CATEGORIES,
        "note": TEXTS,
    }
    given = {"handle": draw(of["handle"])} if not draw(rarely(4)) else {}
    given |= {name: draw(of[name]) for name in NEEDED.get(tool, ()) if not draw(rarely(15))}
    return given | {name: draw(of[name]) for name in OPTIONAL.get(tool, ()) if draw(rarely(3))}


@st.composite
def listen_params(draw: st.DrawFn, known: Known = BY_PLACEHOLDERS) -> Json:
    """Draw the parameters of a `subscriptions/listen`."""
    handles = draw(mostly(st.lists(mostly(known.handles, VALUES), max_size=3), VALUES))
    notifications: Json = {EXTENSION: {"handles": handles}} if handles or draw(st.booleans()) else {}
    if draw(rarely(12)):
        notifications[EXTENSION] = draw(VALUES)
    if draw(rarely(4)):
        own = [f"chat://inbox/{handle}" for handle in handles] if isinstance(handles, list) else None
        uris = draw(st.lists(URIS, max_size=3))
        notifications["resourceSubscriptions"] = draw(st.sampled_from([[], None, own, uris, uris, ["chat://lobby"]]))
    if draw(rarely(4)):
        notifications["toolsListChanged"] = draw(st.sampled_from([True, False, None, "yes", 1]))
    return {"notifications": notifications}


@st.composite
def _params(draw: st.DrawFn, method: str, known: Known) -> Json:
    if method == "tools/call":
        tool = draw(mostly(st.sampled_from(TOOLS), TEXTS, one_in=20))
        return {"name": tool, "arguments": draw(arguments(tool, known))}
    if method.startswith("resources/") and "list" not in method:
        return {"uri": draw(URIS)}
    if method == "prompts/get":
        return {
            "name": draw(st.sampled_from(["chat", MARK])),
            "arguments": {"display_name": draw(TEXTS), "interests": draw(TEXTS)},
        }
    if method == "subscriptions/listen":
        return draw(listen_params(known))
    if method == "initialize":
        return {"protocolVersion": draw(VERSIONS), "capabilities": {}, "clientInfo": dict(CLIENT_INFO)}
    if method == "notifications/cancelled":
        return {"requestId": draw(IDS), "reason": draw(TEXTS)}
    if method == "notifications/progress":
        return {"progressToken": draw(IDS), "progress": draw(SIMPLE)}
    return {"cursor": draw(TEXTS)} if draw(st.booleans()) else {}


@st.composite
def messages(draw: st.DrawFn, *, is_modern: bool, known: Known = BY_PLACEHOLDERS) -> Json:
    """Draw a JSON-RPC message of any kind, mostly a tool call."""
    kind = draw(st.sampled_from(["call"] * 12 + ["request"] * 6 + ["notification"] * 2 + ["response", "error"]))
    if kind == "response":
        return {"jsonrpc": "2.0", "id": draw(IDS), "result": {}}
    if kind == "error":
        return {"jsonrpc": "2.0", "id": draw(IDS), "error": {"code": 1, "message": MARK}}
    methods = {"call": st.just("tools/call"), "notification": st.sampled_from(NOTIFICATIONS)}
    method = draw(methods.get(kind, st.sampled_from(OTHER_METHODS)))
    params = draw(_params(method, known))
    if is_modern:
        params["_meta"] = meta() | {VERSION: draw(mostly(st.just(MODERN), VERSIONS))}
    if draw(rarely(4)):
        params.setdefault("_meta", {})["progressToken"] = draw(IDS)
    message = {"jsonrpc": "2.0", "id": draw(IDS), "method": method, "params": params}
    if kind == "notification" and not draw(rarely(5)):
        del message["id"]
    return message
