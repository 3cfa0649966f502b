"""Comparing the folded state with the reference model's, both brought into one plain form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from broker.testing.reference_state import PlainNotification, ReferenceConnection, ReferenceState
from events.ids import ConnectionId
from projections.connections import Chatting, Connection, Waiting
from projections.inbox import EMPTY_INBOX
from projections.notifications import Notification
from projections.rooms import Room
from projections.state import State

Plain = dict[str, Any]


def differences(expected: ReferenceState, state: State) -> list[str]:
    """Return a line for each value in which `state` differs from `expected`, with both values."""
    return [
        *_differences("", _plain_state(state), _plain_reference(expected)),
        *_inbox_differences(expected, state),
    ]


def plain_notification(connection_id: ConnectionId, notification: Notification) -> PlainNotification:
    """Return a notification in the reference model's form."""
    return connection_id, notification.method, msgspec.structs.asdict(notification.params)


def _plain_state(state: State) -> Plain:
    return {
        "position": state.position,
        "at_ms": state.at_ms,
        "policy": msgspec.structs.asdict(state.policy),
        "queue": [connection_id for _, connection_id in state.queue.entries.items()],
        "idle": [connection_id for _, connection_id in state.connections.idle.items()],
        "connections": {
            connection_id: _connection(connection) for connection_id, connection in state.connections.by_id.items()
        },
        "rooms": {room_id: _room(room) for room_id, room in state.rooms.by_id.items()},
        "closed rooms": [room_id for _, room_id in state.rooms.closed.items()],
        "messages sent": state.messages_sent,
        "rooms closed": state.rooms_closed,
    }


def _plain_reference(expected: ReferenceState) -> Plain:
    return {
        "position": expected.position,
        "at_ms": expected.at_ms,
        "policy": msgspec.structs.asdict(expected.policy),
        "queue": [connection.connection_id for connection in expected.queue],
        "idle": [connection.connection_id for connection in expected.idle],
        "connections": {
            connection.connection_id: _reference_connection(connection) for connection in expected.connections
        },
        "rooms": {
            room.room_id: {
                "first": (room.first.connection_id, room.first_name),
                "second": (room.second.connection_id, room.second_name),
                "opened": room.opened,
                "closed": room.closed,
                "message ids": sorted(room.older_ids + room.newer_ids),
            }
            for room in expected.rooms
        },
        "closed rooms": [room.room_id for room in expected.closed],
        "messages sent": expected.messages_sent,
        "rooms closed": expected.rooms_closed,
    }


def _connection(connection: Connection) -> Plain:
    place = connection.place
    return {
        "name": connection.display_name,
        "interests": connection.interests,
        "place": type(place).__name__.lower(),
        "entered": place.entered_position if isinstance(place, Waiting) else None,
        "room": place.room_id if isinstance(place, Chatting) else None,
        "last position": connection.last_position,
        "last at_ms": connection.last_at_ms,
        "queue spent until": connection.queue_spent_until_us,
        "messages spent until": connection.messages_spent_until_us,
    }


def _reference_connection(connection: ReferenceConnection) -> Plain:
    return {
        "name": connection.name,
        "interests": connection.interests,
        "place": connection.place,
        "entered": connection.entered,
        "room": connection.room_id,
        "last position": connection.last_position,
        "last at_ms": connection.last_at_ms,
        "queue spent until": connection.queue_spent_until_us,
        "messages spent until": connection.messages_spent_until_us,
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


def _differences(name: str, actual: Any, expected: Any) -> Iterator[str]:
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        for key in sorted({*actual, *expected}):
            yield from _differences(f"{name} {key}".lstrip(), actual.get(key), expected.get(key))
    elif actual != expected:
        yield f"{name} is {actual!r}, in the reference {expected!r}"


def _inbox_differences(expected: ReferenceState, state: State) -> Iterator[str]:
    """Compare the inboxes: each must list the newest positions, and `dropped_through` must cover the others."""
    for connection in expected.connections:
        connection_id = connection.connection_id
        inbox = state.inboxes.get(connection_id, EMPTY_INBOX)
        positions = [position for position, _ in connection.notifications]
        kept = inbox.last(len(inbox))
        if kept != [position for position in positions if position > inbox.dropped_through]:
            yield f"inbox {connection_id} is {kept} after {inbox.dropped_through}, in the reference {positions}"
        dropped = len(positions) - len(kept)
        if dropped and positions[dropped - 1] != inbox.dropped_through:
            yield (
                f"inbox {connection_id} dropped up to {inbox.dropped_through}, in the reference {positions[:dropped]}"
            )
    for connection_id in sorted(state.inboxes):
        if expected.connection(connection_id) is None:
            yield f"inbox {connection_id} is kept, but the reference does not know the connection"
