"""The requests of someone who chats, and right, odd and wrong ways to lay them on the wire."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any, NamedTuple

from events.policy import Policy
from tests.facade.people import InSession, Modern, events_of, posted
from tests.fuzz.requests import Request

BODY_BYTES_MAX = Policy().body_bytes_max
WAIT_SECONDS = 20
LAST_CHUNK = b"0\r\n\r\n"

Header = tuple[bytes, bytes]


class Asked(NamedTuple):
    """Requests of someone who is in a room."""

    call: Request
    """It says something to the partner."""
    wait: Request
    """A call that lasts until the partner says something."""
    stream: Request
    """The request that opens the stream of the era."""


def asked_by(person: Modern | InSession, cursor: int) -> Asked:
    """The requests of `person`, who has heard all up to `cursor`."""
    call = _call(person, "send_message", room_id=person.room_id, message="hello")
    wait = _call(person, "wait_for_events", cursor=cursor, wait_seconds=WAIT_SECONDS)
    if isinstance(person, InSession):
        return Asked(call, wait, stream=call._replace(method=b"GET", body=b"", framing="none"))
    return Asked(call, wait, stream=_post(person, "subscriptions/listen", {"notifications": events_of(person.handle)}))


def _call(person: Modern | InSession, name: str, **arguments: Any) -> Request:
    return _post(person, "tools/call", {"name": name, "arguments": {"handle": person.handle, **arguments}}, name)


def _post(person: Modern | InSession, method: str, params: dict[str, Any], name: str | None = None) -> Request:
    headers, body = posted(person, method, params, name)
    lines = tuple((name.encode(), value.encode()) for name, value in headers.items())
    return Request(b"POST", b"/mcp", lines, body)


def adding(request: Request, *headers: Header) -> Request:
    """`request` with `headers` behind those that it has."""
    return request._replace(headers=(*request.headers, *headers))


def setting(request: Request, name: bytes, *values: bytes) -> Request:
    """`request` with a header of that name for each of `values`, and no other."""
    others = (header for header in request.headers if header[0] != name)
    return request._replace(headers=(*others, *((name, value) for value in values)))


def mapped(request: Request, change: Callable[[bytes, bytes], Header]) -> Request:
    """`request` with each header changed."""
    return request._replace(headers=tuple(change(*header) for header in request.headers))


def upgrading(request: Request, protocol: bytes) -> Request:
    """`request`, which would rather go on with another protocol."""
    return adding(request, (b"connection", b"upgrade"), (b"upgrade", protocol))


def old(request: Request) -> Request:
    """`request` in HTTP/1.0."""
    return request._replace(version=b"HTTP/1.0")


def no_json(request: Request) -> Request:
    """`request` with half an object for its body."""
    return request._replace(body=b"{")


def zipped(request: Request) -> Request:
    """`request` with its body compressed."""
    return adding(request._replace(body=gzip.compress(request.body, mtime=0)), (b"content-encoding", b"gzip"))


def padded(request: Request, body_bytes: int) -> Request:
    """`request` with so much white space behind its body that it is so long."""
    return request._replace(body=request.body.ljust(body_bytes))


def sized(request: Request, length: bytes) -> Request:
    """`request` with its length written in that way."""
    return adding(request._replace(framing="none"), (b"content-length", length % len(request.body)))


def head_of(request: Request) -> bytes:
    """All before the body."""
    return request.wire({}).removesuffix(request.body)


def chunked(request: Request, chunk_bytes: int) -> bytes:
    """`request` in chunks of so many bytes at most, without the empty one that ends it."""
    head = head_of(adding(request._replace(framing="none"), (b"transfer-encoding", b"chunked")))
    chunks = (request.body[at : at + chunk_bytes] for at in range(0, len(request.body), chunk_bytes))
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
