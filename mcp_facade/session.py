"""One 2025 session: the handles shown in it, its subscriptions, its calls, its stream, and its record.

A session belongs to the transport, a connection to a person. A session may show several handles, several sessions may
show one handle, and a session's end is not a person's leaving.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from broker.clock import Clock
from broker.questions import Questions
from broker.replica import Replica
from broker.streams import Stream
from events.ids import ConnectionId, Handle, Position, connection_id_of
from events.session_records import Fields
from mcp_facade.session_record import (
    DEFAULT,
    STREAM,
    Shown,
    handle_field,
    locked,
    shown_handles,
    subscription_field,
    subscriptions,
    uri_of,
)
from mcp_facade.session_tokens import SessionToken

RECENT_HANDLES_MAX = 16


class CallInFlight(Protocol):
    """A request made in a session, in progress."""

    def finish_early(self) -> None:
        """End any wait in it."""
        ...


class Cancellable(Protocol):
    """A call that its client may cancel."""

    def cancel(self) -> None:
        """Stop: the client has cancelled the call."""
        ...


class SessionStream(Protocol):
    """The open GET stream of a session. It is one of `broker.streams` for the session's connections."""

    stream: Stream[bytes]

    def attach_late(self, connection_id: ConnectionId, since: Position) -> None:
        """Carry the notifications of a handle shown at another broker, those after `since` first."""
        ...


class Session:
    """The part of one session that is held in memory.

    In a shared log, each broker that the client calls holds a copy. The record is the truth (`sessions`).
    """

    def __init__(self, token: SessionToken, own_handle: Handle, clock: Clock, replica: Replica) -> None:
        self.token = token
        self.session_id = token.session_id
        self.own_handle = own_handle
        self.own_connection = connection_id_of(own_handle)
        self.subscriptions: dict[str, ConnectionId] = {}  # inbox URIs as the client wrote them
        self.stream: SessionStream | None = None
        self.ended = False
        self.calls: dict[CallInFlight, None] = {}  # those in flight
        self.answered = 0
        """Count of its requests whose answers reached the client."""
        self.active_ms = 0.0
        self.kept_at_ms: float | None = None
        """When all of its record was last kept, by the monotonic clock; `None` before the record was first loaded."""
        self.keeping: asyncio.Future[None] | None = None
        self.changes: dict[str, bytes | None] = {}
        """Changes of its record not kept yet."""
        self.being_kept: dict[str, bytes | None] = {}
        """Changes of it on their way to the store."""
        self.has_news = False
        """Changes among them concern the other brokers' copies."""
        self.doubts = 1
        """How often the copy has come into doubt; once before it was first loaded."""
        self.doubts_resolved = 0
        """As many of them were over when the record was loaded last."""
        self.reads: Questions[None] | None = None
        """The ways of its callers to its record."""
        self.refreshing = 0
        """How many callers wait for the record."""
        self.joining: set[ConnectionId] = set()
        """Connections that the stream is about to carry."""
        self.recent: tuple[tuple[ConnectionId, Position], ...] = ()
        """The handles shown first not long ago, at most `RECENT_HANDLES_MAX`, and when."""
        self._clock = clock
        self._replica = replica
        self._handles: OrderedDict[ConnectionId, Shown] = OrderedDict()  # the latest shown last
        self._default: ConnectionId | None = None  # of the last `enter_queue`
        self._stream_id: bytes | None = None  # of its stream, in a shared log
        self._cancellable: dict[int | str, Cancellable] = {}
        self._changes_since_load: dict[str, bytes | None] | None = None  # while the record is being read

    @property
    def connections(self) -> list[ConnectionId]:
        """The connections of its stream, in ascending order."""
        return sorted({self.own_connection, *self._handles})

    def default_handles(self) -> Iterator[tuple[ConnectionId, Handle]]:
        """Yield the meanings of a left-out handle: that of the last `enter_queue`, the last one shown, its own."""
        handle = self._handle_of(self._default) if self._default is not None else None
        if self._default is not None and handle is not None:
            yield self._default, handle
        for connection_id, shown in reversed(tuple(self._handles.items())):
            yield connection_id, shown.handle
        yield self.own_connection, self.own_handle

    @property
    def is_busy(self) -> bool:
        """Return whether it is in use, or its record is being kept or waits for that."""
        return self.is_in_use or bool(self.changes) or self.keeping is not None

    @property
    def is_in_use(self) -> bool:
        """Return whether a call is in flight, its stream is open, or a caller waits for its record."""
        return bool(self.calls) or self.stream is not None or self.refreshing > 0

    @property
    def is_in_doubt(self) -> bool:
        """Return whether the record may say something else than this copy of it."""
        return self.doubts_resolved != self.doubts

    @property
    def was_used_since_kept(self) -> bool:
        """Return whether a request of it was served after its record was kept."""
        return self.kept_at_ms is None or self.active_ms > self.kept_at_ms

    @contextmanager
    def calling(self, request_id: int | str, call: Cancellable) -> Iterator[None]:
        """Make `call` cancellable by that id while the context is open; of two with the same id, the later."""
        self._cancellable[request_id] = call
        try:
            yield
        finally:
            if self._cancellable.get(request_id) is call:
                del self._cancellable[request_id]

    def cancel(self, request_id: int | str) -> bool:
        """Cancel the call of that id; return whether it is in flight here."""
        call = self._cancellable.get(request_id)
        if call is not None:
            call.cancel()
        return call is not None

    def cancel_by_digest(self, digest: str) -> None:
        """Cancel the call whose id has that `digest_of`, if it is in flight here."""
        for request_id in [each for each in self._cancellable if digest_of(each) == digest]:
            self.cancel(request_id)

    def count_answer(self, *, reached: bool) -> int:
        """Count the end of a request, whose answer `reached` the client; return the number of such answers so far."""
        self.answered += reached
        return self.answered

    def bind(self, connection_id: ConnectionId, handle: Handle) -> None:
        """Note a shown `handle`: from now on, the session's stream is for that connection too."""
        if connection_id != self.own_connection and connection_id != next(reversed(self._handles), None):
            known = self._handles.pop(connection_id, None)
            latest = next(reversed(self._handles.values()), None)
            order = max(self._clock.wall_ms(), latest.order + 1 if latest is not None else 0)
            shown = Shown(handle, order, known.since if known is not None else self._replica.state.position)
            self._handles[connection_id] = shown
            self._change(handle_field(connection_id), locked(self.token, connection_id, shown), is_news=known is None)
            if known is None:
                self._find_recent()
        if self.stream is not None and connection_id not in self.joining:
            self.stream.stream.attach(connection_id)
        if len(self._handles) > self._replica.state.policy.handles_per_stream_max:
            self.forget(next(iter(self._handles)))

    def use_stream(self, stream: SessionStream, stream_id: bytes | None) -> None:
        """Take `stream` as the session's, for all its connections; end the one before it.

        `stream_id`: the mark by which other brokers see that it is another one.
        """
        displaced, self.stream = self.stream, stream
        self.joining.clear()
        for connection_id in self.connections:
            stream.stream.attach(connection_id)
        if displaced is not None:
            displaced.stream.end()
        if stream_id is not None:
            self._stream_id = stream_id
            self._change(STREAM, stream_id, is_news=True)

    def drop_stream(self, stream: SessionStream) -> None:
        """Note that `stream` is over; the session may have a later one."""
        if self.stream is stream:
            self.stream = None

    def enter(self, connection_id: ConnectionId, handle: Handle) -> None:
        """Note that the session's last `enter_queue` gave or used `handle`."""
        self.bind(connection_id, handle)
        if connection_id != self._default:
            self._default = connection_id
            self._change(DEFAULT, connection_id.encode())

    def subscribe(self, uri: str, connection_id: ConnectionId, handle: Handle) -> bool:
        """Announce growth of that inbox on the stream; return `False` at the limit of subscriptions."""
        if uri in self.subscriptions:
            return True
        if len(self.subscriptions) >= self._replica.state.policy.handles_per_stream_max:
            return False
        self.subscriptions[uri] = connection_id
        self._change(subscription_field(uri, connection_id, handle), b"", is_news=True)
        return True

    def unsubscribe(self, uri: str) -> None:
        """Stop announcing growth of that inbox."""
        connection_id = self.subscriptions.pop(uri, None)
        handle = self._handle_of(connection_id) if connection_id is not None else None
        if connection_id is not None and handle is not None:
            self._change(subscription_field(uri, connection_id, handle), None, is_news=True)

    def forget(self, connection_id: ConnectionId) -> None:
        """Act as if the handle of `connection_id` had not been shown."""
        for uri in [uri for uri, subscriber in self.subscriptions.items() if subscriber == connection_id]:
            self.unsubscribe(uri)
        if self._handles.pop(connection_id, None) is not None:
            self._change(handle_field(connection_id), None, is_news=True)
            self._find_recent()
        if self._default == connection_id:
            self._default = None
            self._change(DEFAULT, None)
        if self.stream is not None and connection_id != self.own_connection:
            self.stream.stream.detach(connection_id)

    def subscribed_uris(self, connection_id: ConnectionId) -> list[str]:
        """Return the URIs of its subscriptions to that inbox."""
        return [uri for uri, subscriber in self.subscriptions.items() if subscriber == connection_id]

    def begin_load(self) -> None:
        """Note that the record is read from now on: changes not known to be kept are added to what is read."""
        self._changes_since_load = {**self.being_kept, **self.changes}

    def take_over(self, fields: Fields, *, may_have_expired: bool) -> None:
        """Become what the record says, without its unreadable parts; an open stream follows.

        `may_have_expired`: a field that is not there may have been kept for too short a time, and not been removed.
        """
        kept = self.fields() if may_have_expired else {}
        changed = {**kept, **fields, **(self._changes_since_load or {})}
        record = {name: value for name, value in changed.items() if value is not None}
        self._changes_since_load = None
        before = set(self._handles)
        self._handles = shown_handles(self.token, record)
        self._find_recent()
        self._default = ConnectionId(record[DEFAULT].decode()) if DEFAULT in record else None
        self.subscriptions = {}
        for subscriber, template in subscriptions(record):
            handle = self._handle_of(subscriber)
            if handle is not None:
                self.subscriptions[uri_of(template, handle)] = subscriber
        if self.stream is not None:
            self._have_follow(self.stream, before, record.get(STREAM))

    def _have_follow(self, stream: SessionStream, before: set[ConnectionId], newest_id: bytes | None) -> None:
        """Have `stream` carry what is shown by now; end it if another broker has a newer one."""
        if newest_id is not None and newest_id != self._stream_id:
            self.stream = None
            stream.stream.end()
            return
        for connection_id in before - self._handles.keys():
            stream.stream.detach(connection_id)
        for connection_id, shown in self._handles.items():
            if connection_id not in before:
                stream.attach_late(connection_id, shown.since)

    def fields(self) -> dict[str, bytes | None]:
        """Return its record as it should be by now, but for the id of its stream."""
        fields: dict[str, bytes | None] = {}
        if self._default is not None:
            fields[DEFAULT] = self._default.encode()
        for connection_id, shown in self._handles.items():
            fields[handle_field(connection_id)] = locked(self.token, connection_id, shown)
        for uri, connection_id in self.subscriptions.items():
            subscriber = self._handle_of(connection_id)
            if subscriber is not None:
                fields[subscription_field(uri, connection_id, subscriber)] = b""
        return fields

    def _change(self, name: str, value: bytes | None, *, is_news: bool = False) -> None:
        self.changes[name] = value
        if self._changes_since_load is not None:
            self._changes_since_load[name] = value
        self.has_news = self.has_news or is_news

    def _find_recent(self) -> None:
        by_age = sorted(self._handles.items(), key=lambda item: (item[1].since, item[0]))
        self.recent = tuple((who, shown.since) for who, shown in by_age[-RECENT_HANDLES_MAX:])

    def _handle_of(self, connection_id: ConnectionId) -> Handle | None:
        if connection_id == self.own_connection:
            return self.own_handle
        shown = self._handles.get(connection_id)
        return shown.handle if shown is not None else None


def digest_of(request_id: int | str) -> str:
    """Return a short digest of a request's id, which may be long."""
    return hashlib.sha256(repr(request_id).encode()).hexdigest()[:16]
