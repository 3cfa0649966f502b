"""Four people, with short names for their commands and events."""

from __future__ import annotations

from events.commands import Disconnect, EnterQueue, LeaveQueue, LeaveRoom, NextPartner, SendMessage
from events.events import MessageSent, QueueEntered, QueueLeft, RoomClosed, RoomClosedReason, RoomOpened
from events.ids import ClientMessageId, ConnectionId, RoomId

ANN, BOB, CAT, DAN = (ConnectionId(f"c_{name}") for name in ("ann", "bob", "cat", "dan"))
ROOM, FRESH = RoomId("r_old"), RoomId("r_fresh")


def name_of(who: ConnectionId) -> str:
    """Return the display name of a connection."""
    return who.removeprefix("c_").capitalize()


def enter(who: ConnectionId, name: str | None = None, *interests: str) -> EnterQueue:
    """Return the command to wait."""
    return EnterQueue(who, name if name is not None else name_of(who), interests)


def move_on(who: ConnectionId, room: RoomId = ROOM) -> NextPartner:
    """Return the command to leave `room` for another partner."""
    return NextPartner(who, room)


def leave_queue(who: ConnectionId) -> LeaveQueue:
    """Return the command to stop waiting."""
    return LeaveQueue(who)


def leave(who: ConnectionId, room: RoomId = ROOM) -> LeaveRoom:
    """Return the command to leave `room`."""
    return LeaveRoom(who, room)


def say(who: ConnectionId, text: str = "hello", message_id: str | None = None, room: RoomId = ROOM) -> SendMessage:
    """Return the command to send a message."""
    return SendMessage(who, room, text, ClientMessageId(message_id) if message_id is not None else None)


def vanish(who: ConnectionId, since: int = 1_000_000) -> Disconnect:
    """Return the command for a timeout: `who` has been silent since position `since`."""
    return Disconnect(who, "timeout", since)


def entered(who: ConnectionId, name: str | None = None, *interests: str) -> QueueEntered:
    """Return the event of beginning to wait."""
    return QueueEntered(who, name if name is not None else name_of(who), interests)


def left(who: ConnectionId) -> QueueLeft:
    """Return the event of giving up waiting."""
    return QueueLeft(who, "left")


def opened(first: ConnectionId, second: ConnectionId, room: RoomId = FRESH) -> RoomOpened:
    """Return the event of `first` and `second` meeting."""
    return RoomOpened(room, first, second, name_of(first), name_of(second))


def closed(by: ConnectionId, other: ConnectionId, reason: RoomClosedReason, room: RoomId = ROOM) -> RoomClosed:
    """Return the event of `by` ending the room."""
    return RoomClosed(room, by, other, reason)


def said(
    who: ConnectionId, to: ConnectionId, text: str = "hello", message_id: str | None = None, room: RoomId = ROOM
) -> MessageSent:
    """Return the event of a message."""
    return MessageSent(room, who, to, text, ClientMessageId(message_id) if message_id is not None else None)
