"""One 2025 session: the handles shown in it, its subscriptions, its calls, its stream, and its record.

A session belongs to the transport, a connection to a person. A session may show several handles, several sessions may
show one handle, and a session's end is not a person's leaving.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from broker.hub import Delivery
from broker.streams import Stream
from events.ids import HANDLE_BYTES, ConnectionId, Handle, Position, connection_id_of
from events.session_records import Fields
from mcp_facade.session_tokens import SessionToken

_DEFAULT = "default"
_HANDLE = "handle "  # and a connection id: 8 bytes of order, the locked handle
_SUBSCRIPTION = "subscription "  # and a connection id, a space, the URI with {handle} in the handle's place
_PLACEHOLDER = "{handle}"


class ResumePoint(NamedTuple):
    """The progress of a stream: the client has all before `position`, and the notifications there in `sent_mask`.

    `sent_mask` has a bit for each recipient of the position, in ascending order of connection ids. The client keeps it,
    because no later stream knows the handles shown by then.
    """

    position: Position
    sent_mask: int

    def includes(self, delivery: Delivery) -> bool:
        """Return whether the client has `delivery`."""
        return delivery.position == self.position and bool(self.sent_mask >> delivery.nth & 1)

    def advance(self, delivery: Delivery) -> ResumePoint:
        """Return the point after `delivery`, which comes next."""
        sent_mask = self.sent_mask if delivery.position == self.position else 0
        return ResumePoint(delivery.position, sent_mask | 1 << delivery.nth)


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


class Session:
    """The part of one session that is held in memory."""

    def __init__(self, token: SessionToken, own_handle: Handle, handles_max: int) -> None:
        self.token = token
        self.session_id = token.session_id
        self.own_handle = own_handle
        self.own_connection = connection_id_of(own_handle)
        self.subscriptions: dict[str, ConnectionId] = {}  # inbox URIs as the client wrote them
        self.stream: Stream[bytes] | None = None
        self.ended = False
        self.calls: dict[CallInFlight, None] = {}  # those in flight
        self.answered = 0
        """Count of its requests whose answers reached the client."""
        self.active_ms = 0.0
        self.kept_at_ms = 0.0  # when all of its record was last kept, by the monotonic clock
        self.keeping: asyncio.Future[None] | None = None
        self.changes: dict[str, bytes | None] = {}
        """Changes of its record not kept yet."""
        self._handles_max = handles_max
        self._handles: OrderedDict[ConnectionId, Handle] = OrderedDict()  # shown, the latest last
        self._shown = 0  # how often the order of the handles has changed
        self._default: ConnectionId | None = None  # of the last `enter_queue`
        self._cancellable: dict[int | str, Cancellable] = {}

    @property
    def connections(self) -> list[ConnectionId]:
        """The connections of its stream, in ascending order."""
        return sorted({self.own_connection, *self._handles})

    def default_handles(self) -> Iterator[tuple[ConnectionId, Handle]]:
        """Yield the meanings of a left-out handle: that of the last `enter_queue`, the last one shown, its own."""
        handle = self._handle_of(self._default) if self._default is not None else None
        if self._default is not None and handle is not None:
            yield self._default, handle
        yield from reversed(tuple(self._handles.items()))
        yield self.own_connection, self.own_handle

    @property
    def is_busy(self) -> bool:
        """Return whether a call is in flight, its stream is open, or its record waits to be kept."""
        return bool(self.calls or self.changes) or self.stream is not None or self.keeping is not None

    @property
    def was_used_since_kept(self) -> bool:
        """Return whether a request of it was served after its record was kept."""
        return self.active_ms > self.kept_at_ms

    @contextmanager
    def calling(self, request_id: int | str, call: Cancellable) -> Iterator[None]:
        """Make `call` cancellable by that id while the context is open; of two with the same id, the later."""
        self._cancellable[request_id] = call
        try:
            yield
        finally:
            if self._cancellable.get(request_id) is call:
                del self._cancellable[request_id]

    def cancel(self, request_id: int | str) -> None:
        """Cancel the call of that id, if it is in flight."""
        call = self._cancellable.get(request_id)
        if call is not None:
            call.cancel()

    def count_answer(self, *, reached: bool) -> int:
        """Count the end of a request, whose answer `reached` the client; return the number of such answers so far."""
        self.answered += reached
        return self.answered

    def bind(self, connection_id: ConnectionId, handle: Handle) -> None:
        """Note a shown `handle`: from now on, the session's stream is for that connection too."""
        if connection_id != self.own_connection and connection_id != next(reversed(self._handles), None):
            self._handles[connection_id] = handle
            self._handles.move_to_end(connection_id)
            self._shown += 1
            locked = self._shown.to_bytes(8, "big") + self.token.lock(connection_id, handle)
            self.changes[_HANDLE + connection_id] = locked
        if self.stream is not None:
            self.stream.attach(connection_id)
        if len(self._handles) > self._handles_max:
            self.forget(next(iter(self._handles)))

    def use_stream(self, stream: Stream[bytes]) -> None:
        """Take `stream` as the session's, for all its connections; end the one before it."""
        displaced, self.stream = self.stream, stream
        for connection_id in self.connections:
            stream.attach(connection_id)
        if displaced is not None:
            displaced.end()

    def drop_stream(self, stream: Stream[bytes]) -> None:
        """Note that `stream` is over; the session may have a later one."""
        if self.stream is stream:
            self.stream = None

    def enter(self, connection_id: ConnectionId, handle: Handle) -> None:
        """Note that the session's last `enter_queue` gave or used `handle`."""
        self.bind(connection_id, handle)
        if connection_id != self._default:
            self._default = connection_id
            self.changes[_DEFAULT] = connection_id.encode()

    def subscribe(self, uri: str, connection_id: ConnectionId, handle: Handle) -> bool:
        """Announce growth of that inbox on the stream; return `False` at the limit of subscriptions."""
        if uri in self.subscriptions:
            return True
        if len(self.subscriptions) >= self._handles_max:
            return False
        self.subscriptions[uri] = connection_id
        self.changes[_subscription_field(uri, connection_id, handle)] = b""
        return True

    def unsubscribe(self, uri: str) -> None:
        """Stop announcing growth of that inbox."""
        connection_id = self.subscriptions.pop(uri, None)
        handle = self._handle_of(connection_id) if connection_id is not None else None
        if connection_id is not None and handle is not None:
            self.changes[_subscription_field(uri, connection_id, handle)] = None

    def forget(self, connection_id: ConnectionId) -> None:
        """Act as if the handle of `connection_id` had not been shown."""
        for uri in [uri for uri, subscriber in self.subscriptions.items() if subscriber == connection_id]:
            self.unsubscribe(uri)
        if self._handles.pop(connection_id, None) is not None:
            self.changes[_HANDLE + connection_id] = None
        if self._default == connection_id:
            self._default = None
            self.changes[_DEFAULT] = None
        if self.stream is not None and connection_id != self.own_connection:
            self.stream.detach(connection_id)

    def subscribed_uris(self, connection_id: ConnectionId) -> list[str]:
        """Return the URIs of its subscriptions to that inbox."""
        return [uri for uri, subscriber in self.subscriptions.items() if subscriber == connection_id]

    def restore(self, fields: Fields) -> None:
        """Take over the record of the session, without its unreadable parts."""
        shown = sorted((value, name) for name, value in fields.items() if name.startswith(_HANDLE))
        for value, name in shown:
            connection_id = ConnectionId(name.removeprefix(_HANDLE))
            handle = self.token.unlock(connection_id, value[8:]) if len(value) == 8 + HANDLE_BYTES else None
            if handle is not None:
                self._handles[connection_id] = handle
                self._shown = int.from_bytes(value[:8], "big")
        if _DEFAULT in fields:
            self._default = ConnectionId(fields[_DEFAULT].decode())
        for name in fields:
            if name.startswith(_SUBSCRIPTION):
                subscriber, _, uri = name.removeprefix(_SUBSCRIPTION).partition(" ")
                handle = self._handle_of(ConnectionId(subscriber))
                if handle is not None:
                    self.subscriptions[uri.replace(_PLACEHOLDER, handle)] = ConnectionId(subscriber)

    def fields(self) -> dict[str, bytes | None]:
        """Return its record as it should be by now."""
        fields: dict[str, bytes | None] = {}
        if self._default is not None:
            fields[_DEFAULT] = self._default.encode()
        for order, (connection_id, handle) in enumerate(self._handles.items(), 1):
            fields[_HANDLE + connection_id] = order.to_bytes(8, "big") + self.token.lock(connection_id, handle)
        self._shown = len(self._handles)
        for uri, connection_id in self.subscriptions.items():
            subscriber = self._handle_of(connection_id)
            if subscriber is not None:
                fields[_subscription_field(uri, connection_id, subscriber)] = b""
        return fields

    def _handle_of(self, connection_id: ConnectionId) -> Handle | None:
        return self.own_handle if connection_id == self.own_connection else self._handles.get(connection_id)


def _subscription_field(uri: str, connection_id: ConnectionId, handle: Handle) -> str:
    return f"{_SUBSCRIPTION}{connection_id} {uri.replace(handle, _PLACEHOLDER)}"
