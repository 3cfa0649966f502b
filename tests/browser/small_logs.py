"""Small logs for tests in the browser, and parts of their folded states."""

from __future__ import annotations

from collections.abc import Sequence

from events.commit import Commit, Facts, commit_after
from events.ids import RoomId
from projections.state import State, evolve, fold
from tests.support.logs import log_of
from tests.support.people import ANN, BOB, CAT, enter, leave, said, say

ROOM_2 = RoomId("r_2")
CHAT = [enter(ANN), enter(BOB), say(ANN, "Where is my message?", None, ROOM_2), enter(CAT), leave(BOB, ROOM_2)]


def broken_log() -> list[Commit]:
    """Return ten commits; the fourth breaks a promise, with a message in another pair's room."""
    commits = log_of(enter(ANN), enter(BOB))
    state = fold(commits)
    commits += log_of(enter(CAT), state=state, step_ms=0)
    state = evolve(state, commits[-1])
    facts = Facts(state.at_ms + 5_000, None, "salt")
    stranger = said(CAT, ANN, room=ROOM_2)
    commits.append(commit_after(state.tip, say(CAT, room=ROOM_2), facts, [stranger]))
    state = evolve(state, commits[-1])
    return [*commits, *log_of(*(say(ANN, f"line {n}", None, ROOM_2) for n in range(6)), state=state)]


def open_rooms(state: State) -> list[str]:
    """Return the open rooms, in the order of their opening."""
    found = [room for room in state.rooms.by_id.values() if room.is_open]
    return [room.room_id for room in sorted(found, key=lambda room: room.opened_position)]


def waiting(state: State) -> list[str]:
    """Return the queue, longest waiting first."""
    return sorted(state.queue.entered, key=lambda who: state.queue.entered[who])


def folded_to(commits: Sequence[Commit], position: int) -> State:
    """Return the state after the commit at `position`."""
    return fold(commits[:position])
