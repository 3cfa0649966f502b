"""The conversations: those that go on, and the newest of those that have ended."""

from __future__ import annotations

import immutables
import msgspec

from events.events import Event, MessageSent, RoomClosed, RoomOpened
from events.ids import ClientMessageId, ConnectionId, Position, RoomId
from events.policy import Policy
from projections.order import Order

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


def rooms_after(rooms: Rooms, event: Event, position: Position, at_ms: int, policy: Policy) -> Rooms:
    """`rooms` after `event` of the commit at `position`."""
    if isinstance(event, MessageSent):
        return _after_message(rooms, event, at_ms, policy.message_ids_kept)
    if isinstance(event, RoomOpened):
        room = Room(
            event.room_id,
            event.first,
            event.second,
            event.first_name,
            event.second_name,
            opened_position=position,
        )
        return Rooms(rooms.by_id.set(event.room_id, room), rooms.closed)
    if isinstance(event, RoomClosed):
        return _after_closing(rooms, event, position, policy.closed_rooms_kept)
    return rooms


def _after_message(rooms: Rooms, event: MessageSent, at_ms: int, ids_kept: int) -> Rooms:
    """Of the ids, at least the newest half of `ids_kept` is remembered, and never more than `ids_kept`."""
    if event.client_message_id is None:
        return rooms
    room = rooms.by_id[event.room_id]
    newest, older = room.newest_ids, room.older_ids
    if 2 * len(newest) >= ids_kept:
        newest, older = immutables.Map(), newest
    newest = newest.set((event.sender, event.client_message_id), at_ms)
    room = msgspec.structs.replace(room, newest_ids=newest, older_ids=older)
    return Rooms(rooms.by_id.set(event.room_id, room), rooms.closed)


def _after_closing(rooms: Rooms, event: RoomClosed, position: Position, closed_kept: int) -> Rooms:
    room = msgspec.structs.replace(rooms.by_id[event.room_id], closed_position=position)
    by_id, closed = rooms.by_id.set(event.room_id, room), rooms.closed.insert(position, event.room_id)
    while len(closed) > closed_kept:
        oldest = closed.head()
        assert oldest is not None
        by_id, closed = by_id.delete(oldest[1]), closed.remove(oldest[0])
    return Rooms(by_id, closed)
