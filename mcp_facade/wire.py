"""Names on the wire, and the shape of the frames that carry notifications."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from events.ids import ConnectionId
from projections.deliveries import Notification, NotificationParams

EXTENSION = "io.github.mcp-chat-broker/events"
"""The extension of 2026-07-28, and the key it adds to the filter of `subscriptions/listen`."""

CONNECTION_META_KEY = "io.github.mcp-chat-broker/connection"
"""In the `_meta` of every frame on a stream: the connection that the frame is for."""

VERSION_HEADER = b"mcp-protocol-version"
SESSION_HEADER = b"mcp-session-id"
LAST_EVENT_ID_HEADER = b"last-event-id"

RESOURCE_UPDATED = "notifications/resources/updated"

EXCHANGE_KEY = "chat_broker.exchange"
"""Where the ASGI scope of a call holds its `Exchange`."""

PRIMED_SINCE = b"2025-11-25"
"""The first version whose clients know a stream that starts with an event id and no event."""


_encode = msgspec.json.Encoder().encode


def is_modern(protocol_version: str) -> bool:
    """Whether requests of this version stand alone, with no session."""
    return protocol_version in MODERN_PROTOCOL_VERSIONS


_HANDSHAKES = frozenset(version.encode() for version in HANDSHAKE_PROTOCOL_VERSIONS)


def is_stateless_request(version_header: bytes | None) -> bool:
    """Whether a request goes to the stateless side: every version named in a header but those with a handshake."""
    return version_header is not None and version_header not in _HANDSHAKES


class ResourceUpdated(msgspec.Struct, frozen=True, gc=False):
    """The inbox of that URI has grown."""

    uri: str


class Frame(NamedTuple):
    """What a frame of a stream says, but for the `_meta` that all of its connection share."""

    method: str
    params: NotificationParams | ResourceUpdated

    def body(self, meta: bytes) -> bytes:
        """As a JSON-RPC notification; `meta` is JSON."""
        params = _encode(self.params)[:-1]  # none is empty
        return b'{"jsonrpc":"2.0","method":"%b","params":%b,"_meta":%b}}' % (self.method.encode(), params, meta)


def frame_of(notification: Notification) -> Frame:
    """The frame that tells someone something."""
    return Frame(notification.method, notification.params)


def mark_of(uri: str) -> Frame:
    """The frame that tells someone that their inbox has grown."""
    return Frame(RESOURCE_UPDATED, ResourceUpdated(uri))


def meta_of(connection_id: ConnectionId) -> dict[str, Any]:
    """The `_meta` of every frame for `connection_id`."""
    return {CONNECTION_META_KEY: connection_id}


def event_json(notification: Notification) -> dict[str, Any]:
    """A notification as it stands in a page: `{method, params}`."""
    return {"method": notification.method, "params": msgspec.structs.asdict(notification.params)}
