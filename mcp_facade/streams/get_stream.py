"""The GET stream of a 2025 session: the notifications of its handles, live, and those that it missed.

It is served before the SDK, whose event store is blind to sessions and whose router stalls on an unread stream.
The event id is `<epoch>.<position>.<n>`: n is the mask of the position's notifications received by the client. The
first id of a stream has the position sealed, since it is the end of the log, and others may have written there.
In a shared log a handle can be shown at one broker while another has the stream, which hears of it by a note. What it
missed until then is written late, without moving the position. So the ids there go on with `.<marks>` of the handles
carried by the stream (the latest ones): a later stream makes up for the others, from the time that they were shown.
With `Last-Event-ID` the stream continues from the log, exactly once and in order, then live. The mark for growth of
an inbox comes before its notification and is not counted: a client with the notification has had the mark.
(MCP 2025-11-25, basic/transports, 'Resumability and redelivery'.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from broker.broker import Broker
from broker.clock import RandomBytes, sleep_until
from broker.hub import Delivery
from broker.reads import end_of_read, has_to_scan, notifications_after
from broker.streams import Stream
from events.ids import POSITION_MAX, ConnectionId, Position
from events.log import LogUnavailableError
from mcp_facade.http.event_stream import PING, STREAM_HEADERS, EventStreamResponse
from mcp_facade.http.headers import SESSION_HEADER
from mcp_facade.session import Session
from mcp_facade.sessions import Sessions
from mcp_facade.streams.frames import CONNECTION_META_KEY, Frame, resource_updated_frame
from mcp_facade.streams.resume_point import ResumePoint, mark_of, resume_point_of
from projections.state import State

SCAN_PAUSE_MS = 100
"""The pause before each read of a replay that goes through the log; a client that has gone costs nothing more."""

PRIMED_SINCE = b"2025-11-25"
"""The first version whose clients accept an event with an id and no data."""


RETRY_MS = range(500, 3_001)
"""The pauses before a client comes back: random, so that all those of one broker do not come at the same moment."""


class SessionFrameEncoder:
    """Makes the events of one GET stream (a `DeliveryEncoder`)."""

    def __init__(self, session: Session, sessions: Sessions, epoch: str, *, is_shared: bool) -> None:
        """`is_shared`: handles can be shown at other brokers, so the ids have the marks of those carried here."""
        self._session = session
        self._sessions = sessions
        self._epoch = epoch
        self._is_shared = is_shared
        self._at = ResumePoint(0, 0)
        self._missed: dict[ConnectionId, int | None] = {}  # how many to come, for connections carried late

    def encode(self, delivery: Delivery) -> bytes:
        """Return a mark for each subscription to that inbox, and the notification."""
        who, session = delivery.connection_id, self._session
        meta = msgspec.json.encode({CONNECTION_META_KEY: who})
        is_late = delivery.position < self._at.position
        marks = b""
        if session.subscriptions:
            if not is_late and delivery.position != self._at.position:
                self._at = ResumePoint(delivery.position, 0)
            for uri in session.subscribed_uris(who):
                marks += self._event(resource_updated_frame(uri), meta, is_late=is_late)
        if not is_late:
            self._at = self._at.advance(delivery)
        if self._missed:
            self._count_missed(who)
        notification = delivery.notification
        return marks + self._event(Frame(notification.method, notification.params), meta, is_late=is_late)

    def resume(self, at: ResumePoint) -> list[tuple[ConnectionId, Position]]:
        """Continue after `at`, which the client has.

        Return the connections that the stream before did not carry, and since when this one should.
        """
        self._at = at
        if at.marks is None:
            return []
        missed = [(who, since) for who, since in self._session.recent if mark_of(who) not in at.marks]
        for who, _ in missed:
            self._missed[who] = None
        return missed

    def expect(self, who: ConnectionId, count: int | None) -> None:
        """Note that so many missed notifications of `who` come next; `None`: it is not known yet."""
        self._missed[who] = count
        if count == 0:
            del self._missed[who]

    def event_id(self, *, sealed: bool) -> bytes:
        """Return the id of an event: its client has all that was encoded so far. `sealed`: see the module."""
        position, sent_mask, _ = self._at
        at = self._sessions.seal_position(position) if sealed else position
        event_id = f"{self._epoch}.{at}.{sent_mask}"
        if self._is_shared:
            event_id += "." + "".join(mark_of(who) for who, _ in self._session.recent if who not in self._missed)
        return event_id.encode()

    def _count_missed(self, who: ConnectionId) -> None:
        """Count a missed notification; after the last one, the client has all of `who`."""
        count = self._missed.get(who)
        if count is not None:
            self.expect(who, count - 1)

    def _event(self, frame: Frame, meta: bytes, *, is_late: bool) -> bytes:
        event_id = self.event_id(sealed=is_late)
        return b"id: %b\r\nevent: message\r\ndata: %b\r\n\r\n" % (event_id, frame.body(meta))


class GetStreams:
    """Opens the GET streams of one broker, at most one for each session."""

    def __init__(self, broker: Broker, sessions: Sessions) -> None:
        self.clock = broker.clock
        self.log = broker.log
        self.replica = broker.replica
        self.streams = broker.streams
        self.sessions = sessions
        self.in_background = broker.in_background
        self.log_put_off = broker.log_put_off
        self._random_bytes: RandomBytes = broker.random_bytes

    def open(self, session: Session, response: EventStreamResponse) -> GetStream:
        """Open the session's stream, which displaces an open one; `serve` it.

        Raises:
            TooManyStreamsError: nothing was opened.
        """
        encoder = SessionFrameEncoder(session, self.sessions, self.log.epoch, is_shared=self.log.is_shared)
        displaced = session.stream.stream if session.stream is not None else None
        stream = self.streams.open("get", encoder, response, replaces=displaced)
        get_stream = GetStream(self, session, stream, encoder, response)
        session.use_stream(get_stream, self.sessions.new_stream_id())
        if session.changes:
            self.sessions.keep_soon(session)
        return get_stream

    def resume_point(self, event_id: str) -> ResumePoint | None:
        """Return the point of `Last-Event-ID`; `None` if it is another log's, or malformed."""
        return resume_point_of(event_id, self.log.epoch, self.sessions, is_shared=self.log.is_shared)

    def first_event(self, event_id: bytes) -> bytes:
        """Return an event without data: a client that loses the stream before any other can resume.

        It also tells when to come back.
        """
        retry_ms = RETRY_MS[int.from_bytes(self._random_bytes(4)) % len(RETRY_MS)]
        return b"id: %b\r\nretry: %d\r\ndata: \r\n\r\n" % (event_id, retry_ms)


class GetStream:
    """One open GET (a `SessionStream`)."""

    def __init__(
        self,
        opened_by: GetStreams,
        session: Session,
        stream: Stream[bytes],
        encoder: SessionFrameEncoder,
        response: EventStreamResponse,
    ) -> None:
        self.stream = stream
        self._opened_by = opened_by
        self._session = session
        self._encoder = encoder
        self._response = response

    async def serve(self, resumption: ResumePoint | None, *, primed: bool) -> None:
        """Write until the client leaves, reads too slowly, or the stream is ended."""
        try:
            async with self._response.watched(self.stream.end):
                await self._write(resumption, primed=primed)
        finally:
            self._session.drop_stream(self)
            self.stream.close()
            self._opened_by.sessions.touch(self._session)

    def attach_late(self, connection_id: ConnectionId, since: Position) -> None:
        """Carry the notifications of a handle shown at another broker, those after `since` first (`SessionStream`)."""
        self._session.joining.add(connection_id)
        self._encoder.expect(connection_id, None)
        self._opened_by.in_background(self._attach_late(connection_id, since))

    async def _attach_late(self, connection_id: ConnectionId, since: Position) -> None:
        replica, missed, cursor = self._opened_by.replica, list[Delivery](), since
        try:
            while cursor < (state := replica.state).position:
                async for deliveries in self._read(state, [connection_id], cursor):
                    missed += deliveries
                cursor = state.position
        except LogUnavailableError as error:
            self._opened_by.log_put_off("stream_put_off", error)
            self.stream.end()  # the client resumes, and hears what it missed
        finally:
            if self._session.stream is self:
                self._session.joining.discard(connection_id)
        # Nothing else happens between the last read and here.
        if self.stream.ended or connection_id not in self._session.connections:
            return
        self._encoder.expect(connection_id, len(missed))
        now_ms = self._opened_by.clock.now_ms()
        for delivery in missed:
            self.stream.deliver(delivery._replace(announced_ms=now_ms))
        self.stream.attach(connection_id)

    async def _write(self, resumption: ResumePoint | None, *, primed: bool) -> None:
        response, state = self._response, self._opened_by.replica.state
        missed = self._encoder.resume(resumption or ResumePoint(state.position + 1, 0))
        await response.start([*STREAM_HEADERS, (SESSION_HEADER, self._session.session_id.encode())])
        first_id = self._encoder.event_id(sealed=True)
        await response.write([self._opened_by.first_event(first_id) if primed else PING])
        if resumption is None or await self._has_replayed(state, resumption, missed):
            await self.stream.run()
        await response.finish()

    async def _has_replayed(
        self, state: State, resumption: ResumePoint, missed: list[tuple[ConnectionId, Position]]
    ) -> bool:
        """Return whether all missed notifications are written; if the log does not answer, the client resumes later."""
        try:
            for connection_id, since in missed:
                await self._make_up(state, connection_id, since, resumption.position - 1)
            await self._replay(state, resumption)
        except LogUnavailableError as error:
            self._opened_by.log_put_off("stream_put_off", error)
            return False
        return True

    async def _make_up(self, state: State, connection_id: ConnectionId, since: Position, end: Position) -> None:
        """Write the notifications of a connection that the stream before did not carry."""
        last: list[Delivery] = []
        async for deliveries in self._read(state, [connection_id], since, end):
            await self._response.write([self._encoder.encode(delivery) for delivery in last])
            last = deliveries
        self._encoder.expect(connection_id, len(last))
        await self._response.write([self._encoder.encode(delivery) for delivery in last])

    async def _replay(self, state: State, resumption: ResumePoint) -> None:
        async for deliveries in self._read(state, self._session.connections, resumption.position - 1):
            if self.stream.ended:
                return
            missed = [delivery for delivery in deliveries if not resumption.includes(delivery)]
            await self._response.write([self._encoder.encode(delivery) for delivery in missed])

    async def _read(
        self, state: State, connections: list[ConnectionId], cursor: Position, end: Position = POSITION_MAX
    ) -> AsyncIterator[list[Delivery]]:
        """Yield the notifications after `cursor` up to `end`."""
        log, clock = self._opened_by.log, self._opened_by.clock
        while cursor < min(state.position, end):
            last = min(end_of_read(state, connections, cursor), end)
            if has_to_scan(state, connections, cursor):  # that takes time which others need
                await sleep_until(clock, clock.now_ms() + SCAN_PAUSE_MS)
            async for deliveries in notifications_after(log, state, connections, cursor, last):
                yield deliveries
            cursor = last
