"""From commits to whoever is listening: recipients are looked up, never asked for.

So a message costs the same with 50 and with 10,000 open streams. A sink is handed its delivery without being
awaited; what it does with a client that reads slowly is its own affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar

from broker.clock import Clock
from events.commit import Commit
from events.events import Event, MessageSent, PolicyAdopted, RoomClosed, RoomOpened
from events.ids import ConnectionId, Position
from projections.notifications import Notification, deliveries
from projections.state import State

V = TypeVar("V")


class Delivery(NamedTuple):
    """One notification on its way to one connection."""

    connection_id: ConnectionId
    position: Position
    nth: int  # of those whom the position tells something, in ascending order, from 0
    notification: Notification
    announced_ms: float  # by the broker's monotonic clock; 0 for one that is replayed


def deliveries_of(commit: Commit, announced_ms: float = 0) -> list[Delivery]:
    """What `commit` tells whom, in the order in which it goes on a stream: two members of a room may share one."""
    told = sorted(deliveries(commit), key=_connection_id)
    return [
        Delivery(connection_id, commit.position, nth, notification, announced_ms)
        for nth, (connection_id, notification) in enumerate(told)
    ]


class Subscriber(Protocol):
    """Where deliveries go: an open stream."""

    def deliver(self, delivery: Delivery) -> None:
        """Take `delivery` without waiting and without raising."""
        ...


class Hub:
    """Who listens for which connection."""

    def __init__(self, clock: Clock) -> None:
        self.on_delivery: Callable[[], None] = lambda: None
        self._clock = clock
        self._sinks: dict[ConnectionId, dict[Subscriber, None]] = {}  # a dict keeps the order of attaching
        self._waits: dict[ConnectionId, dict[asyncio.Event, None]] = {}

    def attach(self, connection_id: ConnectionId, sink: Subscriber) -> None:
        """From now on `sink` hears what `connection_id` is told; attaching it twice is attaching it once."""
        self._sinks.setdefault(connection_id, {})[sink] = None

    def detach(self, connection_id: ConnectionId, sink: Subscriber) -> None:
        """`sink` hears no more of it."""
        _discard(self._sinks, connection_id, sink)

    @contextmanager
    def waiting(self, connection_id: ConnectionId, touched: asyncio.Event) -> Iterator[None]:
        """For as long as it is open, `touched` is set whenever a commit has to do with `connection_id`."""
        self._waits.setdefault(connection_id, {})[touched] = None
        try:
            yield
        finally:
            _discard(self._waits, connection_id, touched)

    def waits_of(self, connection_id: ConnectionId) -> int:
        """How many calls wait for `connection_id` to be told something."""
        return len(self._waits.get(connection_id, ()))

    def wake_all(self) -> None:
        """Let every wait look again, for a reason that is in no commit."""
        for waits in self._waits.values():
            for touched in waits:
                touched.set()

    def announce(self, commit: Commit, state: State) -> None:
        """Hand everyone whom `commit` concerns what it tells them (an `Observer` of the runtime)."""
        now_ms = self._clock.now_ms()
        for delivery in deliveries_of(commit, now_ms):
            for sink in tuple(self._sinks.get(delivery.connection_id, ())):
                sink.deliver(delivery)
                self.on_delivery()
        if self._waits:
            for event in commit.events:
                for connection_id in participants(event):
                    for touched in self._waits.get(connection_id, ()):
                        touched.set()


def participants(event: Event) -> tuple[ConnectionId, ...]:
    """Everyone whom `event` concerns, told of it or not."""
    match event:
        case MessageSent(sender=sender, recipient=recipient):
            return sender, recipient
        case RoomOpened(first=first, second=second):
            return first, second
        case RoomClosed(closed_by=closed_by, other=other):
            return closed_by, other
        case PolicyAdopted():
            return ()
        case _:
            return (event.connection_id,)


def _connection_id(told: tuple[ConnectionId, Notification]) -> ConnectionId:
    return told[0]


def _discard(table: dict[ConnectionId, dict[V, None]], key: ConnectionId, value: V) -> None:
    held = table.get(key)
    if held is not None:
        held.pop(value, None)
        if not held:
            del table[key]
