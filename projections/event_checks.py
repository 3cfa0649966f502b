"""Checks of a commit's events against the promises, seen from the state before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from events.commands import MatchDue
from events.commit import Commit
from events.events import (
    Event,
    MessageSent,
    NamesForgotten,
    PartnerBlocked,
    PartnerReported,
    PolicyAdopted,
    QueueEntered,
    QueueLeft,
    RoomClosed,
    RoomOpened,
)
from events.ids import ConnectionId, RoomId
from projections.avoidance import avoid_reason, patient_others
from projections.connections import Idle
from projections.notifications import recipients
from projections.rooms import Room
from projections.view import FoldView

Finding = tuple[int, str]
"""A promise's number, and the violation in words."""


def find_violations(before: FoldView, commit: Commit) -> list[Finding]:
    """Return every promise that `commit` breaks by its events, whatever state they lead to."""
    found = _check_position(before, commit)
    for event in commit.events:
        found += _EVENT_CHECKS[type(event)](before, commit, event)
    found += _check_recipients(commit)
    return found


def _check_position(before: FoldView, commit: Commit) -> list[Finding]:
    found: list[Finding] = []
    last = before.tip
    if commit.position != last.position + 1 or commit.previous_id != last.commit_id:
        found.append((5, "the commit does not follow the one before it"))
    if commit.at_ms < before.at_ms or commit.at_ms != commit.facts.at_ms:
        found.append((5, "time went back, or is not the one that was decided with"))
    return found


def _message_sent(before: FoldView, commit: Commit, event: MessageSent) -> list[Finding]:
    sender = event.sender
    room = _open_room(before, event.room_id, sender, event.recipient)
    if room is None:
        return [(4, f"{sender} spoke in {event.room_id}, which was not open to them")]
    if event.client_message_id is not None and room.sent_at_ms(sender, event.client_message_id) is not None:
        return [(4, f"a message of {sender} was stored twice")]
    return []


def _queue_entered(before: FoldView, commit: Commit, event: QueueEntered) -> list[Finding]:
    found: list[Finding] = []
    who = event.connection_id
    known = before.connections.by_id.get(who)
    if known is not None and type(known.place) is not Idle and not _left_a_room(commit, who):
        found.append((1, f"{who} entered the queue, but was not idle"))
    if event.earlier is None and before.policy.matching == "first-come" and not _opens_a_room(commit):
        free = _longest_waiting(before, commit, who)
        if free is not None:
            found.append((3, f"{who} waits while {free} waits, and they may meet"))
    return found


def _queue_left(before: FoldView, commit: Commit, event: QueueLeft) -> list[Finding]:
    who = event.connection_id
    return [] if who in before.queue.entered else [(1, f"{who} left the queue, but was not in it")]


def _room_opened(before: FoldView, commit: Commit, event: RoomOpened) -> list[Finding]:
    found: list[Finding] = []
    first, second = event.first, event.second
    if first == second:
        found.append((2, f"{first} was paired with themselves"))
    if event.room_id in before.rooms.by_id:
        found.append((5, f"{event.room_id} had been there before"))
    if second not in before.queue.entered and not _enters(commit, second):
        found.append((1, f"{second} was paired, but did not wait"))
    entered = before.queue.entered.get(first)
    if entered is None or entered >= before.queue.entered.get(second, commit.position):
        found.append((3, f"{first} did not enter before {second}"))
    found += _check_meeting(before, commit, event)
    return found


def _check_meeting(before: FoldView, commit: Commit, event: RoomOpened) -> list[Finding]:
    """Check that these two may meet, and that the chosen partner has waited longest of all permitted ones."""
    seeker = _seeker_in(commit, event)
    partner = event.second if seeker == event.first else event.first
    reason = avoid_reason(before, seeker, partner, commit.facts)
    if reason == "blocked":
        return [(9, f"{seeker} and {partner} met, and one had blocked the other")]
    if reason is not None and partner not in patient_others(before, seeker, commit.facts):
        return [(3, f"{seeker} and {partner} met again too soon")]
    if before.policy.matching != "first-come":
        return []
    longest = _longest_waiting(before, commit, seeker)
    if longest is None:
        longest = next(patient_others(before, seeker, commit.facts), None)
    return [(3, f"{partner} was not the one who waited longest")] if partner != longest else []


def _longest_waiting(before: FoldView, commit: Commit, seeker: ConnectionId) -> ConnectionId | None:
    """Return the longest waiting of the partners permitted to `seeker` without any patience."""
    others = (other for _, other in before.queue.entries.items() if other != seeker)
    return next((other for other in others if avoid_reason(before, seeker, other, commit.facts) is None), None)


def _seeker_in(commit: Commit, event: RoomOpened) -> ConnectionId:
    """Return the seeker of a match: a newcomer is `second`, a waiting connection may be either."""
    command = commit.command
    return event.first if isinstance(command, MatchDue) and command.connection_id == event.first else event.second


def _room_closed(before: FoldView, commit: Commit, event: RoomClosed) -> list[Finding]:
    if _open_room(before, event.room_id, event.closed_by, event.other) is None:
        return [(5, f"{event.room_id} was not an open room of these two")]
    return []


def _nothing_to_check(before: FoldView, commit: Commit, event: Event) -> list[Finding]:
    return []


def _partner_reported(before: FoldView, commit: Commit, event: PartnerReported) -> list[Finding]:
    room = before.rooms.by_id.get(event.room_id)
    if room is None or {event.reporter, event.reported} != {room.first, room.second}:
        return [(5, f"{event.reporter} reported {event.reported}, and {event.room_id} was not theirs")]
    return []


def _names_forgotten(before: FoldView, commit: Commit, event: NamesForgotten) -> list[Finding]:
    active = [who for who in event.connection_ids if not _is_idle(before, who)]
    return [(1, f"the name of {who} was forgotten, who was not idle") for who in active]


def _is_idle(before: FoldView, who: ConnectionId) -> bool:
    known = before.connections.by_id.get(who)
    return known is not None and type(known.place) is Idle


_EVENT_CHECKS: Mapping[type[Event], Callable[[FoldView, Commit, Any], list[Finding]]] = {
    MessageSent: _message_sent,
    QueueEntered: _queue_entered,
    QueueLeft: _queue_left,
    RoomOpened: _room_opened,
    RoomClosed: _room_closed,
    PartnerBlocked: _nothing_to_check,
    PartnerReported: _partner_reported,
    NamesForgotten: _names_forgotten,
    PolicyAdopted: _nothing_to_check,
}


def _open_room(state: FoldView, room_id: RoomId, one: ConnectionId, other: ConnectionId) -> Room | None:
    """Return the room if it is open to exactly these two."""
    room = state.rooms.by_id.get(room_id)
    if room is None or room.closed_position is not None:
        return None
    both = (room.first == one and room.second == other) or (room.first == other and room.second == one)
    return room if both else None


def _enters(commit: Commit, who: ConnectionId) -> bool:
    return any(type(event) is QueueEntered and event.connection_id == who for event in commit.events)


def _left_a_room(commit: Commit, who: ConnectionId) -> bool:
    return any(type(event) is RoomClosed and who in (event.closed_by, event.other) for event in commit.events)


def _opens_a_room(commit: Commit) -> bool:
    return any(type(event) is RoomOpened for event in commit.events)


def _check_recipients(commit: Commit) -> list[Finding]:
    owed: tuple[ConnectionId, ...] = ()
    told: tuple[ConnectionId, ...] = ()
    for event in commit.events:
        owed += _EXPECTED_RECIPIENTS[type(event)](event)
        told += recipients(event)  # `deliveries` notifies them and no others
    if len(owed) > 1 and len(set(owed)) < len(owed):
        return [(7, "one connection would be told two things at once")]  # `deliveries` relies on this
    if told != owed and sorted(told) != sorted(owed):
        return [(7, f"told {sorted(told)}, owed {sorted(owed)}")]
    return []


_EXPECTED_RECIPIENTS: Mapping[type[Event], Callable[[Any], tuple[ConnectionId, ...]]] = {
    MessageSent: lambda event: (event.recipient,),
    QueueEntered: lambda event: (),
    QueueLeft: lambda event: (),
    RoomOpened: lambda event: (event.first, event.second),
    RoomClosed: lambda event: (event.other,),
    PartnerBlocked: lambda event: (),
    PartnerReported: lambda event: (),
    NamesForgotten: lambda event: (),
    PolicyAdopted: lambda event: (),
}
