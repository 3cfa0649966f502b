"""A situation that can be brought about again from nothing: what was asked for, and what was decided in the end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from broker.decide import Decision, Rejection, decide
from events.commands import Command, Disconnect, EnterQueue, MatchDue, NextPartner
from events.commit import SCHEMA_VERSION, Commit, Facts
from events.events import Event, QueueEntered, RoomOpened
from events.ids import NO_COMMIT, ConnectionId, Position, RoomId
from projections.state import INITIAL_STATE, State, evolve

CONNECTION_FIELDS = ("connection_id", "first", "second", "sender", "recipient", "closed_by", "other")
"""Fields of commands and events that hold a connection's id."""

MAY_MATCH = (EnterQueue, NextPartner, MatchDue)


class Asked(NamedTuple):
    """A command of a log, and the facts that it was decided with."""

    position: Position
    command: Command
    facts: Facts
    people: frozenset[ConnectionId] = frozenset()
    """Who took part in what it led to."""
    opened: RoomOpened | None = None
    """The room that it led to."""
    instead: EnterQueue | None = None
    """What somebody who moves on asks for where the room that they leave never was."""


class Scenario(NamedTuple):
    """What was asked for in the past, the command that it is about, and what was decided and what was stored for it.

    The two differ where the log was written by another program, or altered.
    """

    past: tuple[Asked, ...]
    target: Asked
    decided: Decision
    stored: list[Event]


Rooms = Mapping[frozenset[ConnectionId], Sequence[RoomId]]
"""By whom they opened to: the rooms of a log, in their order."""


class Relived(NamedTuple):
    """What became of a past: the commands that led to anything, as they then were, and what was decided in the end."""

    done: tuple[Asked, ...]
    target: Asked
    decided: Decision


def relive(past: Sequence[Asked], target: Asked, rooms: Rooms) -> Relived:
    """Bring about `past` from nothing; what is refused, or done already, is left out.

    Two who meet otherwise than they did in the log meet in the last of their `rooms`, so that it does not matter who
    else came and went until they met.
    """
    state, done, positions = INITIAL_STATE, list[Asked](), list[Position]()
    for asked in past:
        here, events = _carried_out(state, _here(asked, positions), rooms)
        if not events:
            continue
        state = _after(state, here, events)
        done.append(here)
        positions.append(asked.position)
    here = _here(target, positions)
    return Relived(tuple(done), here._replace(position=len(done) + 1), decide(state, here.command, here.facts))


def rooms_of(past: Iterable[Asked]) -> Rooms:
    """Who met where in a log."""
    rooms: dict[frozenset[ConnectionId], list[RoomId]] = {}
    for asked in past:
        if asked.opened is not None:
            pair = frozenset({asked.opened.first, asked.opened.second})
            rooms.setdefault(pair, []).append(asked.opened.room_id)
    return rooms


def _carried_out(state: State, asked: Asked, rooms: Rooms) -> tuple[Asked, list[Event]]:
    """`asked` as it is possible here, and what it leads to."""
    events = _events(state, asked)
    if not events and asked.instead is not None:
        asked = asked._replace(command=asked.instead, instead=None)
        events = _events(state, asked)
    opened = _opened(events)
    if opened is not None and (room_id := _other_room(opened, state, rooms)) is not None:
        asked = asked._replace(facts=msgspec.structs.replace(asked.facts, room_id=room_id))
        events = _events(state, asked)
        opened = _opened(events)
    return asked._replace(opened=opened), events


def _events(state: State, asked: Asked) -> list[Event]:
    decision = decide(state, asked.command, asked.facts)
    return [] if isinstance(decision, Rejection) else decision


def _opened(events: Sequence[Event]) -> RoomOpened | None:
    return next((event for event in events if isinstance(event, RoomOpened)), None)


def _other_room(opened: RoomOpened, state: State, rooms: Rooms) -> RoomId | None:
    """The room in which the two who meet now met in the log, if it was not by this command."""
    theirs = rooms.get(frozenset({opened.first, opened.second}), ())
    if opened.room_id in theirs:
        return None
    return next((room_id for room_id in reversed(theirs) if state.rooms.get(room_id) is None), None)


def _here(asked: Asked, positions: list[Position]) -> Asked:
    """`asked` in a log that holds what stood at `positions` in its own."""
    command, facts = asked.command, asked.facts
    if isinstance(command, Disconnect):
        command = msgspec.structs.replace(command, since=bisect_right(positions, command.since))
    if facts.room_id is None and isinstance(command, MAY_MATCH):
        facts = msgspec.structs.replace(facts, room_id=RoomId(f"r_at_{asked.position}"))
    return asked._replace(command=command, facts=facts)


def _after(state: State, asked: Asked, events: Sequence[Event]) -> State:
    """The state after a commit without an id, since nobody will hold it against one."""
    at_ms = max(state.at_ms, asked.facts.at_ms)
    position = state.position + 1
    return evolve(
        state,
        Commit(SCHEMA_VERSION, position, NO_COMMIT, NO_COMMIT, at_ms, asked.command, asked.facts, tuple(events)),
    )


def asked_in(commit: Commit) -> Asked:
    """What was asked for in `commit`, and what it led to."""
    entries = [event for event in commit.events if isinstance(event, QueueEntered)]
    instead = None
    if isinstance(commit.command, NextPartner) and entries:
        instead = EnterQueue(entries[0].connection_id, entries[0].display_name, entries[0].interests)
    opened = next((event for event in commit.events if isinstance(event, RoomOpened)), None)
    return Asked(commit.position, commit.command, commit.facts, frozenset(connections_in(commit)), opened, instead)


def connections_in(commit: Commit) -> Iterator[ConnectionId]:
    """Whom `commit` names; some more than once."""
    for holder in (commit.command, *commit.events):
        for field in CONNECTION_FIELDS:
            if (found := getattr(holder, field, None)) is not None:
                yield found
