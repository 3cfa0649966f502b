"""Who waits, in the order in which they entered."""

from __future__ import annotations

import immutables
import msgspec

from events.events import Event, QueueEntered, QueueLeft, RoomOpened
from events.ids import ConnectionId, Position
from projections.order import Order


class Queue(msgspec.Struct, frozen=True, gc=False):
    """Waiting connections by entry position; under first-come matching it never holds two.

    Head, rank and removal from anywhere are O(log n), so a match costs the same with 10 and 100,000 waiting.
    """

    entries: Order[ConnectionId] = Order()
    entered: immutables.Map[ConnectionId, Position] = immutables.Map()

    def __len__(self) -> int:
        return len(self.entries)

    def head(self) -> ConnectionId | None:
        """Who has waited longest."""
        head = self.entries.head()
        return head[1] if head is not None else None

    def place_of(self, connection_id: ConnectionId) -> int:
        """The 1-based place in the queue of someone who waits."""
        return self.entries.rank(self.entered[connection_id]) + 1

    def with_entry(self, connection_id: ConnectionId, position: Position) -> Queue:
        """This queue with one more at its end."""
        return Queue(self.entries.insert(position, connection_id), self.entered.set(connection_id, position))

    def without(self, connection_id: ConnectionId) -> Queue:
        """This queue without someone who waits in it."""
        return Queue(
            self.entries.remove(self.entered[connection_id]),
            self.entered.delete(connection_id),
        )


def queue_after(queue: Queue, event: Event, position: Position) -> Queue:
    """`queue` after `event` of the commit at `position`."""
    if isinstance(event, QueueEntered):
        return queue.with_entry(event.connection_id, position)
    if isinstance(event, QueueLeft):
        return queue.without(event.connection_id)
    if isinstance(event, RoomOpened):
        return queue.without(event.first).without(event.second)
    return queue
