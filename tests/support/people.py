"""Four people, and short ways to say what they do and what happened to them."""

from __future__ import annotations

from events.commands import Disconnect, EnterQueue, LeaveQueue, LeaveRoom, NextPartner, SendMessage
from events.events import MessageSent, QueueEntered, QueueLeft, RoomClosed, RoomClosedReason, RoomOpened
from events.ids import ClientMessageId, ConnectionId, RoomId

ANN, BOB, CAT, DAN = (ConnectionId(f"c_{name}") for name in ("ann", "bob", "cat", "dan"))
ROOM, FRESH = RoomId("r_old"), RoomId("r_fresh")


def name_of(who: ConnectionId) -> str:
    """The display name that goes with a connection."""
    return who.removeprefix("c_").capitalize()


def enter(who: ConnectionId, name: str | None = None, *interests: str) -> EnterQueue:
    """`who` wants to wait."""
    return EnterQueue(who, name if name is not None else name_of(who), interests)


def move_on(who: ConnectionId, room: RoomId = ROOM) -> NextPartner:
    """`who` wants someone else than in `room`."""
    return NextPartner(who, room)


def leave_queue(who: ConnectionId) -> LeaveQueue:
    """`who` does not want to wait any longer."""
    return LeaveQueue(who)


def leave(who: ConnectionId, room: RoomId = ROOM) -> LeaveRoom:
    """`who` wants out of `room`."""
    return LeaveRoom(who, room)


def say(who: ConnectionId, text: str = "hello", message_id: str | None = None, room: RoomId = ROOM) -> SendMessage:
    """`who` wants to say something."""
    return SendMessage(who, room, text, ClientMessageId(message_id) if message_id is not None else None)


def vanish(who: ConnectionId, since: int = 1_000_000) -> Disconnect:
    """`who` has not been heard of since position `since`."""
    return Disconnect(who, "timeout", since)


def entered(who: ConnectionId, name: str | None = None, *interests: str) -> QueueEntered:
    """`who` began to wait."""
    return QueueEntered(who, name if name is not None else name_of(who), interests)


def left(who: ConnectionId) -> QueueLeft:
    """`who` gave up waiting."""
    return QueueLeft(who, "left")


def opened(first: ConnectionId, second: ConnectionId, room: RoomId = FRESH) -> RoomOpened:
    """`first` and `second` met."""
    return RoomOpened(room, first, second, name_of(first), name_of(second))


def closed(by: ConnectionId, other: ConnectionId, reason: RoomClosedReason, room: RoomId = ROOM) -> RoomClosed:
    """`by` ended it."""
    return RoomClosed(room, by, other, reason)


def said(
    who: ConnectionId, to: ConnectionId, text: str = "hello", message_id: str | None = None, room: RoomId = ROOM
) -> MessageSent:
    """`who` said something."""
    return MessageSent(room, who, to, text, ClientMessageId(message_id) if message_id is not None else None)
