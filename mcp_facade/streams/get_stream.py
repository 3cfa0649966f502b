"""The GET stream of a 2025 session: the notifications of its handles, live, and those that it missed.

It is served before the SDK, whose event store is blind to sessions and whose router stalls on an unread stream.
The event id is `<epoch>.<position>.<n>`: n is the mask of the position's notifications received by the client. The
first id of a stream has the position sealed, since it is the end of the log, and others may have written there.
With `Last-Event-ID` the stream continues from the log, exactly once and in order, then live. The mark for growth of
an inbox comes before its notification and is not counted: a client with the notification has had the mark.
(MCP 2025-11-25, basic/transports, 'Resumability and redelivery'.)
"""

from __future__ import annotations

import msgspec
import structlog

from broker.broker import Broker
from broker.clock import RandomBytes, sleep_until
from broker.hub import Delivery
from broker.reads import end_of_read, has_to_scan, notifications_after
from broker.streams import Stream
from events.ids import POSITION_MAX
from events.log import LogUnavailableError
from mcp_facade.http.event_stream import PING, STREAM_HEADERS, EventStreamResponse
from mcp_facade.http.headers import SESSION_HEADER
from mcp_facade.session import ResumePoint, Session
from mcp_facade.sessions import Sessions
from mcp_facade.streams.frames import CONNECTION_META_KEY, Frame, resource_updated_frame
from projections.state import State

logger = structlog.get_logger(__name__)

SCAN_PAUSE_MS = 100
"""The pause before each read of a replay that goes through the log; a client that has gone costs nothing more."""

PRIMED_SINCE = b"2025-11-25"
"""The first version whose clients accept an event with an id and no data."""


NUMBER_DIGITS_MAX = 15
"""More digits than any position or mask has."""

RETRY_MS = range(500, 3_001)
"""The pauses before a client comes back: random, so that all those of one broker do not come at the same moment."""


class SessionFrameEncoder:
    """Makes the events of one GET stream (a `DeliveryEncoder`)."""

    def __init__(self, session: Session, epoch: str) -> None:
        self._session = session
        self._epoch = epoch
        self._at = ResumePoint(0, 0)

    def encode(self, delivery: Delivery) -> bytes:
        """Return a mark for each subscription to that inbox, and the notification."""
        who, session = delivery.connection_id, self._session
        meta = msgspec.json.encode({CONNECTION_META_KEY: who})
        marks = b""
        if session.subscriptions:
            if delivery.position != self._at.position:
                self._at = ResumePoint(delivery.position, 0)
            for uri in session.subscribed_uris(who):
                marks += self._event(resource_updated_frame(uri), meta)
        self._at = self._at.advance(delivery)
        notification = delivery.notification
        return marks + self._event(Frame(notification.method, notification.params), meta)

    def resume(self, at: ResumePoint) -> None:
        """Continue after `at`, which the client has."""
        self._at = at

    def _event(self, frame: Frame, meta: bytes) -> bytes:
        event_id = b"%b.%d.%d" % (self._epoch.encode(), *self._at)
        return b"id: %b\r\nevent: message\r\ndata: %b\r\n\r\n" % (event_id, frame.body(meta))


class GetStreams:
    """Opens the GET streams of one broker, at most one for each session."""

    def __init__(self, broker: Broker, sessions: Sessions) -> None:
        self.clock = broker.clock
        self.log = broker.log
        self.replica = broker.replica
        self.streams = broker.streams
        self.sessions = sessions
        self._random_bytes: RandomBytes = broker.random_bytes

    def open(self, session: Session, response: EventStreamResponse) -> GetStream:
        """Open the session's stream, which displaces an open one; `serve` it.

        Raises:
            TooManyStreamsError: nothing was opened.
        """
        encoder = SessionFrameEncoder(session, self.log.epoch)
        stream = self.streams.open("get", encoder, response, replaces=session.stream)
        session.use_stream(stream)
        return GetStream(self, session, stream, encoder, response)

    def resume_point(self, event_id: str) -> ResumePoint | None:
        """Return the point of `Last-Event-ID`; `None` if it is another log's, or malformed."""
        epoch, _, rest = event_id.partition(".")
        position, _, mask = rest.partition(".")
        if epoch != self.log.epoch or not _is_number(mask):
            return None
        if _is_number(position):
            return ResumePoint(int(position), int(mask))
        opened = self.sessions.open_position(position)
        return ResumePoint(opened, int(mask)) if opened is not None and opened <= POSITION_MAX else None

    def first_event(self, at: ResumePoint) -> bytes:
        """Return an event with the id of `at` and no data: a client that loses the stream before any other can resume.

        The id is sealed, since `at` may be the position of others' events. The event also tells when to come back.
        """
        event_id = f"{self.log.epoch}.{self.sessions.seal_position(at.position)}.{at.sent_mask}"
        retry_ms = RETRY_MS[int.from_bytes(self._random_bytes(4)) % len(RETRY_MS)]
        return f"id: {event_id}\r\nretry: {retry_ms}\r\ndata: \r\n\r\n".encode()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX


class GetStream:
    """One open GET."""

    def __init__(
        self,
        opened_by: GetStreams,
        session: Session,
        stream: Stream[bytes],
        encoder: SessionFrameEncoder,
        response: EventStreamResponse,
    ) -> None:
        self._opened_by = opened_by
        self._session = session
        self._stream = stream
        self._encoder = encoder
        self._response = response

    async def serve(self, resumption: ResumePoint | None, *, primed: bool) -> None:
        """Write until the client leaves, reads too slowly, or the stream is ended."""
        try:
            async with self._response.watched(self._stream.end):
                await self._write(resumption, primed=primed)
        finally:
            self._session.drop_stream(self._stream)
            self._stream.close()
            self._opened_by.sessions.touch(self._session)

    async def _write(self, resumption: ResumePoint | None, *, primed: bool) -> None:
        response, state = self._response, self._opened_by.replica.state
        await response.start([*STREAM_HEADERS, (SESSION_HEADER, self._session.session_id.encode())])
        next_point = resumption or ResumePoint(state.position + 1, 0)
        await response.write([self._opened_by.first_event(next_point) if primed else PING])
        if resumption is None or await self._has_replayed(state, resumption):
            await self._stream.run()
        await response.finish()

    async def _has_replayed(self, state: State, resumption: ResumePoint) -> bool:
        """Return whether all missed notifications are written; if the log does not answer, the client resumes later."""
        try:
            await self._replay(state, resumption)
        except LogUnavailableError as error:
            logger.warning("stream_put_off", reason=str(error))
            return False
        return True

    async def _replay(self, state: State, resumption: ResumePoint) -> None:
        self._encoder.resume(resumption)
        log, clock, connections = self._opened_by.log, self._opened_by.clock, self._session.connections
        cursor = resumption.position - 1
        while cursor < state.position:
            last = end_of_read(state, connections, cursor)
            if has_to_scan(state, connections, cursor):  # that takes time which others need
                await sleep_until(clock, clock.now_ms() + SCAN_PAUSE_MS)
            async for deliveries in notifications_after(log, state, connections, cursor, last):
                if self._stream.ended:
                    return
                missed = [delivery for delivery in deliveries if not resumption.includes(delivery)]
                await self._response.write([self._encoder.encode(delivery) for delivery in missed])
            cursor = last
