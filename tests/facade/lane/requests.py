"""Requests of both eras, good and bad: well-formed ones, and what can be done to them."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies as st

from mcp_facade.streams.frames import EXTENSION
from tests.facade.people import ACCEPT, CLIENT_INFO, MODERN

Json = dict[str, Any]

VERSION, CAPABILITIES, CLIENT, LEVEL = (
    f"io.modelcontextprotocol/{name}" for name in ("protocolVersion", "clientCapabilities", "clientInfo", "logLevel")
)
_RAW = "@raw:"

TEXTS = st.sampled_from(["", " ", "a", "é", "日本", "😀", "\x7f", "a\x00b", "\u2028", 'quo"te\\', "0", "x" * 5_000])


def raw(text: str) -> str:
    """What stands for `text` as it is, in a body that is still to be written."""
    return f"{_RAW}{text}@"


RAW = [
    "1.0",
    "1e0",
    "-0",
    "0.5",
    "12345678901234567890123456789",
    "9" * 5_000,
    "1e400",
    "NaN",
    '"\\ud83d\\ude00"',
    '"\\ud800"',
    '"\\/"',
    "tru",
    '"\t"',
]
VALUES = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 7, [], {}, [1], {"a": 1}, "1", [[]], {"": None}]),
    TEXTS,
    st.sampled_from(RAW).map(raw),
).map(copy.deepcopy)
IDS = st.one_of(
    st.integers(-3, 2**40),
    TEXTS,
    st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**64, None, True, 1.5, [], {}]),
    st.sampled_from(["1.0", "1e0", "-0", "12345678901234567890123456789"]).map(raw),
)
LEVELS = st.sampled_from(["debug", "info", "loud", 7, None])
INFOS = st.sampled_from(
    [None, {}, "me", 7, {"name": "a"}, {"name": 1, "version": "1"}, {"name": "a", "version": "1", "title": "t", "x": 1}]
).map(copy.deepcopy)
CAPABILITY_SETS = st.sampled_from(
    [{}, None, [], {"roots": {}}, {"roots": {"listChanged": True}}, {"sampling": 1}, {"elicitation": {"form": {}}}]
    + [{"extensions": value} for value in ({}, None, [], {EXTENSION: {}}, {EXTENSION: None}, {EXTENSION: {"a": 1}})]
    + [{"experimental": {"a": 1}}, {"made up": 1}]
).map(copy.deepcopy)
OTHER_META = st.sampled_from(
    [("progressToken", 1), ("progressToken", [1]), ("progress_token", [1]), ("traceparent", "00-0"), ("", None)]
).map(copy.deepcopy)

HEADER_VALUES: dict[bytes, list[bytes]] = {
    b"accept": [
        b"*/*",
        b"application/json",
        b"text/event-stream",
        b"text/*, application/*",
        b"APPLICATION/JSON,text/event-stream;q=0.1",
        b"application/json; q=0, text/event-stream",
        b"",
        b"nonsense",
        b"application/json;text/event-stream",
    ],
    b"content-type": [
        b"application/json; charset=utf-8",
        b"application/json;charset=latin-1",
        b"Application/JSON",
        b"application/jsonp",
        b"application/json, text/plain",
        b"text/plain",
        b"",
    ],
    b"host": [b"localhost", b"127.0.0.1:80", b"evil.example", b"", b"localhost:x", b"[::1]:8000"],
    b"origin": [b"http://localhost:3000", b"null", b"http://evil.example", b"https://localhost"],
    b"content-length": [b"0", b"-1", b"1_0", b"+5", b"x", b"99999999999", b"", b"5000000"],
    b"mcp-protocol-version": [b"2025-11-25", b"2025-03-26", b"2024-11-05", b"2026-07-28", b"1999-01-01", b"", b"\xff"],
    b"mcp-method": [b"tools/call", b"tools/list", b"subscriptions/listen", b"TOOLS/CALL", b""],
    b"mcp-name": [b"get_status", b"send_message", b"nothing", b"", b"=?base64?!?=", b"\xe9"],
    b"mcp-session-id": [b"", b"0" * 32, b"\xff", b"not one"],
    b"mcp-param-x": [b"1"],
    b"last-event-id": [b"0.1.0"],
    b"transfer-encoding": [b"chunked"],
    b"x-unknown": [b"\xff\x00", b"1"],
}


@dataclass
class Request:
    """One HTTP request, in parts that can still be changed."""

    headers: list[tuple[bytes, bytes]]
    body: Any
    method: str = "POST"
    kind: str = ""
    changes: list[str] = field(default_factory=list)
    written: bytes | None = None

    @property
    def text(self) -> bytes:
        """The body as it is sent."""
        if self.written is None:
            self.written = write(self.body)
        return self.written


def write(body: Any, **style: Any) -> bytes:
    """JSON, with what `raw` stands for."""
    text = json.dumps(body, **style)
    for form in RAW:
        text = text.replace(json.dumps(raw(form), **style), form)
    return text.encode("utf-8", "surrogatepass")


def modern(method: str, params: Json, request_id: Any = 1, name: str | None = None) -> Request:
    """A well-formed request of 2026-07-28."""
    meta = {VERSION: MODERN, CLIENT: CLIENT_INFO, CAPABILITIES: {"extensions": {EXTENSION: {}}}}
    body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {**params, "_meta": meta}}
    named = [(b"mcp-name", name.encode())] if name is not None else []
    headers = [*_HEADERS, (b"mcp-protocol-version", MODERN.encode()), (b"mcp-method", method.encode()), *named]
    return Request(headers, body, kind=f"2026 {name or method}")


def in_session(method: str, params: Json, session_id: str, request_id: Any = 1, version: str | None = None) -> Request:
    """A well-formed request of a session."""
    body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    versioned = [(b"mcp-protocol-version", version.encode())] if version is not None else []
    headers = [*_HEADERS, (b"mcp-session-id", session_id.encode()), *versioned]
    return Request(headers, body, kind=f"2025 {params.get('name', method)}")


_HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"content-type", b"application/json"),
    (b"accept", ACCEPT.encode()),
]


def finished(request: Request) -> Request:
    """With the length of its body, unless that was said already."""
    if not any(name == b"content-length" for name, _ in request.headers) and "no length" not in request.changes:
        request.headers.append((b"content-length", str(len(request.text)).encode()))
    return request


T = TypeVar("T")


def weighed(choices: Sequence[T], likely: Collection[str]) -> list[T]:
    """`choices`, of which those that are named in `likely`, or are such a name, make up most."""
    favoured = [choice for choice in choices if getattr(choice, "__name__", choice) in likely]
    return [*choices, *favoured * (2 * len(choices) // len(favoured))] if favoured else list(choices)


@st.composite
def changed(draw: Any, request: Request, likely: Collection[str] = ()) -> Request:
    """`request` with one to three things done to it, those named in `likely` before others."""
    changes = weighed(_CHANGES, likely)
    request = copy.deepcopy(request)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        change = draw(st.sampled_from(changes))
        request.changes.append(change.__name__)
        change(draw, request)
    return request


def _header(draw: Any, request: Request) -> None:
    there = sorted({name for name, _ in request.headers} & HEADER_VALUES.keys())
    name = draw(st.sampled_from([*there, *there, *sorted(HEADER_VALUES)]))
    value = draw(st.sampled_from(HEADER_VALUES[name]))
    if draw(st.booleans()):
        request.headers = [header for header in request.headers if header[0] != name]
    request.headers.insert(draw(st.integers(0, len(request.headers))), (name, value))


def _header_gone(draw: Any, request: Request) -> None:
    name = draw(st.sampled_from([name for name, _ in request.headers]))
    request.headers = [header for header in request.headers if header[0] != name]


def _header_twice(draw: Any, request: Request) -> None:
    request.headers.append(draw(st.sampled_from(request.headers)))


def _header_spaced(draw: Any, request: Request) -> None:
    at = draw(st.integers(0, len(request.headers) - 1))
    name, value = request.headers[at]
    request.headers[at] = (name, draw(st.sampled_from([b" %b", b"%b\t", b" %b "])) % value)


def _name_encoded(draw: Any, request: Request) -> None:
    encoded = [(name, b"=?base64?%b?=" % base64.b64encode(value)) for name, value in request.headers]
    request.headers = [
        coded if old[0] == b"mcp-name" else old for old, coded in zip(request.headers, encoded, strict=True)
    ]


def _members(node: Any) -> list[tuple[Json, str]]:
    if not isinstance(node, dict):
        return []
    return [(node, key) for key in node] + [found for value in node.values() for found in _members(value)]


def _value(draw: Any, request: Request) -> None:
    if members := _members(request.body):
        holder, key = draw(st.sampled_from(members))
        holder[key] = draw(VALUES)


def _value_gone(draw: Any, request: Request) -> None:
    if members := _members(request.body):
        holder, key = draw(st.sampled_from(members))
        del holder[key]


def _value_more(draw: Any, request: Request) -> None:
    if members := _members(request.body):
        holder, _ = draw(st.sampled_from(members))
        key = draw(st.sampled_from(["x", "task", "inputResponses", "requestState", "result", "error", "é", "meta"]))
        holder[key] = draw(VALUES)


def _id(draw: Any, request: Request) -> None:
    if isinstance(request.body, dict):
        request.body["id"] = draw(IDS)


def _meta(draw: Any, request: Request) -> None:
    params = request.body.get("params") if isinstance(request.body, dict) else None
    if not isinstance(params, dict):
        return
    meta = params.setdefault("_meta", {})
    if isinstance(meta, dict):
        key, values = draw(
            st.sampled_from([(LEVEL, LEVELS), (CLIENT, INFOS), (CAPABILITIES, CAPABILITY_SETS), ("", None)])
        )
        key, value = draw(OTHER_META) if values is None else (key, draw(values))
        meta[key] = value


def _style(draw: Any, request: Request) -> None:
    body = request.body
    if isinstance(body, dict):
        body = {key: body[key] for key in draw(st.permutations(list(body)))}
    style = draw(st.sampled_from([{"indent": 2}, {"ensure_ascii": False}, {"separators": (" ,\r\n", "\t: ")}]))
    request.written = write(body, **style)


def _twice(draw: Any, request: Request) -> None:
    keys = sorted({key for _, key in _members(request.body)})
    if keys:
        key = json.dumps(draw(st.sampled_from(keys)))
        value = draw(st.sampled_from(["1", '"a"', "{}", "null"]))
        request.written = request.text.replace(f"{key}: ".encode(), f"{key}: {value}, {key}: ".encode(), 1)


def _bytes(draw: Any, request: Request) -> None:
    text = request.text
    bodies = [b"", b"null", b"[]", b"[%b]" % text, b"[" * 3_000 + b"]" * 3_000]
    bodies += [text[:-1], text + b" \n", text + b"x", b"\xef\xbb\xbf" + text, b"\x0c" + text]
    bodies += [text.decode(errors="replace").encode("utf-16"), text.replace(b"a", b"\xff", 1)]
    bodies += [text.replace(b'"2.0"', b'"\\u0032.0"')]
    request.written = draw(st.sampled_from(bodies))


def _no_length(draw: Any, request: Request) -> None:
    request.changes.append("no length")


def _method(draw: Any, request: Request) -> None:
    request.method = draw(st.sampled_from(["PUT", "HEAD", "PATCH", "post"]))


_CHANGES = [
    _header,
    _header,
    _header_gone,
    _header_twice,
    _header_spaced,
    _name_encoded,
    _value,
    _value,
    _value_gone,
    _value_more,
    _id,
    _meta,
    _meta,
    _style,
    _twice,
    _bytes,
    _no_length,
    _method,
]
