"""Frames of a stream: the JSON-RPC notifications that carry ours, and their names on the wire."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from events.ids import ConnectionId
from projections.notifications import Notification, NotificationParams

EXTENSION = "io.github.mcp-chat-broker/events"
"""The extension of 2026-07-28, and the key it adds to the filter of `subscriptions/listen`."""

CONNECTION_META_KEY = "io.github.mcp-chat-broker/connection"
"""In the `_meta` of every frame on a stream: the connection that the frame is for."""

RESOURCE_UPDATED = "notifications/resources/updated"

_encode = msgspec.json.Encoder().encode


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


def notification_frame(notification: Notification) -> Frame:
    """The frame that tells someone something."""
    return Frame(notification.method, notification.params)


def resource_updated_frame(uri: str) -> Frame:
    """The frame that tells someone that their inbox has grown."""
    return Frame(RESOURCE_UPDATED, ResourceUpdated(uri))


def meta_of(connection_id: ConnectionId) -> dict[str, Any]:
    """The `_meta` of every frame for `connection_id`."""
    return {CONNECTION_META_KEY: connection_id}


def event_json(notification: Notification) -> dict[str, Any]:
    """A notification as it stands in a page: `{method, params}`."""
    return {"method": notification.method, "params": msgspec.structs.asdict(notification.params)}
