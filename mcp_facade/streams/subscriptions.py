"""`subscriptions/listen` of 2026-07-28: a request with a stream of notifications as its answer.

The first frame acknowledges the honoured subset; every frame is stamped with the request's id. Our extension's key in
the filter takes handles, and the stream carries all notifications of their connections as they happen. For inboxes in
`resourceSubscriptions` it announces growth alone. Nothing is replayed: missed notifications are read by cursor.
(MCP 2026-07-28, basic/patterns/subscriptions.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, TypeVar

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
from broker.streams import DeliveryEncoder, Stream, StreamTransport, TooManyStreamsError
from events.ids import ConnectionId, connection_id_of
from mcp_facade.resources import Resources, parse_inbox_uri
from mcp_facade.streams.frames import CONNECTION_META_KEY, EXTENSION, Frame, resource_updated_frame
from mcp_facade.texts import NO_STREAM, REFUSALS

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"

F = TypeVar("F")


class Subscription:
    """The honoured subset of a filter: connections with all notifications, and inboxes with marks of growth.

    `None` stands for a part not asked for. It lasts as long as its stream, so it keeps nothing else of the request.
    """

    def __init__(
        self, request_id: RequestId, handles: dict[str, ConnectionId] | None, inboxes: dict[str, ConnectionId] | None
    ) -> None:
        self.stamp: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: request_id}
        """The part of `_meta` that is common to all frames."""
        self._handles = handles
        self._inboxes = inboxes
        self._notified = frozenset((handles or {}).values())

    def connections(self) -> set[ConnectionId]:
        """Return the connections of both parts."""
        return {*self._notified, *(self._inboxes or {}).values()}

    def frames(self, delivery: Delivery) -> list[Frame]:
        """Return the frames of `delivery`."""
        who, notification = delivery.connection_id, delivery.notification
        frames = [Frame(notification.method, notification.params)] if who in self._notified else []
        if self._inboxes:
            frames += [resource_updated_frame(uri) for uri, owner in self._inboxes.items() if owner == who]
        return frames

    def acknowledgement(self) -> dict[str, Any]:
        """Return the params of the first frame (`ACKNOWLEDGED`); lists never change here, so there is no flag."""
        subset: dict[str, Any] = {}
        if self._inboxes is not None:
            subset["resourceSubscriptions"] = list(self._inboxes)
        if self._handles is not None:
            subset[EXTENSION] = {"handles": list(self._handles)}
        return {"notifications": subset, "_meta": self.stamp}

    def meta_of(self, connection_id: ConnectionId) -> dict[str, Any]:
        """Return the `_meta` of every frame for `connection_id`."""
        return {CONNECTION_META_KEY: connection_id} | self.stamp


class Subscriptions:
    """Opens the `subscriptions/listen` streams of one broker."""

    def __init__(self, broker: Broker, resources: Resources) -> None:
        self._log = broker.log
        self._replica = broker.replica
        self._reads = broker.reads
        self._streams = broker.streams
        self._resources = resources

    def knows_all(self, asked: SubscriptionFilter) -> bool:
        """Return whether `asked` can be judged here; another broker may know a handle that is unknown here."""
        return not self._log.is_shared or all(map(self._connection_of, _handles_in(asked)))

    async def look_up(self, asked: SubscriptionFilter) -> None:
        """Catch up with the other brokers, if `asked` names a handle unknown here.

        Raises:
            MCPError: the log does not answer in time.
        """
        if not self.knows_all(asked) and not await self._replica.caught_up():
            raise MCPError(INTERNAL_ERROR, REFUSALS["unavailable"])

    def honour(self, asked: SubscriptionFilter, request_id: RequestId, extensions: Collection[str]) -> Subscription:
        """Return the honoured subset of `asked`, for a client that declares `extensions`.

        Raises:
            MCPError: it is refused.
        """
        return Subscription(request_id, self._handles(asked, extensions), self._inboxes(asked))

    def open(
        self, subscription: Subscription, encoder: DeliveryEncoder[F], transport: StreamTransport[F], *, pinged: bool
    ) -> Stream[F]:
        """Open the stream of `subscription`; the caller runs and closes it.

        Raises:
            MCPError: there are too many, and nothing was opened.
        """
        try:
            stream = self._streams.open("listen", encoder, transport, pinged=pinged)
        except TooManyStreamsError:
            raise MCPError(INTERNAL_ERROR, NO_STREAM) from None
        for connection_id in subscription.connections():
            stream.attach(connection_id)
        return stream

    def _connection_of(self, handle: str) -> ConnectionId | None:
        connection_id = connection_id_of(handle)
        return connection_id if self._reads.knows(connection_id) else None

    def _handles(self, asked: SubscriptionFilter, extensions: Collection[str]) -> dict[str, ConnectionId] | None:
        """Return the known handles under our extension's key, and their connections."""
        extra = asked.model_extra or {}
        if EXTENSION not in extra:
            return None
        _require_extension(extensions)
        handles = extra[EXTENSION].get("handles") if isinstance(extra[EXTENSION], dict) else None
        if not isinstance(handles, list) or not all(isinstance(handle, str) for handle in handles):
            raise MCPError(INVALID_PARAMS, f'{EXTENSION} must be {{"handles": [...]}}, each of them a string.')
        if len(handles) > self._replica.state.policy.handles_per_stream_max:
            raise MCPError(INVALID_PARAMS, "Too many handles for one stream. Open another for the rest.")
        known = {handle: self._connection_of(handle) for handle in handles}
        return {handle: connection_id for handle, connection_id in known.items() if connection_id is not None}

    def _inboxes(self, asked: SubscriptionFilter) -> dict[str, ConnectionId] | None:
        """Return the known inboxes among the resources, and their owners."""
        uris = asked.resource_subscriptions
        if uris is None:
            return None
        if len(uris) > self._replica.state.policy.handles_per_stream_max:
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
