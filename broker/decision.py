"""The outcome of a decision, and the common parts of all rules."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.events import Event, RoomClosed, RoomClosedReason
from events.ids import ConnectionId, RoomId
from projections.rooms import Room
from projections.view import FoldView

RejectionCode = Literal[
    "already_chatting",
    "chat_ended",
    "queue_full",
    "rate_limited",
    "room_not_found",
    "unavailable",
    "unknown_handle",
]


class Rejection(msgspec.Struct, frozen=True):
    """An expected refusal: a value, never stored. `retry_after_ms` belongs to `rate_limited`."""

    code: RejectionCode
    retry_after_ms: int | None = None


Decision = list[Event] | Rejection

ALREADY_DONE: list[Event] = []

ROOM_NOT_FOUND = Rejection("room_not_found")

UNAVAILABLE = Rejection("unavailable")


def own_room(state: FoldView, who: ConnectionId, room_id: RoomId) -> Room | None:
    """Return the room, if the connection is a member; for others there is no such room, so its id reveals nothing."""
    room = state.rooms.by_id.get(room_id)
    return room if room is not None and room.has(who) else None


def close(room: Room, closed_by: ConnectionId, reason: RoomClosedReason) -> list[Event]:
    """Return the end of an open room; nothing for a closed one."""
    if not room.is_open:
        return ALREADY_DONE
    return [RoomClosed(room.room_id, closed_by, room.partner_of(closed_by), reason)]
