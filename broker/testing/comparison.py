"""The two witnesses side by side: what a fold says, and what the naive reference says, in one plain form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from broker.testing.world import Person, Told, World
from events.ids import ConnectionId
from projections.connections import Chatting, Connection, Waiting
from projections.inbox import EMPTY_INBOX
from projections.notifications import Notification
from projections.rooms import Room
from projections.state import State

Plain = dict[str, Any]


def differences(world: World, state: State) -> list[str]:
    """Each thing in which `state` is not what `world` says, as a line that names it and says both."""
    return [*_differences("", _plain_state(state), _plain_world(world)), *_unlike_inboxes(world, state)]


def plain_told(who: ConnectionId, notification: Notification) -> Told:
    """A notification as the reference has it."""
    return who, notification.method, msgspec.structs.asdict(notification.params)


def _plain_state(state: State) -> Plain:
    return {
        "position": state.position,
        "at_ms": state.at_ms,
        "policy": msgspec.structs.asdict(state.policy),
        "queue": [who for _, who in state.queue.entries.items()],
        "idle": [who for _, who in state.connections.idle.items()],
        "people": {who: _person(known) for who, known in state.connections.by_id.items()},
        "rooms": {room_id: _room(room) for room_id, room in state.rooms.by_id.items()},
        "closed rooms": [room_id for _, room_id in state.rooms.closed.items()],
        "messages sent": state.messages_sent,
        "rooms closed": state.rooms_closed,
    }


def _plain_world(world: World) -> Plain:
    return {
        "position": world.position,
        "at_ms": world.at_ms,
        "policy": msgspec.structs.asdict(world.policy),
        "queue": [person.who for person in world.queue],
        "idle": [person.who for person in world.idle],
        "people": {person.who: _reference_person(person) for person in world.people},
        "rooms": {
            chat.room_id: {
                "first": (chat.first.who, chat.first_name),
                "second": (chat.second.who, chat.second_name),
                "opened": chat.opened,
                "closed": chat.closed,
                "message ids": sorted(chat.older_ids + chat.newer_ids),
            }
            for chat in world.rooms
        },
        "closed rooms": [chat.room_id for chat in world.closed],
        "messages sent": world.messages_sent,
        "rooms closed": world.rooms_closed,
    }


def _person(known: Connection) -> Plain:
    place = known.place
    return {
        "name": known.display_name,
        "interests": known.interests,
        "place": type(place).__name__.lower(),
        "entered": place.entered_position if isinstance(place, Waiting) else None,
        "room": place.room_id if isinstance(place, Chatting) else None,
        "last position": known.last_position,
        "last at_ms": known.last_at_ms,
        "queue spent until": known.queue_spent_until_us,
        "messages spent until": known.messages_spent_until_us,
    }


def _reference_person(person: Person) -> Plain:
    return {
        "name": person.name,
        "interests": person.interests,
        "place": person.place,
        "entered": person.entered,
        "room": person.room_id,
        "last position": person.last_position,
        "last at_ms": person.last_at_ms,
        "queue spent until": person.queue_spent_until_us,
        "messages spent until": person.messages_spent_until_us,
    }


def _room(room: Room) -> Plain:
    ids = [*room.older_ids.items(), *room.newest_ids.items()]
    return {
        "first": (room.first, room.first_name),
        "second": (room.second, room.second_name),
        "opened": room.opened_position,
        "closed": room.closed_position,
        "message ids": sorted((sender, message_id, at_ms) for (sender, message_id), at_ms in ids),
    }


def _differences(name: str, here: Any, there: Any) -> Iterator[str]:
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for key in sorted({*here, *there}):
            yield from _differences(f"{name} {key}".lstrip(), here.get(key), there.get(key))
    elif here != there:
        yield f"{name} is {here!r}, in the reference {there!r}"


def _unlike_inboxes(world: World, state: State) -> Iterator[str]:
    """An inbox is an index of the newest positions; what it has dropped, it says that it has."""
    for person in world.people:
        inbox = state.inboxes.get(person.who, EMPTY_INBOX)
        told = [position for position, _ in person.told]
        kept = inbox.last(len(inbox))
        if kept != [position for position in told if position > inbox.dropped_through]:
            yield f"inbox {person.who} is {kept} after {inbox.dropped_through}, in the reference {told}"
        dropped = len(told) - len(kept)
        if dropped and told[dropped - 1] != inbox.dropped_through:
            yield f"inbox {person.who} dropped up to {inbox.dropped_through}, in the reference {told[:dropped]}"
    for who in sorted(state.inboxes):
        if world.person(who) is None:
            yield f"inbox {who} is kept, in the reference nobody knows them"
