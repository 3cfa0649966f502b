"""Frames of a stream: JSON-RPC notifications with ours as their content, and their names on the wire."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

from projections.notifications import Notification, NotificationParams

EXTENSION = "io.github.mcp-chat-broker/events"
"""The extension of 2026-07-28, and its key in the filter of `subscriptions/listen`."""

CONNECTION_META_KEY = "io.github.mcp-chat-broker/connection"
"""The key in every frame's `_meta` for the connection of the frame."""

RESOURCE_UPDATED = "notifications/resources/updated"

_encode = msgspec.json.Encoder().encode


class ResourceUpdated(msgspec.Struct, frozen=True, gc=False):
    """The inbox of that URI has grown."""

    uri: str


class Frame(NamedTuple):
    """The method and params of a frame, without the `_meta` common to all frames of its connection."""

    method: str
    params: NotificationParams | ResourceUpdated

    def body(self, meta: bytes) -> bytes:
        """Return the frame as a JSON-RPC notification; `meta` is JSON."""
        params = _encode(self.params)[:-1]  # params are never empty
        return b'{"jsonrpc":"2.0","method":"%b","params":%b,"_meta":%b}}' % (self.method.encode(), params, meta)


def resource_updated_frame(uri: str) -> Frame:
    """Return the frame that announces growth of the inbox `uri`."""
    return Frame(RESOURCE_UPDATED, ResourceUpdated(uri))


ANSWER_BYTES = 2_048
"""The answer of a tool takes less without its events."""


def bytes_in_answer(notification: Notification) -> int:
    """Return at least the bytes of a notification in a tool's answer.

    An answer has it as JSON, and again in the copy as text. 2026-07-28 writes both in ASCII.
    """
    return 2 * len(json.dumps(_encode(notification).decode()))


def params_json(params: NotificationParams | ResourceUpdated) -> dict[str, Any]:
    """Return params as a dict, with the keys that they have on the wire."""
    fields: dict[str, Any] = msgspec.to_builtins(params)
    return fields


def event_json(notification: Notification) -> dict[str, Any]:
    """Return a notification in the form of a page: `{method, params}`."""
    return {"method": notification.method, "params": params_json(notification.params)}
