"""A scenario: commands that can be replayed from an empty log, and the resulting decision."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from broker.decision import Decision, Rejection
from broker.own_matching import decide_logged
from events.commands import Command, Disconnect, EnterQueue, ForgetNames, MatchDue, NextPartner
from events.commit import SCHEMA_VERSION, Commit, Facts
from events.events import Event, PartnerReported, QueueEntered, QueueEntry, RoomOpened
from events.ids import NO_COMMIT, ConnectionId, Position, RoomId
from projections.state import INITIAL_STATE, State, evolve

CONNECTION_FIELDS = (
    "connection_id",
    "first",
    "second",
    "sender",
    "recipient",
    "closed_by",
    "other",
    "blocker",
    "blocked",
    "reporter",
    "reported",
    "missed_by",
    "connection_ids",
)
"""Fields of commands and events with the id of a connection, or those of several. A report's `first` is a position."""

MAY_MATCH = (EnterQueue, NextPartner, MatchDue)


class LoggedCommand(NamedTuple):
    """A command of a log with the facts it was decided with."""

    position: Position
    command: Command
    facts: Facts
    connection_ids: frozenset[ConnectionId] = frozenset()
    """The connections in its events."""
    opened: RoomOpened | None = None
    """The room that it opened, without the places in the queue."""
    fallback: EnterQueue | None = None
    """The command in place of a `NextPartner` whose room does not exist in the replay."""


class Scenario(NamedTuple):
    """A past, the target command after it, the decision on that command, and the events stored for it.

    The last two differ if the log was written by another program, or altered.
    """

    past: tuple[LoggedCommand, ...]
    target: LoggedCommand
    decided: Decision
    stored: list[Event]


RoomsByPair = Mapping[frozenset[ConnectionId], Sequence[RoomId]]
"""The rooms of a log in their order, by the pair of members."""


class ReplayedScenario(NamedTuple):
    """A replayed past: the accepted commands as they were then, and the decision on the target."""

    done: tuple[LoggedCommand, ...]
    target: LoggedCommand
    decided: Decision


def replay_scenario(past: Sequence[LoggedCommand], target: LoggedCommand, rooms: RoomsByPair) -> ReplayedScenario:
    """Replay `past` from an empty log. Commands that are rejected or done already are left out.

    A pair that the log matched by another command gets the last of its `rooms`, so that the replay does not depend on
    the commands left out before.
    """
    state, done, positions, used = INITIAL_STATE, list[LoggedCommand](), list[Position](), set[RoomId]()
    for logged in past:
        here, events = _execute(state, _rebased(logged, positions), rooms, used)
        if not events:
            continue
        state = _evolve(state, here, events)
        done.append(here)
        if here.opened is not None:
            used.add(here.opened.room_id)
        positions.append(logged.position)
    here = _rebased(target, positions)
    decided = decide_logged(state, here.command, here.facts)
    return ReplayedScenario(tuple(done), here._replace(position=len(done) + 1), decided)


def state_after(past: Sequence[LoggedCommand]) -> State:
    """Return the state after `past`, the accepted commands of a replay."""
    state = INITIAL_STATE
    for logged in past:
        state = _evolve(state, logged, _events(state, logged))
    return state


def rooms_of(past: Iterable[LoggedCommand]) -> RoomsByPair:
    """Return the rooms of a log by the pair of members."""
    rooms: dict[frozenset[ConnectionId], list[RoomId]] = {}
    for logged in past:
        if logged.opened is not None:
            pair = frozenset({logged.opened.first, logged.opened.second})
            rooms.setdefault(pair, []).append(logged.opened.room_id)
    return rooms


def is_alike(decision: Decision, other: Decision) -> bool:
    """Return whether two decisions are equal but for what depends on the rest of their logs.

    That is the positions of places in the queue and of a report's evidence, their times, and salts.
    """
    if isinstance(decision, Rejection) or isinstance(other, Rejection):
        return decision == other
    return [*map(_without_context, decision)] == [*map(_without_context, other)]


def restated(stored: Sequence[Event], decided: Decision, replayed: Decision) -> list[Event]:
    """Return `stored` as it is in a replayed log: `replayed` is there what `decided` is in the log."""
    if isinstance(decided, Rejection) or isinstance(replayed, Rejection):
        return [*stored]
    pairs = [*zip(decided, replayed, strict=True)]
    return [next((there for here, there in pairs if here == event), event) for event in stored]


def _without_context(event: Event) -> Event:
    match event:
        case QueueEntered(earlier=earlier):
            return msgspec.structs.replace(event, salt=None, earlier=_NO_ENTRY if earlier is not None else None)
        case RoomOpened():
            return _plain_opening(event)
        case PartnerReported():
            return msgspec.structs.replace(event, first=0, last=0)
        case _:
            return event


def _plain_opening(event: RoomOpened) -> RoomOpened:
    return RoomOpened(event.room_id, event.first, event.second, event.first_name, event.second_name)


_NO_ENTRY = QueueEntry(0, 0)


def _execute(
    state: State, logged: LoggedCommand, rooms: RoomsByPair, used: Collection[RoomId]
) -> tuple[LoggedCommand, list[Event]]:
    """Return `logged` as it is possible in `state`, and its events; it opens no room that was `used` before."""
    events = _events(state, logged)
    if not events and logged.fallback is not None:
        logged = logged._replace(command=logged.fallback, fallback=None)
        events = _events(state, logged)
    opened = _opened(events)
    if opened is not None and (room_id := _other_room(opened, logged.position, rooms, used)) is not None:
        logged = logged._replace(facts=msgspec.structs.replace(logged.facts, room_id=room_id))
        events = _events(state, logged)
        opened = _opened(events)
    return logged._replace(opened=opened), events


def _events(state: State, logged: LoggedCommand) -> list[Event]:
    decision = decide_logged(state, logged.command, logged.facts)
    return [] if isinstance(decision, Rejection) else decision


def _opened(events: Sequence[Event]) -> RoomOpened | None:
    return next((_plain_opening(event) for event in events if isinstance(event, RoomOpened)), None)


def _other_room(opened: RoomOpened, position: Position, rooms: RoomsByPair, used: Collection[RoomId]) -> RoomId | None:
    """Return another room for `opened`: that of this pair in the log, or a fresh one; `None` if its own will do."""
    theirs = rooms.get(frozenset({opened.first, opened.second}), ())
    if opened.room_id not in used and opened.room_id in theirs:
        return None
    unused = next((room_id for room_id in reversed(theirs) if room_id not in used), None)
    return RoomId(f"r_at_{position}") if unused is None and opened.room_id in used else unused


def _rebased(logged: LoggedCommand, positions: list[Position]) -> LoggedCommand:
    """Return `logged` for a replayed log that holds the commits of `positions`."""
    command, facts = logged.command, logged.facts
    if isinstance(command, Disconnect):
        command = msgspec.structs.replace(command, since=bisect_right(positions, command.since))
    if isinstance(command, ForgetNames):
        command = msgspec.structs.replace(command, through=bisect_right(positions, command.through))
    if facts.room_id is None and isinstance(command, MAY_MATCH):
        facts = msgspec.structs.replace(facts, room_id=RoomId(f"r_at_{logged.position}"))
    return logged._replace(command=command, facts=facts)


def _evolve(state: State, logged: LoggedCommand, events: Sequence[Event]) -> State:
    """Return the state after a commit without an id: no chain is checked here."""
    at_ms = max(state.at_ms, logged.facts.at_ms)
    position = state.position + 1
    return evolve(
        state,
        Commit(SCHEMA_VERSION, position, NO_COMMIT, NO_COMMIT, at_ms, logged.command, logged.facts, tuple(events)),
    )


def logged_command(commit: Commit) -> LoggedCommand:
    """Return the command of `commit`, with its outcome."""
    entries = [event for event in commit.events if isinstance(event, QueueEntered)]
    fallback = None
    if isinstance(commit.command, NextPartner) and entries:
        entry = entries[0]
        fallback = EnterQueue(entry.connection_id, entry.display_name, entry.interests, entry.idle_grace_ms)
    opened = _opened(commit.events)
    connection_ids = frozenset(connections_in(commit))
    return LoggedCommand(commit.position, commit.command, commit.facts, connection_ids, opened, fallback)


def connections_in(commit: Commit) -> Iterator[ConnectionId]:
    """Return the connections in `commit`; some may come more than once."""
    for holder in (commit.command, *commit.events):
        yield from connections_of(holder)


def connections_of(holder: Command | Event) -> Iterator[ConnectionId]:
    """Return the connections in a command or an event; some may come more than once."""
    for field in CONNECTION_FIELDS:
        found = getattr(holder, field, None)
        if isinstance(found, str):
            yield ConnectionId(found)
        elif isinstance(found, tuple):
            yield from found
