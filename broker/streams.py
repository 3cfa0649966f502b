"""Open streams: each has a bounded backlog and a writer, so no commit waits for a slow client.

A stream with a full backlog is ended and its transport aborted; the client catches up by cursor, from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from broker.clock import Clock, Timer
from broker.delivery_log import DeliveryLog
from broker.hub import Delivery, Hub
from broker.metrics import Metrics
from broker.presence import Presence
from events.ids import ConnectionId
from events.policy import Policy

StreamKind = Literal["get", "listen"]

DRAIN_MS = 1_000

SLOTS = 15
SLOT_MS = 1_000


class TooManyStreamsError(Exception):
    """`streams_max` streams are open, or the broker is ending."""


class Pinged(Protocol):
    """Anything open for so long that a client could take its silence for its end."""

    def ping(self) -> None:
        """Ask for a sign of life; must not raise."""
        ...


class Heartbeat:
    """Pings all its entries every fifteen seconds, with one timer for all.

    An entry stays in the slot it was added to; each second is the turn of one of the fifteen slots.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: list[dict[Pinged, None]] = [{} for _ in range(SLOTS)]
        self._slot = 0
        self._timer: Timer | None = None

    def add(self, pinged: Pinged) -> None:
        """Ping `pinged` from now on."""
        self._slots[self._slot][pinged] = None
        self._set_timer()

    def discard(self, pinged: Pinged) -> None:
        """Stop pinging `pinged`; no error if it was not added."""
        for slot in self._slots:
            slot.pop(pinged, None)

    def stop(self) -> None:
        """Ping nothing until something is added."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.now_ms() + SLOT_MS, self._next_slot)

    def _next_slot(self) -> None:
        self._slot = (self._slot + 1) % SLOTS
        for pinged in self._slots[self._slot]:
            pinged.ping()
        self._timer = None
        if any(self._slots):
            self._set_timer()


class Streams:
    """Every open stream of one broker."""

    def __init__(
        self,
        clock: Clock,
        hub: Hub,
        presence: Presence,
        metrics: Metrics,
        delivery_log: DeliveryLog,
        policy_now: Callable[[], Policy],
    ) -> None:
        self.clock = clock
        self.hub = hub
        self.presence = presence
        self.metrics = metrics
        self.delivery_log = delivery_log
        self.policy_now = policy_now
        self.heartbeat = Heartbeat(clock)
        self._open: dict[Stream, None] = {}
        self._is_ending = False

    def open(
        self, kind: StreamKind, abort: Callable[[], None], *, pinged: bool = False, replaces: Stream | None = None
    ) -> Stream:
        """Open a stream that is attached to no connection yet.

        Args:
            kind: the label of its metrics and delivery records.
            abort: drops its transport without waiting for the client.
            pinged: `Stream.ping` is called every fifteen seconds.
            replaces: a stream the caller ends for this one; it does not count any more.

        Raises:
            TooManyStreamsError: nothing was opened.
        """
        others = len(self._open) - (replaces in self._open)
        if others >= self.policy_now().streams_max or self._is_ending:
            raise TooManyStreamsError
        stream = Stream(self, kind, abort)
        self._open[stream] = None
        self.metrics.streams[kind].inc()
        if pinged:
            self.heartbeat.add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """Forget `stream`, whose writer has returned."""
        stream.end()
        stream.write_now = _not_now  # the writer refers to the stream
        del self._open[stream]
        self.heartbeat.discard(stream)
        self.metrics.streams[stream.kind].dec()

    def end_open(self) -> None:
        """End every open stream gracefully; others may be opened at once."""
        for stream in tuple(self._open):
            stream.end()

    def end_all(self) -> None:
        """End every stream gracefully, and open no more. A client that does not read is cut off after a second."""
        self._is_ending = True
        self.heartbeat.stop()
        self.end_open()
        if self._open:
            self.clock.call_at(self.clock.now_ms() + DRAIN_MS, self._abort_open)

    def _abort_open(self) -> None:
        for stream in tuple(self._open):
            stream.abort()


class Stream:
    """A `Subscriber` with a backlog; while it is open, the connections attached to it are present."""

    def __init__(self, streams: Streams, kind: StreamKind, abort: Callable[[], None]) -> None:
        self.kind = kind
        self.ended = False
        self.ping_due = False
        self.abort = abort
        self.write_now: Callable[[Delivery], bool] = _not_now
        """Writes a delivery at once; set by the writer if its transport can. `False`: not written, `next` gives it."""
        self._streams = streams
        self._backlog: list[Delivery] = []
        self._waiting: asyncio.Future[None] | None = None  # the writer's, for something to do
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
        """Write `delivery`, or keep it for the writer; at a full backlog, end and abort the stream instead."""
        if self.ended:
            return
        if self._waiting is not None and not self._waiting.done() and self.write_now(delivery):
            self.written((delivery,))
            return
        if len(self._backlog) >= self._streams.policy_now().stream_backlog_max:
            self._backlog.clear()
            self.end()
            self.abort()
            return
        self._backlog.append(delivery)
        self._wake()

    def ping(self) -> None:
        """Ask the writer for a sign of life."""
        self.ping_due = True
        self._wake()

    def end(self) -> None:
        """Let the writer write the backlog and return."""
        self.ended = True
        self._wake()
        for connection_id in tuple(self._attached):
            self.detach(connection_id)

    async def next(self) -> list[Delivery]:
        """Return the deliveries since the last call; wait for one. Empty when a ping is due or the stream has ended."""
        if not (self._backlog or self.ping_due or self.ended):
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
            self._waiting = None
        taken, self._backlog = self._backlog, []
        return taken

    def written(self, deliveries: Sequence[Delivery]) -> None:
        """Record that the writer handed `deliveries` to the transport."""
        now_ms = self._streams.clock.now_ms()
        for delivery in deliveries:
            if delivery.announced_ms:
                self._streams.metrics.written(now_ms - delivery.announced_ms)
            self._streams.delivery_log.record(delivery.position, delivery.connection_id, self.kind)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def _not_now(delivery: Delivery) -> bool:
    return False
