"""The stream of `subscriptions/listen`, written with the response's own `send`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from starlette.types import Message

from broker.notifier import Delivery
from mcp_facade.exchange import Exchange
from mcp_facade.fast_lane.answers import StatelessForm, event, notifications
from mcp_facade.get_stream import PING
from mcp_facade.listen import Subscription


class ListenStream:
    """One open stream: writes its frames."""

    def __init__(self, exchange: Exchange, form: StatelessForm, request_id: int | str) -> None:
        self._exchange = exchange
        self._form = form
        self._request_id = request_id

    async def serve(self, subscription: Subscription) -> None:
        """Write until the client leaves, reads too slowly, or the stream is ended: then the result."""
        stream = subscription.stream
        leaving = asyncio.ensure_future(self._end_when_gone(subscription))
        try:
            await self._exchange.send(self._form.stream_start)
            await self._write(notifications([subscription.acknowledgement]))
            while (deliveries := await stream.next()) or not stream.ended:
                if deliveries:
                    await self._write(_frames(subscription, deliveries))
                    stream.written(deliveries)
                if stream.ping_due:
                    stream.ping_due = False
                    await self._write(PING)
            await self._write(event(self._form.listened(self._request_id, subscription.stamp)), more=False)
        finally:
            leaving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        await self._exchange.send(message)

    async def _end_when_gone(self, subscription: Subscription) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        subscription.stream.end()


def _frames(subscription: Subscription, deliveries: Iterable[Delivery]) -> bytes:
    return notifications(frame for delivery in deliveries for frame in subscription.frames(delivery))
