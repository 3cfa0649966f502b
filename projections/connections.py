"""The place of each connection: idle, in the queue, or in one room, and never in two of them."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from events.events import QueueEntered
from events.ids import ConnectionId, Position, RoomId
from projections.ordered_map import Order, OrderMutation
from projections.persistent_map import Map, MapMutation
from projections.rate_limit import allowance_after


class Idle(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="idle"):
    """Neither waiting nor chatting; `key` orders the idle by the beginning of it."""

    key: int

    @property
    def since_position(self) -> Position:
        """The position of its last commit."""
        return self.key // 2


class Waiting(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="waiting"):
    """In the queue since the commit at `entered_position`."""

    entered_position: Position


class Chatting(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="chatting"):
    """In an open room."""

    room_id: RoomId


Place = Idle | Waiting | Chatting


class Connection(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The state of one participant."""

    display_name: str
    interests: tuple[str, ...]
    place: Place
    last_position: Position  # of the last event it took part in, other than receiving a message
    last_at_ms: int
    queue_spent_until_us: int  # theoretical arrival time of the rate limit, see projections.rate_limit
    messages_spent_until_us: int


class Connections(msgspec.Struct, frozen=True, gc=False):
    """Every known connection; the idle ones also in the order in which they became idle."""

    by_id: Map[ConnectionId, Connection] = Map()
    idle: Order[ConnectionId] = Order()

    def __len__(self) -> int:
        return len(self.by_id)

    def get(self, connection_id: ConnectionId) -> Connection | None:
        """Return the connection, or `None` if it is not known."""
        return self.by_id.get(connection_id)


class ConnectionsMutation(msgspec.Struct, gc=False):
    """A working copy of `Connections`. Each change belongs to the commit at `position`, made at `at_ms`."""

    by_id: MapMutation[ConnectionId, Connection]
    idle: OrderMutation[ConnectionId]

    def record_message(self, who: ConnectionId, position: Position, at_ms: int, limit_per_10s: int) -> None:
        """Take a message of `who`, in a room, off its allowance."""
        known = self.by_id[who]
        spent = allowance_after(known.messages_spent_until_us, at_ms, limit_per_10s)
        self.by_id[who] = Connection(
            known.display_name, known.interests, known.place, position, at_ms, known.queue_spent_until_us, spent
        )

    def set_waiting(self, entry: QueueEntered, position: Position, at_ms: int, limit_per_10s: int) -> None:
        """Let a new or idle connection wait under the name and interests of `entry`."""
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
        """Put `who` into an open room."""
        place = Chatting(room_id)
        self.by_id[who] = replace(self.by_id[who], place=place, last_position=position, last_at_ms=at_ms)

    def set_idle(self, who: ConnectionId, key: int, position: Position, at_ms: int) -> None:
        """Make `who` the newest idle connection; `key` is the highest so far, and twice `position` or one more."""
        self.by_id[who] = replace(self.by_id[who], place=Idle(key), last_position=position, last_at_ms=at_ms)
        self.idle.append(key, who)

    def forget_longest_idle(self, kept_max: int) -> list[ConnectionId]:
        """Forget the longest idle connections beyond `kept_max` connections, and return their ids."""
        gone = []
        while len(self.by_id) > kept_max and (longest := self.idle.pop_head()) is not None:
            del self.by_id[longest[1]]
            gone.append(longest[1])
        return gone
