"""Stored facts in the past tense, with all the content of their notifications, and without behaviour."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.commands import ReportCategory
from events.ids import ClientMessageId, ConnectionId, Position, RoomId
from events.policy import Policy
from events.text import Interests, Text

QueueLeftReason = Literal["left", "disconnected", "timeout"]
RoomClosedReason = Literal["left", "next", "disconnected", "timeout"]


class _EventBase(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """The common settings of all events. A field with a default came later than its event."""


class QueueEntry(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """The place of a connection in the queue: the position of its entry, and that commit's time (Unix ms)."""

    position: Position
    at_ms: int


class QueueEntered(_EventBase, frozen=True, tag="queue_entered"):
    """A connection began to wait; its place in the queue is this commit's position, or `earlier`."""

    connection_id: ConnectionId
    display_name: Text
    interests: Interests
    salt: str | None = None  # of its name and interests
    earlier: QueueEntry | None = None  # it waited before, and its match was missed by the other
    idle_grace_ms: int | None = None  # of an attended connection, in place of the policy's graces


class QueueLeft(_EventBase, frozen=True, tag="queue_left"):
    """A connection stopped waiting without a match."""

    connection_id: ConnectionId
    reason: QueueLeftReason


class RoomOpened(_EventBase, frozen=True, tag="room_opened"):
    """Two waiting connections were paired; both leave the queue."""

    room_id: RoomId
    first: ConnectionId  # waited longer
    second: ConnectionId
    first_name: Text
    second_name: Text
    first_salt: str | None = None  # of the name
    second_salt: str | None = None
    first_entry: QueueEntry | None = None  # for a match that has to be confirmed
    second_entry: QueueEntry | None = None


class MessageSent(_EventBase, frozen=True, tag="message_sent"):
    """A member of a room sent a message to the other."""

    room_id: RoomId
    sender: ConnectionId
    recipient: ConnectionId
    text: Text
    client_message_id: ClientMessageId | None


class RoomClosed(_EventBase, frozen=True, tag="room_closed"):
    """A conversation ended for good; `other` is the member that did not end it."""

    room_id: RoomId
    closed_by: ConnectionId
    other: ConnectionId
    reason: RoomClosedReason
    missed_by: tuple[ConnectionId, ...] = ()  # the members without a sign of life since the opening
    is_other_requeued: bool = False  # it waits again, by an event of this commit


class PartnerBlocked(_EventBase, frozen=True, tag="partner_blocked"):
    """A connection will not meet another one again."""

    blocker: ConnectionId
    blocked: ConnectionId


class PartnerReported(_EventBase, frozen=True, tag="partner_reported"):
    """A member of a room reported the other; the commits `first` to `last` are the evidence. Its position is its id."""

    room_id: RoomId
    reporter: ConnectionId
    reported: ConnectionId
    category: ReportCategory
    first: Position
    last: Position
    note: Text | None = None


class NamesForgotten(_EventBase, frozen=True, tag="names_forgotten"):
    """Names and interests of idle connections were forgotten."""

    connection_ids: tuple[ConnectionId, ...]


class PolicyAdopted(_EventBase, frozen=True, tag="policy_adopted"):
    """The limits and graces changed."""

    policy: Policy


Event = (
    QueueEntered
    | QueueLeft
    | RoomOpened
    | MessageSent
    | RoomClosed
    | PartnerBlocked
    | PartnerReported
    | NamesForgotten
    | PolicyAdopted
)
