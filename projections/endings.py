"""The reason for a connection being idle: a pure function of its last commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from events.commit import Commit
from events.events import QueueLeft, RoomClosed
from events.ids import ConnectionId, RoomId

IdleReason = Literal[
    "never_entered", "you_left", "you_timed_out", "missed_match", "partner_left", "partner_next", "partner_gone"
]
"""The reasons for being idle, in the words of a tool's result."""


class Ending(NamedTuple):
    """The end of a wait or a conversation, for one connection; `room_id` names the room of a conversation."""

    reason: IdleReason
    room_id: RoomId | None = None


_BY_ITSELF: Mapping[str, IdleReason] = {
    "left": "you_left",
    "next": "you_left",
    "disconnected": "you_timed_out",
    "timeout": "you_timed_out",
}
_BY_PARTNER: Mapping[str, IdleReason] = {
    "left": "partner_left",
    "next": "partner_next",
    "disconnected": "partner_gone",
    "timeout": "partner_gone",
}


def ending_of(commit: Commit, who: ConnectionId) -> Ending | None:
    """Return the ending of a connection in `commit`; `None` if there is none."""
    for event in reversed(commit.events):
        if isinstance(event, QueueLeft) and event.connection_id == who:
            return Ending(_BY_ITSELF[event.reason])
        if isinstance(event, RoomClosed) and who in event.missed_by:
            return Ending("missed_match", event.room_id)
        if isinstance(event, RoomClosed) and who in (event.closed_by, event.other):
            reasons = _BY_ITSELF if event.closed_by == who else _BY_PARTNER
            return Ending(reasons[event.reason], event.room_id)
    return None
