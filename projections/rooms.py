"""The conversations: those that go on, and the newest of those that have ended."""

from __future__ import annotations

import immutables
import msgspec
from msgspec.structs import replace

from events.events import MessageSent, RoomOpened
from events.ids import ClientMessageId, ConnectionId, Position, RoomId
from projections.ordered_map import Order, OrderMutation

MessageIds = immutables.Map[tuple[ConnectionId, ClientMessageId], int]
"""By sender and the sender's own name for it: when a message was stored."""


class Room(msgspec.Struct, frozen=True, gc=False):
    """Two people and what is needed to answer them; what they said is in the log alone."""

    room_id: RoomId
    first: ConnectionId  # waited longer
    second: ConnectionId
    first_name: str
    second_name: str
    opened_position: Position
    closed_position: Position | None = None
    newest_ids: MessageIds = immutables.Map()
    older_ids: MessageIds = immutables.Map()

    def sent_at_ms(self, sender: ConnectionId, client_message_id: ClientMessageId) -> int | None:
        """When `sender` said what they called `client_message_id`, if they did and it is remembered."""
        key = (sender, client_message_id)
        return self.newest_ids.get(key, self.older_ids.get(key))

    @property
    def is_open(self) -> bool:
        """Whether they can still talk."""
        return self.closed_position is None

    def has(self, connection_id: ConnectionId) -> bool:
        """Whether `connection_id` is one of the two."""
        return connection_id in (self.first, self.second)

    def partner_of(self, member: ConnectionId) -> ConnectionId:
        """The other one."""
        return self.second if member == self.first else self.first

    def partner_name_of(self, member: ConnectionId) -> str:
        """The other one's display name."""
        return self.second_name if member == self.first else self.first_name


class Rooms(msgspec.Struct, frozen=True, gc=False):
    """All rooms that are kept: every open one, and the `closed_rooms_kept` that closed last."""

    by_id: immutables.Map[RoomId, Room] = immutables.Map()
    closed: Order[RoomId] = Order()  # by the position of their closing

    @property
    def open_count(self) -> int:
        """How many conversations go on."""
        return len(self.by_id) - len(self.closed)

    def get(self, room_id: RoomId) -> Room | None:
        """The room of that name, if it is kept."""
        return self.by_id.get(room_id)


class RoomsMutation(msgspec.Struct, gc=False):
    """A working copy of `Rooms`, field by field."""

    by_id: immutables.MapMutation[RoomId, Room]
    closed: OrderMutation[RoomId]

    @property
    def open_count(self) -> int:
        """How many conversations go on."""
        return len(self.by_id) - self.closed.count

    def open(self, event: RoomOpened, position: Position) -> None:
        """Two people are in a room of their own."""
        names = event.first_name, event.second_name
        self.by_id[event.room_id] = Room(event.room_id, event.first, event.second, *names, position)

    def remember(self, event: MessageSent, at_ms: int, ids_kept: int) -> None:
        """Someone said something, and has a name for it.

        At least the newest half of `ids_kept` ids is remembered in a room, and never more than `ids_kept`, or one more
        if that is odd.
        """
        assert event.client_message_id is not None
        room = self.by_id[event.room_id]
        newest, older = room.newest_ids, room.older_ids
        if 2 * len(newest) >= ids_kept:
            newest, older = immutables.Map(), newest
        self.by_id[event.room_id] = Room(
            room.room_id,
            room.first,
            room.second,
            room.first_name,
            room.second_name,
            room.opened_position,
            room.closed_position,
            newest.set((event.sender, event.client_message_id), at_ms),
            older,
        )

    def close(self, room_id: RoomId, position: Position, closed_kept: int) -> None:
        """A conversation is over; of those that are, the `closed_kept` newest are kept."""
        self.by_id[room_id] = replace(self.by_id[room_id], closed_position=position)
        self.closed.append(position, room_id)
        while self.closed.count > closed_kept and (oldest := self.closed.pop_head()) is not None:
            del self.by_id[oldest[1]]
