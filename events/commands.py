"""Requests in the imperative. An accepted command is stored with its events."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.ids import ClientMessageId, ConnectionId, Position, RoomId
from events.policy import Policy
from events.text import Interests, Text

AbsenceReason = Literal["disconnected", "timeout"]
"""The cause of a `Disconnect`: the grace that ended last, the stream's or the call's."""

ReportCategory = Literal["spam", "harassment", "sexual", "minor", "threat", "other"]


class _CommandBase(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """The common settings of all commands."""


class EnterQueue(_CommandBase, frozen=True, tag="enter_queue"):
    """Wait for a stranger. `display_name` and `interests` are clean already.

    `idle_grace_ms` is that of an attended connection: its client, such as a window, calls or listens all the time, so
    its silence soon means absence. It holds in every place, in place of the policy's graces.
    """

    connection_id: ConnectionId
    display_name: Text
    interests: Interests
    idle_grace_ms: int | None = None


class NextPartner(_CommandBase, frozen=True, tag="next_partner"):
    """Leave `room_id` and wait for another stranger, under the same name and interests."""

    connection_id: ConnectionId
    room_id: RoomId


class LeaveQueue(_CommandBase, frozen=True, tag="leave_queue"):
    """Stop waiting."""

    connection_id: ConnectionId


class SendMessage(_CommandBase, frozen=True, tag="send_message"):
    """Say `text` to the other member of `room_id`."""

    connection_id: ConnectionId
    room_id: RoomId
    text: Text
    client_message_id: ClientMessageId | None


class LeaveRoom(_CommandBase, frozen=True, tag="leave_room"):
    """End the conversation in `room_id`."""

    connection_id: ConnectionId
    room_id: RoomId


class Disconnect(_CommandBase, frozen=True, tag="disconnect"):
    """Remove an absent connection from its place, unless it has an event after position `since`.

    If it `is_abandoned`, no client holds its handle. It has missed a match that was to be confirmed.
    """

    connection_id: ConnectionId
    reason: AbsenceReason
    since: Position
    is_abandoned: bool = False


class MatchDue(_CommandBase, frozen=True, tag="match_due"):
    """End the search for a shared interest: match the waiting connection with any other."""

    connection_id: ConnectionId


class CancelMatch(_CommandBase, frozen=True, tag="cancel_match"):
    """Close `room_id`, since the members `missed_by` gave no sign of life after it opened.

    The other member waits again, in its old place, if it `is_other_present` and the policy says so.
    """

    room_id: RoomId
    missed_by: tuple[ConnectionId, ...]
    is_other_present: bool


class BlockPartner(_CommandBase, frozen=True, tag="block_partner"):
    """Never meet the other member of `room_id` again; leave the room if it is open."""

    connection_id: ConnectionId
    room_id: RoomId


class ReportPartner(_CommandBase, frozen=True, tag="report_partner"):
    """Report the other member of `room_id` to the operator, block it, and leave the room if it is open."""

    connection_id: ConnectionId
    room_id: RoomId
    category: ReportCategory
    note: Text | None = None


class ForgetNames(_CommandBase, frozen=True, tag="forget_names"):
    """Forget the names and interests of those of `connection_ids` that have been idle since `through` or before."""

    connection_ids: tuple[ConnectionId, ...]
    through: Position


class AdoptPolicy(_CommandBase, frozen=True, tag="adopt_policy"):
    """Decide under `policy` from now on."""

    policy: Policy


Command = (
    EnterQueue
    | NextPartner
    | LeaveQueue
    | SendMessage
    | LeaveRoom
    | Disconnect
    | MatchDue
    | CancelMatch
    | BlockPartner
    | ReportPartner
    | ForgetNames
    | AdoptPolicy
)

OWN_COMMANDS = (AdoptPolicy, CancelMatch, Disconnect, ForgetNames, MatchDue)
"""Commands of the broker itself; all others are acts of a client."""
