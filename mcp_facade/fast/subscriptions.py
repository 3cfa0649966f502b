"""The stream of `subscriptions/listen`, written with the response's own `send`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from starlette.types import Message

from broker.hub import Delivery
from events.ids import ConnectionId
from mcp_facade.http.encoders import StatelessEncoder, acknowledgement, as_ascii, encode, event
from mcp_facade.http.exchange import HttpExchange
from mcp_facade.streams.get_stream import PING
from mcp_facade.streams.subscriptions import Subscription


class SubscriptionStream:
    """One open stream: writes its frames."""

    def __init__(
        self, exchange: HttpExchange, encoder: StatelessEncoder, request_id: int | str, subscription: Subscription
    ) -> None:
        self._exchange = exchange
        self._encoder = encoder
        self._request_id = request_id
        self._subscription = subscription
        self._metas: dict[ConnectionId, bytes] = {}  # the same in every frame for one connection

    async def serve(self) -> None:
        """Write until the client leaves, reads too slowly, or the stream is ended; after its end, write the result."""
        with self._subscription as subscription:
            stream = subscription.stream
            leaving = asyncio.ensure_future(self._end_when_gone())
            try:
                await self._exchange.send(self._encoder.stream_start)
                await self._write(acknowledgement(subscription.acknowledgement))
                stream.write_now = self._write_now
                while (deliveries := await stream.next()) or not stream.ended:
                    if deliveries:
                        await self._write(self._events(deliveries))
                        stream.written(deliveries)
                    if stream.ping_due:
                        stream.ping_due = False
                        await self._write(PING)
                await self._write(event(self._encoder.listened(self._request_id, subscription.stamp)), more=False)
            finally:
                leaving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await leaving

    def _write_now(self, delivery: Delivery) -> bool:
        return self._exchange.direct.write(self._events((delivery,)))

    def _events(self, deliveries: Iterable[Delivery]) -> bytes:
        return b"".join(
            [
                event(as_ascii(frame.body(self._meta(delivery.connection_id))))
                for delivery in deliveries
                for frame in self._subscription.frames(delivery)
            ]
        )

    def _meta(self, connection_id: ConnectionId) -> bytes:
        meta = self._metas.get(connection_id)
        if meta is None:
            meta = self._metas[connection_id] = encode(self._subscription.meta_of(connection_id))
        return meta

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        await self._exchange.send(message)

    async def _end_when_gone(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        self._subscription.stream.end()
