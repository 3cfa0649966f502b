"""2025 sessions: which handles each has presented, what it subscribes to, and its stream.

A session is the transport's; a connection is a person's. A session may present several handles, a handle may be
presented by several sessions, and the end of a session is not a person's leaving.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from broker.broker import Broker
from broker.hub import Delivery
from broker.streams import Stream
from events.ids import ConnectionId, Handle, Position

SPARED_MS = 60_000


class ResumePoint(NamedTuple):
    """How far a stream is: the client has all before `position`, and the notifications there that `sent_mask` names.

    `sent_mask` has a bit for each connection that the position tells something, in ascending order. It is kept by the
    client because no later session knows which handles this one had shown by then.
    """

    position: Position
    sent_mask: int

    def includes(self, delivery: Delivery) -> bool:
        """Whether the client has it."""
        return delivery.position == self.position and bool(self.sent_mask >> delivery.nth & 1)

    def advance(self, delivery: Delivery) -> ResumePoint:
        """How far it is with `delivery`, which comes next."""
        sent_mask = self.sent_mask if delivery.position == self.position else 0
        return ResumePoint(delivery.position, sent_mask | 1 << delivery.nth)


class Call(Protocol):
    """A request that is made in a session, while it is served."""

    @property
    def is_asked(self) -> bool:
        """Whether all of it has come."""
        ...

    def finish_early(self) -> None:
        """End whatever it waits for."""
        ...


class SessionEndedError(Exception):
    """The session has ended while the request was still coming."""


class RequestIdInUseError(Exception):
    """The session has a request of that id in flight; the SDK would leave one of the two without an answer."""


class Cancellable(Protocol):
    """A call of a session that may last."""

    def cancel(self) -> None:
        """The client does not want it any more."""
        ...


class Session:
    """What the facade remembers of one session; nothing of it outlives the process."""

    def __init__(self, session_id: str, handles_max: int) -> None:
        self.session_id = session_id
        self.subscriptions: dict[str, ConnectionId] = {}  # inbox URIs as the client wrote them
        self.stream: Stream | None = None
        self.ended = False
        self.calls: dict[Call, None] = {}  # those in flight
        self.call_over: Callable[[], None] = _nobody_waits
        """Called whenever one of them is over."""
        self.is_served = False
        """The SDK has let a request of it through, so the handshake was good."""
        self.long_running: dict[int | str, Cancellable] = {}
        self.ids_in_flight: set[str] = set()
        self.active_ms = 0.0
        self._handles_max = handles_max
        self._presented: OrderedDict[ConnectionId, Handle] = OrderedDict()
        self._entered_as: ConnectionId | None = None

    @property
    def presented(self) -> list[ConnectionId]:
        """Whom its stream is for, in ascending order."""
        return sorted(self._presented)

    @property
    def default(self) -> tuple[ConnectionId, Handle] | None:
        """What stands for a handle that is left out: that of its last `enter_queue`, else the last presented."""
        if self._entered_as is not None:
            return self._entered_as, self._presented[self._entered_as]
        return next(reversed(self._presented.items()), None)

    @property
    def is_busy(self) -> bool:
        """Whether a call is in flight or its stream is open."""
        return bool(self.calls) or self.stream is not None

    def began(self, request_id: str | None) -> str | None:
        """A request of that id is about to be served, if it is one; the id is in flight from now on.

        Raises:
            RequestIdInUseError: it has been before.
            SessionEndedError: nothing is served in it any more.
        """
        if self.ended:
            raise SessionEndedError
        if request_id is not None:
            if request_id in self.ids_in_flight:
                raise RequestIdInUseError
            self.ids_in_flight.add(request_id)
        return request_id

    @contextmanager
    def calling(self, request_id: int | str, call: Cancellable) -> Iterator[None]:
        """For as long as it is open, `call` can be called off by that id: of two with the same, the later."""
        self.long_running[request_id] = call
        try:
            yield
        finally:
            if self.long_running.get(request_id) is call:
                del self.long_running[request_id]

    def cancel(self, request_id: int | str) -> None:
        """The client does not want that call any more; it may be over already."""
        call = self.long_running.get(request_id)
        if call is not None:
            call.cancel()

    def present(self, connection_id: ConnectionId, handle: Handle) -> None:
        """The session has shown `handle`; from now on its stream is for that connection too."""
        self._presented[connection_id] = handle
        self._presented.move_to_end(connection_id)
        if self.stream is not None:
            self.stream.attach(connection_id)
        if len(self._presented) > self._handles_max:
            self.forget(next(iter(self._presented)))

    def entered(self, connection_id: ConnectionId, handle: Handle) -> None:
        """Its last `enter_queue` gave or used `handle`; others may have pushed that out while it was under way."""
        self.present(connection_id, handle)
        self._entered_as = connection_id

    def subscribe(self, uri: str, connection_id: ConnectionId) -> bool:
        """Tell its stream when that inbox grows, unless it subscribes to too many already."""
        if uri not in self.subscriptions and len(self.subscriptions) >= self._handles_max:
            return False
        self.subscriptions[uri] = connection_id
        return True

    def forget(self, connection_id: ConnectionId) -> None:
        """As if the handle had not been shown."""
        self._presented.pop(connection_id, None)
        if self._entered_as == connection_id:
            self._entered_as = None
        for uri in [uri for uri, subscriber in self.subscriptions.items() if subscriber == connection_id]:
            del self.subscriptions[uri]
        if self.stream is not None:
            self.stream.detach(connection_id)

    def subscribed_uris(self, connection_id: ConnectionId) -> list[str]:
        """The URIs under which it subscribes to that inbox."""
        return [uri for uri, subscriber in self.subscriptions.items() if subscriber == connection_id]


class Sessions:
    """Every session that is open, the longest inactive first. It mirrors what the SDK holds."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._by_id: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, session_id: str) -> Session | None:
        """The session of that id."""
        return self._by_id.get(session_id)

    def opened(self, session_id: str) -> Session:
        """A client has initialized."""
        session = Session(session_id, self._broker.policy.handles_per_stream_max)
        self._by_id[session_id] = session
        self._broker.metrics.sessions.set(len(self._by_id))
        self.touch(session)
        return session

    def closed(self, session_id: str) -> None:
        """The session has ended; its stream ends with it."""
        session = self._by_id.pop(session_id, None)
        self._broker.metrics.sessions.set(len(self._by_id))
        if session is None:
            return
        session.ended = True
        if session.stream is not None:
            session.stream.end()

    def touch(self, session: Session) -> None:
        """It has just done something."""
        session.active_ms = self._broker.clock.now_ms()
        if session.session_id in self._by_id:
            self._by_id.move_to_end(session.session_id)

    def expired(self, *, making_room: bool = False) -> list[str]:
        """Those that nothing has used for `session_idle_ms`; where room is made, as many more as a new one needs.

        Room is never made by one that was used within `SPARED_MS`: rather is the new one refused.
        """
        policy, now_ms = self._broker.policy, self._broker.clock.now_ms()
        surplus = len(self._by_id) - policy.sessions_max + 1 if making_room else 0
        found: list[str] = []
        for session in self._by_id.values():
            idle_ms = now_ms - session.active_ms
            if idle_ms < policy.session_idle_ms and (surplus <= 0 or idle_ms < SPARED_MS):
                break
            if not session.is_busy:
                found.append(session.session_id)
                surplus -= 1
        return found

    @property
    def are_full(self) -> bool:
        """Whether a new one needs room to be made."""
        return len(self._by_id) >= self._broker.policy.sessions_max


def _nobody_waits() -> None:
    pass
