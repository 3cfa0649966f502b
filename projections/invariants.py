"""The promises that can be seen in a state or in one step of a log, as checks that name what broke.

The numbers are those of the promises in the README. What needs a second witness (that a decision repeats, that a
worker agrees) is checked where that witness is. A step from a sound state that has no breach leads to a sound state,
so whoever checks every step need not walk through any state but the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from events.commit import Commit
from events.events import Event, MessageSent, PolicyAdopted, QueueEntered, QueueLeft, RoomClosed, RoomOpened
from events.ids import ConnectionId, Position, RoomId
from projections.connections import Chatting, Idle, Waiting
from projections.event_checks import Finding, wrong_with_events
from projections.ordered_map import Order
from projections.queue import Queue
from projections.rooms import Room
from projections.state import State, StateMutation
from projections.view import StateView


class Violation(msgspec.Struct, frozen=True):
    """A promise that does not hold, and where."""

    promise: int
    position: int
    what: str

    def __str__(self) -> str:
        return f"promise {self.promise} is broken at position {self.position}: {self.what}"


def check_state(state: State) -> list[Violation]:
    """Every promise that `state` breaks; walks all of it."""
    found = [*_counts(_headcount(state)), *_queue(state), *_open_rooms(state)]
    for who in state.connections.by_id:
        found += _person(state, state.queue, who)
    for room in state.rooms.by_id.values():
        if room.is_open:
            found += _open_room(state, state.queue, room)
    return _breaches(state.position, found)


def check_step(before: State, commit: Commit, after: State) -> list[Violation]:
    """Every promise that `commit` breaks, coming after `before`; looks at what it touches alone.

    If what happened is sound, so must be what came of it: from a sound `before`, this finds each breach in `after`
    that `check_state` would find in the people and the rooms that `commit` names, and in how many there are.
    """
    return check_events(before, commit) or _breaches(
        commit.position, _came_of_it(_headcount(before), commit, after, _headcount(after))
    )


def check_events(before: StateView, commit: Commit) -> list[Violation]:
    """Every promise that `commit` breaks by its events, whatever comes of them: the first half of `check_step`."""
    return _breaches(commit.position, wrong_with_events(before, commit))


class CheckedFold:
    """Folds commits into a working copy, and checks each step as `check_step` does, without a state before and after.

    The working copy must stand at a sound state, and is changed by nobody else.
    """

    def __init__(self, folding: StateMutation) -> None:
        self.folding = folding
        self._count = _headcount(folding)

    def step(self, commit: Commit) -> list[Violation]:
        """Every promise that `commit` breaks. It has happened, unless its events are what breaks one."""
        found = wrong_with_events(self.folding, commit)
        if not found:
            self.folding.fold(commit)
            before, self._count = self._count, _headcount(self.folding)
            found = _came_of_it(before, commit, self.folding, self._count)
        return _breaches(commit.position, found) if found else []


def _breaches(position: Position, found: Sequence[Finding]) -> list[Violation]:
    return [Violation(promise, position, what) for promise, what in found]


_Headcount = tuple[Queue, int, int, int]
"""Who waits, how many are idle, how many rooms are open, and how many people there are in all. One for each commit."""


def _headcount(state: StateView) -> _Headcount:
    rooms, places = state.rooms, state.connections
    return state.queue, places.idle.count, len(rooms.by_id) - rooms.closed.count, len(places.by_id)


# What holds for a whole state.


def _counts(now: _Headcount) -> list[Finding]:
    """Whether there are as many of each as there must be."""
    found: list[Finding] = []
    queue, idle, rooms_open, people = now
    waiting, chatting = len(queue), 2 * rooms_open
    if people != idle + waiting + chatting:
        found.append((1, f"of {people} people, {idle} are idle, {waiting} wait and {chatting} chat"))
    if len(queue.entered) != waiting:
        found.append((1, "the queue and its index disagree"))
    return found


def _queue(state: State) -> Iterator[Finding]:
    entries = list(state.queue.entries.items())
    if {who: position for position, who in entries} != dict(state.queue.entered.items()):
        yield 1, "the queue and its index disagree"
    queue = Queue()
    for position, who in entries:
        known = state.connections.get(who)
        if known is None or known.place != Waiting(position):
            yield 1, f"{who} is in the queue at {position}, but does not wait there"
        else:
            queue = queue.with_entry(who, position, known.interests)
    if (queue.interests, queue.by_interest) != (state.queue.interests, state.queue.by_interest):
        yield 1, "the queue and its interests disagree"


def _open_rooms(state: State) -> Iterator[Finding]:
    open_rooms = sum(room.is_open for room in state.rooms.by_id.values())
    if open_rooms != state.rooms.open_count:
        yield 2, f"{open_rooms} rooms are open, {state.rooms.open_count} are counted"


def _person(state: StateView, queue: Queue, who: ConnectionId) -> list[Finding]:
    """Whether `who` is where they are said to be, and nowhere else; `queue` is that of `state`."""
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


def _open_room(state: StateView, queue: Queue, room: Room) -> list[Finding]:
    """Whether a room that is open has two members who are in it and nowhere else; `queue` is that of `state`."""
    people, entered = state.connections.by_id, queue.entered
    found = [(2, f"{room.room_id} has one member twice")] if room.first == room.second else []
    for member in (room.first, room.second):
        known = people.get(member)
        if known is None or type(known.place) is not Chatting or known.place.room_id != room.room_id:
            found.append((2, f"{member} is a member of {room.room_id}, but not in it"))
        elif member in entered:
            found.append((1, f"{member} both waits and chats"))
    return found


# What came of a step.


def _came_of_it(before: _Headcount, commit: Commit, after: StateView, now: _Headcount) -> list[Finding]:
    """What is wrong with those whom `commit` touched, or with how many there are."""
    found: list[Finding] = []
    if after.tip.commit_id != commit.commit_id or after.position != commit.position:
        found.append((6, "the state is not at the commit that was folded"))
    queue, rooms = now[0], after.rooms.by_id
    touched: tuple[ConnectionId, ...] = ()
    inside: tuple[ConnectionId, ...] = ()
    for event in commit.events:
        people, room_id = _TOUCHED[type(event)](event)
        touched += people
        room = rooms.get(room_id)
        if room is not None and room.closed_position is None:
            inside += room.first, room.second
            found += _open_room(after, queue, room)
    for who in touched:
        if who not in inside:
            found += _person(after, queue, who)
    if queue is not before[0] or now != before:  # else all is counted, and shared, as it was
        found += _counts(now)
        found += _openings(before, commit, now)
        for who in dict.fromkeys(touched):
            found += _sharing(before[0], commit, after, who)
    return found


_NO_ROOM = RoomId("")

_TOUCHED: Mapping[type[Event], Callable[[Any], tuple[tuple[ConnectionId, ...], RoomId]]] = {
    MessageSent: lambda event: ((event.sender, event.recipient), event.room_id),
    QueueEntered: lambda event: ((event.connection_id,), _NO_ROOM),
    QueueLeft: lambda event: ((event.connection_id,), _NO_ROOM),
    RoomOpened: lambda event: ((event.first, event.second), event.room_id),
    RoomClosed: lambda event: ((event.closed_by, event.other), event.room_id),
    PolicyAdopted: lambda event: ((), _NO_ROOM),
}


def _openings(before: _Headcount, commit: Commit, now: _Headcount) -> list[Finding]:
    """Whether so many more rooms are open as `commit` opened."""
    opened = 0
    for event in commit.events:
        opened += (type(event) is RoomOpened) - (type(event) is RoomClosed)
    _, _, rooms_open, _ = now
    _, _, were_open, _ = before
    if rooms_open != were_open + opened:
        return [(2, f"{rooms_open} rooms are counted, and {opened} were opened")]
    return []


def _sharing(before: Queue, commit: Commit, after: StateView, who: ConnectionId) -> list[Finding]:
    """Whether `who` can be found by the interests that they wait with, and by no others."""
    queue = after.queue
    known, entered = after.connections.by_id.get(who), queue.entered.get(who)
    named, were = known.interests if known is not None else (), before.interests.get(who, ())
    interests = named if entered is not None else ()
    sound = queue.interests.get(who, ()) == interests
    for interest in (*named, *were):
        sharing = queue.sharing(interest)
        sound = sound and sharing != _NOBODY
        for position in (commit.position, before.entered.get(who, commit.position)):
            there = sharing is not None and sharing.get(position) == who
            sound = sound and there == (position == entered and interest in interests)
    return [] if sound else [(1, f"{who} is in the queue with other interests than their own")]


_NOBODY: Order[ConnectionId] = Order()
