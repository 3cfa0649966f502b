"""The open rooms, and the newest closed ones."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from events.events import MessageSent, PartnerReported, QueueEntry, RoomOpened
from events.ids import ClientMessageId, ConnectionId, Position, RoomId
from events.text import ANONYMOUS, Text
from projections.ordered_map import Order, OrderMutation
from projections.persistent_map import Map, MapMutation

MessageIds = Map[tuple[ConnectionId, ClientMessageId], int]
"""The times of stored messages (Unix ms), by sender and the sender's own id."""


class Room(msgspec.Struct, frozen=True, gc=False):
    """Two members, and all that is needed to answer them; their messages are in the log alone."""

    room_id: RoomId
    first: ConnectionId  # waited longer
    second: ConnectionId
    first_name: Text  # forgotten when the room closes, unless its commit will keep it for good
    second_name: Text
    opened_position: Position
    closed_position: Position | None = None
    newest_ids: MessageIds = Map()
    older_ids: MessageIds = Map()
    first_entry: QueueEntry | None = None  # for a match that has to be confirmed
    second_entry: QueueEntry | None = None
    reporters: tuple[ConnectionId, ...] = ()

    def sent_at_ms(self, sender: ConnectionId, client_message_id: ClientMessageId) -> int | None:
        """Return the time of `sender`'s message of that id, or `None` if none is remembered."""
        key = (sender, client_message_id)
        return self.newest_ids.get(key, self.older_ids.get(key))

    @property
    def is_open(self) -> bool:
        """True while the members can talk."""
        return self.closed_position is None

    def has(self, connection_id: ConnectionId) -> bool:
        """Return true for a member."""
        return connection_id in (self.first, self.second)

    def partner_of(self, member: ConnectionId) -> ConnectionId:
        """Return the other member."""
        return self.second if member == self.first else self.first

    def partner_name_of(self, member: ConnectionId) -> Text:
        """Return the other member's display name."""
        return self.second_name if member == self.first else self.first_name

    def entry_of(self, member: ConnectionId) -> QueueEntry | None:
        """Return the former place of `member` in the queue; `None` for a match that needs no confirmation."""
        return self.first_entry if member == self.first else self.second_entry


class Rooms(msgspec.Struct, frozen=True, gc=False):
    """All kept rooms: every open one, and the `closed_rooms_kept` closed last."""

    by_id: Map[RoomId, Room] = Map()
    closed: Order[RoomId] = Order()  # by closing position

    @property
    def open_count(self) -> int:
        """The number of open rooms."""
        return len(self.by_id) - len(self.closed)

    def get(self, room_id: RoomId) -> Room | None:
        """Return the room, or `None` if it is not kept."""
        return self.by_id.get(room_id)


class RoomsMutation(msgspec.Struct, gc=False):
    """A working copy of `Rooms`."""

    by_id: MapMutation[RoomId, Room]
    closed: OrderMutation[RoomId]

    def so_far(self) -> Rooms:
        """Return the rooms as they are now; the working copy goes on from them."""
        rooms = Rooms(self.by_id.finish(), self.closed.finish())
        self.by_id, self.closed = rooms.by_id.mutate(), rooms.closed.mutate()
        return rooms

    @property
    def open_count(self) -> int:
        """The number of open rooms."""
        return len(self.by_id) - self.closed.count

    def open(self, event: RoomOpened, position: Position) -> None:
        """Open a room."""
        self.by_id[event.room_id] = Room(
            event.room_id,
            event.first,
            event.second,
            event.first_name,
            event.second_name,
            position,
            first_entry=event.first_entry,
            second_entry=event.second_entry,
        )

    def remember(self, event: MessageSent, at_ms: int, ids_kept: int) -> None:
        """Remember the sender's id of a message.

        The newest half of `ids_kept` ids is remembered in a room at least, and at most `ids_kept`, or one more if that
        is odd.
        """
        assert event.client_message_id is not None
        room = self.by_id[event.room_id]
        newest, older = room.newest_ids, room.older_ids
        if 2 * len(newest) >= ids_kept:
            newest, older = Map(), newest
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
            room.first_entry,
            room.second_entry,
            room.reporters,
        )

    def record_report(self, event: PartnerReported) -> None:
        """Note the reporter in the room."""
        room = self.by_id[event.room_id]
        self.by_id[event.room_id] = replace(room, reporters=(*room.reporters, event.reporter))

    def close(
        self, room_id: RoomId, position: Position, closed_kept: int, nameless: tuple[ConnectionId, ...] = ()
    ) -> None:
        """Close a room, forget the names of the members `nameless`, and keep the `closed_kept` newest closed rooms."""
        room = self.by_id[room_id]
        self.by_id[room_id] = replace(
            room,
            closed_position=position,
            first_name=ANONYMOUS if room.first in nameless else room.first_name,
            second_name=ANONYMOUS if room.second in nameless else room.second_name,
        )
        self.closed.append(position, room_id)
        while self.closed.count > closed_kept and (oldest := self.closed.pop_head()) is not None:
            del self.by_id[oldest[1]]
