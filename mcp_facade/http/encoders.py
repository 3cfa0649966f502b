"""The responses of the lane: byte for byte the SDK's, except for the time of a ping.

The SDK writes ASCII in 2026-07-28 and UTF-8 in sessions; the order of the keys is that of its models.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from mcp.server.streamable_http import REQUEST_CANCELLED
from mcp_types import SERVER_INFO_META_KEY

from mcp_facade.http.direct_response import Header
from mcp_facade.http.event_stream import STREAM_HEADERS
from mcp_facade.streams.subscriptions import ACKNOWLEDGED
from mcp_facade.tools.results import Answer

encode = msgspec.json.encode

_RESULT_2026 = (
    b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"text":%b,"type":"text"}],"isError":%b,'
    b'"resultType":"complete","structuredContent":%b,"_meta":%b}}'
)
_RESULT_2025 = (
    b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"text":%b,"type":"text"}],"isError":%b,"structuredContent":%b}}'
)
_CANCELLED = b'{"jsonrpc":"2.0","id":%%b,"error":{"code":%d,"message":"Request cancelled"}}' % REQUEST_CANCELLED
_LISTENED = b'{"jsonrpc":"2.0","id":%b,"result":{"_meta":%b,"resultType":"complete"}}'


def event(body: bytes) -> bytes:
    """Return a JSON-RPC message as one event of a stream."""
    return b"event: message\r\ndata: %b\r\n\r\n" % body


def as_ascii(body: bytes) -> bytes:
    """Return JSON in printable ASCII; all else is escaped as by `json.dumps`."""
    if body.isascii() and b"\x7f" not in body:  # other controls are escaped already
        return body
    return json.dumps(msgspec.json.decode(body), separators=(",", ":")).encode()


def _parts(request_id: int | str, answer: Answer) -> tuple[bytes, bytes, bytes, bytes]:
    """Return the id, the payload as text, the refusal flag, and the payload."""
    payload = encode(answer.payload)
    return encode(request_id), encode(payload.decode()), b"true" if answer.is_refusal else b"false", payload


class ResponseEncoder(Protocol):
    """The encoding of a call's response in one era."""

    is_stream_from_the_start: bool
    outlives_its_client: bool  # whether a call goes on after its client has gone

    @property
    def headers(self) -> Sequence[Header]:
        """The headers of an immediate HTTP response, without its length."""
        ...

    @property
    def stream_headers(self) -> Sequence[Header]:
        """The headers of an answer as a stream."""
        ...

    def result(self, request_id: int | str, answer: Answer) -> bytes:
        """Return the JSON-RPC response."""
        ...

    def framed(self, message: bytes) -> bytes:
        """Return the body of an HTTP response with the JSON-RPC response `message` alone."""
        ...


class StatelessEncoder:
    """2026-07-28: JSON, or a stream once a slow answer needs a ping."""

    is_stream_from_the_start = False
    outlives_its_client = False
    headers: Sequence[Header] = [(b"content-type", b"application/json")]
    stream_headers = STREAM_HEADERS

    def __init__(self, server_info: dict[str, Any]) -> None:
        self._server_info = server_info
        self._meta = as_ascii(encode({SERVER_INFO_META_KEY: server_info}))

    def result(self, request_id: int | str, answer: Answer) -> bytes:
        """See `ResponseEncoder`."""
        return as_ascii(_RESULT_2026 % (*_parts(request_id, answer), self._meta))

    def framed(self, message: bytes) -> bytes:
        """See `ResponseEncoder`."""
        return message

    def listened(self, request_id: int | str, stamp: dict[str, Any]) -> bytes:
        """Return the final response of a listen stream."""
        meta = encode(stamp | {SERVER_INFO_META_KEY: self._server_info})
        return as_ascii(_LISTENED % (encode(request_id), meta))


class SessionEncoder:
    """A session of 2025: always a stream, of one event.

    Its headers don't name the session: only the response that opens one does, so no error ever names one.
    """

    is_stream_from_the_start = True
    outlives_its_client = True

    headers: Sequence[Header] = [
        (b"cache-control", b"no-cache, no-transform"),
        (b"content-type", b"text/event-stream"),
        (b"x-accel-buffering", b"no"),
    ]
    stream_headers = headers

    def result(self, request_id: int | str, answer: Answer) -> bytes:
        """See `ResponseEncoder`."""
        return _RESULT_2025 % _parts(request_id, answer)

    def framed(self, message: bytes) -> bytes:
        """See `ResponseEncoder`."""
        return event(message)


def cancelled(request_id: int | str) -> bytes:
    """Return the JSON-RPC error for a call cancelled by its client of 2025."""
    return _CANCELLED % encode(request_id)


def acknowledgement(params: dict[str, Any]) -> bytes:
    """Return the first event of a 2026-07-28 stream."""
    return event(as_ascii(encode({"jsonrpc": "2.0", "method": ACKNOWLEDGED, "params": params})))
