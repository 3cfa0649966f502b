"""The requests of the lane: usual headers, bodies and envelopes. For all others the functions return `None`.

Types are decoded strictly and unknown keys refused, so a request taken here means the same to the SDK.
(JSON-RPC 2.0; MCP 2025-11-25 and 2026-07-28, basic/transports.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from mcp.server.connection import Connection
from mcp.server.streamable_http import check_accept_headers
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    methods,
)
from mcp_types.version import LATEST_MODERN_VERSION
from starlette.requests import Request
from starlette.types import Scope

from mcp_facade.http.headers import Headers

VERSION = LATEST_MODERN_VERSION.encode()
VALUES_REMEMBERED = 512
META_BYTES_MAX = 1_024
LENGTH_DIGITS_MAX = 9
OPENINGS_MAX = 100
"""Limit of lists and objects in a body; the SDK's parser of sessions refuses JSON nested 200 deep."""

ID_MAX = 2**53

RequestId = Annotated[int, msgspec.Meta(ge=-ID_MAX, le=ID_MAX)] | str


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ToolParams(_Strict, frozen=True):
    """Parameters of `tools/call`, except those for the SDK alone."""

    name: str
    arguments: dict[str, Any] | None = None
    meta: msgspec.Raw = msgspec.field(name="_meta", default=msgspec.Raw(b""))


class ToolCall(_Strict, frozen=True):
    """`tools/call` as a JSON-RPC request."""

    jsonrpc: Literal["2.0"]
    id: RequestId
    method: Literal["tools/call"]
    params: ToolParams


class ListenParams(_Strict, frozen=True):
    """Parameters of `subscriptions/listen`."""

    notifications: dict[str, Any]
    meta: msgspec.Raw = msgspec.field(name="_meta")


class ListenRequest(_Strict, frozen=True):
    """`subscriptions/listen` as a JSON-RPC request."""

    jsonrpc: Literal["2.0"]
    id: RequestId
    method: Literal["subscriptions/listen"]
    params: ListenParams


class Envelope(msgspec.Struct, frozen=True):
    """The client's part of the `_meta` of a 2026-07-28 request, as the SDK understands it."""

    extensions: frozenset[str]


R = TypeVar("R")

TOOL_CALL = msgspec.json.Decoder(ToolCall)
LISTEN_REQUEST = msgspec.json.Decoder(ListenRequest)


def decoded(body: bytes, decoder: msgspec.json.Decoder[R]) -> R | None:
    """Decode `body`; return `None` if it is anything else than the decoder's type."""
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError):
        return None


def is_usual(scope: Scope, headers: Headers, body_bytes_max: int) -> bool:
    """Return whether the request is a POST of JSON in one piece, for both kinds of answer, without repeated headers."""
    length = headers.get(b"content-length", b"")
    content_type = headers.get(b"content-type", b"")
    return (
        scope["method"] == "POST"
        and len(headers) == len(scope["headers"])
        and length.isdigit()
        and len(length) <= LENGTH_DIGITS_MAX
        and int(length) <= body_bytes_max
        and (content_type == b"application/json" or content_type.startswith(b"application/json;"))
        and takes_both(headers.get(b"accept", b""))
    )


def may_be_deep(body: bytes) -> bool:
    """Return whether `body` may be nested deeply enough for parsers to differ; brackets in strings count as well."""
    return body.count(b"[") + body.count(b"{") > OPENINGS_MAX


@lru_cache(VALUES_REMEMBERED)
def takes_both(accept: bytes) -> bool:
    """Return whether `Accept` names JSON and streams, by the SDK's own reading."""
    return all(check_accept_headers(Request({"type": "http", "headers": [(b"accept", accept)]})))


_KNOWN = {PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY}


def envelope_of(meta: msgspec.Raw) -> Envelope | None:
    """Return the envelope in `_meta`; `None` if the SDK refuses it, or it asks for more (progress, log lines)."""
    raw = bytes(meta)
    return _envelope(raw) if len(raw) <= META_BYTES_MAX else None


@lru_cache(VALUES_REMEMBERED)
def _envelope(raw: bytes) -> Envelope | None:
    """Judge `raw` by the SDK's models; cached, since a client sends the same with every request."""
    try:
        meta = msgspec.json.decode(raw, type=dict[str, Any])
        if not meta.keys() <= _KNOWN or meta[PROTOCOL_VERSION_META_KEY] != LATEST_MODERN_VERSION:
            return None
        methods.validate_client_request("tools/call", LATEST_MODERN_VERSION, {"name": "", "_meta": meta})
    except (ValueError, KeyError, RecursionError):
        return None
    connection = Connection.from_envelope(
        LATEST_MODERN_VERSION, meta.get(CLIENT_INFO_META_KEY), meta[CLIENT_CAPABILITIES_META_KEY]
    )
    capabilities = connection.client_capabilities
    return Envelope(frozenset(capabilities.extensions or ()) if capabilities is not None else frozenset())
