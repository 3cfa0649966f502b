"""Open streams: each has a bounded backlog and a writer of its own, so nobody waits for a client that does not read.

A stream whose backlog is full is ended and its transport abort; the client catches up by cursor, from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from broker.clock import Clock, Timer
from broker.hub import Delivery
from events.ids import ConnectionId

if TYPE_CHECKING:
    from broker.broker import Broker

StreamKind = Literal["get", "listen"]

DRAIN_MS = 1_000


class TooManyStreamsError(Exception):
    """`streams_max` streams are open."""


class Stream:
    """A `Subscriber` with a backlog; while it is open, the connections attached to it are present."""

    def __init__(self, broker: Broker, kind: StreamKind, abort: Callable[[], None]) -> None:
        self.kind = kind
        self.ended = False
        self.ping_due = False
        self._broker = broker
        self.abort = abort
        self.write_now: Callable[[Delivery], bool] = _not_now
        """Set by a writer that can write without waiting: what comes while it waits for more is written at once.

        `False` where it would have to wait: then `next` gives the delivery, in its turn.
        """
        self._backlog: list[Delivery] = []
        self._waiting: asyncio.Future[None] | None = None  # the writer, for something to do
        self._attached: dict[ConnectionId, None] = {}

    def attach(self, connection_id: ConnectionId) -> None:
        """From now on, carry what `connection_id` is told."""
        if connection_id not in self._attached and not self.ended:
            self._attached[connection_id] = None
            self._broker.notifier.attach(connection_id, self)
            self._broker.presence.stream_opened(connection_id)

    def detach(self, connection_id: ConnectionId) -> None:
        """Carry no more of it."""
        if connection_id in self._attached:
            del self._attached[connection_id]
            self._broker.notifier.detach(connection_id, self)
            self._broker.presence.stream_closed(connection_id)

    def deliver(self, delivery: Delivery) -> None:
        """Write `delivery`, or keep it for the writer; at a full backlog, end and abort the stream instead."""
        if self.ended:
            return
        if self._waiting is not None and not self._waiting.done() and self.write_now(delivery):
            self.written((delivery,))
            return
        if len(self._backlog) >= self._broker.policy.stream_backlog_max:
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
        """Let the writer write what it has, and stop."""
        self.ended = True
        self._wake()
        for connection_id in tuple(self._attached):
            self.detach(connection_id)

    async def next(self) -> list[Delivery]:
        """What came since the last call; waits for it. Empty when a ping is due, or the stream has ended."""
        if not (self._backlog or self.ping_due or self.ended):
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
            self._waiting = None
        taken, self._backlog = self._backlog, []
        return taken

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def written(self, deliveries: Sequence[Delivery]) -> None:
        """The writer handed `deliveries` to the transport."""
        now_ms = self._broker.clock.now_ms()
        for delivery in deliveries:
            if delivery.announced_ms:
                self._broker.metrics.written(now_ms - delivery.announced_ms)
            self._broker.delivery_records.note(delivery.position, delivery.connection_id, self.kind)


class Streams:
    """Every open stream; pings those that ask for it."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._open: dict[Stream, None] = {}
        self.heartbeat = Heartbeat(broker.clock)
        broker.on_gap = self.end_open

    def open(
        self, kind: StreamKind, abort: Callable[[], None], *, pinged: bool = False, instead_of: Stream | None = None
    ) -> Stream:
        """A new stream, not yet attached to anyone; `abort` drops its transport without waiting for it.

        `instead_of` is one that will be ended for it, and does not count any more.

        Raises:
            TooManyStreamsError: nothing was opened.
        """
        others = len(self._open) - (instead_of in self._open)
        if others >= self._broker.policy.streams_max or self._broker.draining:
            raise TooManyStreamsError
        stream = Stream(self._broker, kind, abort)
        self._open[stream] = None
        self._broker.metrics.streams[kind].inc()
        if pinged:
            self.heartbeat.add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """The writer of `stream` is gone."""
        stream.end()
        stream.write_now = _not_now  # the writer refers to the stream
        del self._open[stream]
        self.heartbeat.discard(stream)
        self._broker.metrics.streams[stream.kind].dec()

    def end_open(self) -> None:
        """End every stream that is open, gracefully; others may be opened at once."""
        for stream in tuple(self._open):
            stream.end()

    def end_all(self) -> None:
        """End every stream for good, gracefully."""
        self.heartbeat.stop()
        self.end_open()
        if self._open:
            clock = self._broker.clock
            clock.call_at(clock.now_ms() + DRAIN_MS, self._abort_all)

    def _abort_all(self) -> None:
        """Whoever is still writing writes to someone who does not read."""
        for stream in tuple(self._open):
            stream.abort()


def _not_now(delivery: Delivery) -> bool:
    return False


SLOTS = 15
SLOT_MS = 1_000


class Pinged(Protocol):
    """What is written to for so long that its silence could be taken for its end."""

    def ping(self) -> None:
        """Ask for a sign of life; must not raise."""
        ...


class Heartbeat:
    """Everything stands in the slot in which it was added, which comes round every fifteenth time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: list[dict[Pinged, None]] = [{} for _ in range(SLOTS)]
        self._slot = 0
        self._timer: Timer | None = None

    def add(self, pinged: Pinged) -> None:
        """From now on, ping it."""
        self._slots[self._slot][pinged] = None
        self._go_on()

    def discard(self, pinged: Pinged) -> None:
        """Do not ping it any more, if it was."""
        for slot in self._slots:
            slot.pop(pinged, None)

    def stop(self) -> None:
        """Ping nothing, until something is added."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.now_ms() + SLOT_MS, self._next_slot)

    def _next_slot(self) -> None:
        self._slot = (self._slot + 1) % SLOTS
        for pinged in self._slots[self._slot]:
            pinged.ping()
        self._timer = None
        if any(self._slots):
            self._go_on()
