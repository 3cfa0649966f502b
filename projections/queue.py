"""Who waits, in the order in which they entered."""

from __future__ import annotations

from collections.abc import Sequence

import immutables
import msgspec

from events.ids import ConnectionId, Position
from projections.ordered_map import Order

Interests = tuple[str, ...]


class Queue(msgspec.Struct, frozen=True, gc=False):
    """Waiting connections by entry position.

    Head, rank, removal from anywhere and the search for those who share an interest are O(log n), so a match costs
    the same with 10 and 100,000 waiting.
    """

    entries: Order[ConnectionId] = Order()
    entered: immutables.Map[ConnectionId, Position] = immutables.Map()
    interests: immutables.Map[ConnectionId, Interests] = immutables.Map()  # of those who named any
    by_interest: immutables.Map[str, Order[ConnectionId]] = immutables.Map()  # none of them is empty

    @staticmethod
    def of(entries: Sequence[tuple[Position, ConnectionId, Interests]]) -> Queue:
        """The queue of those who entered at these positions, which ascend."""
        sharing: dict[str, list[tuple[Position, ConnectionId]]] = {}
        for position, connection_id, interests in entries:
            for interest in dict.fromkeys(interests):
                sharing.setdefault(interest, []).append((position, connection_id))
        return Queue(
            Order.of((position, connection_id) for position, connection_id, _ in entries),
            immutables.Map({connection_id: position for position, connection_id, _ in entries}),
            immutables.Map({connection_id: interests for _, connection_id, interests in entries if interests}),
            immutables.Map({interest: Order.of(those) for interest, those in sharing.items()}),
        )

    def __len__(self) -> int:
        return len(self.entries)

    def head(self) -> ConnectionId | None:
        """Who has waited longest."""
        head = self.entries.head()
        return head[1] if head is not None else None

    def place_of(self, connection_id: ConnectionId) -> int:
        """The 1-based place in the queue of someone who waits."""
        return self.entries.rank(self.entered[connection_id]) + 1

    def sharing(self, interest: str) -> Order[ConnectionId] | None:
        """Those who wait and have `interest`, by entry position; `None` if nobody has it."""
        return self.by_interest.get(interest)

    def with_entry(self, connection_id: ConnectionId, position: Position, interests: Interests = ()) -> Queue:
        """This queue with one more at its end."""
        entries, entered = self.entries.insert(position, connection_id), self.entered.set(connection_id, position)
        if not interests:
            return Queue(entries, entered, self.interests, self.by_interest)
        by_interest = self.by_interest.mutate()
        for interest in dict.fromkeys(interests):
            by_interest[interest] = by_interest.get(interest, _NOBODY).insert(position, connection_id)
        return Queue(entries, entered, self.interests.set(connection_id, interests), by_interest.finish())

    def without(self, connection_id: ConnectionId) -> Queue:
        """This queue without someone who waits in it."""
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


_NOBODY: Order[ConnectionId] = Order()


class QueueMutation(msgspec.Struct, gc=False):
    """A working copy of a queue. Who comes and goes before anybody looks is never put in order."""

    kept: Queue
    newcomers: dict[ConnectionId, tuple[Position, Interests]] | None = None  # in the order of their entry

    def add(self, connection_id: ConnectionId, position: Position, interests: Interests) -> None:
        """Someone waits from here on."""
        if self.newcomers is None:
            self.newcomers = {}
        self.newcomers[connection_id] = position, interests

    def remove(self, connection_id: ConnectionId) -> None:
        """Someone waits no longer."""
        if self.newcomers is None or self.newcomers.pop(connection_id, None) is None:
            self.kept = self.kept.without(connection_id)

    def settled(self) -> Queue:
        """The queue that came of it so far."""
        if self.newcomers:
            for connection_id, (position, interests) in self.newcomers.items():
                self.kept = self.kept.with_entry(connection_id, position, interests)
            self.newcomers.clear()
        return self.kept
