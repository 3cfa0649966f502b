"""Stored facts in the past tense. They carry all that their notifications say, and have no behaviour."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.ids import ClientMessageId, ConnectionId, RoomId
from events.policy import Policy
from events.text import Text

QueueLeftReason = Literal["left", "disconnected", "timeout"]
RoomClosedReason = Literal["left", "next", "disconnected", "timeout"]


class _Event(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The shape that all events share."""


class QueueEntered(_Event, frozen=True, tag="queue_entered"):
    """A connection began to wait; its place in the queue is this commit's position."""

    connection_id: ConnectionId
    display_name: str
    interests: tuple[str, ...]


class QueueLeft(_Event, frozen=True, tag="queue_left"):
    """A connection stopped waiting without having met anyone."""

    connection_id: ConnectionId
    reason: QueueLeftReason


class RoomOpened(_Event, frozen=True, tag="room_opened"):
    """Two waiting connections were paired; both leave the queue."""

    room_id: RoomId
    first: ConnectionId  # waited longer
    second: ConnectionId
    first_name: str
    second_name: str


class MessageSent(_Event, frozen=True, tag="message_sent"):
    """A member of a room said something to the other."""

    room_id: RoomId
    sender: ConnectionId
    recipient: ConnectionId
    text: Text
    client_message_id: ClientMessageId | None


class RoomClosed(_Event, frozen=True, tag="room_closed"):
    """A conversation ended, for good; `other` is the member who did not end it."""

    room_id: RoomId
    closed_by: ConnectionId
    other: ConnectionId
    reason: RoomClosedReason


class PolicyAdopted(_Event, frozen=True, tag="policy_adopted"):
    """The limits and graces changed."""

    policy: Policy


Event = QueueEntered | QueueLeft | RoomOpened | MessageSent | RoomClosed | PolicyAdopted
