"""Named cases of bytes on one connection; a fast path may see another part of them than the other layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from itertools import pairwise
from typing import Any, NamedTuple

from mcp_facade.streams.frames import EXTENSION
from tests.hostile.heads import NO_HTTP
from tests.hostile.messages import get_stream, in_session, modern
from tests.hostile.request import LAST_CHUNK, Request
from tests.hostile.shapes import (
    BODY_BYTES_MAX,
    CLOSE,
    EXPECT,
    FOREIGN_HOST,
    SHAPES,
    adding,
    old,
    padded,
    setting,
    upgrading,
)
from tests.hostile.values import SESSION_VERSIONS, Raw

WAIT_SECONDS = 20
HEALTHZ = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


class Pause(Enum):
    """An act of a client between two sends."""

    ROUND_TRIP = auto()  # waits until the server has read all bytes so far; the next ones are a segment of their own
    ANSWERED = auto()  # waits for one more answer
    EVENT = auto()  # waits for one more event of a stream
    CONTINUE = auto()  # waits for `100 Continue`
    SPOKEN_TO = auto()  # its partner says something
    END = auto()  # announces the end of its data (FIN)


ROUND_TRIP, ANSWERED, EVENT, CONTINUE, SPOKEN_TO, END = Pause


class ChatRequests(NamedTuple):
    """Requests of a member of a room."""

    call: Request
    """A call: it sends a message to the partner."""
    wait: Request
    """A call that lasts until the partner's next message."""
    stream: Request
    """The request for the stream of the era."""


def chat_requests(handle: str, room_id: str, cursor: int | Raw, session_id: str | None) -> ChatRequests:
    """Return the requests of the member of that handle, in its session or in 2026-07-28."""

    def call(name: str, **arguments: Any) -> Request:
        params = {"name": name, "arguments": {"handle": handle, **arguments}}
        if session_id is None:
            return modern("tools/call", params, 1, name).request()
        return in_session("tools/call", params, session_id, 1, SESSION_VERSIONS[-1]).request()

    if session_id is None:
        stream = modern("subscriptions/listen", {"notifications": {EXTENSION: {"handles": [handle]}}})
    else:
        stream = get_stream(session_id)
    return ChatRequests(
        call("send_message", room_id=room_id, message="hello"),
        call("wait_for_events", cursor=cursor, wait_seconds=WAIT_SECONDS),
        stream.request(),
    )


Sent = Request | bytes
ClientStep = Sent | Pause


class Case(NamedTuple):
    """Steps of a client on a connection, and the number of answers to them; fewer if the server closes it."""

    steps: Callable[[ChatRequests], Sequence[ClientStep]]
    answers: int = 1


Cases = Mapping[str, Case]


def _in_segments(wire: bytes, *ends: int) -> list[ClientStep]:
    """Return `wire` in segments with these ends."""
    cuts = [0, *(end % len(wire) for end in ends), len(wire)]
    segments: list[ClientStep] = []
    for begin, end in pairwise(cuts):
        segments += [wire[begin:end], ROUND_TRIP]
    return segments


def _wires(*requests: Request) -> bytes:
    """Return all of `requests` at once."""
    return b"".join(request.wire({}) for request in requests)


def _head(request: Request) -> bytes:
    return request.head({})


def _no_json(request: Request) -> Request:
    """Return `request` with half an object for its body."""
    return request._replace(body=b"{")


def _shaped(name: str) -> Case:
    shape = SHAPES[name]
    return Case(lambda ask: [shape(ask.call)], answers=0 if name == "with a length that is too large" else 1)


WHERE_A_REQUEST_ENDS: Cases = {
    "in one segment": Case(lambda ask: [ask.call]),
    "the head, then the body": Case(lambda ask: _in_segments(_wires(ask.call), len(_head(ask.call)))),
    "cut within the end of the head": Case(lambda ask: _in_segments(_wires(ask.call), len(_head(ask.call)) - 1)),
    "the last byte alone": Case(lambda ask: _in_segments(_wires(ask.call), -1)),
    "in many segments": Case(lambda ask: _in_segments(_wires(ask.call), *range(5, len(_wires(ask.call)), 150))),
    "in chunks, the last one later": Case(
        lambda ask: _in_segments(_wires(ask.call._replace(framing="chunked")), -len(LAST_CHUNK))
    ),
    "an upgrade to HTTP/2, and the body later": Case(
        lambda ask: [_head(upgrading(ask.call, b"h2c")), ROUND_TRIP, ask.call.body]
    ),
    "Expect, and the body when told so": Case(lambda ask: [_head(adding(ask.call, EXPECT)), CONTINUE, ask.call.body]),
    "empty lines before it": Case(lambda ask: [b"\r\n\r\n", ask.call]),
}

WHAT_COMES_BEFORE_AND_AFTER: Cases = {
    "three at once": Case(lambda ask: [_wires(ask.call) * 3], 3),
    "three in segments that end within them": Case(lambda ask: _in_segments(_wires(ask.call) * 3, 300, -300, -2), 3),
    "three at once, the second no JSON": Case(lambda ask: [_wires(ask.call, _no_json(ask.call), ask.call)], 3),
    "three at once, the first in chunks": Case(
        lambda ask: [_wires(ask.call._replace(framing="chunked"), ask.call, ask.call)], 3
    ),
    "three at once, the second with Expect": Case(
        lambda ask: [_wires(ask.call, adding(ask.call, EXPECT), ask.call)], 3
    ),
    "three at once, the second an upgrade": Case(
        lambda ask: [_wires(ask.call, upgrading(ask.call, b"h2c"), ask.call)], 3
    ),
    "another path between two": Case(lambda ask: [_wires(ask.call) + HEALTHZ + _wires(ask.call)], 3),
    "another after the one that closes": Case(lambda ask: [_wires(adding(ask.call, CLOSE), ask.call)]),
    "another after one of HTTP/1.0": Case(lambda ask: [_wires(old(ask.call), ask.call)]),
    "another after more than may be sent": Case(
        lambda ask: [_wires(padded(ask.call, BODY_BYTES_MAX + 1), ask.call)], 2
    ),
    "DELETE, then a call": Case(lambda ask: [ask.call._replace(method=b"DELETE", body=b""), ANSWERED, ask.call], 2),
    "again after no JSON": Case(lambda ask: [_no_json(ask.call), ANSWERED, ask.call], 2),
    "again after no such path": Case(lambda ask: [ask.call._replace(target=b"/no"), ANSWERED, ask.call], 2),
    "again after no such method": Case(lambda ask: [ask.call._replace(method=b"PATCH"), ANSWERED, ask.call], 2),
    "again after another Host": Case(lambda ask: [setting(ask.call, *FOREIGN_HOST), ANSWERED, ask.call], 2),
    "again after a session that there is not": Case(
        lambda ask: [setting(ask.call, b"mcp-session-id", b"none"), ANSWERED, ask.call], 2
    ),
    "what is no HTTP, then a call": Case(lambda ask: [NO_HTTP + _wires(ask.call)]),
    "a call, then what is no HTTP": Case(lambda ask: [ask.call, ANSWERED, NO_HTTP], 2),
    "no more to say within the head": Case(lambda ask: [_head(ask.call)[:-1], ROUND_TRIP, END], 0),
    "no more to say within the body": Case(lambda ask: [_wires(ask.call)[:-1], ROUND_TRIP, END], 0),
    "no more to say after a call": Case(lambda ask: [ask.call, ANSWERED, END]),
}

WHAT_LASTS: Cases = {
    "a stream": Case(lambda ask: [ask.stream, EVENT, SPOKEN_TO, EVENT], 0),
    "a stream in HTTP/1.0": Case(lambda ask: [old(ask.stream), EVENT, SPOKEN_TO, EVENT], 0),
    "a stream, then to be closed": Case(lambda ask: [adding(ask.stream, CLOSE), EVENT, SPOKEN_TO, EVENT], 0),
    "a stream, asked for in chunks": Case(
        lambda ask: [ask.stream._replace(framing="chunked"), EVENT, SPOKEN_TO, EVENT], 0
    ),
    "a stream, and a call after it": Case(lambda ask: [_wires(ask.stream, ask.call), EVENT, SPOKEN_TO, EVENT], 0),
    "a stream after a call": Case(lambda ask: [ask.call, ANSWERED, ask.stream, EVENT, SPOKEN_TO, EVENT], 1),
    "no more to say while a stream is open": Case(lambda ask: [ask.stream, EVENT, END], 0),
    "a wait": Case(lambda ask: [ask.wait, ROUND_TRIP, SPOKEN_TO]),
    "a wait in HTTP/1.0": Case(lambda ask: [old(ask.wait), ROUND_TRIP, SPOKEN_TO]),
    "a wait, then to be closed": Case(lambda ask: [adding(ask.wait, CLOSE), ROUND_TRIP, SPOKEN_TO]),
    "a wait between two calls": Case(lambda ask: [_wires(ask.call, ask.wait, ask.call), ANSWERED, SPOKEN_TO], 3),
    "no more to say while it waits": Case(lambda ask: [ask.wait, ROUND_TRIP, END], 0),
}

CASES: Cases = {
    **{name: _shaped(name) for name in SHAPES},
    **WHERE_A_REQUEST_ENDS,
    **WHAT_COMES_BEFORE_AND_AFTER,
    **WHAT_LASTS,
}
