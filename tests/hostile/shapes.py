"""Right, odd and wrong ways to lay a request on the wire, each with a name."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping

from events.policy import Policy
from tests.hostile.request import Framing, Header, Request

BODY_BYTES_MAX = Policy().body_bytes_max

Shape = Callable[[Request], Request]

FOREIGN_HOST = (b"host", b"evil.example")
CLOSE = (b"connection", b"close")
EXPECT = (b"expect", b"100-continue")


def adding(request: Request, *headers: Header) -> Request:
    """Return `request` with `headers` after its own."""
    return request._replace(headers=(*request.headers, *headers))


def setting(request: Request, name: bytes, *values: bytes) -> Request:
    """Return `request` with a header of that name for each of `values`, and no other."""
    others = (header for header in request.headers if header[0] != name)
    return request._replace(headers=(*others, *((name, value) for value in values)))


def upgrading(request: Request, protocol: bytes) -> Request:
    """Return `request` with an offer to go on with another protocol."""
    return adding(request, (b"connection", b"upgrade"), (b"upgrade", protocol))


def old(request: Request) -> Request:
    """Return `request` in HTTP/1.0."""
    return request._replace(version=b"HTTP/1.0")


def padded(request: Request, body_bytes: int) -> Request:
    """Return `request` with white space after its body, up to that length."""
    return request._replace(body=request.body.ljust(body_bytes))


def _mapped(change: Callable[[bytes, bytes], Header]) -> Shape:
    return lambda request: request._replace(headers=tuple(change(*header) for header in request.headers))


def _zipped(request: Request) -> Request:
    return adding(request._replace(body=gzip.compress(request.body, mtime=0)), (b"content-encoding", b"gzip"))


def _framed(framing: Framing) -> Shape:
    return lambda request: request._replace(framing=framing)


def _method(method: bytes) -> Shape:
    return lambda request: request._replace(method=method)


def _target(target: bytes) -> Shape:
    return lambda request: request._replace(target=target)


def _added(*headers: Header) -> Shape:
    return lambda request: adding(request, *headers)


SHAPES: Mapping[str, Shape] = {
    "in two chunks": _framed("chunked"),
    "in chunks of seven bytes": _framed("small chunks"),
    "in chunks with a trailer": _framed("trailer"),
    "in chunks that are said to be zipped": _framed("zipped chunks"),
    "in chunks and with a length": _framed("both"),
    "with no length": _framed("none"),
    "with a length that is too small": _framed("short"),
    "with a length that is too large": _framed("long"),
    "with its length twice": _framed("twice"),
    "with zeros before its length": _framed("zeros"),
    "with a sign before its length": _framed("signed"),
    "with as much as may be sent": lambda request: padded(request, BODY_BYTES_MAX),
    "with more than may be sent": lambda request: padded(request, BODY_BYTES_MAX + 1),
    "with more than may be sent, in chunks": lambda request: padded(request, BODY_BYTES_MAX + 1)._replace(
        framing="chunked"
    ),
    "no Host": lambda request: setting(request, b"host"),
    "another Host after the right one": _added(FOREIGN_HOST),
    "another Host before the right one": lambda request: request._replace(headers=(FOREIGN_HOST, *request.headers)),
    "Accept in two headers": lambda request: setting(request, b"accept", b"application/json", b"text/event-stream"),
    "Content-Type twice": lambda request: setting(request, b"content-type", *[b"application/json"] * 2),
    "two versions of the protocol": _added((b"mcp-protocol-version", b"2025-06-18")),
    "the last header twice": lambda request: adding(request, *request.headers[-1:]),
    "names in capitals": _mapped(lambda name, value: (name.upper(), value)),
    "white space around values": _mapped(lambda name, value: (name, b"\t %b \t" % value)),
    "a byte that is no ASCII": _added((b"x", b"\xe9")),
    "a body that is zipped": _zipped,
    "the Origin of a page": _added((b"origin", b"http://localhost:3000")),
    "Connection: close": _added(CLOSE),
    "Connection: close among others": _added((b"connection", b"x, Close")),
    "an upgrade to WebSocket": lambda request: upgrading(request, b"websocket"),
    "an upgrade to HTTP/2": lambda request: upgrading(request, b"h2c"),
    "Expect, and the body at once": _added(EXPECT),
    "Expect of something else": _added((b"expect", b"200-ok")),
    "HTTP/1.0": old,
    "HTTP/1.0, to be kept open": lambda request: adding(old(request), (b"connection", b"keep-alive")),
    "HEAD": lambda request: request._replace(method=b"HEAD", body=b""),
    "OPTIONS": _method(b"OPTIONS"),
    "PUT": _method(b"PUT"),
    "a whole URL": _target(b"http://127.0.0.1/mcp"),
    "a query": _target(b"/mcp?a=b"),
    "a slash at the end of the path": _target(b"/mcp/"),
    "an escape in the path": _target(b"/m%63p"),
}
