"""The relevant history before a commit, in growing portions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from broker.verification.scenario import LoggedCommand, connections_in, logged_command
from events.codec import decode_commit
from events.commands import AdoptPolicy, Command, EnterQueue, LeaveRoom
from events.commit import Commit, Facts
from events.ids import ConnectionId, Position
from log_debugger.reading.sources import Source
from log_debugger.reading.traversal import PAGE_COMMITS, folded
from log_debugger.terminal import Advance
from projections.rooms import Room
from projections.state import State

HOPS_MAX = 3
COMMANDS_MAX = 100_000
APART_MS = 10_000

People = frozenset[ConnectionId]

_POLICY = b'"adopt_policy"'


def checked_state_before(source: Source, position: Position, advance: Advance = lambda steps: None) -> State:
    """Return the state before the commit at `position`, after the whole log was folded and its chain checked.

    Raises:
        UnreadableCommitError: a commit can't be decoded; the message names the position.
        BrokenChainError: a commit does not follow, or does not fit the state; the message names the position.
    """
    state: State = source.base.state
    before = state
    lines = source.lines(state.position)
    while page := [*islice(lines, _page_commits(state.position, position))]:
        state = folded(state, page)
        if state.position < position:
            before = state
        advance(len(page))
    return before


def _page_commits(passed: Position, position: Position) -> int:
    return min(PAGE_COMMITS, position - 1 - passed) if passed < position - 1 else PAGE_COMMITS


def histories(source: Source, commit: Commit) -> Iterator[list[LoggedCommand]]:
    """Yield the commands before `commit`: its connections', then also their partners', and so on.

    The last history is complete. Each has at most the `COMMANDS_MAX` newest commands. For trimmed commits, it has
    commands leading to the same queue and rooms.
    """
    people: People | None = People(connections_in(commit))
    for _ in range(HOPS_MAX):
        history = _commands(source, commit.position, people)
        yield history
        met = People(who for asked in history for who in asked.connection_ids) | (people or People())
        if met == people:
            break
        people = met
    yield _commands(source, commit.position, None)


def _commands(source: Source, position: Position, people: People | None) -> list[LoggedCommand]:
    """Return the commands before `position` by or about `people`; all if `None`."""
    base: State = source.base.state
    found = deque(_of_base(base, people), COMMANDS_MAX)
    names = [who.encode() for who in people] if people is not None else [b""]
    for number, line in enumerate(source.lines(base.position), base.position + 1):
        if number >= position:
            break
        if any(name in line for name in names) or _POLICY in line:
            found.append(logged_command(decode_commit(line)))
    return list(found)


def _of_base(base: State, people: People | None) -> Iterator[LoggedCommand]:
    """Yield commands leading from an empty log to roughly `base`, if the log was trimmed."""
    if not base.position:
        return
    waiting = [who for _, who in base.queue.entries.items() if people is None or who in people]
    began_ms = min((base.connections.by_id[who].last_at_ms for who in waiting), default=base.at_ms)
    # Moving on closes one room and opens another at the same position.
    of_rooms = sorted(_of_rooms(base, people), key=lambda made: (made[0], isinstance(made[1], EnterQueue)))
    for number, (position, command, room) in enumerate(of_rooms):
        at_ms = began_ms - APART_MS * (len(of_rooms) - number)  # far enough apart for every rate limit
        yield LoggedCommand(position, command, Facts(at_ms, room.room_id), frozenset({room.first, room.second}))
    yield LoggedCommand(base.position, AdoptPolicy(base.policy), Facts(began_ms))
    for who in waiting:
        known = base.connections.by_id[who]
        command = EnterQueue(who, known.display_name, known.interests, known.idle_grace_ms)
        yield LoggedCommand(base.queue.entered[who], command, Facts(known.last_at_ms), frozenset({who}))


def _of_rooms(base: State, people: People | None) -> Iterator[tuple[Position, Command, Room]]:
    rooms: Iterable[Room] = base.rooms.by_id.values()
    for room in rooms:
        if people is None or room.first in people or room.second in people:
            for who, name in ((room.first, room.first_name), (room.second, room.second_name)):
                known = base.connections.get(who)
                yield room.opened_position, EnterQueue(who, name, known.interests if known is not None else ()), room
            if room.closed_position is not None:
                yield room.closed_position, LeaveRoom(room.first, room.room_id), room
