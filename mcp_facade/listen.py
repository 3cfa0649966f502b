"""`subscriptions/listen` of 2026-07-28: a request whose answer is a stream of notifications.

Acknowledged first, with the subset that is honoured; every frame is stamped with the request's id. The filter
key of our extension takes handles, and each handle's connection is told everything as it happens; inboxes among
`resourceSubscriptions` are told that there is more. Nothing is replayed: what was missed is read by cursor.
(MCP 2026-07-28, basic/patterns/subscriptions.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    ServerNotification,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)
from mcp_types.jsonrpc import MISSING_REQUIRED_CLIENT_CAPABILITY
from pydantic import BaseModel

from broker.broker import Broker
from broker.notifier import Delivery
from broker.streams import Stream, Streams, TooManyStreamsError
from events.ids import ConnectionId
from mcp_facade.context import Context
from mcp_facade.resources import Resources
from mcp_facade.texts import NO_STREAM
from mcp_facade.wire import CUT_KEY, EXTENSION, RESOURCE_UPDATED, notification_params, updated_params

ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


class _Frame(BaseModel):
    """A notification that the SDK has no type for."""

    method: str
    params: dict[str, Any]


class _Honoured(NamedTuple):
    """What a stream is for: connections that are told everything, and inboxes that are told of growth."""

    handles: dict[str, ConnectionId]
    inboxes: dict[str, ConnectionId]

    def frames(self, delivery: Delivery) -> Iterable[tuple[str, dict[str, Any]]]:
        """The frames that carry `delivery`."""
        who = delivery.connection_id
        if who in self.handles.values():
            yield delivery.notification.method, notification_params(who, delivery.notification)
        for uri, owner in self.inboxes.items():
            if owner == who:
                yield RESOURCE_UPDATED, updated_params(who, uri)


class Listening:
    """Serves `subscriptions/listen` of one broker."""

    def __init__(self, broker: Broker, streams: Streams, resources: Resources) -> None:
        self._broker = broker
        self._streams = streams
        self._resources = resources

    async def listen(self, ctx: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Serve one stream until the client leaves, reads too slowly, or the broker shuts down."""
        asked = params.notifications
        honoured = _Honoured(self._handles(ctx, asked), self._inboxes(asked))
        stream = self._open(ctx)
        stamp = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        try:
            for connection_id in {*honoured.handles.values(), *honoured.inboxes.values()}:
                stream.attach(connection_id)
            await self._send(ctx, ACKNOWLEDGED, {"notifications": _acknowledged(asked, honoured), "_meta": stamp})
            await self._write(ctx, stream, honoured, stamp)
        finally:
            self._streams.close(stream)
        return SubscriptionsListenResult(_meta=stamp)

    def _open(self, ctx: Context) -> Stream:
        assert ctx.request is not None
        try:
            return self._streams.open("listen", ctx.request.scope["extensions"][CUT_KEY])
        except TooManyStreamsError:
            raise MCPError(INTERNAL_ERROR, NO_STREAM) from None

    async def _write(self, ctx: Context, stream: Stream, honoured: _Honoured, stamp: dict[str, Any]) -> None:
        while (deliveries := await stream.next()) or not stream.ended:
            for delivery in deliveries:
                for method, params in honoured.frames(delivery):
                    params["_meta"] |= stamp
                    await self._send(ctx, method, params)
            stream.written(deliveries)

    async def _send(self, ctx: Context, method: str, params: dict[str, Any]) -> None:
        frame = cast("ServerNotification", _Frame(method=method, params=params))
        await ctx.session.send_notification(frame, related_request_id=ctx.request_id)

    def _handles(self, ctx: Context, asked: SubscriptionFilter) -> dict[str, ConnectionId]:
        """The handles of our extension's key that are known, and whose they are."""
        extra = asked.model_extra or {}
        if EXTENSION not in extra:
            return {}
        _require_extension(ctx)
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


def _require_extension(ctx: Context) -> None:
    """Refuse a filter key of ours from a client that did not declare the extension it belongs to.

    Raises:
        MCPError: -32021, naming the extension.
    """
    capabilities = ctx.session.client_capabilities
    if capabilities is None or EXTENSION not in (capabilities.extensions or {}):
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"Declare the extension {EXTENSION} in your capabilities to use its filter key.",
            {"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
        )
