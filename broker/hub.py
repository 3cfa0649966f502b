"""Delivery of commits to listeners: recipients are looked up, and no stream is polled.

So a message costs the same with 50 and with 10,000 open streams. A subscriber is handed its delivery without being
awaited; a slow client is the subscriber's own concern.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import NamedTuple, Protocol, TypeVar

from broker.clock import Clock
from broker.metrics import FastCounter
from events.commit import Commit
from events.events import (
    Event,
    MessageSent,
    NamesForgotten,
    PartnerBlocked,
    PartnerReported,
    PolicyAdopted,
    RoomClosed,
    RoomOpened,
)
from events.ids import ConnectionId, Position
from projections.notifications import Notification, deliveries

V = TypeVar("V")


class Delivery(NamedTuple):
    """One notification on its way to one connection."""

    connection_id: ConnectionId
    position: Position
    nth: int  # among the position's recipients, in ascending order, from 0
    notification: Notification
    announced_ms: float  # by the broker's monotonic clock; 0 for a replayed one


def deliveries_of(commit: Commit, announced_ms: float = 0) -> list[Delivery]:
    """Return the deliveries of `commit`, in the order of a stream: two members of a room may share one."""
    found = deliveries(commit)
    if len(found) > 1:
        found.sort(key=itemgetter(0))
    return [
        Delivery(connection_id, commit.position, nth, notification, announced_ms)
        for nth, (connection_id, notification) in enumerate(found)
    ]


class Subscriber(Protocol):
    """A receiver of deliveries: an open stream."""

    def deliver(self, delivery: Delivery) -> None:
        """Take `delivery` without waiting and without raising."""
        ...


class Hub:
    """The subscribers and waits of each connection."""

    def __init__(self, clock: Clock, deliveries: FastCounter) -> None:
        """`deliveries` counts the notifications handed to a subscriber."""
        self._clock = clock
        self._deliveries = deliveries
        self._subscribers: dict[ConnectionId, dict[Subscriber, None]] = {}  # a dict keeps the order of attaching
        self._waits: dict[ConnectionId, dict[asyncio.Event, None]] = {}

    def attach(self, connection_id: ConnectionId, subscriber: Subscriber) -> None:
        """Deliver to `subscriber` the notifications of `connection_id` from now on; a second call has no effect."""
        self._subscribers.setdefault(connection_id, {})[subscriber] = None

    def detach(self, connection_id: ConnectionId, subscriber: Subscriber) -> None:
        """Deliver to `subscriber` no more notifications of `connection_id`."""
        _discard(self._subscribers, connection_id, subscriber)

    @contextmanager
    def waiting(self, connection_id: ConnectionId, wake: asyncio.Event) -> Iterator[None]:
        """Set `wake` at every commit that concerns `connection_id`, as long as the context is open."""
        self._waits.setdefault(connection_id, {})[wake] = None
        try:
            yield
        finally:
            _discard(self._waits, connection_id, wake)

    def waits_of(self, connection_id: ConnectionId) -> int:
        """Return the number of waiting calls of `connection_id`."""
        return len(self._waits.get(connection_id, ()))

    def wake_all(self) -> None:
        """Wake every wait, for a reason outside all commits."""
        for waits in self._waits.values():
            for wake in waits:
                wake.set()

    def announce(self, commit: Commit) -> None:
        """Deliver `commit` to its recipients, and wake the waits of its participants."""
        now_ms = self._clock.now_ms()
        for delivery in deliveries_of(commit, now_ms):
            for subscriber in tuple(self._subscribers.get(delivery.connection_id, ())):
                subscriber.deliver(delivery)
                self._deliveries.inc()
        if self._waits:
            for event in commit.events:
                for connection_id in participants(event):
                    for wake in self._waits.get(connection_id, ()):
                        wake.set()


def participants(event: Event) -> tuple[ConnectionId, ...]:
    """Return the connections concerned by `event`, notified of it or not."""
    match event:
        case MessageSent(sender=sender, recipient=recipient):
            return sender, recipient
        case RoomOpened(first=first, second=second):
            return first, second
        case RoomClosed(closed_by=closed_by, other=other):
            return closed_by, other
        case PolicyAdopted() | PartnerBlocked() | PartnerReported() | NamesForgotten():
            return ()
        case _:
            return (event.connection_id,)


def _discard(table: dict[ConnectionId, dict[V, None]], key: ConnectionId, value: V) -> None:
    held = table.get(key)
    if held is not None:
        held.pop(value, None)
        if not held:
            del table[key]
