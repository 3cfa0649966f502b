"""Hypothesis strategies for scenarios: mostly right requests of both eras, each wrong in a place or two.

Free text holds `MARK`, so that a text of ours or a line of the log that repeats it is seen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from mcp_facade.streams.frames import EXTENSION
from tests.facade.people import ACCEPT, CLIENT_INFO, MODERN, SESSIONS
from tests.fuzz.requests import PLACEHOLDERS, Act, Request, Scenario

MARK = "zqx"

TOOLS = ["enter_queue", "send_message", "wait_for_events", "leave_chat", "next_partner", "leave_queue", "get_status"]
ARGUMENTS = ["display_name", "interests", "handle", "room_id", "message", "message_id", "cursor", "wait_seconds"]
METHODS = [
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


class Raw(bytes):
    """JSON, or something like it, as it is to be written."""


def to_json(value: Any) -> bytes:
    """`value` as JSON; a `Raw` in it stands as it is, a list of pairs called `Raw` keys may repeat."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, dict):
        return b"{" + b",".join(to_json(key) + b":" + to_json(one) for key, one in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(to_json, value)) + b"]"
    return json.dumps(value).encode()


ODD_VALUES = st.sampled_from(
    [
        Raw(b"NaN"),
        Raw(b"-Infinity"),
        Raw(b"1e999"),
        Raw(b"-0.0"),
        Raw(b"1E400"),
        Raw(b"9" * 400),
        Raw(b"-" + b"9" * 4_200),
        Raw(b"9" * 4_400),
        Raw(b"9007199254740993"),
        Raw(b"0.1e-400"),
        Raw(b'"\\ud800"'),
        Raw(b'"\\udc00zqx\\ud83d"'),
        Raw(b'"\\ud83d\\ude00"'),
        Raw(b'"\xed\xa0\x80"'),
        Raw(b'"\xff\xfezqx"'),
        Raw(b'"\xc0\x80"'),
        Raw(b'"zqx\x00"'),
        Raw(b'"\\u0000zqx\\u001b[2J\\u202e"'),
        Raw(b"[" * 100 + b"]" * 100),
        Raw(b"[" * 300 + b"]" * 300),
        Raw(b'{"a":' * 900 + b"1" + b"}" * 900),
        Raw(b"[" * 20_000 + b"]" * 20_000),
        Raw(b"[" * 20_000),
        Raw(b'{"a":1,"a":2,"zqx":3,"zqx":4}'),
        Raw(b'{"__proto__":{"zqx":1},"":null}'),
        Raw(b'"' + b"zqx" * 5_000 + b'"'),
        Raw(b"[" + b"0," * 20_000 + b"0]"),
        Raw(b"01"),
        Raw(b"'zqx'"),
        Raw(b""),
    ]
)
TEXTS = st.one_of(
    st.sampled_from(
        [
            MARK,
            "",
            f"{MARK} {{handle}} %s {{0.__class__}} ${{jndi:ldap://x}}",
            f"{MARK}\r\ndata: x\r\n\r\nevent: message",
            f"{MARK}\u2028\u0085\x9b2J\x1b[31m",
            f"../../{MARK}",
            "_GET_stream",
            MARK * 100,
            "😀" + MARK,
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda text: MARK + text),
    st.sampled_from([name.decode() for name in PLACEHOLDERS]),
)
SIMPLE = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXTS, ODD_VALUES)
VALUES = st.recursive(
    SIMPLE, lambda some: st.lists(some, max_size=3) | st.dictionaries(TEXTS, some, max_size=3), max_leaves=6
)
ODD_IDS = st.one_of(
    st.sampled_from([1, "1", 0, -1, 2**63, "", "_GET_stream", 1.0, 1.5, True]),
    st.none(),
    VALUES,
)
SESSION_IDS = st.sampled_from(
    ["@SESSION@"] * 40 + ["@OTHER@"] * 10 + ["@OTHER@", "@DEAD@", "@HANDLE@", "f" * 32, MARK, "", "é" + MARK]
)
HANDLES = st.sampled_from(["@HANDLE@"] * 6 + ["@PARTNER@"] * 6 + ["@WAITING@", "cb_" + "A" * 43, MARK, ""])
ROOMS = st.sampled_from(["@ROOM@"] * 8 + ["@CLOSED@", "@HANDLE@", MARK, ""])
CURSORS = st.one_of(st.just(Raw(b"@CURSOR@")), st.just(0), st.sampled_from([1, -1, 2**53, 2**63, 1.0, 0.5, "1", True]))
WAITS = st.one_of(st.sampled_from([0, 0.01, 0.05, 1, 300, 301, -1, -0.0, 1e-320, "1", True]))
URIS = st.one_of(
    st.sampled_from(
        [
            "chat://lobby",
            "chat://inbox/@HANDLE@",
            "chat://inbox/@HANDLE@?cursor=@CURSOR@",
            "chat://inbox/@HANDLE@?cursor=",
            "chat://inbox/@HANDLE@?cursor=-1",
            "chat://inbox/@HANDLE@?cursor=" + "9" * 5_000,
            "chat://inbox/@HANDLE@?cursor=%D9%A1&cursor=0&zqx=1",
            "chat://inbox/@HANDLE@#zqx",
            "chat://inbox//@HANDLE@",
            "chat://inbox/%2e%2e/@HANDLE@",
            "chat://inbox/../lobby",
            "chat://inbox/{handle}{?cursor}",
            "chat://inbox/@PARTNER@",
            "chat://INBOX/@HANDLE@",
            "chat://zqx@inbox:80/@HANDLE@",
            "chat://[inbox/zqx",
            "chat://in\nbox/@HANDLE@",
            "CHAT://lobby",
            "chat:lobby",
            "file:///etc/passwd",
            "chat://%6cobby/zqx",
            "chat://lobby?zqx",
            "chat://inbox/" + "zqx/" * 3_000,
        ]
    ),
    TEXTS,
)
VERSIONS = st.sampled_from(
    [MODERN, SESSIONS, "2025-06-18", "2025-03-26", "2024-11-05", "2031-01-01", MARK, "", "é", "2" * 3_000]
)


def _rarely(one_in: int) -> st.SearchStrategy[bool]:
    """True once in so many times, and not at all where a scenario can be made smaller."""
    return st.sampled_from([False] * (one_in - 1) + [True])


@st.composite
def _mostly(draw: st.DrawFn, usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any], one_in: int = 12) -> Any:
    return draw(odd if draw(_rarely(one_in)) else usual)


IDS = _mostly(st.integers(0, 3), ODD_IDS)


@st.composite
def _damaged(draw: st.DrawFn, given: dict[str, Any], one_in: int = 10) -> Any:
    """`given`, sometimes with a member missing, replaced, added, or as something else altogether."""
    if not draw(_rarely(one_in)):
        return given
    how = draw(st.sampled_from(["less", "other", "more", "else"]))
    if how == "else":
        return draw(VALUES)
    given = dict(given)
    key = draw(st.sampled_from(sorted(given))) if given and how != "more" else draw(TEXTS)
    if how == "less":
        given.pop(key, None)
    else:
        given[key] = draw(VALUES)
    return given


@st.composite
def _tool_call(draw: st.DrawFn) -> dict[str, Any]:
    tool = draw(_mostly(st.sampled_from(TOOLS), TEXTS, one_in=20))
    usual: dict[str, st.SearchStrategy[Any]] = {
        "display_name": TEXTS,
        "interests": st.lists(TEXTS, max_size=12),
        "handle": HANDLES,
        "room_id": ROOMS,
        "message": TEXTS,
        "message_id": st.sampled_from(["a", "b", MARK, "x" * 64, "x" * 65]),
        "cursor": CURSORS,
        "wait_seconds": WAITS,
    }
    fitting = {
        "enter_queue": ["display_name", "interests", "handle"],
        "send_message": ["room_id", "message", "handle", "message_id", "cursor", "wait_seconds"],
        "wait_for_events": ["cursor", "handle", "wait_seconds"],
        "leave_chat": ["room_id", "handle"],
        "next_partner": ["room_id", "handle"],
    }.get(tool, ["handle"])
    left_out = draw(_mostly(st.just(set()), st.sets(st.sampled_from(ARGUMENTS), max_size=2), one_in=3))
    arguments = {name: draw(usual[name]) for name in fitting if name not in left_out}
    return {"name": tool, "arguments": draw(_damaged(arguments, one_in=3))}


@st.composite
def _params(draw: st.DrawFn, method: str) -> dict[str, Any]:
    if method == "tools/call":
        return draw(_tool_call())
    if method.startswith("resources/") and "list" not in method:
        return {"uri": draw(URIS)}
    if method == "prompts/get":
        arguments = {"display_name": draw(TEXTS), "interests": draw(TEXTS)}
        return {"name": draw(st.sampled_from(["chat", MARK])), "arguments": draw(_damaged(arguments))}
    if method == "subscriptions/listen":
        handles = draw(_mostly(st.lists(_mostly(HANDLES, VALUES), max_size=3), VALUES))
        return {
            "notifications": draw(
                _damaged(
                    {
                        EXTENSION: draw(_mostly(st.just({"handles": handles}), VALUES)),
                        "resourceSubscriptions": draw(st.lists(URIS, max_size=3)),
                    }
                )
            )
        }
    if method == "initialize":
        return {"protocolVersion": draw(VERSIONS), "capabilities": {}, "clientInfo": CLIENT_INFO}
    if method == "notifications/cancelled":
        return {"requestId": draw(IDS), "reason": draw(TEXTS)}
    if method == "notifications/progress":
        return {"progressToken": draw(IDS), "progress": draw(SIMPLE)}
    return {"cursor": draw(TEXTS)} if draw(st.booleans()) else {}


@st.composite
def _meta(draw: st.DrawFn, modern: bool) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if modern:
        meta = {
            "io.modelcontextprotocol/protocolVersion": draw(_mostly(st.just(MODERN), VERSIONS)),
            "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
        }
    if draw(_rarely(4)):
        meta["progressToken"] = draw(IDS)
    return meta


@st.composite
def _message(draw: st.DrawFn, modern: bool) -> dict[str, Any]:
    """A JSON-RPC message, as a dict that may hold anything."""
    kind = draw(st.sampled_from(["call"] * 12 + ["request"] * 6 + ["notification"] * 2 + ["response", "error"]))
    if kind == "response":
        return {"jsonrpc": "2.0", "id": draw(IDS), "result": draw(_damaged({}))}
    if kind == "error":
        return {"jsonrpc": "2.0", "id": draw(IDS), "error": draw(_damaged({"code": 1, "message": MARK}))}
    methods = {"call": st.just("tools/call"), "notification": st.sampled_from(NOTIFICATIONS)}
    method = draw(methods.get(kind, st.sampled_from(METHODS)))
    params = draw(_params(method))
    meta = draw(_meta(modern))
    if meta:
        params["_meta"] = draw(_damaged(meta))
    message = {"jsonrpc": "2.0", "id": draw(IDS), "method": method, "params": draw(_damaged(params))}
    if kind == "notification" and not draw(_rarely(5)):
        del message["id"]
    return message


ODD_HEADERS: Sequence[tuple[bytes, bytes]] = [
    (b"accept", b""),
    (b"accept", b"*/*"),
    (b"accept", b"text/html;q=0.9, zqx"),
    (b"accept", b"application/json"),
    (b"accept", b"text/event-stream"),
    (b"accept", b"APPLICATION/JSON ; q=0,text/event-stream;q=zqx"),
    (b"content-type", b"text/plain"),
    (b"content-type", b"application/json; charset=utf-16; zqx"),
    (b"content-type", b"application/jsonzqx"),
    (b"content-type", b"\xff"),
    (b"content-encoding", b"gzip"),
    (b"host", b""),
    (b"host", b"zqx.example"),
    (b"host", b"localhost:zqx@HANDLE@"),
    (b"host", b"zqx@SESSION@\x9b2J"),
    (b"origin", b"null"),
    (b"origin", b"http://localhost"),
    (b"origin", b"https://zqx.example/@HANDLE@"),
    (b"expect", b"100-continue"),
    (b"expect", b"zqx"),
    (b"connection", b"close"),
    (b"connection", b"upgrade, http2-settings"),
    (b"upgrade", b"websocket"),
    (b"upgrade", b"h2c"),
    (b"te", b"trailers"),
    (b"trailer", b"zqx"),
    (b"cookie", b"zqx=@HANDLE@"),
    (b"authorization", b"Bearer zqx@HANDLE@"),
    (b"x-forwarded-for", b"zqx, 127.0.0.1"),
    (b"x-forwarded-proto", b"zqx"),
    (b"forwarded", b"for=zqx"),
    (b"mcp-session-id", b"@DEAD@"),
    (b"mcp-session-id", b"@OTHER@"),
    (b"mcp-session-id", b"@SESSION@\xff"),
    (b"mcp-session-id", b"zqx"),
    (b"mcp-protocol-version", b"2026-07-28"),
    (b"mcp-protocol-version", b"2025-11-25"),
    (b"mcp-protocol-version", b"zqx"),
    (b"mcp-protocol-version", b""),
    (b"mcp-method", b"tools/list"),
    (b"mcp-method", b"zqx\xff"),
    (b"mcp-name", b"enter_queue"),
    (b"mcp-name", b"=?base64?enF4?="),
    (b"mcp-name", b"=?base64?enF?="),
    (b"mcp-name", b"=?base64?/w==?="),
    (b"mcp-param-zqx", b"zqx"),
    (b"last-event-id", b"@EPOCH@.1.0"),
    (b"last-event-id", b"@EPOCH@.0.0"),
    (b"last-event-id", b"@EPOCH@.1.999999999999999"),
    (b"last-event-id", b"@EPOCH@.999999999999999.1"),
    (b"last-event-id", b"@EPOCH@.-1.0"),
    (b"last-event-id", b"@EPOCH@." + b"9" * 3_000 + b".0"),
    (b"last-event-id", b"@EPOCH@.\xb2.0"),
    (b"last-event-id", b"zqx.1.0"),
    (b"last-event-id", b"@EPOCH@.@CURSOR@.0"),
    (b"last-event-id", "@EPOCH@.١.0".encode()),
    (b"last-event-id", b""),
    (b"x-" + b"z" * 3_000, b"zqx" * 1_000),
    (b"zqx", b"\x80\x9b\xff\xa0"),
    (b"range", b"bytes=0-1"),
    (b"if-none-match", b"*"),
]


@st.composite
def _headers(draw: st.DrawFn, usual: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    """The usual headers, sometimes with one missing or twice, and odd ones in front or behind."""
    headers = [(b"host", b"localhost"), *usual.items()]
    for name, value in draw(_mostly(st.just([]), st.lists(st.sampled_from(ODD_HEADERS), max_size=2), one_in=4)):
        how = draw(st.sampled_from(["instead", "before", "after"]))
        if how == "instead":
            headers = [header for header in headers if header[0] != name]
        headers.insert(0 if how == "before" else len(headers), (name, value))
    if draw(_rarely(20)):
        headers.pop(draw(st.integers(0, len(headers) - 1)))
    if draw(_rarely(30)):
        headers.append(draw(st.sampled_from(headers)))
    return tuple(headers)


def _header_text(value: Any) -> bytes:
    """`value` as a header can hold it."""
    text = value if isinstance(value, str) else "1"
    return "".join(one for one in text if one.isprintable() and ord(one) < 256).encode("latin-1")


@st.composite
def _post(draw: st.DrawFn) -> Request:
    modern = draw(st.booleans())
    message = draw(_message(modern))
    whole: Any = draw(_damaged(message, one_in=20))
    if draw(_rarely(30)):
        whole = [whole] * draw(st.integers(0, 3))
    usual = {b"accept": ACCEPT.encode(), b"content-type": b"application/json"}
    if modern:
        params = message.get("params")
        name = params.get("name", params.get("uri")) if isinstance(params, dict) else None
        usual |= {b"mcp-protocol-version": MODERN.encode(), b"mcp-method": _header_text(message.get("method"))}
        usual |= {b"mcp-name": _header_text(name)} if name is not None else {}
    elif not draw(_rarely(12)):
        usual |= {b"mcp-session-id": _header_text(draw(SESSION_IDS)), b"mcp-protocol-version": SESSIONS.encode()}
    body = to_json(whole)
    damage = draw(_mostly(st.just(4), st.integers(0, 3), one_in=15))
    if damage == 0:
        body = draw(st.binary(max_size=60))
    elif damage == 1:
        body = body[: draw(st.integers(0, len(body)))]
    elif damage == 2:
        body = body.decode("utf-8", "replace").encode(draw(st.sampled_from(["utf-16", "utf-32", "utf-8-sig"])))
    elif damage == 3:
        body += draw(st.sampled_from([b" " * 1_048_577, b"\x00", b"zqx", body]))
    return Request(
        b"POST",
        draw(_mostly(st.just(b"/mcp"), TARGETS, one_in=40)),
        draw(_headers(usual)),
        body,
        draw(_mostly(st.just(b"HTTP/1.1"), st.just(b"HTTP/1.0"), one_in=40)),
        draw(_mostly(st.just("length"), st.sampled_from(["chunked", "none", "short", "long", "both"]), one_in=15)),
    )


TARGETS = st.sampled_from(
    [
        b"/mcp",
        b"/mcp?zqx=@HANDLE@&%ff",
        b"/mcp/",
        b"//mcp",
        b"/mcp%00",
        b"/%6dcp",
        b"/mcp;zqx",
        b"/mcp#zqx",
        b"/healthz",
        b"/readyz/../mcp",
        b"/metrics?zqx",
        b"/%ff%fe",
        b"/" + b"zqx/" * 2_000,
        b"http://localhost/mcp",
        b"http://zqx.example:99999/mcp",
        b"zqx://@HANDLE@/mcp",
        b"*",
        b"localhost:1",
        b"/zqx",
        b"/",
    ]
)


@st.composite
def _bodiless(draw: st.DrawFn) -> Request:
    """A GET or a DELETE, or a method that there is not."""
    usual = {
        b"accept": b"text/event-stream",
        b"mcp-session-id": _header_text(draw(SESSION_IDS)),
        b"mcp-protocol-version": _header_text(draw(_mostly(st.just(SESSIONS), VERSIONS))),
    }
    odd = st.sampled_from([b"PUT", b"PATCH", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PROPFIND", b"MKCOL", b"GET"])
    method = draw(_mostly(st.sampled_from([b"GET"] * 5 + [b"DELETE"]), odd))
    body = draw(st.sampled_from([b"", b"", b"zqx", b"{}"]))
    framing = draw(st.sampled_from(["none", "none", "length", "chunked"]))
    target = draw(_mostly(st.just(b"/mcp"), TARGETS))
    return Request(method, target, draw(_headers(usual)), body if framing != "none" else b"", framing=framing)


@st.composite
def _junk(draw: st.DrawFn) -> Request:
    """Bytes that are hardly HTTP."""
    raw = draw(
        st.one_of(
            st.binary(max_size=200),
            st.sampled_from(
                [
                    b"\r\n\r\n",
                    b"GET /mcp\r\n\r\n",
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                    b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
                    b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999999\r\n\r\n",
                    b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
                    b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked, zqx\r\n\r\n",
                    b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzqx\r\n",
                    b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                    b"POST /mcp HTTP/1.1\nhost: localhost\n\n",
                    b"GET /mcp HTTP/1.1\r\n folded: zqx\r\n\r\n",
                    b"GET /mcp HTTP/1.1\r\nho st: zqx\r\n\r\n",
                    b"GET /mcp HTTP/9.9\r\nhost: localhost\r\n\r\n",
                    b"GET /mcp HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n",
                    b"GET  /mcp  HTTP/1.1\r\nhost: localhost\r\n\r\n",
                    b"GET /mcp HTTP/1.1\r\n" + b"x: " + b"zqx" * 40_000,
                    b"GET /" + b"zqx" * 40_000,
                    b"X" * 100_000,
                ]
            ),
        )
    )
    return Request(b"", b"", (), raw=raw)


REQUESTS = _mostly(_mostly(_post(), _bodiless(), one_in=4), _junk(), one_in=30)


@st.composite
def _act(draw: st.DrawFn) -> Act:
    request = draw(REQUESTS)
    cut = draw(_mostly(st.just(100), st.integers(0, 100), one_in=10))
    going_on = st.sampled_from(["go on", "go on", "listen"])
    then = draw(_mostly(going_on, st.just("hang up"), one_in=15 if cut == 100 else 2))
    return Act(draw(st.integers(0, 2)), request, cut, then)


def scenarios() -> st.SearchStrategy[Scenario]:
    """What up to three connections do to the endpoint, one act after the other."""
    return st.lists(_act(), min_size=1, max_size=4).map(tuple)
