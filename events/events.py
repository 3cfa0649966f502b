"""Stored facts in the past tense, with all the content of their notifications, and without behaviour."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.ids import ClientMessageId, ConnectionId, RoomId
from events.policy import Policy
from events.text import Text

QueueLeftReason = Literal["left", "disconnected", "timeout"]
RoomClosedReason = Literal["left", "next", "disconnected", "timeout"]


class _EventBase(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The common settings of all events."""


class QueueEntered(_EventBase, frozen=True, tag="queue_entered"):
    """A connection began to wait; its place in the queue is this commit's position."""

    connection_id: ConnectionId
    display_name: str
    interests: tuple[str, ...]


class QueueLeft(_EventBase, frozen=True, tag="queue_left"):
    """A connection stopped waiting without a match."""

    connection_id: ConnectionId
    reason: QueueLeftReason


class RoomOpened(_EventBase, frozen=True, tag="room_opened"):
    """Two waiting connections were paired; both leave the queue."""

    room_id: RoomId
    first: ConnectionId  # waited longer
    second: ConnectionId
    first_name: str
    second_name: str


class MessageSent(_EventBase, frozen=True, tag="message_sent"):
    """A member of a room sent a message to the other."""

    room_id: RoomId
    sender: ConnectionId
    recipient: ConnectionId
    text: Text
    client_message_id: ClientMessageId | None


class RoomClosed(_EventBase, frozen=True, tag="room_closed", omit_defaults=True):
    """A conversation ended for good; `other` is the member that did not end it."""

    room_id: RoomId
    closed_by: ConnectionId
    other: ConnectionId
    reason: RoomClosedReason
    missed_by: tuple[ConnectionId, ...] = ()


class PolicyAdopted(_EventBase, frozen=True, tag="policy_adopted"):
    """The limits and graces changed."""

    policy: Policy


Event = QueueEntered | QueueLeft | RoomOpened | MessageSent | RoomClosed | PolicyAdopted
