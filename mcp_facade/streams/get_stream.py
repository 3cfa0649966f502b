"""The GET stream of a 2025 session: the notifications of its handles, live, and those that it missed.

It is served before the SDK, whose event store is blind to sessions and whose router stalls on an unread stream.
The event id is `<epoch>.<position>.<n>`: n is the mask of the position's notifications received by the client.
With `Last-Event-ID` the stream continues from the log, exactly once and in order, then live. The mark for growth of
an inbox comes before its notification and is not counted: a client with the notification has had the mark.
(MCP 2025-11-25, basic/transports, 'Resumability and redelivery'.)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import msgspec
import structlog
from starlette.types import Receive, Send

from broker.broker import Broker
from broker.hub import Delivery
from broker.reads import notifications_after
from broker.streams import Stream
from events.log import LogUnavailableError
from mcp_facade.http.direct_response import DirectResponse
from mcp_facade.http.headers import SESSION_HEADER
from mcp_facade.session import ResumePoint, Session
from mcp_facade.streams.frames import meta_of, notification_frame, resource_updated_frame
from projections.state import State

logger = structlog.get_logger(__name__)

PRIMED_SINCE = b"2025-11-25"
"""The first version whose clients accept an event with an id and no data."""

PING = b": ping\r\n\r\n"

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


def parse_event_id(event_id: str, epoch: str) -> ResumePoint | None:
    """Return the point of `Last-Event-ID`; `None` if it is another log's, or malformed."""
    parts = event_id.split(".")
    if len(parts) != 3 or parts[0] != epoch:
        return None
    if not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts[1:]):
        return None
    return ResumePoint(int(parts[1]), int(parts[2]))


class GetStream:
    """One open GET: writes the frames of one session."""

    def __init__(self, broker: Broker, session: Session, stream: Stream, send: Send, direct: DirectResponse) -> None:
        self._broker = broker
        self._session = session
        self._stream = stream
        self._send = send
        self._direct = direct
        self._at = ResumePoint(0, 0)

    async def serve(self, receive: Receive, resumption: ResumePoint | None, *, primed: bool) -> None:
        """Write until the client leaves, reads too slowly, or the stream is ended."""
        state = self._broker.state
        leaving = asyncio.ensure_future(self._end_when_gone(receive))
        try:
            headers = [*STREAM_HEADERS, (SESSION_HEADER, self._session.session_id.encode())]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            # An event with an id and empty data: a client that loses the stream before any notification can resume too.
            next_id = self._event_id(resumption or ResumePoint(state.position + 1, 0))
            await self._write([b"id: %b\r\ndata: \r\n\r\n" % next_id if primed else PING])
            if resumption is None or await self._has_replayed(state, resumption):
                await self._go_on()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            leaving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving

    async def _has_replayed(self, state: State, resumption: ResumePoint) -> bool:
        """Return whether all missed notifications are written; if the log does not answer, the client resumes later."""
        try:
            await self._replay(state, resumption)
        except LogUnavailableError as error:
            logger.warning("stream_put_off", reason=str(error))
            return False
        return True

    async def _replay(self, state: State, resumption: ResumePoint) -> None:
        self._at = resumption
        connections = self._session.connections
        async for deliveries in notifications_after(self._broker.log, state, connections, resumption.position - 1):
            if self._stream.ended:
                return
            missed = [delivery for delivery in deliveries if not resumption.includes(delivery)]
            await self._write([frame for delivery in missed for frame in self._frames(delivery)])

    async def _go_on(self) -> None:
        self._stream.write_now = self._write_now
        while (deliveries := await self._stream.next()) or not self._stream.ended:
            await self._write([frame for delivery in deliveries for frame in self._frames(delivery)])
            self._stream.written(deliveries)
            if self._stream.ping_due:
                self._stream.ping_due = False
                await self._write([PING])

    def _write_now(self, delivery: Delivery) -> bool:
        at = self._at
        if self._direct.write(b"".join(self._frames(delivery))):
            return True
        self._at = at
        return False

    def _frames(self, delivery: Delivery) -> list[bytes]:
        """Return the frames of `delivery`: a mark for each subscription to that inbox, and the notification."""
        who = delivery.connection_id
        if delivery.position != self._at.position:
            self._at = ResumePoint(delivery.position, 0)
        meta = msgspec.json.encode(meta_of(who))
        marks = [self._event(resource_updated_frame(uri).body(meta)) for uri in self._session.subscribed_uris(who)]
        self._at = self._at.advance(delivery)
        return [*marks, self._event(notification_frame(delivery.notification).body(meta))]

    def _event(self, body: bytes) -> bytes:
        return b"id: %b\r\nevent: message\r\ndata: %b\r\n\r\n" % (self._event_id(self._at), body)

    def _event_id(self, at: ResumePoint) -> bytes:
        return f"{self._broker.log.epoch}.{at.position}.{at.sent_mask}".encode()

    async def _write(self, frames: Iterable[bytes]) -> None:
        body = b"".join(frames)
        if body:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _end_when_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._stream.end()
