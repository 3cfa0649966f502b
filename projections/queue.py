"""The waiting connections, in the order of their entry."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from events.ids import ConnectionId, Position
from projections.ordered_map import Order
from projections.persistent_map import Map


class Queue(msgspec.Struct, frozen=True, gc=False):
    """Waiting connections by entry position.

    Head, rank, removal from anywhere and the search by interest are O(log n), so a match costs the same with 10 and
    with 100,000 waiting.
    """

    entries: Order[ConnectionId] = Order()
    entered: Map[ConnectionId, Position] = Map()
    interests: Map[ConnectionId, tuple[str, ...]] = Map()  # of those who named any
    by_interest: Map[str, Order[ConnectionId]] = Map()  # none of them is empty

    @staticmethod
    def of(entries: Sequence[tuple[Position, ConnectionId, tuple[str, ...]]]) -> Queue:
        """Return the queue of `entries`, given with ascending positions."""
        sharing: dict[str, list[tuple[Position, ConnectionId]]] = {}
        for position, connection_id, interests in entries:
            for interest in dict.fromkeys(interests):
                sharing.setdefault(interest, []).append((position, connection_id))
        return Queue(
            Order.of((position, connection_id) for position, connection_id, _ in entries),
            Map({connection_id: position for position, connection_id, _ in entries}),
            Map({connection_id: interests for _, connection_id, interests in entries if interests}),
            Map({interest: Order.of(those) for interest, those in sharing.items()}),
        )

    def __len__(self) -> int:
        return len(self.entries)

    def head(self) -> ConnectionId | None:
        """Return the longest waiting connection."""
        head = self.entries.head()
        return head[1] if head is not None else None

    def place_of(self, connection_id: ConnectionId) -> int:
        """Return the 1-based place of a waiting connection."""
        return self.entries.rank(self.entered[connection_id]) + 1

    def sharing(self, interest: str) -> Order[ConnectionId] | None:
        """Return the waiting connections with `interest` by entry position; `None` if there is none."""
        return self.by_interest.get(interest)

    def with_entry(self, connection_id: ConnectionId, position: Position, interests: tuple[str, ...] = ()) -> Queue:
        """Return this queue with one more connection, in the order of `position`."""
        entries, entered = self.entries.insert(position, connection_id), self.entered.set(connection_id, position)
        if not interests:
            return Queue(entries, entered, self.interests, self.by_interest)
        by_interest = self.by_interest.mutate()
        for interest in dict.fromkeys(interests):
            by_interest[interest] = by_interest.get(interest, _EMPTY_ORDER).insert(position, connection_id)
        return Queue(entries, entered, self.interests.set(connection_id, interests), by_interest.finish())

    def without(self, connection_id: ConnectionId) -> Queue:
        """Return this queue without a waiting connection."""
        position = self.entered[connection_id]
        entries, entered = self.entries.remove(position), self.entered.delete(connection_id)
        if connection_id not in self.interests:
            return Queue(entries, entered, self.interests, self.by_interest)
        by_interest = self.by_interest.mutate()
        for interest in dict.fromkeys(self.interests[connection_id]):
            if rest := by_interest[interest].remove(position):
                by_interest[interest] = rest
            else:
                del by_interest[interest]
        return Queue(entries, entered, self.interests.delete(connection_id), by_interest.finish())


_EMPTY_ORDER: Order[ConnectionId] = Order()


class QueueMutation(msgspec.Struct, gc=False):
    """A working copy of a queue. A connection that leaves before `flush` never enters the order."""

    kept: Queue
    pending: dict[ConnectionId, tuple[Position, tuple[str, ...]]] | None = None

    def add(self, connection_id: ConnectionId, position: Position, interests: tuple[str, ...]) -> None:
        """Add a connection, in the order of `position`."""
        if self.pending is None:
            self.pending = {}
        self.pending[connection_id] = position, interests

    def remove(self, connection_id: ConnectionId) -> None:
        """Remove a waiting connection."""
        if self.pending is None or self.pending.pop(connection_id, None) is None:
            self.kept = self.kept.without(connection_id)

    def flush(self) -> Queue:
        """Return the queue so far."""
        if self.pending:
            for connection_id, (position, interests) in self.pending.items():
                self.kept = self.kept.with_entry(connection_id, position, interests)
            self.pending.clear()
        return self.kept
