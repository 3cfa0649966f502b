"""What clients do on a connection, of which the lane may see another part than the SDK: each has a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from itertools import pairwise
from typing import NamedTuple

from tests.facade.lane.wire import HEALTHZ
from tests.facade.lane.wire_requests import (
    BODY_BYTES_MAX,
    LAST_CHUNK,
    Asked,
    adding,
    chunked,
    head_of,
    mapped,
    no_json,
    old,
    padded,
    setting,
    sized,
    upgrading,
    zipped,
)
from tests.fuzz.requests import Request


class Pause(Enum):
    """What a client does between two things that it sends."""

    ROUND_TRIP = auto()  # waits until the server has read what was sent, so that what follows is a segment of its own
    ANSWERED = auto()  # waits for one more answer
    EVENT = auto()  # waits for one more event of a stream
    CONTINUE = auto()  # waits for `100 Continue`
    SPOKEN_TO = auto()  # its partner says something
    END = auto()  # says that it has no more to send (FIN)


ROUND_TRIP, ANSWERED, EVENT, CONTINUE, SPOKEN_TO, END = Pause

Step = Request | bytes | Pause


class Case(NamedTuple):
    """What is done on one connection, and how many answers that has to have; fewer if the server closes it."""

    steps: Callable[[Asked], Sequence[Step]]
    answers: int = 1


Cases = Mapping[str, Case]

NO_HTTP = b"hello\r\n\r\n"
FOREIGN = (b"host", b"evil.example")
CLOSE = (b"connection", b"close")
EXPECT = (b"expect", b"100-continue")


def in_segments(wire: bytes, *ends: int) -> list[Step]:
    """`wire` in segments that end there."""
    cuts = [0, *(end % len(wire) for end in ends), len(wire)]
    segments: list[Step] = []
    for begin, end in pairwise(cuts):
        segments += [wire[begin:end], ROUND_TRIP]
    return segments


def wires(*requests: Request) -> bytes:
    """All of `requests` at once."""
    return b"".join(request.wire({}) for request in requests)


WHERE_A_REQUEST_ENDS: Cases = {
    "in one segment": Case(lambda ask: [ask.call]),
    "the head, then the body": Case(lambda ask: in_segments(wires(ask.call), len(head_of(ask.call)))),
    "cut within the end of the head": Case(lambda ask: in_segments(wires(ask.call), len(head_of(ask.call)) - 1)),
    "the last byte alone": Case(lambda ask: in_segments(wires(ask.call), -1)),
    "in many segments": Case(lambda ask: in_segments(wires(ask.call), *range(5, len(wires(ask.call)), 150))),
    "in two chunks": Case(lambda ask: [ask.call._replace(framing="chunked")]),
    "in chunks of seven bytes": Case(lambda ask: [chunked(ask.call, 7) + LAST_CHUNK]),
    "in chunks, the last one later": Case(lambda ask: [chunked(ask.call, 400), ROUND_TRIP, LAST_CHUNK]),
    "in chunks with a trailer": Case(lambda ask: [chunked(ask.call, 400) + b"0\r\nx: y\r\n\r\n"]),
    "in chunks that are said to be zipped": Case(
        lambda ask: [chunked(ask.call, 400).replace(b"chunked", b"gzip, chunked", 1) + LAST_CHUNK]
    ),
    "in chunks and with a length": Case(lambda ask: [ask.call._replace(framing="both")]),
    "with no length": Case(lambda ask: [ask.call._replace(framing="none")]),
    "with a length that is too small": Case(lambda ask: [ask.call._replace(framing="short")]),
    "with a length that is too large": Case(lambda ask: [ask.call._replace(framing="long")], answers=0),
    "with its length twice": Case(lambda ask: [adding(ask.call, (b"content-length", b"%d" % len(ask.call.body)))]),
    "with zeros before its length": Case(lambda ask: [sized(ask.call, b"000000000000%d")]),
    "with a sign before its length": Case(lambda ask: [sized(ask.call, b"+%d")]),
    "with as much as may be sent": Case(lambda ask: [padded(ask.call, BODY_BYTES_MAX)]),
    "with more than may be sent": Case(lambda ask: [padded(ask.call, BODY_BYTES_MAX + 1)]),
    "with more than may be sent, in chunks": Case(
        lambda ask: [padded(ask.call, BODY_BYTES_MAX + 1)._replace(framing="chunked")]
    ),
}

WHAT_ITS_HEAD_SAYS: Cases = {
    "no Host": Case(lambda ask: [setting(ask.call, b"host")]),
    "another Host behind the right one": Case(lambda ask: [adding(ask.call, FOREIGN)]),
    "another Host before the right one": Case(lambda ask: [ask.call._replace(headers=(FOREIGN, *ask.call.headers))]),
    "Accept in two headers": Case(
        lambda ask: [setting(ask.call, b"accept", b"application/json", b"text/event-stream")]
    ),
    "Content-Type twice": Case(lambda ask: [setting(ask.call, b"content-type", *[b"application/json"] * 2)]),
    "two versions of the protocol": Case(lambda ask: [adding(ask.call, (b"mcp-protocol-version", b"2025-06-18"))]),
    "the last header twice": Case(lambda ask: [adding(ask.call, ask.call.headers[-1])]),
    "names in capitals": Case(lambda ask: [mapped(ask.call, lambda name, value: (name.upper(), value))]),
    "white space around values": Case(lambda ask: [mapped(ask.call, lambda name, value: (name, b"\t %b \t" % value))]),
    "a byte that is no ASCII": Case(lambda ask: [adding(ask.call, (b"x", b"\xe9"))]),
    "a body that is zipped": Case(lambda ask: [zipped(ask.call)]),
    "the Origin of a page": Case(lambda ask: [adding(ask.call, (b"origin", b"http://localhost:3000"))]),
    "Connection: close": Case(lambda ask: [adding(ask.call, CLOSE)]),
    "Connection: close among others": Case(lambda ask: [adding(ask.call, (b"connection", b"x, Close"))]),
    "an upgrade to WebSocket": Case(lambda ask: [upgrading(ask.call, b"websocket")]),
    "an upgrade to HTTP/2": Case(lambda ask: [upgrading(ask.call, b"h2c")]),
    "an upgrade to HTTP/2, and the body later": Case(
        lambda ask: [head_of(upgrading(ask.call, b"h2c")), ROUND_TRIP, ask.call.body]
    ),
    "Expect, and the body when told so": Case(lambda ask: [head_of(adding(ask.call, EXPECT)), CONTINUE, ask.call.body]),
    "Expect, and the body at once": Case(lambda ask: [adding(ask.call, EXPECT)]),
    "Expect of something else": Case(lambda ask: [adding(ask.call, (b"expect", b"200-ok"))]),
}

HOW_IT_BEGINS: Cases = {
    "HTTP/1.0": Case(lambda ask: [old(ask.call)]),
    "HTTP/1.0, to be kept open": Case(lambda ask: [adding(old(ask.call), (b"connection", b"keep-alive"))]),
    "HEAD": Case(lambda ask: [ask.call._replace(method=b"HEAD", body=b"")]),
    "OPTIONS": Case(lambda ask: [ask.call._replace(method=b"OPTIONS")]),
    "PUT": Case(lambda ask: [ask.call._replace(method=b"PUT")]),
    "DELETE, then a call": Case(lambda ask: [ask.call._replace(method=b"DELETE", body=b""), ANSWERED, ask.call], 2),
    "a whole URL": Case(lambda ask: [ask.call._replace(target=b"http://127.0.0.1/mcp")]),
    "a query": Case(lambda ask: [ask.call._replace(target=b"/mcp?a=b")]),
    "a slash at the end of the path": Case(lambda ask: [ask.call._replace(target=b"/mcp/")]),
    "an escape in the path": Case(lambda ask: [ask.call._replace(target=b"/m%63p")]),
    "empty lines before it": Case(lambda ask: [b"\r\n\r\n", ask.call]),
}

WHAT_COMES_BEFORE_AND_AFTER: Cases = {
    "three at once": Case(lambda ask: [wires(ask.call) * 3], 3),
    "three in segments that end within them": Case(lambda ask: in_segments(wires(ask.call) * 3, 300, -300, -2), 3),
    "three at once, the second no JSON": Case(lambda ask: [wires(ask.call, no_json(ask.call), ask.call)], 3),
    "three at once, the first in chunks": Case(
        lambda ask: [wires(ask.call._replace(framing="chunked"), ask.call, ask.call)], 3
    ),
    "three at once, the second with Expect": Case(lambda ask: [wires(ask.call, adding(ask.call, EXPECT), ask.call)], 3),
    "three at once, the second an upgrade": Case(
        lambda ask: [wires(ask.call, upgrading(ask.call, b"h2c"), ask.call)], 3
    ),
    "another path between two": Case(lambda ask: [wires(ask.call) + HEALTHZ + wires(ask.call)], 3),
    "another behind the one that closes": Case(lambda ask: [wires(adding(ask.call, CLOSE), ask.call)]),
    "another behind one of HTTP/1.0": Case(lambda ask: [wires(old(ask.call), ask.call)]),
    "another behind more than may be sent": Case(
        lambda ask: [wires(padded(ask.call, BODY_BYTES_MAX + 1), ask.call)], 2
    ),
    "again after no JSON": Case(lambda ask: [no_json(ask.call), ANSWERED, ask.call], 2),
    "again after no such path": Case(lambda ask: [ask.call._replace(target=b"/no"), ANSWERED, ask.call], 2),
    "again after no such method": Case(lambda ask: [ask.call._replace(method=b"PATCH"), ANSWERED, ask.call], 2),
    "again after another Host": Case(lambda ask: [setting(ask.call, *FOREIGN), ANSWERED, ask.call], 2),
    "again after a session that there is not": Case(
        lambda ask: [setting(ask.call, b"mcp-session-id", b"none"), ANSWERED, ask.call], 2
    ),
    "what is no HTTP, then a call": Case(lambda ask: [NO_HTTP + wires(ask.call)]),
    "a call, then what is no HTTP": Case(lambda ask: [ask.call, ANSWERED, NO_HTTP], 2),
    "no more to say within the head": Case(lambda ask: [head_of(ask.call)[:-1], ROUND_TRIP, END], 0),
    "no more to say within the body": Case(lambda ask: [wires(ask.call)[:-1], ROUND_TRIP, END], 0),
    "no more to say after a call": Case(lambda ask: [ask.call, ANSWERED, END]),
}

WHAT_LASTS: Cases = {
    "a stream": Case(lambda ask: [ask.stream, EVENT, SPOKEN_TO, EVENT], 0),
    "a stream in HTTP/1.0": Case(lambda ask: [old(ask.stream), EVENT, SPOKEN_TO, EVENT], 0),
    "a stream, then to be closed": Case(lambda ask: [adding(ask.stream, CLOSE), EVENT, SPOKEN_TO, EVENT], 0),
    "a stream, asked for in chunks": Case(
        lambda ask: [ask.stream._replace(framing="chunked"), EVENT, SPOKEN_TO, EVENT], 0
    ),
    "a stream, and a call behind it": Case(lambda ask: [wires(ask.stream, ask.call), EVENT, SPOKEN_TO, EVENT], 0),
    "a stream behind a call": Case(lambda ask: [ask.call, ANSWERED, ask.stream, EVENT, SPOKEN_TO, EVENT], 1),
    "no more to say while a stream is open": Case(lambda ask: [ask.stream, EVENT, END], 0),
    "a wait": Case(lambda ask: [ask.wait, ROUND_TRIP, SPOKEN_TO]),
    "a wait in HTTP/1.0": Case(lambda ask: [old(ask.wait), ROUND_TRIP, SPOKEN_TO]),
    "a wait, then to be closed": Case(lambda ask: [adding(ask.wait, CLOSE), ROUND_TRIP, SPOKEN_TO]),
    "a wait between two calls": Case(lambda ask: [wires(ask.call, ask.wait, ask.call), ANSWERED, SPOKEN_TO], 3),
    "no more to say while it waits": Case(lambda ask: [ask.wait, ROUND_TRIP, END], 0),
}

CASES: Cases = {
    **WHERE_A_REQUEST_ENDS,
    **WHAT_ITS_HEAD_SAYS,
    **HOW_IT_BEGINS,
    **WHAT_COMES_BEFORE_AND_AFTER,
    **WHAT_LASTS,
}
