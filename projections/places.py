"""Where each connection is: idle, in the queue, or in one room. Never in two of them."""

from __future__ import annotations

import immutables
import msgspec

from events.events import Event, MessageSent, QueueEntered, QueueLeft, RoomClosed, RoomOpened
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from projections.limits import allowance_after
from projections.order import Order


class Idle(msgspec.Struct, frozen=True, gc=False, tag="idle"):
    """Neither waiting nor chatting; `key` orders the idle by how long they have been so."""

    key: int


class Waiting(msgspec.Struct, frozen=True, gc=False, tag="waiting"):
    """In the queue since the commit at `entered_position`."""

    entered_position: Position


class Chatting(msgspec.Struct, frozen=True, gc=False, tag="chatting"):
    """In an open room."""

    room_id: RoomId


Place = Idle | Waiting | Chatting


class Connection(msgspec.Struct, frozen=True, gc=False):
    """What is known of one participant."""

    display_name: str
    interests: tuple[str, ...]
    place: Place
    last_position: Position  # of the last event that it took part in, other than being spoken to
    last_at_ms: int
    queue_spent_until_us: int = 0  # theoretical arrival time of the rate limit, see projections.limits
    messages_spent_until_us: int = 0


class Places(msgspec.Struct, frozen=True, gc=False):
    """Every connection that is known; the idle ones also in the order in which they became so."""

    by_id: immutables.Map[ConnectionId, Connection] = immutables.Map()
    idle: Order[ConnectionId] = Order()

    def __len__(self) -> int:
        return len(self.by_id)

    def get(self, connection_id: ConnectionId) -> Connection | None:
        """What is known of `connection_id`, if anything is."""
        return self.by_id.get(connection_id)

    def without_oldest_idle(self, kept_max: int) -> tuple[Places, tuple[ConnectionId, ...]]:
        """These places less the longest idle beyond `kept_max`, and who that was."""
        by_id, idle, gone = self.by_id, self.idle, []
        while len(by_id) > kept_max and (oldest := idle.head()) is not None:
            by_id, idle = by_id.delete(oldest[1]), idle.remove(oldest[0])
            gone.append(oldest[1])
        return Places(by_id, idle), tuple(gone)


def places_after(places: Places, event: Event, position: Position, at_ms: int, policy: Policy) -> Places:
    """`places` after `event` of the commit at `position`."""
    match event:
        case MessageSent():
            return _after_message(places, event, position, at_ms, policy)
        case QueueEntered():
            return _after_entry(places, event, position, at_ms, policy)
        case QueueLeft():
            return _moved(places, event.connection_id, Idle(2 * position), position, at_ms)
        case RoomOpened():
            chatting = Chatting(event.room_id)
            places = _moved(places, event.first, chatting, position, at_ms)
            return _moved(places, event.second, chatting, position, at_ms)
        case RoomClosed():
            places = _moved(places, event.closed_by, Idle(2 * position), position, at_ms)
            return _moved(places, event.other, Idle(2 * position + 1), position, at_ms)
        case _:
            return places


def _after_message(places: Places, event: MessageSent, position: Position, at_ms: int, policy: Policy) -> Places:
    sender = places.by_id[event.sender]
    spent = allowance_after(sender.messages_spent_until_us, at_ms, policy.messages_per_10s_max)
    sender = Connection(
        sender.display_name,
        sender.interests,
        sender.place,
        position,
        at_ms,
        sender.queue_spent_until_us,
        spent,
    )
    return Places(places.by_id.set(event.sender, sender), places.idle)


def _after_entry(places: Places, event: QueueEntered, position: Position, at_ms: int, policy: Policy) -> Places:
    known = places.by_id.get(event.connection_id)
    spent = known.queue_spent_until_us if known is not None else 0
    connection = Connection(
        event.display_name,
        event.interests,
        Waiting(position),
        position,
        at_ms,
        allowance_after(spent, at_ms, policy.queue_commands_per_10s_max),
        known.messages_spent_until_us if known is not None else 0,
    )
    idle = places.idle
    if known is not None:
        assert isinstance(known.place, Idle)
        idle = idle.remove(known.place.key)
    return Places(places.by_id.set(event.connection_id, connection), idle)


def _moved(places: Places, who: ConnectionId, place: Place, position: Position, at_ms: int) -> Places:
    connection = msgspec.structs.replace(places.by_id[who], place=place, last_position=position, last_at_ms=at_ms)
    idle = places.idle.insert(place.key, who) if isinstance(place, Idle) else places.idle
    return Places(places.by_id.set(who, connection), idle)
