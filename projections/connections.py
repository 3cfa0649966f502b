"""Where each connection is: idle, in the queue, or in one room. Never in two of them."""

from __future__ import annotations

import immutables
import msgspec
from msgspec.structs import replace

from events.events import QueueEntered
from events.ids import ConnectionId, Position, RoomId
from projections.ordered_map import Order, OrderMutation
from projections.rate_limit import allowance_after


class Idle(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="idle"):
    """Neither waiting nor chatting; `key` orders the idle by how long they have been so."""

    key: int


class Waiting(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="waiting"):
    """In the queue since the commit at `entered_position`."""

    entered_position: Position


class Chatting(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="chatting"):
    """In an open room."""

    room_id: RoomId


Place = Idle | Waiting | Chatting


class Connection(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What is known of one participant."""

    display_name: str
    interests: tuple[str, ...]
    place: Place
    last_position: Position  # of the last event that it took part in, other than being spoken to
    last_at_ms: int
    queue_spent_until_us: int  # theoretical arrival time of the rate limit, see projections.limits
    messages_spent_until_us: int


class Connections(msgspec.Struct, frozen=True, gc=False):
    """Every connection that is known; the idle ones also in the order in which they became so."""

    by_id: immutables.Map[ConnectionId, Connection] = immutables.Map()
    idle: Order[ConnectionId] = Order()

    def __len__(self) -> int:
        return len(self.by_id)

    def get(self, connection_id: ConnectionId) -> Connection | None:
        """What is known of `connection_id`, if anything is."""
        return self.by_id.get(connection_id)


class ConnectionsMutation(msgspec.Struct, gc=False):
    """A working copy of `Connections`, field by field; each change is of the commit at `position`, made at `at_ms`."""

    by_id: immutables.MapMutation[ConnectionId, Connection]
    idle: OrderMutation[ConnectionId]

    def record_message(self, who: ConnectionId, position: Position, at_ms: int, limit_per_10s: int) -> None:
        """`who`, in a room, said something: it is taken off their allowance."""
        known = self.by_id[who]
        spent = allowance_after(known.messages_spent_until_us, at_ms, limit_per_10s)
        self.by_id[who] = Connection(
            known.display_name, known.interests, known.place, position, at_ms, known.queue_spent_until_us, spent
        )

    def set_waiting(self, entry: QueueEntered, position: Position, at_ms: int, limit_per_10s: int) -> None:
        """Someone new or idle waits: they have the name and the interests that they came with."""
        known, spent, said = self.by_id.get(entry.connection_id), 0, 0
        if known is not None:
            assert isinstance(known.place, Idle)
            self.idle.remove(known.place.key)
            spent, said = known.queue_spent_until_us, known.messages_spent_until_us
        self.by_id[entry.connection_id] = Connection(
            entry.display_name,
            entry.interests,
            Waiting(position),
            position,
            at_ms,
            allowance_after(spent, at_ms, limit_per_10s),
            said,
        )

    def set_chatting(self, who: ConnectionId, room_id: RoomId, position: Position, at_ms: int) -> None:
        """`who` is in an open room."""
        place = Chatting(room_id)
        self.by_id[who] = replace(self.by_id[who], place=place, last_position=position, last_at_ms=at_ms)

    def set_idle(self, who: ConnectionId, key: int, position: Position, at_ms: int) -> None:
        """`who` is idle, and since later than all others: `key` is the highest."""
        self.by_id[who] = replace(self.by_id[who], place=Idle(key), last_position=position, last_at_ms=at_ms)
        self.idle.append(key, who)

    def forget_longest_idle(self, kept_max: int) -> list[ConnectionId]:
        """Forget the longest idle beyond `kept_max` connections, and tell who that was."""
        gone = []
        while len(self.by_id) > kept_max and (longest := self.idle.pop_head()) is not None:
            del self.by_id[longest[1]]
            gone.append(longest[1])
        return gone
