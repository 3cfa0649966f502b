"""Requests in the imperative. An accepted command is stored with its events."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.ids import ClientMessageId, ConnectionId, Position, RoomId
from events.policy import Policy
from events.text import Text

AbsenceReason = Literal["disconnected", "timeout"]
"""The cause of a `Disconnect`: the grace that ended last, the stream's or the call's."""


class _CommandBase(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The common settings of all commands."""


class EnterQueue(_CommandBase, frozen=True, tag="enter_queue"):
    """Wait for a stranger. `display_name` and `interests` are clean already."""

    connection_id: ConnectionId
    display_name: str
    interests: tuple[str, ...]


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
    """Remove an absent connection from its place, unless it has an event after position `since`."""

    connection_id: ConnectionId
    reason: AbsenceReason
    since: Position


class MatchDue(_CommandBase, frozen=True, tag="match_due"):
    """End the search for a shared interest: match the waiting connection with any other."""

    connection_id: ConnectionId


class AdoptPolicy(_CommandBase, frozen=True, tag="adopt_policy"):
    """Decide under `policy` from now on."""

    policy: Policy


Command = EnterQueue | NextPartner | LeaveQueue | SendMessage | LeaveRoom | Disconnect | MatchDue | AdoptPolicy
