"""Requests in the imperative. A command that is accepted is stored beside the events it led to."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.ids import ClientMessageId, ConnectionId, Position, RoomId
from events.policy import Policy
from events.text import Text

AbsenceReason = Literal["disconnected", "timeout"]
"""Why a `Disconnect` was issued: the stream's grace was the later to end, or the call's."""


class _Command(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The shape that all commands share."""


class EnterQueue(_Command, frozen=True, tag="enter_queue"):
    """Wait for a stranger. `display_name` and `interests` are clean already."""

    connection_id: ConnectionId
    display_name: str
    interests: tuple[str, ...]


class NextPartner(_Command, frozen=True, tag="next_partner"):
    """Leave `room_id` and wait for another stranger, under the same name and interests."""

    connection_id: ConnectionId
    room_id: RoomId


class LeaveQueue(_Command, frozen=True, tag="leave_queue"):
    """Stop waiting."""

    connection_id: ConnectionId


class SendMessage(_Command, frozen=True, tag="send_message"):
    """Say `text` to the other member of `room_id`."""

    connection_id: ConnectionId
    room_id: RoomId
    text: Text
    client_message_id: ClientMessageId | None


class LeaveRoom(_Command, frozen=True, tag="leave_room"):
    """End the conversation in `room_id`."""

    connection_id: ConnectionId
    room_id: RoomId


class Disconnect(_Command, frozen=True, tag="disconnect"):
    """Take an absent connection out of wherever it is, unless it has an event after position `since`."""

    connection_id: ConnectionId
    reason: AbsenceReason
    since: Position


class MatchDue(_Command, frozen=True, tag="match_due"):
    """Someone who waits has held out for a shared interest long enough: let them meet anyone."""

    connection_id: ConnectionId


class AdoptPolicy(_Command, frozen=True, tag="adopt_policy"):
    """From here on, decide under `policy`."""

    policy: Policy


Command = EnterQueue | NextPartner | LeaveQueue | SendMessage | LeaveRoom | Disconnect | MatchDue | AdoptPolicy
