"""The stream of `subscriptions/listen`, written with the response's own `send`."""

from __future__ import annotations

from broker.hub import Delivery
from broker.streams import Stream
from events.ids import ConnectionId
from mcp_facade.http.encoders import StatelessEncoder, acknowledgement, as_ascii, encode, event
from mcp_facade.http.event_stream import EventStreamResponse
from mcp_facade.streams.subscriptions import Subscription


class SubscriptionEncoder:
    """Makes the events of one stream (a `DeliveryEncoder`)."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._metas: dict[ConnectionId, bytes] = {}  # the same in every frame for one connection

    def encode(self, delivery: Delivery) -> bytes:
        """Return the events of `delivery`."""
        who = delivery.connection_id
        meta = self._metas.get(who)
        if meta is None:
            meta = self._metas[who] = encode(self._subscription.meta_of(who))
        events = b""
        for frame in self._subscription.frames(delivery):
            events += event(as_ascii(frame.body(meta)))
        return events


async def serve_subscription(
    subscription: Subscription,
    stream: Stream[bytes],
    response: EventStreamResponse,
    encoder: StatelessEncoder,
    request_id: int | str,
) -> None:
    """Write until the client leaves, reads too slowly, or the stream is ended; then write the request's result."""
    try:
        async with response.watched(stream.end):
            await response.start(encoder.stream_headers)
            await response.write([acknowledgement(subscription.acknowledgement())])
            await stream.run()
            await response.finish(event(encoder.listened(request_id, subscription.stamp)))
    finally:
        stream.close()
