"""The promises that can be seen in a state or in one step of a log, as checks that name what broke.

The numbers are those of the promises in the README. What needs a second witness (that a decision repeats, that a
worker agrees) is checked where that witness is.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from events.commit import Commit
from events.events import MessageSent, RoomClosed, RoomOpened
from events.ids import ConnectionId, RoomId
from projections.deliveries import deliveries
from projections.places import Chatting, Idle, Waiting
from projections.state import State


class Breach(msgspec.Struct, frozen=True):
    """A promise that does not hold, and where."""

    promise: int
    position: int
    what: str

    def __str__(self) -> str:
        return f"promise {self.promise} is broken at position {self.position}: {self.what}"


def check_state(state: State) -> list[Breach]:
    """Every promise that `state` breaks; walks all of it."""
    found = [*_places(state), *_rooms(state), *_queue(state)]
    return [Breach(promise, state.position, what) for promise, what in found]


def check_step(before: State, commit: Commit, after: State) -> list[Breach]:
    """Every promise that `commit` breaks, coming after `before`; looks at what it touches alone."""
    found = [*_chain(before, commit, after), *_events(before, commit), *_told(commit)]
    return [Breach(promise, commit.position, what) for promise, what in found]


def _places(state: State) -> Iterator[tuple[int, str]]:
    for who, connection in state.places.by_id.items():
        waits = who in state.queue.entered
        match connection.place:
            case Chatting(room_id=room_id):
                room = state.rooms.get(room_id)
                if waits:
                    yield 1, f"{who} both waits and chats"
                if room is None or not room.is_open or not room.has(who):
                    yield 1, f"{who} chats in {room_id}, which is not open to them"
            case Waiting(entered_position=entered) if state.queue.entered.get(who) != entered:
                yield 1, f"{who} waits, but is not in the queue at {entered}"
            case Idle(key=key) if waits or state.places.idle.get(key) != who:
                yield 1, f"{who} is idle, but stands elsewhere too"


def _rooms(state: State) -> Iterator[tuple[int, str]]:
    open_rooms = [room for room in state.rooms.by_id.values() if room.is_open]
    if len(open_rooms) != state.rooms.open_count:
        yield 2, f"{len(open_rooms)} rooms are open, {state.rooms.open_count} are counted"
    for room in open_rooms:
        if room.first == room.second:
            yield 2, f"{room.room_id} has one member twice"
        for member in (room.first, room.second):
            connection = state.places.get(member)
            if connection is None or connection.place != Chatting(room.room_id):
                yield 2, f"{member} is a member of {room.room_id}, but not in it"


def _queue(state: State) -> Iterator[tuple[int, str]]:
    entries = list(state.queue.entries.items())
    if {who: position for position, who in entries} != dict(state.queue.entered.items()):
        yield 1, "the queue and its index disagree"
    if len(entries) > 1:
        yield 3, "someone waits while another waits"


def _chain(before: State, commit: Commit, after: State) -> Iterator[tuple[int, str]]:
    if commit.position != before.position + 1 or commit.previous_id != before.tip.commit_id:
        yield 5, "the commit does not follow the one before it"
    if commit.at_ms < before.at_ms or commit.at_ms != commit.facts.at_ms:
        yield 5, "time went back, or is not the one that was decided with"
    if after.tip != commit.tip:
        yield 6, "the state is not at the commit that was folded"


def _events(before: State, commit: Commit) -> Iterator[tuple[int, str]]:
    for event in commit.events:
        match event:
            case RoomOpened():
                yield from _opening(before, commit, event)
            case RoomClosed(room_id=room_id) if not _open_to(before, room_id, event.closed_by, event.other):
                yield 5, f"{room_id} was not an open room of these two"
            case MessageSent():
                yield from _message(before, event)


def _opening(before: State, commit: Commit, event: RoomOpened) -> Iterator[tuple[int, str]]:
    first, second = event.first, event.second
    entered = before.queue.entered.get(first)
    if first == second:
        yield 2, f"{first} was paired with themselves"
    if before.rooms.get(event.room_id) is not None:
        yield 5, f"{event.room_id} had been there before"
    if entered is None or entered >= before.queue.entered.get(second, commit.position):
        yield 3, f"{first} did not enter before {second}"
    if before.queue.head() != first:
        yield 3, f"{first} was not the one who waited longest"


def _message(before: State, event: MessageSent) -> Iterator[tuple[int, str]]:
    if not _open_to(before, event.room_id, event.sender, event.recipient):
        yield 4, f"{event.sender} spoke in {event.room_id}, which was not open to them"
    elif event.client_message_id is not None:
        room = before.rooms.by_id[event.room_id]
        if room.sent_at_ms(event.sender, event.client_message_id) is not None:
            yield 4, f"a message of {event.sender} was stored twice"


def _open_to(state: State, room_id: RoomId, one: ConnectionId, other: ConnectionId) -> bool:
    room = state.rooms.get(room_id)
    return room is not None and room.is_open and {one, other} == {room.first, room.second}


def _told(commit: Commit) -> Iterator[tuple[int, str]]:
    owed: list[ConnectionId] = []
    for event in commit.events:
        match event:
            case RoomOpened(first=first, second=second):
                owed += [first, second]
            case RoomClosed(other=other):
                owed.append(other)
            case MessageSent(recipient=recipient):
                owed.append(recipient)
    if len(set(owed)) < len(owed):
        yield 7, "one connection would be told two things at once"
        return  # `deliveries` relies on that never being
    told = sorted(who for who, _ in deliveries(commit))
    if told != sorted(owed):
        yield 7, f"told {told}, owed {sorted(owed)}"
