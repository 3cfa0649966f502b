"""Headers of requests: their names, and the protocol's version."""

from __future__ import annotations

from collections.abc import Mapping

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.types import Scope

VERSION_HEADER = b"mcp-protocol-version"
SESSION_HEADER = b"mcp-session-id"
LAST_EVENT_ID_HEADER = b"last-event-id"

ANY = (b"accept", b"*/*")

_HANDSHAKES = frozenset(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS)

Headers = Mapping[bytes, bytes]
"""The headers of a request by their lower-case names; of a repeated one the first, as the SDK reads them."""


def headers_of(scope: Scope) -> Headers:
    """Return the headers of `scope`, without the white space around values, which the parser leaves on.

    RFC 9110, 5.5: it is no part of the value. A request without `Accept` takes anything (12.5.1); it is written out
    here, since the SDK refuses such a request.
    """
    scope["headers"] = stripped = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
    headers = dict(reversed(stripped))
    if not headers.get(b"accept"):
        scope["headers"] = [*((name, value) for name, value in stripped if name != b"accept"), ANY]
        headers[b"accept"] = ANY[1]
    return headers


def is_modern(protocol_version: str) -> bool:
    """Return whether requests of this version stand alone, with no session."""
    return protocol_version in MODERN_PROTOCOL_VERSIONS


def is_stateless_request(version_header: bytes | None) -> bool:
    """Return whether a request goes to the stateless side: its header names a version, and not one with a handshake."""
    return version_header is not None and version_header not in _HANDSHAKES
