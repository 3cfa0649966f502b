"""`subscriptions/listen` of 2026-07-28: a request whose answer is a stream of notifications.

Acknowledged first, with the subset that is honoured; every frame is stamped with the request's id. The filter
key of our extension takes handles, and each handle's connection is told everything as it happens; inboxes among
`resourceSubscriptions` are told that there is more. Nothing is replayed: what was missed is read by cursor.
(MCP 2026-07-28, basic/patterns/subscriptions.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    RequestId,
    SubscriptionFilter,
)
from mcp_types.jsonrpc import MISSING_REQUIRED_CLIENT_CAPABILITY

from broker.broker import Broker
from broker.notifier import Delivery
from broker.streams import Stream, Streams, TooManyStreamsError
from events.ids import ConnectionId
from mcp_facade.resources import Resources
from mcp_facade.texts import NO_STREAM
from mcp_facade.wire import EXTENSION, Frame, frame_of, mark_of, meta_of

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


class _Honoured(NamedTuple):
    """What a stream is for: connections that are told everything, and inboxes that are told of growth."""

    handles: dict[str, ConnectionId]
    inboxes: dict[str, ConnectionId]

    def frames(self, delivery: Delivery) -> list[Frame]:
        """The frames that carry `delivery`."""
        who = delivery.connection_id
        frames = [frame_of(delivery.notification)] if who in self.handles.values() else []
        if self.inboxes:
            frames += [mark_of(uri) for uri, owner in self.inboxes.items() if owner == who]
        return frames


class Subscription:
    """An open stream of notifications, whoever writes it; every frame is stamped with the request's id."""

    def __init__(self, stream: Stream, asked: SubscriptionFilter, honoured: _Honoured, request_id: RequestId) -> None:
        self.stream = stream
        self.stamp: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: request_id}
        self._asked = asked
        self._honoured = honoured

    @property
    def acknowledgement(self) -> dict[str, Any]:
        """The params of the first frame, which is `ACKNOWLEDGED`."""
        return {"notifications": _acknowledged(self._asked, self._honoured), "_meta": self.stamp}

    def frames(self, delivery: Delivery) -> list[Frame]:
        """The frames that carry `delivery`."""
        return self._honoured.frames(delivery)

    def meta_of(self, connection_id: ConnectionId) -> dict[str, Any]:
        """The `_meta` of every frame for `connection_id`."""
        return meta_of(connection_id) | self.stamp


class Listening:
    """Opens the streams of one broker that `subscriptions/listen` asks for."""

    def __init__(self, broker: Broker, streams: Streams, resources: Resources) -> None:
        self._broker = broker
        self._streams = streams
        self._resources = resources

    @contextmanager
    def opened(
        self,
        asked: SubscriptionFilter,
        request_id: RequestId,
        extensions: Collection[str],
        cut: Callable[[], None],
        *,
        pinged: bool = False,
    ) -> Iterator[Subscription]:
        """A stream with what is honoured of `asked`, for a client that declares `extensions`.

        Raises:
            MCPError: it can't be, and nothing was opened.
        """
        honoured = _Honoured(self._handles(asked, extensions), self._inboxes(asked))
        stream = self._open(cut, pinged=pinged)
        try:
            for connection_id in {*honoured.handles.values(), *honoured.inboxes.values()}:
                stream.attach(connection_id)
            yield Subscription(stream, asked, honoured, request_id)
        finally:
            self._streams.close(stream)

    def _open(self, cut: Callable[[], None], *, pinged: bool) -> Stream:
        try:
            return self._streams.open("listen", cut, pinged=pinged)
        except TooManyStreamsError:
            raise MCPError(INTERNAL_ERROR, NO_STREAM) from None

    def _handles(self, asked: SubscriptionFilter, extensions: Collection[str]) -> dict[str, ConnectionId]:
        """The handles of our extension's key that are known, and whose they are."""
        extra = asked.model_extra or {}
        if EXTENSION not in extra:
            return {}
        _require_extension(extensions)
        handles = extra[EXTENSION].get("handles") if isinstance(extra[EXTENSION], dict) else None
        if not isinstance(handles, list) or not all(isinstance(handle, str) for handle in handles):
            raise MCPError(INVALID_PARAMS, f'{EXTENSION} must be {{"handles": [...]}}, each of them a string.')
        if len(handles) > self._broker.policy.handles_per_stream_max:
            raise MCPError(INVALID_PARAMS, "Too many handles for one stream. Open another for the rest.")
        known = {handle: self._broker.resolve(handle) for handle in handles}
        return {handle: connection_id for handle, connection_id in known.items() if connection_id is not None}

    def _inboxes(self, asked: SubscriptionFilter) -> dict[str, ConnectionId]:
        """The inboxes among the resources that are known, and whose they are."""
        uris = asked.resource_subscriptions or []
        if len(uris) > self._broker.policy.handles_per_stream_max:
            raise MCPError(INVALID_PARAMS, "Too many resources for one stream. Open another for the rest.")
        known = {uri: self._resources.subscriber(uri) for uri in uris}
        return {uri: connection_id for uri, connection_id in known.items() if connection_id is not None}


def _acknowledged(asked: SubscriptionFilter, honoured: _Honoured) -> dict[str, Any]:
    """The subset of what was asked for that this stream carries; lists never change here, so no flag is in it."""
    subset: dict[str, Any] = {}
    if asked.resource_subscriptions is not None:
        subset["resourceSubscriptions"] = list(honoured.inboxes)
    if EXTENSION in (asked.model_extra or {}):
        subset[EXTENSION] = {"handles": list(honoured.handles)}
    return subset


def _require_extension(declared: Collection[str]) -> None:
    """Refuse a filter key of ours from a client that did not declare the extension it belongs to.

    Raises:
        MCPError: -32021, naming the extension.
    """
    if EXTENSION not in declared:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"Declare the extension {EXTENSION} in your capabilities to use its filter key.",
            {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
        )
