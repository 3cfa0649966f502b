"""The promises that can be seen in a state or in one step of a log, as checks that name what broke.

The numbers are those of the promises in the README. What needs a second witness (that a decision repeats, that a
worker agrees) is checked where that witness is. A step from a sound state that has no breach leads to a sound state,
so whoever checks every step need not walk through any state but the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from events.commit import Commit
from events.events import Event, MessageSent, PolicyAdopted, QueueEntered, QueueLeft, RoomClosed, RoomOpened
from events.ids import ConnectionId, RoomId
from projections.deliveries import deliveries
from projections.order import Order
from projections.places import Chatting, Idle, Waiting
from projections.queue import Queue
from projections.rooms import Room
from projections.state import State

Found = tuple[int, str]
"""A promise, and how it is broken."""


class Breach(msgspec.Struct, frozen=True):
    """A promise that does not hold, and where."""

    promise: int
    position: int
    what: str

    def __str__(self) -> str:
        return f"promise {self.promise} is broken at position {self.position}: {self.what}"


def check_state(state: State) -> list[Breach]:
    """Every promise that `state` breaks; walks all of it."""
    found = [*_counts(state), *_queue(state), *_open_rooms(state)]
    for who in state.places.by_id:
        found += _person(state, who)
    for room in state.rooms.by_id.values():
        found += _room(state, room)
    return [Breach(promise, state.position, what) for promise, what in found]


def check_step(before: State, commit: Commit, after: State) -> list[Breach]:
    """Every promise that `commit` breaks, coming after `before`; looks at what it touches alone.

    If what happened is sound, so must be what came of it: from a sound `before`, this finds each breach in `after`
    that `check_state` would find in the people and the rooms that `commit` names, and in how many there are.
    """
    found = _chain(before, commit, after)
    for event in commit.events:
        found += _HAPPENED[type(event)](before, commit, event)
    found += _told(commit)
    found = found or _came_of_it(before, commit, after)
    return [Breach(promise, commit.position, what) for promise, what in found] if found else []


# What holds for a whole state.


def _counts(state: State) -> Iterator[Found]:
    """Whether there are as many of each as there must be; looks at no one."""
    idle, waiting, chatting = len(state.places.idle), len(state.queue), 2 * state.rooms.open_count
    if len(state.places) != idle + waiting + chatting:
        yield 1, f"of {len(state.places)} people, {idle} are idle, {waiting} wait and {chatting} chat"
    if len(state.queue.entered) != waiting:
        yield 1, "the queue and its index disagree"


def _queue(state: State) -> Iterator[Found]:
    entries = list(state.queue.entries.items())
    if {who: position for position, who in entries} != dict(state.queue.entered.items()):
        yield 1, "the queue and its index disagree"
    queue = Queue()
    for position, who in entries:
        known = state.places.get(who)
        if known is None or known.place != Waiting(position):
            yield 1, f"{who} is in the queue at {position}, but does not wait there"
        else:
            queue = queue.with_entry(who, position, known.interests)
    if (queue.interests, queue.by_interest) != (state.queue.interests, state.queue.by_interest):
        yield 1, "the queue and its interests disagree"


def _open_rooms(state: State) -> Iterator[Found]:
    open_rooms = sum(room.is_open for room in state.rooms.by_id.values())
    if open_rooms != state.rooms.open_count:
        yield 2, f"{open_rooms} rooms are open, {state.rooms.open_count} are counted"


def _person(state: State, who: ConnectionId) -> list[Found]:
    """Whether `who` is where they are said to be, and nowhere else."""
    known, entered = state.places.by_id.get(who), state.queue.entered.get(who)
    place = known.place if known is not None else None
    if type(place) is Chatting:
        found = [(1, f"{who} both waits and chats")] if entered is not None else []
        room = state.rooms.by_id.get(place.room_id)
        if room is None or room.closed_position is not None or who not in (room.first, room.second):
            found.append((1, f"{who} chats in {place.room_id}, which is not open to them"))
        return found
    if type(place) is Waiting:
        if entered != place.entered_position or state.queue.entries.get(entered) != who:
            return [(1, f"{who} waits, but is not in the queue at {place.entered_position}")]
        return []
    if entered is not None or (type(place) is Idle and state.places.idle.get(place.key) != who):
        return [(1, f"{who} is {'idle' if known is not None else 'unknown'}, but stands elsewhere too")]
    return []


def _room(state: State, room: Room) -> list[Found]:
    """Whether a room, if it is open, has two members who are in it and nowhere else."""
    if room.closed_position is not None:
        return []
    found = [(2, f"{room.room_id} has one member twice")] if room.first == room.second else []
    for member in (room.first, room.second):
        known = state.places.by_id.get(member)
        if known is None or type(known.place) is not Chatting or known.place.room_id != room.room_id:
            found.append((2, f"{member} is a member of {room.room_id}, but not in it"))
        elif member in state.queue.entered:
            found.append((1, f"{member} both waits and chats"))
    return found


# What holds for a step.


def _chain(before: State, commit: Commit, after: State) -> list[Found]:
    found: list[Found] = []
    last = before.tip
    if commit.position != last.position + 1 or commit.previous_id != last.commit_id:
        found.append((5, "the commit does not follow the one before it"))
    if commit.at_ms < before.at_ms or commit.at_ms != commit.facts.at_ms:
        found.append((5, "time went back, or is not the one that was decided with"))
    if after.tip != (commit.position, commit.commit_id):
        found.append((6, "the state is not at the commit that was folded"))
    return found


def _message_sent(before: State, commit: Commit, event: MessageSent) -> list[Found]:
    sender = event.sender
    room = _open_room(before, event.room_id, sender, event.recipient)
    if room is None:
        return [(4, f"{sender} spoke in {event.room_id}, which was not open to them")]
    if event.client_message_id is not None and room.sent_at_ms(sender, event.client_message_id) is not None:
        return [(4, f"a message of {sender} was stored twice")]
    return []


def _queue_entered(before: State, commit: Commit, event: QueueEntered) -> list[Found]:
    found: list[Found] = []
    who = event.connection_id
    known = before.places.get(who)
    if known is not None and type(known.place) is not Idle and not _left_a_room(commit, who):
        found.append((1, f"{who} entered the queue, but was not idle"))
    if before.policy.matching == "first-come" and len(before.queue) and not _opens_a_room(commit):
        found.append((3, "someone waits while another waits"))
    return found


def _queue_left(before: State, commit: Commit, event: QueueLeft) -> list[Found]:
    who = event.connection_id
    return [] if who in before.queue.entered else [(1, f"{who} left the queue, but was not in it")]


def _room_opened(before: State, commit: Commit, event: RoomOpened) -> list[Found]:
    found: list[Found] = []
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
    if before.policy.matching == "first-come" and before.queue.head() != first:
        found.append((3, f"{first} was not the one who waited longest"))
    return found


def _room_closed(before: State, commit: Commit, event: RoomClosed) -> list[Found]:
    if _open_room(before, event.room_id, event.closed_by, event.other) is None:
        return [(5, f"{event.room_id} was not an open room of these two")]
    return []


def _policy_adopted(before: State, commit: Commit, event: PolicyAdopted) -> list[Found]:
    return []


_HAPPENED: Mapping[type[Event], Callable[[State, Commit, Any], list[Found]]] = {
    MessageSent: _message_sent,
    QueueEntered: _queue_entered,
    QueueLeft: _queue_left,
    RoomOpened: _room_opened,
    RoomClosed: _room_closed,
    PolicyAdopted: _policy_adopted,
}


def _open_room(state: State, room_id: RoomId, one: ConnectionId, other: ConnectionId) -> Room | None:
    """The room, if it is open to these two and to nobody else."""
    room = state.rooms.by_id.get(room_id)
    if room is None or room.closed_position is not None:
        return None
    both = (room.first == one and room.second == other) or (room.first == other and room.second == one)
    return room if both else None


def _enters(commit: Commit, who: ConnectionId) -> bool:
    return any(type(event) is QueueEntered and event.connection_id == who for event in commit.events)


def _left_a_room(commit: Commit, who: ConnectionId) -> bool:
    return any(type(event) is RoomClosed and event.closed_by == who for event in commit.events)


def _opens_a_room(commit: Commit) -> bool:
    return any(type(event) is RoomOpened for event in commit.events)


def _told(commit: Commit) -> list[Found]:
    owed: list[ConnectionId] = []
    for event in commit.events:
        owed += _OWED[type(event)](event)
    if len(owed) > 1 and len(set(owed)) < len(owed):
        return [(7, "one connection would be told two things at once")]  # `deliveries` relies on that never being
    told = [who for who, _ in deliveries(commit)]
    if told != owed and sorted(told) != sorted(owed):
        return [(7, f"told {sorted(told)}, owed {sorted(owed)}")]
    return []


_OWED: Mapping[type[Event], Callable[[Any], tuple[ConnectionId, ...]]] = {
    MessageSent: lambda event: (event.recipient,),
    QueueEntered: lambda event: (),
    QueueLeft: lambda event: (),
    RoomOpened: lambda event: (event.first, event.second),
    RoomClosed: lambda event: (event.other,),
    PolicyAdopted: lambda event: (),
}


# What came of a step.


def _came_of_it(before: State, commit: Commit, after: State) -> list[Found]:
    """What is wrong with those whom `commit` touched, or with how many there are."""
    found: list[Found] = []
    for event in commit.events:
        people, room_id = _TOUCHED[type(event)](event)
        room = after.rooms.by_id.get(room_id)
        inside: tuple[ConnectionId, ...] = ()
        if room is not None and room.closed_position is None:
            inside = room.first, room.second
            found += _room(after, room)
        for who in people:
            if who not in inside:
                found += _person(after, who)
    if not _all_stayed(before, after):
        found += _counts(after)
        opened = sum((type(event) is RoomOpened) - (type(event) is RoomClosed) for event in commit.events)
        if after.rooms.open_count != before.rooms.open_count + opened:
            found.append((2, f"{after.rooms.open_count} rooms are counted, and {opened} were opened"))
        touched = (who for event in commit.events for who in _TOUCHED[type(event)](event)[0])
        for who in dict.fromkeys(touched):
            found += _sharing(before, commit, after, who)
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


def _all_stayed(before: State, after: State) -> bool:
    """Whether nobody came or went anywhere: then all is counted as it was."""
    return (
        after.queue is before.queue
        and after.places.idle is before.places.idle
        and after.rooms.closed is before.rooms.closed
    )


def _sharing(before: State, commit: Commit, after: State, who: ConnectionId) -> list[Found]:
    """Whether `who` can be found by the interests that they wait with, and by no others."""
    known, entered = after.places.get(who), after.queue.entered.get(who)
    named, were = known.interests if known is not None else (), before.queue.interests.get(who, ())
    interests = named if entered is not None else ()
    sound = after.queue.interests.get(who, ()) == interests
    for interest in (*named, *were):
        sharing = after.queue.sharing(interest)
        sound = sound and sharing != _NOBODY
        for position in (commit.position, before.queue.entered.get(who, commit.position)):
            there = sharing is not None and sharing.get(position) == who
            sound = sound and there == (position == entered and interest in interests)
    return [] if sound else [(1, f"{who} is in the queue with other interests than their own")]


_NOBODY: Order[ConnectionId] = Order()
