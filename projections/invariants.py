"""The promises about a state or a step of a log, as checks with a description of the violation.

The numbers are those of the promises in `docs/proof.md`. Promises about more than one run (a decision repeats, workers
agree) are checked elsewhere. A step without a violation leads from a sound state to a sound state. So a check of every
step need not check any whole state but the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

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
from events.ids import ConnectionId, Position, RoomId
from events.text import known_interests
from projections.connections import Chatting, Idle, Waiting
from projections.event_checks import Finding, find_violations
from projections.ordered_map import Order
from projections.queue import Queue
from projections.rooms import Room
from projections.state import State, StateMutation
from projections.view import FoldView


class Violation(msgspec.Struct, frozen=True):
    """A broken promise and its position."""

    promise: int
    position: int
    what: str

    def __str__(self) -> str:
        return f"promise {self.promise} is broken at position {self.position}: {self.what}"


def check_state(state: State) -> list[Violation]:
    """Return every promise that `state` breaks. The cost is linear in the state."""
    found = [*_check_counts(_count(state)), *_check_queue(state), *_check_room_count(state)]
    for who in state.connections.by_id:
        found += _check_place(state, state.queue, who)
    for room in state.rooms.by_id.values():
        if room.is_open:
            found += _check_open_room(state, state.queue, room)
    return _violations(state.position, found)


def check_step(before: State, commit: Commit, after: State) -> list[Violation]:
    """Return every promise that `commit` breaks after `before`. The cost depends on the commit alone.

    From a sound `before`, this finds each violation that `check_state(after)` would find in the connections and rooms
    of `commit`, and in the counts.
    """
    return check_events(before, commit) or _violations(
        commit.position, _check_outcome(_count(before), commit, after, _count(after))
    )


def check_events(before: FoldView, commit: Commit) -> list[Violation]:
    """Return every promise that `commit` breaks by its events: the first half of `check_step`."""
    return _violations(commit.position, find_violations(before, commit))


class CheckedFold:
    """Folds commits into a working copy, and checks each step as `check_step` does, without a state for each.

    The working copy must begin at a sound state, and must not be changed by anything else.
    """

    def __init__(self, folding: StateMutation) -> None:
        self.folding = folding
        self._count = _count(folding)

    def step(self, commit: Commit) -> list[Violation]:
        """Return every promise that `commit` breaks. It is folded unless its events break one."""
        found = find_violations(self.folding, commit)
        if not found:
            self.folding.fold(commit)
            before, self._count = self._count, _count(self.folding)
            found = _check_outcome(before, commit, self.folding, self._count)
        return _violations(commit.position, found) if found else []


def _violations(position: Position, found: Sequence[Finding]) -> list[Violation]:
    return [Violation(promise, position, what) for promise, what in found]


_Counts = tuple[Queue, int, int, int]
"""The queue, and the numbers of idle connections, open rooms and all connections. One is made for each commit."""


def _count(state: FoldView) -> _Counts:
    rooms, places = state.rooms, state.connections
    return state.queue, places.idle.count, len(rooms.by_id) - rooms.closed.count, len(places.by_id)


# Checks of a whole state.


def _check_counts(now: _Counts) -> list[Finding]:
    """Compare the counts with each other."""
    found: list[Finding] = []
    queue, idle, rooms_open, people = now
    waiting, chatting = len(queue), 2 * rooms_open
    if people != idle + waiting + chatting:
        found.append((1, f"of {people} people, {idle} are idle, {waiting} wait and {chatting} chat"))
    if len(queue.entered) != waiting:
        found.append((1, "the queue and its index disagree"))
    return found


def _check_queue(state: State) -> Iterator[Finding]:
    entries = list(state.queue.entries.items())
    if {who: position for position, who in entries} != dict(state.queue.entered.items()):
        yield 1, "the queue and its index disagree"
    queue = Queue()
    for position, who in entries:
        known = state.connections.get(who)
        if known is None or type(known.place) is not Waiting or known.place.entered_position != position:
            yield 1, f"{who} is in the queue at {position}, but does not wait there"
        else:
            queue = queue.with_entry(who, position, known_interests(known.interests))
    if (queue.interests, queue.by_interest) != (state.queue.interests, state.queue.by_interest):
        yield 1, "the queue and its interests disagree"


def _check_room_count(state: State) -> Iterator[Finding]:
    open_rooms = sum(room.is_open for room in state.rooms.by_id.values())
    if open_rooms != state.rooms.open_count:
        yield 2, f"{open_rooms} rooms are open, {state.rooms.open_count} are counted"


def _check_place(state: FoldView, queue: Queue, who: ConnectionId) -> list[Finding]:
    """Check that a connection is in its place and in no other; `queue` belongs to `state`."""
    known, entered = state.connections.by_id.get(who), queue.entered.get(who)
    place = known.place if known is not None else None
    if type(place) is Chatting:
        found = [(1, f"{who} both waits and chats")] if entered is not None else []
        room = state.rooms.by_id.get(place.room_id)
        if room is None or room.closed_position is not None or who not in (room.first, room.second):
            found.append((1, f"{who} chats in {place.room_id}, which is not open to them"))
        return found
    if type(place) is Waiting:
        if entered != place.entered_position or queue.entries.get(entered) != who:
            return [(1, f"{who} waits, but is not in the queue at {place.entered_position}")]
        return []
    if entered is not None or (type(place) is Idle and state.connections.idle.get(place.key) != who):
        return [(1, f"{who} is {'idle' if known is not None else 'unknown'}, but stands elsewhere too")]
    return []


def _check_open_room(state: FoldView, queue: Queue, room: Room) -> list[Finding]:
    """Check that an open room has two members, in it and nowhere else; `queue` belongs to `state`."""
    people, entered = state.connections.by_id, queue.entered
    found = [(2, f"{room.room_id} has one member twice")] if room.first == room.second else []
    for member in (room.first, room.second):
        known = people.get(member)
        if known is None or type(known.place) is not Chatting or known.place.room_id != room.room_id:
            found.append((2, f"{member} is a member of {room.room_id}, but not in it"))
        elif member in entered:
            found.append((1, f"{member} both waits and chats"))
    return found


# Checks of the state after a step.


def _check_outcome(before: _Counts, commit: Commit, after: FoldView, now: _Counts) -> list[Finding]:
    """Check the connections and rooms that `commit` affects, and the counts."""
    found: list[Finding] = []
    if after.tip.commit_id != commit.commit_id or after.position != commit.position:
        found.append((6, "the state is not at the commit that was folded"))
    queue, rooms = now[0], after.rooms.by_id
    affected: tuple[ConnectionId, ...] = ()
    inside: tuple[ConnectionId, ...] = ()
    for event in commit.events:
        people, room_id = _AFFECTED[type(event)](event)
        affected += people
        room = rooms.get(room_id)
        if room is not None and room.closed_position is None:
            inside += room.first, room.second
            found += _check_open_room(after, queue, room)
    for who in affected:
        if who not in inside:
            found += _check_place(after, queue, who)
    if queue is not before[0] or now != before:  # else nothing has changed
        found += _check_counts(now)
        found += _check_open_count(before, commit, now)
        for who in dict.fromkeys(affected):
            found += _check_interests(before[0], commit, after, who)
    return found


_NO_ROOM = RoomId("")

_AFFECTED: Mapping[type[Event], Callable[[Any], tuple[tuple[ConnectionId, ...], RoomId]]] = {
    MessageSent: lambda event: ((event.sender, event.recipient), event.room_id),
    QueueEntered: lambda event: ((event.connection_id,), _NO_ROOM),
    QueueLeft: lambda event: ((event.connection_id,), _NO_ROOM),
    RoomOpened: lambda event: ((event.first, event.second), event.room_id),
    RoomClosed: lambda event: ((event.closed_by, event.other), event.room_id),
    PartnerBlocked: lambda event: ((event.blocker, event.blocked), _NO_ROOM),
    PartnerReported: lambda event: ((event.reporter, event.reported), event.room_id),
    NamesForgotten: lambda event: (event.connection_ids, _NO_ROOM),
    PolicyAdopted: lambda event: ((), _NO_ROOM),
}


def _check_open_count(before: _Counts, commit: Commit, now: _Counts) -> list[Finding]:
    """Check that the number of open rooms has changed as `commit` says."""
    opened = 0
    for event in commit.events:
        opened += (type(event) is RoomOpened) - (type(event) is RoomClosed)
    _, _, rooms_open, _ = now
    _, _, were_open, _ = before
    if rooms_open != were_open + opened:
        return [(2, f"{rooms_open} rooms are counted, and {opened} were opened")]
    return []


def _check_interests(before: Queue, commit: Commit, after: FoldView, who: ConnectionId) -> list[Finding]:
    """Check that a connection is found by the interests it waits with, and by no others."""
    queue = after.queue
    known, entered = after.connections.by_id.get(who), queue.entered.get(who)
    named = known_interests(known.interests) if known is not None else ()
    were = before.interests.get(who, ())
    interests = named if entered is not None else ()
    sound = queue.interests.get(who, ()) == interests
    for interest in (*named, *were):
        sharing = queue.sharing(interest)
        sound = sound and sharing != _EMPTY_ORDER
        for position in {commit.position, before.entered.get(who, commit.position), entered or commit.position}:
            there = sharing is not None and sharing.get(position) == who
            sound = sound and there == (position == entered and interest in interests)
    return [] if sound else [(1, f"{who} is in the queue with other interests than their own")]


_EMPTY_ORDER: Order[ConnectionId] = Order()
