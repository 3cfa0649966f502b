"""`subscriptions/listen` of 2026-07-28: a request with a stream of notifications as its answer.

The first frame acknowledges the honoured subset; every frame is stamped with the request's id. Our extension's key in
the filter takes handles, and the stream carries all notifications of their connections as they happen. For inboxes in
`resourceSubscriptions` it announces growth alone. Nothing is replayed: missed notifications are read by cursor.
(MCP 2026-07-28, basic/patterns/subscriptions.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
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
from broker.hub import Delivery
from broker.streams import Stream, Streams, TooManyStreamsError
from events.ids import ConnectionId
from mcp_facade.resources import Resources, parse_inbox_uri
from mcp_facade.streams.frames import EXTENSION, Frame, meta_of, notification_frame, resource_updated_frame
from mcp_facade.texts import NO_STREAM, REFUSALS

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


class _Honoured(NamedTuple):
    """The scope of a stream: connections with all notifications, and inboxes with marks of growth.

    `None` stands for a part not asked for.
    """

    handles: dict[str, ConnectionId] | None
    inboxes: dict[str, ConnectionId] | None

    def connections(self) -> set[ConnectionId]:
        """Return the connections of both parts."""
        return {*(self.handles or {}).values(), *(self.inboxes or {}).values()}

    def frames(self, delivery: Delivery) -> list[Frame]:
        """Return the frames of `delivery`."""
        who = delivery.connection_id
        frames = [notification_frame(delivery.notification)] if self.handles and who in self.handles.values() else []
        if self.inboxes:
            frames += [resource_updated_frame(uri) for uri, owner in self.inboxes.items() if owner == who]
        return frames

    def acknowledged(self) -> dict[str, Any]:
        """Return the honoured subset of the filter; lists never change here, so it has no flag."""
        subset: dict[str, Any] = {}
        if self.inboxes is not None:
            subset["resourceSubscriptions"] = list(self.inboxes)
        if self.handles is not None:
            subset[EXTENSION] = {"handles": list(self.handles)}
        return subset


class Subscription:
    """An open stream of notifications; every frame is stamped with the request's id.

    Leaving its context closes the stream. It lasts for hours, so it keeps nothing of the request.
    """

    def __init__(self, streams: Streams, stream: Stream, honoured: _Honoured, request_id: RequestId) -> None:
        self.stream = stream
        self.stamp: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: request_id}
        self._streams = streams
        self._honoured = honoured

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *raised: object) -> None:
        self._streams.close(self.stream)

    @property
    def acknowledgement(self) -> dict[str, Any]:
        """Return the params of the first frame (`ACKNOWLEDGED`)."""
        return {"notifications": self._honoured.acknowledged(), "_meta": self.stamp}

    def frames(self, delivery: Delivery) -> list[Frame]:
        """Return the frames of `delivery`."""
        return self._honoured.frames(delivery)

    def meta_of(self, connection_id: ConnectionId) -> dict[str, Any]:
        """Return the `_meta` of every frame for `connection_id`."""
        return meta_of(connection_id) | self.stamp


class Subscriptions:
    """Opens the `subscriptions/listen` streams of one broker."""

    def __init__(self, broker: Broker, streams: Streams, resources: Resources) -> None:
        self._broker = broker
        self._streams = streams
        self._resources = resources

    def knows_all(self, asked: SubscriptionFilter) -> bool:
        """Return whether `asked` can be judged here; another broker may know a handle that is unknown here."""
        return not self._broker.log.is_shared or all(self._broker.resolve(handle) for handle in _handles_in(asked))

    async def look_up(self, asked: SubscriptionFilter) -> None:
        """Catch up with the other brokers, if `asked` names a handle unknown here.

        Raises:
            MCPError: the log does not answer in time.
        """
        if not self.knows_all(asked) and not await self._broker.caught_up():
            raise MCPError(INTERNAL_ERROR, REFUSALS["unavailable"])

    def open(
        self,
        asked: SubscriptionFilter,
        request_id: RequestId,
        extensions: Collection[str],
        abort: Callable[[], None],
        *,
        pinged: bool = False,
    ) -> Subscription:
        """Open a stream with the honoured subset of `asked`, for a client that declares `extensions`; enter the result.

        Raises:
            MCPError: the stream is refused, and nothing was opened.
        """
        honoured = _Honoured(self._handles(asked, extensions), self._inboxes(asked))
        try:
            stream = self._streams.open("listen", abort, pinged=pinged)
        except TooManyStreamsError:
            raise MCPError(INTERNAL_ERROR, NO_STREAM) from None
        for connection_id in honoured.connections():
            stream.attach(connection_id)
        return Subscription(self._streams, stream, honoured, request_id)

    def _handles(self, asked: SubscriptionFilter, extensions: Collection[str]) -> dict[str, ConnectionId] | None:
        """Return the known handles under our extension's key, and their connections."""
        extra = asked.model_extra or {}
        if EXTENSION not in extra:
            return None
        _require_extension(extensions)
        handles = extra[EXTENSION].get("handles") if isinstance(extra[EXTENSION], dict) else None
        if not isinstance(handles, list) or not all(isinstance(handle, str) for handle in handles):
            raise MCPError(INVALID_PARAMS, f'{EXTENSION} must be {{"handles": [...]}}, each of them a string.')
        if len(handles) > self._broker.policy.handles_per_stream_max:
            raise MCPError(INVALID_PARAMS, "Too many handles for one stream. Open another for the rest.")
        known = {handle: self._broker.resolve(handle) for handle in handles}
        return {handle: connection_id for handle, connection_id in known.items() if connection_id is not None}

    def _inboxes(self, asked: SubscriptionFilter) -> dict[str, ConnectionId] | None:
        """Return the known inboxes among the resources, and their owners."""
        uris = asked.resource_subscriptions
        if uris is None:
            return None
        if len(uris) > self._broker.policy.handles_per_stream_max:
            raise MCPError(INVALID_PARAMS, "Too many resources for one stream. Open another for the rest.")
        known = {uri: self._resources.subscriber(uri) for uri in uris}
        return {uri: connection_id for uri, connection_id in known.items() if connection_id is not None}


def _handles_in(asked: SubscriptionFilter) -> Iterator[str]:
    """Yield the handles in `asked`, named directly or in the URIs of inboxes."""
    ours = (asked.model_extra or {}).get(EXTENSION)
    named = ours.get("handles") if isinstance(ours, dict) else None
    if isinstance(named, list):
        yield from (handle for handle in named if isinstance(handle, str))
    for uri in asked.resource_subscriptions or ():
        if (inbox := parse_inbox_uri(uri)) is not None:
            yield inbox.handle


def _require_extension(declared: Collection[str]) -> None:
    """Refuse our filter key from a client that did not declare its extension.

    Raises:
        MCPError: -32021, naming the extension.
    """
    if EXTENSION not in declared:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"Declare the extension {EXTENSION} in your capabilities to use its filter key.",
            {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
        )
