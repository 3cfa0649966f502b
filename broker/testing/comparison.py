"""Comparing the folded state with the reference model's, both brought into one plain form.

A text that is redacted on one side is not compared: the comparison of the events has compared its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from broker.testing.reference_state import PlainNotification, ReferenceConnection, ReferenceState, shown
from events.ids import ConnectionId
from events.text import Interests, RedactedText, Text
from projections.connections import Chatting, Connection, Waiting
from projections.inbox import EMPTY_INBOX
from projections.notifications import REDACTED_TEXT, Notification
from projections.rooms import Room
from projections.state import State

Plain = dict[str, Any]


def differences(expected: ReferenceState, state: State) -> list[str]:
    """Return a line for each difference between `state` and `expected`, with both values."""
    return [
        *_differences("", _plain_state(state), _plain_reference(expected)),
        *_inbox_differences(expected, state),
    ]


def plain_notification(connection_id: ConnectionId, notification: Notification) -> PlainNotification:
    """Return a notification in the reference model's form."""
    return connection_id, notification.method, msgspec.to_builtins(notification.params)


def are_alike(notified: Sequence[PlainNotification], owed: Sequence[PlainNotification]) -> bool:
    """Return whether two lists of notifications are the same, but for redacted texts."""
    return len(notified) == len(owed) and all(
        one[:2] == other[:2] and not [*_differences("", one[2], other[2])]
        for one, other in zip(notified, owed, strict=True)
    )


def state_differences(expected: State, state: State) -> list[str]:
    """Return a line for each difference between two states, except in redacted texts."""
    return [*_differences("", _plain_state(state), _plain_state(expected))]


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
        "reports": [(position, report.room_id, report.at_ms) for position, report in state.reports.items()],
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
                "first": room.first.connection_id,
                "first name": shown(room.first_name),
                "first entry": room.first_entry,
                "second": room.second.connection_id,
                "second name": shown(room.second_name),
                "second entry": room.second_entry,
                "opened": room.opened,
                "closed": room.closed,
                "message ids": sorted(room.older_ids + room.newer_ids),
                "reporters": room.reporters,
            }
            for room in expected.rooms
        },
        "closed rooms": [room.room_id for room in expected.closed],
        "reports": expected.reports,
        "messages sent": expected.messages_sent,
        "rooms closed": expected.rooms_closed,
    }


def _connection(connection: Connection) -> Plain:
    place = connection.place
    return {
        "words": _words(connection.display_name, connection.interests, connection.salt),
        "place": type(place).__name__.lower(),
        "entered": (place.entered_position, connection.waiting_since_ms()) if isinstance(place, Waiting) else None,
        "room": place.room_id if isinstance(place, Chatting) else None,
        "last position": connection.last_position,
        "last at_ms": connection.last_at_ms,
        "queue spent until": connection.queue_spent_until_us,
        "messages spent until": connection.messages_spent_until_us,
        "reports spent until": connection.reports_spent_until_us,
        "met": [(met.connection_id, met.at_ms) for met in connection.partners],
        "blocked": [*connection.blocked],
        "idle grace": connection.idle_grace_ms,
    }


def _reference_connection(connection: ReferenceConnection) -> Plain:
    return {
        "words": _words(connection.name, connection.interests, connection.salt),
        "place": connection.place,
        "entered": (connection.entered, connection.entered_at_ms) if connection.place == "waiting" else None,
        "room": connection.room_id,
        "last position": connection.last_position,
        "last at_ms": connection.last_at_ms,
        "queue spent until": connection.queue_spent_until_us,
        "messages spent until": connection.messages_spent_until_us,
        "reports spent until": connection.reports_spent_until_us,
        "met": connection.met,
        "blocked": connection.blocked,
        "idle grace": connection.idle_grace_ms,
    }


def _words(name: Text, interests: Interests, salt: str | None) -> object:
    """Return the name and the interests of a connection, which are redacted together."""
    is_redacted = isinstance(name, RedactedText) or isinstance(interests, RedactedText)
    return REDACTED_TEXT if is_redacted else (name, interests, salt)


def _room(room: Room) -> Plain:
    ids = [*room.older_ids.items(), *room.newest_ids.items()]
    return {
        "first": room.first,
        "first name": shown(room.first_name),
        "first entry": room.first_entry,
        "second": room.second,
        "second name": shown(room.second_name),
        "second entry": room.second_entry,
        "opened": room.opened_position,
        "closed": room.closed_position,
        "message ids": sorted((sender, message_id, at_ms) for (sender, message_id), at_ms in ids),
        "reporters": [*room.reporters],
    }


def _differences(name: str, actual: Any, expected: Any) -> Iterator[str]:
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        for key in sorted({*actual, *expected}):
            yield from _differences(f"{name} {key}".lstrip(), actual.get(key), expected.get(key))
    elif actual != expected and REDACTED_TEXT not in (actual, expected):
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
