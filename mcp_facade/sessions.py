"""2025 sessions: the handles shown in each, its subscriptions, and its stream.

A session belongs to the transport, a connection to a person. A session may show several handles, several sessions may
show one handle, and a session's end is not a person's leaving.

A session's id is a token (`session_tokens`), so a session exists without being stored: its own handle is derived from
the token. All its other state is a small record beside the log (`SessionRecords`), loaded at the session's first
request here. The copy in memory can be dropped at any time while the session is not in use.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog

from broker.broker import Broker
from broker.clock import Timer, sleep_until
from broker.hub import Delivery
from broker.streams import Stream
from events.ids import HANDLE_BYTES, ConnectionId, Handle, Position, connection_id_of
from events.log import LogUnavailableError
from events.session_records import Fields
from mcp_facade.session_tokens import RANDOM_BYTES, SessionToken, TokenSealer

logger = structlog.get_logger(__name__)

T = TypeVar("T")

SWEEP_MS = 30_000

_ENDED = "ended"
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
        self.stream: Stream | None = None
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


class Sessions:
    """The recently used sessions of one broker, the longest inactive first."""

    def __init__(self, broker: Broker, age_max_ms: int) -> None:
        """Take `age_max_ms`, the validity of a session's id."""
        self._broker = broker
        self._records = broker.log.session_records
        self._tokens = TokenSealer(self._records.secret)
        self._age_max_ms = age_max_ms
        self._by_id: OrderedDict[str, Session] = OrderedDict()
        self._sweep_timer: Timer | None = None

    def __len__(self) -> int:
        return len(self._by_id)

    def new_id(self, version: str) -> str:
        """Return the id of a new session; nothing is stored."""
        return self._tokens.seal(version, self._broker.clock.wall_ms(), self._broker.random_bytes(RANDOM_BYTES))

    def get(self, session_id: str) -> Session | None:
        """Return the session of that id, if it is held here and may be used."""
        session = self._by_id.get(session_id)
        if session is None or session.ended or self._is_too_old(session.token):
            return None
        return session

    async def find(self, session_id: str) -> Session | None:
        """Return the session of that id, from its token and its record; `None` if there is none (any more).

        Raises:
            LogUnavailableError: its record can't be read now.
        """
        token = self._tokens.open(session_id)
        if token is None or self._is_too_old(token):
            return None
        fields = await self._answered(self._records.load(token.record_key, now_ms=self._broker.clock.wall_ms()))
        if _ENDED in fields:
            return None
        if session_id not in self._by_id:
            session = Session(token, self._tokens.own_handle(token), self._broker.policy.handles_per_stream_max)
            session.restore(fields)
            session.kept_at_ms = -math.inf if fields else self._broker.clock.now_ms()
            self._add(session)
            if fields:
                self._broker.in_background(self.keep(session))  # its use begins now, also if that is a stream
        return self.get(session_id)

    def touch(self, session: Session) -> None:
        """Note a use of the session now."""
        session.active_ms = self._broker.clock.now_ms()
        if session.session_id in self._by_id:
            self._by_id.move_to_end(session.session_id)

    async def keep(self, session: Session) -> None:
        """Keep the changes of its record; if a quarter of its time has passed, keep all of it for `session_idle_ms`.

        If the log does not answer, the next call in the session tries again.
        """
        while session.keeping is not None:  # one after the other, in their order
            await asyncio.wait({session.keeping})
        changes, session.changes = session.changes, {}
        if self._is_due(session):
            changes = session.fields() | changes
            session.kept_at_ms = self._broker.clock.now_ms()
        if session.ended or not changes:
            return
        session.keeping = asyncio.ensure_future(self._store(session, changes))
        self._broker.in_background(session.keeping)  # a caller that is cancelled changes nothing
        await self._wait(session.keeping)

    async def _store(self, session: Session, changes: Mapping[str, bytes | None]) -> None:
        until_ms = self._broker.clock.wall_ms() + self._broker.policy.session_idle_ms
        try:
            await self._records.keep(session.token.record_key, changes, until_ms=until_ms)
        except LogUnavailableError as error:
            session.changes = {**changes, **session.changes}
            logger.warning("session_put_off", reason=str(error))
        finally:
            session.keeping = None

    async def end(self, session: Session) -> None:
        """End `session` for good: its stream, the waits of its calls, and every later request.

        Raises:
            LogUnavailableError: its end could not be kept; it goes on.
        """
        session.ended = True
        until_ms = session.token.made_ms + self._age_max_ms
        changes: dict[str, bytes | None] = dict.fromkeys(session.fields())
        try:
            ending = self._records.keep(session.token.record_key, changes | {_ENDED: b"1"}, until_ms=until_ms)
            await self._answered(ending)
        except LogUnavailableError:
            session.ended = False
            raise
        self._drop(session)
        for call in tuple(session.calls):
            call.finish_early()
        if session.stream is not None:
            session.stream.end()

    async def _answered(self, asking: Coroutine[None, None, T]) -> T:
        """Return what the store answers to `asking`.

        Raises:
            LogUnavailableError: it does not answer, or not within `command_timeout_ms`.
        """
        asked = asyncio.ensure_future(asking)
        self._broker.in_background(asked)
        if not await self._wait(asked):
            asked.cancel()
            raise LogUnavailableError("the session's record could not be reached in time")
        return asked.result()

    async def _wait(self, work: asyncio.Future[Any]) -> bool:
        """Return whether `work` is done within `command_timeout_ms`; it goes on in any case."""
        clock = self._broker.clock
        deadline_ms = clock.now_ms() + self._broker.policy.command_timeout_ms
        deadline = asyncio.ensure_future(sleep_until(clock, deadline_ms))
        try:
            await asyncio.wait({work, deadline}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            deadline.cancel()
        return work.done()

    def start_sweeping(self) -> None:
        """Drop unused sessions every thirty seconds, and keep the records of used ones in time."""
        clock = self._broker.clock
        every_ms = min(SWEEP_MS, self._broker.policy.session_idle_ms / 4)
        self._sweep_timer = clock.call_at(clock.now_ms() + every_ms, self._sweep)

    def stop(self) -> None:
        """Stop sweeping."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()

    def _sweep(self) -> None:
        now_ms = self._broker.clock.now_ms()
        for session in tuple(self._by_id.values()):
            if self._is_too_old(session.token):
                self._drop(session)
                if session.stream is not None:
                    session.stream.end()
            elif not session.is_busy and now_ms - session.active_ms >= self._broker.policy.session_idle_ms:
                self._drop(session)
            elif session.changes or (self._is_due(session) and (session.is_busy or session.was_used_since_kept)):
                self._broker.in_background(self.keep(session))
        self._broker.in_background(self._expire())
        self.start_sweeping()

    def _is_due(self, session: Session) -> bool:
        return self._broker.clock.now_ms() - session.kept_at_ms >= self._broker.policy.session_idle_ms / 4

    async def _expire(self) -> None:
        with suppress(LogUnavailableError):  # the next sweep tries again
            await self._records.expire(now_ms=self._broker.clock.wall_ms())

    def _is_too_old(self, token: SessionToken) -> bool:
        return self._broker.clock.wall_ms() - token.made_ms >= self._age_max_ms

    def _add(self, session: Session) -> None:
        """Hold `session`; beyond `sessions_max`, drop one that is not in use. Its record stays."""
        self._by_id[session.session_id] = session
        self.touch(session)
        while len(self._by_id) > self._broker.policy.sessions_max:
            longest_inactive = next(iter(self._by_id.values()))
            if longest_inactive is session:  # all the others are in use
                break
            if longest_inactive.is_busy:
                self._by_id.move_to_end(longest_inactive.session_id)
            else:
                self._drop(longest_inactive)
        self._count()

    def _drop(self, session: Session) -> None:
        if self._by_id.get(session.session_id) is session:
            del self._by_id[session.session_id]
        self._count()

    def _count(self) -> None:
        self._broker.metrics.sessions.set(len(self._by_id))


def _subscription_field(uri: str, connection_id: ConnectionId, handle: Handle) -> str:
    return f"{_SUBSCRIPTION}{connection_id} {uri.replace(handle, _PLACEHOLDER)}"
