"""Open streams: each has a bounded backlog and one loop that writes, so no commit waits for a slow client.

A stream is given an encoder and a transport. A stream with a full backlog is ended and its transport aborted; the
client catches up by cursor, from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

from broker.clock import Clock, RandomBytes
from broker.deadlines import Deadlines
from broker.hub import Delivery, Hub
from broker.metrics import Metrics
from broker.presence import Presence
from broker.record_buffer import RecordBuffer
from broker.replica import Replica
from events.ids import ConnectionId

StreamKind = Literal["get", "listen"]

F = TypeVar("F")
F_co = TypeVar("F_co", covariant=True)
F_contra = TypeVar("F_contra", contravariant=True)

DRAIN_MS = 1_000
"""The time of a client to read the end of its stream."""

SPREAD_MS = 1_000
"""The time over which the streams of one of several brokers end: clients come back to the others one by one."""

SPREAD_STEPS = 50

SLOTS = 15
SLOT_MS = 1_000


class TooManyStreamsError(Exception):
    """`streams_max` streams are open, or the broker is ending."""


class Pinged(Protocol):
    """Anything open for so long that a client could take its silence for its end."""

    def ping(self) -> None:
        """Ask for a sign of life; must not raise."""
        ...


class DeliveryEncoder(Protocol[F_co]):
    """Turns deliveries into a transport's frames."""

    def encode(self, delivery: Delivery) -> F_co:
        """Return `delivery` as frames. It is called once for each delivery, in the order of the stream."""
        ...


class StreamTransport(Protocol[F_contra]):
    """The client's end of a stream."""

    def is_writable(self) -> bool:
        """Return whether `write_now` can write: false while the client reads too slowly."""
        ...

    def is_open(self) -> bool:
        """Return whether recent writes can reach the client: its connection is not lost, as far as known."""
        ...

    def write_now(self, frames: F_contra) -> None:
        """Write `frames` without waiting."""
        ...

    async def write(self, frames: Sequence[F_contra]) -> None:
        """Write `frames`, as soon as the client reads."""
        ...

    async def ping(self) -> None:
        """Write a sign of life."""
        ...

    def abort(self) -> None:
        """Drop the connection without waiting for the client."""
        ...


class Heartbeat:
    """Pings all its entries every fifteen seconds, with one deadline at a time for all.

    An entry stays in the slot it was added to; each second is the turn of one of the fifteen slots.
    """

    def __init__(self, clock: Clock, deadlines: Deadlines) -> None:
        self._clock = clock
        self._deadlines = deadlines
        self._slots: list[dict[Pinged, None]] = [{} for _ in range(SLOTS)]
        self._slot = 0
        self._is_ticking = False

    def add(self, pinged: Pinged) -> None:
        """Ping `pinged` from now on."""
        self._slots[self._slot][pinged] = None
        if not self._is_ticking:
            self._tick_later()

    def discard(self, pinged: Pinged) -> None:
        """Stop pinging `pinged`; no error if it was not added."""
        for slot in self._slots:
            slot.pop(pinged, None)

    def _tick_later(self) -> None:
        self._is_ticking = True
        self._deadlines.add(self._clock.now_ms() + SLOT_MS, self._tick)

    def _tick(self) -> None:
        self._slot = (self._slot + 1) % SLOTS
        for pinged in tuple(self._slots[self._slot]):
            pinged.ping()
        self._is_ticking = False
        if any(self._slots):
            self._tick_later()


class Streams:
    """Every open stream of one broker."""

    def __init__(
        self,
        clock: Clock,
        replica: Replica,
        hub: Hub,
        presence: Presence,
        heartbeat: Heartbeat,
        metrics: Metrics,
        records: RecordBuffer,
        random_bytes: RandomBytes,
    ) -> None:
        self.clock = clock
        self._random_bytes = random_bytes
        self.replica = replica
        self.hub = hub
        self.presence = presence
        self.metrics = metrics
        self.records = records
        self.heartbeat = heartbeat
        self._open: dict[Stream[Any], None] = {}
        self._is_ending = False

    def open(
        self,
        kind: StreamKind,
        encoder: DeliveryEncoder[F],
        transport: StreamTransport[F],
        *,
        pinged: bool = True,
        replaces: Stream[Any] | None = None,
    ) -> Stream[F]:
        """Open a stream attached to no connection yet.

        Args:
            kind: the label of its metrics and delivery records.
            encoder: makes the frames that `transport` writes.
            transport: the client's end.
            pinged: have the transport pinged every fifteen seconds.
            replaces: a stream the caller ends for this one; it does not count any more.

        Raises:
            TooManyStreamsError: nothing was opened.
        """
        others = len(self._open) - (replaces in self._open)
        if others >= self.replica.state.policy.streams_max or self._is_ending:
            raise TooManyStreamsError
        stream = Stream(self, kind, encoder, transport)
        self._open[stream] = None
        self.metrics.streams[kind].inc()
        if pinged:
            self.heartbeat.add(stream)
        return stream

    def forget(self, stream: Stream[Any]) -> None:
        """Count `stream` no more; see `Stream.close`."""
        del self._open[stream]
        self.heartbeat.discard(stream)
        self.metrics.streams[stream.kind].dec()

    def end_open(self) -> None:
        """End every open stream gracefully; others may be opened at once."""
        for stream in tuple(self._open):
            stream.end()

    def end_all(self, *, over_ms: int = 0) -> None:
        """End every stream gracefully within `over_ms`, in random order, and open no more; a second call ends the rest.

        A client that does not read is cut off a second later.
        """
        over_ms = 0 if self._is_ending else over_ms
        self._is_ending = True
        if over_ms == 0:
            self.end_open()
        elif self._open:
            self._end_one_by_one(over_ms)
        if self._open:
            self.clock.call_at(self.clock.now_ms() + over_ms + DRAIN_MS, self._abort_open)

    def _end_one_by_one(self, over_ms: int) -> None:
        left = sorted(self._open, key=lambda _: self._random_bytes(8))
        share, began_ms = -(-len(left) // SPREAD_STEPS), self.clock.now_ms()

        def end_some(step: int) -> None:
            for stream in left[step * share : (step + 1) * share]:
                stream.end()
            if (step + 1) * share < len(left):
                self.clock.call_at(began_ms + over_ms * (step + 1) / SPREAD_STEPS, lambda: end_some(step + 1))

        end_some(0)

    def _abort_open(self) -> None:
        for stream in tuple(self._open):
            stream.abort()


class Stream(Generic[F]):
    """A `Subscriber` with a backlog and the loop that writes it.

    While it is open, the connections attached to it are present.
    """

    def __init__(
        self, streams: Streams, kind: StreamKind, encoder: DeliveryEncoder[F], transport: StreamTransport[F]
    ) -> None:
        self.kind = kind
        self.ended = False
        self._streams = streams
        self._encoder = encoder
        self._transport = transport
        self._ping_due = False
        self._backlog: list[Delivery] = []
        self._wake: asyncio.Future[None] | None = None  # of the loop, while it has nothing to do
        self._attached: dict[ConnectionId, None] = {}

    def attach(self, connection_id: ConnectionId) -> None:
        """Carry the notifications of `connection_id` from now on."""
        if connection_id not in self._attached and not self.ended:
            self._attached[connection_id] = None
            self._streams.hub.attach(connection_id, self)
            self._streams.presence.stream_opened(connection_id)

    def detach(self, connection_id: ConnectionId) -> None:
        """Carry no more of them."""
        if connection_id in self._attached:
            del self._attached[connection_id]
            self._streams.hub.detach(connection_id, self)
            self._streams.presence.stream_closed(connection_id)

    def deliver(self, delivery: Delivery) -> None:
        """Write `delivery` if all before it is written, else keep it; at a full backlog, end and abort the stream."""
        if self.ended:
            return
        if self._wake is not None and not self._wake.done() and self._transport.is_writable():
            self._transport.write_now(self._encoder.encode(delivery))
            self._record(delivery)
        elif len(self._backlog) < self._streams.replica.state.policy.stream_backlog_max:
            self._backlog.append(delivery)
            self._wake_up()
        else:
            self._backlog.clear()
            self.end()
            self._transport.abort()

    def ping(self) -> None:
        """Have the loop ping the client (`Pinged`)."""
        self._ping_due = True
        self._wake_up()

    def end(self) -> None:
        """Let the loop write the backlog and return."""
        self.ended = True
        self._wake_up()
        for connection_id in tuple(self._attached):
            self.detach(connection_id)

    def close(self) -> None:
        """End for good: `run` has returned, or is never called."""
        self.end()
        self._streams.forget(self)

    def abort(self) -> None:
        """Drop the client's connection; unwritten frames are dropped too."""
        self._transport.abort()

    async def run(self) -> None:
        """Write deliveries and pings until the stream is ended and its backlog written."""
        while True:
            if self._backlog:
                taken, self._backlog = self._backlog, []
                await self._transport.write([self._encoder.encode(delivery) for delivery in taken])
                for delivery in taken:
                    self._record(delivery)
            elif self.ended:
                return
            elif self._ping_due:
                self._ping_due = False
                await self._transport.ping()
            else:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
                self._wake = None

    def _record(self, delivery: Delivery) -> None:
        """Record that `delivery` was handed to the transport; on an open one, it confirms a match."""
        streams = self._streams
        confirmation = streams.presence.confirmation
        if delivery.connection_id in confirmation.unconfirmed and self._transport.is_open():
            confirmation.told(delivery.connection_id, delivery.position)
        streams.metrics.delivery_s.observe_ms(streams.clock.now_ms() - delivery.announced_ms)
        streams.records.record_delivery(delivery.position, delivery.connection_id, self.kind)

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
