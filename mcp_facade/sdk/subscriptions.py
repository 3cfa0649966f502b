"""`subscriptions/listen` as the SDK serves it: from its context to its notifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from mcp_types import ServerNotification, SubscriptionsListenRequestParams, SubscriptionsListenResult
from pydantic import BaseModel

from broker.hub import Delivery
from mcp_facade.http.direct_response import direct_response_of
from mcp_facade.sdk.context import Context
from mcp_facade.streams.frames import params_json
from mcp_facade.streams.subscriptions import ACKNOWLEDGED, Subscription, Subscriptions


class _Frame(BaseModel):
    """A notification without a type in the SDK."""

    method: str
    params: dict[str, Any]


_Frames = list[tuple[str, dict[str, Any]]]
"""The method and params of each frame of a delivery."""


class SdkSubscriptions:
    """Serves `subscriptions/listen` of one broker."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    async def listen(self, ctx: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Serve one stream until the client leaves, reads too slowly, or the broker shuts down."""
        asked, transport = params.notifications, _SdkTransport(ctx)
        capabilities = ctx.session.client_capabilities
        extensions = capabilities.extensions if capabilities is not None else None
        await self._subscriptions.look_up(asked)
        subscription = self._subscriptions.honour(asked, _id_of(ctx), extensions or ())
        encoder = _SdkEncoder(subscription)
        stream = self._subscriptions.open(subscription, encoder, transport, pinged=False)  # the SDK pings
        try:
            await _send(ctx, ACKNOWLEDGED, subscription.acknowledgement())
            await stream.run()
        finally:
            stream.close()
        return SubscriptionsListenResult(_meta=subscription.stamp)


class _SdkEncoder:
    """Makes the frames of one stream (a `DeliveryEncoder`)."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    def encode(self, delivery: Delivery) -> _Frames:
        """Return the frames of `delivery`."""
        meta = {"_meta": self._subscription.meta_of(delivery.connection_id)}
        frames = self._subscription.frames(delivery)
        return [(method, params_json(params) | meta) for method, params in frames]


class _SdkTransport:
    """Writes the frames of one stream as the SDK's notifications (a `StreamTransport`)."""

    def __init__(self, ctx: Context) -> None:
        assert ctx.request is not None
        self._ctx = ctx
        self._direct = direct_response_of(ctx.request.scope)

    def is_writable(self) -> bool:
        """Return `False`: the SDK has no way to write without waiting."""
        return False

    def is_open(self) -> bool:
        """See `StreamTransport`; the SDK writes a little later."""
        return self._direct.is_open()

    def write_now(self, frames: _Frames) -> None:
        """Never called."""

    async def write(self, frames: Sequence[_Frames]) -> None:
        """Send `frames`, one notification each."""
        for delivery_frames in frames:
            for method, params in delivery_frames:
                await _send(self._ctx, method, params)

    async def ping(self) -> None:
        """Never called: the SDK pings."""

    def abort(self) -> None:
        """Drop the connection."""
        self._direct.abort()


def _id_of(ctx: Context) -> str | int:
    assert ctx.request_id is not None
    return ctx.request_id


async def _send(ctx: Context, method: str, params: dict[str, Any]) -> None:
    notification = cast("ServerNotification", _Frame(method=method, params=params))
    await ctx.session.send_notification(notification, related_request_id=ctx.request_id)
