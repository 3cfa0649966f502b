"""Plausible bugs to plant one at a time, each with the promise that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest

from broker import conduct, matching
from broker.decision import Decision
from broker.matching import MATCHINGS, Seeker
from events.commands import CancelMatch
from events.commit import Facts
from events.events import (
    MessageSent,
    NamesForgotten,
    PartnerReported,
    QueueEntered,
    QueueLeft,
    RoomClosed,
    RoomOpened,
)
from events.ids import ConnectionId
from projections import notifications as deliveries
from projections import state
from projections.avoidance import AvoidReason, avoid_reason
from projections.connections import ConnectionsMutation
from projections.rooms import RoomsMutation
from projections.view import StateView

Plant = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    """A plausible mistake."""

    plant: Plant
    promise: int
    commits: int
    """The length of the history that shows it, from which nothing can be left out."""
    is_stored: bool = False
    """True if the bug changes the decisions and so the log; else it changes the fold."""


def wrong_matching(name: str, matching: Callable[[StateView, Seeker, int], ConnectionId | None]) -> Plant:
    """Return a plant that replaces the matching called `name` by `matching`."""
    return lambda patch: patch.setitem(MATCHINGS, name, matching)


def others(now: StateView, seeker: Seeker) -> list[ConnectionId]:
    """Return the waiting connections without the seeker."""
    return [who for _, who in now.queue.entries.items() if who != seeker.connection_id]


def newest_first(now: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Choose as a stack would, not a queue."""
    return next(reversed(others(now, seeker)), None)


def never(now: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Choose no partner, as after a lost wake-up."""
    return None


def first_who_shares(now: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Choose any connection with a shared interest, and forget patience."""
    shares = [who for who in others(now, seeker) if {*now.connections.by_id[who].interests} & {*seeker.interests}]
    return shares[0] if shares else None


def wrong_effect(event: type[Any], change: Callable[[Any, Any], None]) -> Plant:
    """Return a plant that adds `change` to the effect of an event."""
    right = state.EFFECTS[event]

    def both(now: Any, what: Any) -> None:
        right(now, what)
        change(now, what)

    return lambda patch: patch.setitem(state.EFFECTS, event, both)


def instead(owner: Any, name: str, function: Any) -> Plant:
    """Return a plant for replacing a function of `owner`."""
    return lambda patch: patch.setattr(owner, name, function)


def _free_messages(now: Any, event: MessageSent) -> None:
    known = now.connections.by_id[event.sender]
    now.connections.by_id[event.sender] = msgspec.structs.replace(known, messages_spent_until_us=0)


def _stays_in_the_queue(now: Any, event: RoomOpened) -> None:
    now.waiting.add(event.first, now.position, ())


def _counts_wrong(now: Any, event: RoomClosed) -> None:
    now.rooms_closed += 1


def _is_idle_longest(now: Any, event: QueueLeft) -> None:
    known = now.connections.by_id[event.connection_id]
    now.connections.by_id[event.connection_id] = msgspec.structs.replace(known, last_at_ms=known.last_at_ms + 1)


def _keeps_one_room_more(self: RoomsMutation, room_id: Any, position: int, closed_kept: int, *nameless: Any) -> None:
    _close_room(self, room_id, position, closed_kept + 1, *nameless)


def _forgets_one_more(self: ConnectionsMutation, kept_max: int) -> list[ConnectionId]:
    return _forget(self, max(1, kept_max - 1))


def _remembers_nothing(self: RoomsMutation, event: MessageSent, at_ms: int, ids_kept: int) -> None:
    pass


def _told_their_own_name(event: RoomOpened, who: ConnectionId, timestamp: str, cursor: int) -> Any:
    other = event.second if who == event.first else event.first
    return _partner_found(event, other, timestamp, cursor)


def _avoided_but(forgotten: AvoidReason) -> Any:
    def reason(now: StateView, seeker: ConnectionId, other: ConnectionId, facts: Facts) -> AvoidReason | None:
        found = avoid_reason(now, seeker, other, facts)
        return found if found != forgotten else None

    return reason


def _all_are_patient(now: StateView, seeker: ConnectionId, facts: Facts) -> list[ConnectionId]:
    met = [who for _, who in now.queue.entries.items() if avoid_reason(now, seeker, who, facts) == "met"]
    return [who for who in met if seeker in now.queue.entered]


def _cancels_what_was_confirmed(now: StateView, command: CancelMatch) -> Decision:
    room = now.rooms.by_id.get(command.room_id)
    rooms = {command.room_id: msgspec.structs.replace(room, opened_position=now.position)} if room is not None else {}
    late: Any = SimpleNamespace(rooms=SimpleNamespace(by_id=rooms), connections=now.connections, policy=now.policy)
    return _cancel_match(late, command)


def _puts_back_at_the_end(now: StateView, command: CancelMatch) -> Decision:
    decided = _cancel_match(now, command)
    assert isinstance(decided, list)
    return [msgspec.structs.replace(one, earlier=None) if isinstance(one, QueueEntered) else one for one in decided]


def _has_met_all(now: Any, event: RoomClosed) -> None:
    if event.missed_by:
        now.connections.record_meeting(event.other, event.closed_by, now.at_ms)


def _free_reports(now: Any, event: PartnerReported) -> None:
    known = now.connections.by_id[event.reporter]
    now.connections.by_id[event.reporter] = msgspec.structs.replace(known, reports_spent_until_us=0)


def _keeps_a_name(now: Any, event: NamesForgotten) -> None:
    known = now.connections.by_id[event.connection_ids[0]]
    now.connections.by_id[event.connection_ids[0]] = msgspec.structs.replace(known, display_name="Ann")


_cancel_match = conduct._cancel_match
_close_room, _forget = RoomsMutation.close, ConnectionsMutation.forget_longest_idle
_partner_found = deliveries._PARAMS[RoomOpened]

BUGS: dict[str, Bug] = {
    "the newest is met first": Bug(wrong_matching("interests", newest_first), 3, 5, is_stored=True),
    "nobody is met": Bug(wrong_matching("first-come", never), 3, 2, is_stored=True),
    "any shared interest will do": Bug(wrong_matching("interests", first_who_shares), 3, 3, is_stored=True),
    "messages cost nothing": Bug(wrong_effect(MessageSent, _free_messages), 6, 3),
    "who was met waits on": Bug(wrong_effect(RoomOpened, _stays_in_the_queue), 1, 2),
    "closed rooms are counted twice": Bug(wrong_effect(RoomClosed, _counts_wrong), 6, 3),
    "time is off by one": Bug(wrong_effect(QueueLeft, _is_idle_longest), 6, 2),
    "one closed room too many is kept": Bug(instead(RoomsMutation, "close", _keeps_one_room_more), 6, 9),
    "one person too many is forgotten": Bug(
        instead(ConnectionsMutation, "forget_longest_idle", _forgets_one_more), 6, 8
    ),
    "ids of messages are not remembered": Bug(instead(RoomsMutation, "remember", _remembers_nothing), 6, 3),
    "they are told their own names": Bug(
        lambda patch: patch.setitem(deliveries._PARAMS, RoomOpened, _told_their_own_name),
        7,
        2,
    ),
    "a block is ignored": Bug(instead(matching, "avoid_reason", _avoided_but("blocked")), 9, 6, is_stored=True),
    "a recent meeting is ignored": Bug(instead(matching, "avoid_reason", _avoided_but("met")), 3, 6, is_stored=True),
    "two meet again without patience": Bug(instead(matching, "patient_others", _all_are_patient), 3, 7, is_stored=True),
    "a confirmed match is cancelled": Bug(
        instead(conduct, "_cancel_match", _cancels_what_was_confirmed), 6, 5, is_stored=True
    ),
    "the place in the queue is lost": Bug(
        instead(conduct, "_cancel_match", _puts_back_at_the_end), 6, 4, is_stored=True
    ),
    "a missed match is a meeting": Bug(wrong_effect(RoomClosed, _has_met_all), 6, 4),
    "reports cost nothing": Bug(wrong_effect(PartnerReported, _free_reports), 6, 4),
    "a name is kept": Bug(wrong_effect(NamesForgotten, _keeps_a_name), 6, 4),
}
"""Bugs that show in a log or its fold."""
