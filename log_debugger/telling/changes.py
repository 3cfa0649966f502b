"""The differences between two states, and the conversations between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from events.events import MessageSent, RoomClosed, RoomOpened
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from events.text import Text
from log_debugger.reading.iterate import step_of
from log_debugger.reading.sources import Source, Step, check_position, state_at
from log_debugger.telling.describe import open_rooms
from projections.connections import Place
from projections.state import State

Mark = str
"""`+` for an item at the second position only, `-` at the first only, `~` at both and changed."""


class QueueChange(NamedTuple):
    """A connection in the queue at one of the two positions, or at both in different places."""

    mark: Mark
    connection_id: ConnectionId
    was: int | None  # the place in the queue
    now: int | None


class RoomChange(msgspec.Struct):
    """One conversation between the two positions."""

    room_id: RoomId
    first: ConnectionId
    second: ConnectionId
    first_name: Text
    second_name: Text
    messages: int = 0
    opened_position: Position | None = None  # set if between the positions, like the next
    closed_position: Position | None = None
    closed_by: ConnectionId | None = None
    reason: str | None = None


class PlaceChange(NamedTuple):
    """A connection that is new, was forgotten, or moved to another place."""

    mark: Mark
    connection_id: ConnectionId
    was: Place | None
    now: Place | None


class StateChanges(NamedTuple):
    """The changes from `before` to `after`; either may be the earlier one in the log."""

    before: State
    after: State
    queue: list[QueueChange]
    rooms: list[RoomChange]  # opened, closed, or with a message in between; ordered by opening
    moved: list[PlaceChange]
    policy: list[tuple[str, Any, Any]]

    @property
    def is_backwards(self) -> bool:
        """`True` if `before` comes later in the log."""
        return self.before.position > self.after.position


def changes_between(source: Source, one: Position, other: Position) -> StateChanges:
    """Return the changes from position `one` to position `other`.

    Raises:
        UsageError: the log does not have one of them.
        UnreadableCommitError: a commit can't be decoded; the message names its position.
        BrokenChainError: a commit does not follow the one before; the message names its position.
    """
    check_position(source, max(one, other))
    earlier = state_at(source, min(one, other))
    later, rooms = _between(source, earlier, max(one, other))
    before, after = (earlier, later) if one <= other else (later, earlier)
    queue, moved, policy = queue_changes(before, after), moves(before, after), policy_fields(before, after)
    return StateChanges(before, after, queue, rooms, moved, policy)


def queue_changes(before: State, after: State) -> list[QueueChange]:
    """Return the connections that left the queue, in its old order, then the new and moved, in its new order."""
    was = {who: place for place, (_, who) in enumerate(before.queue.entries.items(), 1)}
    now = {who: place for place, (_, who) in enumerate(after.queue.entries.items(), 1)}
    entered, entered_before = after.queue.entered, before.queue.entered
    found = [QueueChange("-", who, place, None) for who, place in was.items() if who not in now]
    for who, place in now.items():
        if who not in was:
            found.append(QueueChange("+", who, None, place))
        elif was[who] != place or entered[who] != entered_before[who]:
            found.append(QueueChange("~", who, was[who], place))
    return found


def moves(before: State, after: State) -> list[PlaceChange]:
    """Return the connections with another place, ordered by their last activity."""
    found: list[tuple[int, PlaceChange]] = []
    for who, known in after.connections.by_id.items():
        past = before.connections.get(who)
        if past is None:
            found.append((known.last_position, PlaceChange("+", who, None, known.place)))
        elif past is not known and _differs(past.place, known.place):
            found.append((known.last_position, PlaceChange("~", who, past.place, known.place)))
    for who, past in before.connections.by_id.items():
        if who not in after.connections.by_id:
            found.append((past.last_position, PlaceChange("-", who, past.place, None)))
    return [moved for _, moved in sorted(found, key=lambda one: (one[0], one[1].connection_id))]


def policy_fields(before: State, after: State) -> list[tuple[str, Any, Any]]:
    """Return the name, old value and new value of each policy field that differs."""
    pairs = ((field, getattr(before.policy, field), getattr(after.policy, field)) for field in Policy.__struct_fields__)
    return [(field, was, now) for field, was, now in pairs if was != now]


def _differs(was: Place, now: Place) -> bool:
    """Return `True` for another place; the start of idleness does not count."""
    return type(was) is not type(now) or getattr(was, "room_id", None) != getattr(now, "room_id", None)


def _between(source: Source, state: State, last: Position) -> tuple[State, list[RoomChange]]:
    rooms: dict[RoomId, RoomChange] = {
        room.room_id: RoomChange(room.room_id, room.first, room.second, room.first_name, room.second_name)
        for room in open_rooms(state)
    }
    for step in _steps(source, state, last):
        _note(rooms, step)
        state = step.after
    return state, [room for room in rooms.values() if room.messages or room.opened_position or room.closed_position]


def _steps(source: Source, state: State, last: Position) -> Iterator[Step]:
    if state.position == last:
        return
    for line in source.lines(state.position):
        step = step_of(state, line)
        yield step
        state = step.after
        if state.position == last:
            return


def _note(rooms: dict[RoomId, RoomChange], step: Step) -> None:
    for event in step.commit.events:
        match event:
            case RoomOpened():
                names = event.first_name, event.second_name
                opened = RoomChange(
                    event.room_id, event.first, event.second, *names, opened_position=step.commit.position
                )
                rooms[event.room_id] = opened
            case MessageSent(room_id=room_id) if room_id in rooms:
                rooms[room_id].messages += 1
            case RoomClosed(room_id=room_id) if room_id in rooms:
                room = rooms[room_id]
                room.closed_position, room.closed_by, room.reason = step.commit.position, event.closed_by, event.reason
