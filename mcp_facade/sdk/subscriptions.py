"""`subscriptions/listen` as the SDK serves it: from its context to its notifications."""

from __future__ import annotations

from typing import Any, cast

import msgspec
from mcp_types import ServerNotification, SubscriptionsListenRequestParams, SubscriptionsListenResult
from pydantic import BaseModel

from mcp_facade.http.direct_response import direct_response_of
from mcp_facade.sdk.context import Context
from mcp_facade.streams.subscriptions import ACKNOWLEDGED, Subscription, Subscriptions


class _Frame(BaseModel):
    """A notification without a type in the SDK."""

    method: str
    params: dict[str, Any]


class SdkSubscriptions:
    """Serves `subscriptions/listen` of one broker."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    async def listen(self, ctx: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Serve one stream until the client leaves, reads too slowly, or the broker shuts down."""
        assert ctx.request is not None
        abort = direct_response_of(ctx.request.scope).abort
        capabilities = ctx.session.client_capabilities
        extensions = capabilities.extensions if capabilities is not None else None
        await self._subscriptions.look_up(params.notifications)
        with self._subscriptions.open(params.notifications, _id_of(ctx), extensions or (), abort) as subscription:
            await _send(ctx, ACKNOWLEDGED, subscription.acknowledgement)
            await self._write(ctx, subscription)
        return SubscriptionsListenResult(_meta=subscription.stamp)

    async def _write(self, ctx: Context, subscription: Subscription) -> None:
        stream = subscription.stream
        while (deliveries := await stream.next()) or not stream.ended:
            for delivery in deliveries:
                meta = {"_meta": subscription.meta_of(delivery.connection_id)}
                for method, params in subscription.frames(delivery):
                    await _send(ctx, method, msgspec.structs.asdict(params) | meta)
            stream.written(deliveries)


def _id_of(ctx: Context) -> str | int:
    assert ctx.request_id is not None
    return ctx.request_id


async def _send(ctx: Context, method: str, params: dict[str, Any]) -> None:
    notification = cast("ServerNotification", _Frame(method=method, params=params))
    await ctx.session.send_notification(notification, related_request_id=ctx.request_id)
