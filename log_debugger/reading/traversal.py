"""One pass over a log for a few of its commits, without decoding and folding the rest where a snapshot saves it.

A state is folded only where one is asked for, from the nearest snapshot before it. What was said in a room is counted
only where it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from events.codec import UnreadableCommitError, decode_commit
from events.commands import NextPartner
from events.commit import BrokenChainError, Commit
from events.events import RoomClosed
from events.ids import Position
from log_debugger.reading.iterate import (
    FOLD_ERRORS,
    Conversations,
    LogEntry,
    commit_at,
    conversations_after,
    conversations_in,
    step_of,
)
from log_debugger.reading.room_messages import conversations_counted
from log_debugger.reading.sources import Source, state_at
from projections.rooms import Room
from projections.state import State, fold

PAGE_COMMITS = 1_000
PENDING_MAX = 50_000
"""The most lines in memory: beyond, they are folded."""

JUMP_COMMITS_MIN = 10_000
"""Decoding a snapshot takes as long as folding so many commits."""

Wanted = Callable[[bytes], bool]
"""Tells by the ids in a stored line whether its commit may be wanted; true for more than those does no harm.

It is also asked about several lines at once, and about ids that would be in a line.
"""


def none(line: bytes) -> bool:
    """Want no commit, but the state at the end."""
    return False


class Traversal:
    """A pass up to position `last`.

    Snapshots are believed, and the commits between one and the next wanted commit's snapshot are not checked; `verify`
    checks all. A log without snapshots is folded and checked as a whole.

    Args:
        source: the log.
        last: the last position.
        wanted: the commits to yield.
        advance: called with the number of passed commits, now and then.
    """

    def __init__(self, source: Source, last: Position, wanted: Wanted, advance: Callable[[int], None]) -> None:
        self._source, self._last, self._wanted, self._advance = source, last, wanted, advance
        self._state: State | None = source.base.state  # None after a jump to the snapshot before the pending lines
        self._position: Position = source.base.tip.position  # of the last line
        self._pending: list[bytes] = []  # the last lines, which are not in the state
        self._conversations = conversations_in(source.base.state)  # as far as the yielded commits tell
        self._is_whole = True  # no commit was left out at the beginning

    def begin_at_snapshot(self) -> None:
        """Leave out the commits before the newest snapshot; called before the pass, for the state at its end alone."""
        snapshot = self._source.snapshot(self._last)
        self._advance(snapshot.tip.position - self._position)
        self._state, self._position, self._is_whole = snapshot.state, snapshot.tip.position, False

    def entries(self) -> Iterator[LogEntry]:
        """Yield each wanted commit up to the last.

        Raises:
            UnreadableCommitError: a commit can't be decoded; all before it were yielded.
            BrokenChainError: a commit does not follow the one before; all before it were yielded.
        """
        for page in self._pages():
            if not self._wanted(b"\n".join(page)):
                self._pass_over(page)
                continue
            for line in page:
                if self._wanted(line):
                    yield self._entry(line)
                else:
                    self._pass_over([line])

    def _pages(self) -> Iterator[list[bytes]]:
        """Yield the lines up to the last, some at a time; a snapshot's position is the end of a page."""
        snapshots = iter(self._source.snapshots())
        lines = self._source.lines(self._position)
        snapshot = next(snapshots, self._last)
        while self._position < self._last:
            while snapshot <= self._position:
                self._jump_from(snapshot)
                snapshot = next(snapshots, self._last)
            page: list[bytes] = []
            try:
                page.extend(islice(lines, min(snapshot, self._last, self._position + PAGE_COMMITS) - self._position))
            except Exception:
                yield page  # all that could be read
                raise
            if not page:
                return
            yield page
            self._advance(len(page))

    def _jump_from(self, snapshot: Position) -> None:
        """Forget the pending lines up to a snapshot, if that saves work."""
        if snapshot == self._position and len(self._pending) >= JUMP_COMMITS_MIN:
            self._state = None
            self._pending.clear()

    def end(self) -> State:
        """Return the state at the end of the pass.

        Raises:
            UnreadableCommitError: a commit can't be decoded.
            BrokenChainError: a commit does not follow the one before.
        """
        return self._caught_up()

    def conversations_in(self, rooms: Iterable[Room]) -> Conversations:
        """Return the conversations in open `rooms` at the end of the pass, or more.

        Raises:
            UnreadableCommitError: a commit can't be decoded.
        """
        return self._conversations_in(rooms, self._position)

    def _entry(self, line: bytes) -> LogEntry:
        step = step_of(self._caught_up(), line)
        before = self._conversations_before(step.before, step.commit)
        self._state, self._conversations = step.after, conversations_after(self._conversations, step.commit)
        self._position += 1
        return LogEntry(line, step, before)

    def _pass_over(self, page: list[bytes]) -> None:
        self._position += len(page)
        self._pending += page
        if len(self._pending) > PENDING_MAX:
            self._caught_up()

    def _conversations_before(self, state: State, commit: Commit) -> Conversations:
        """Return the conversations in the rooms that `commit` closes, and the end of the one that it names."""
        closing = (state.rooms.get(event.room_id) for event in commit.events if isinstance(event, RoomClosed))
        before = self._conversations_in(filter(None, closing), state.position)
        left = state.rooms.get(commit.command.room_id) if isinstance(commit.command, NextPartner) else None
        end = self._end_passed_over(left) if left is not None else None
        return before.ended(end) if end is not None else before

    def _conversations_in(self, rooms: Iterable[Room], last: Position) -> Conversations:
        passed_over = [room for room in rooms if not self._is_followed(room)]
        conversations = self._conversations
        for room_id, conversation in conversations_counted(self._source, passed_over, last).items():
            conversations = conversations.with_conversation(room_id, conversation)
        return conversations

    def _end_passed_over(self, room: Room) -> RoomClosed | None:
        """Return the closing event of a closed room, if it was passed over."""
        closed = room.closed_position
        if closed is None or closed <= self._source.base.tip.position or self._is_followed(room):
            return None
        events = commit_at(closed, next(self._source.lines(closed - 1))).events
        return next((one for one in events if isinstance(one, RoomClosed) and one.room_id == room.room_id), None)

    def _is_followed(self, room: Room) -> bool:
        """Return `True` if all that is said in `room` is wanted: each of its messages names it and its members."""
        return self._is_whole and self._wanted(f"{room.room_id} {room.first} {room.second}".encode())

    def _caught_up(self) -> State:
        """Return the state after the last line, folded with the chain checked."""
        state = self._state if self._state is not None else self._jumped()
        for start in range(0, len(self._pending), PAGE_COMMITS):
            state = folded(state, self._pending[start : start + PAGE_COMMITS])
        self._pending.clear()
        self._state = state
        return state

    def _jumped(self) -> State:
        """Return the state before the pending lines, from the snapshot there, or if it can't be read from another."""
        return state_at(self._source, self._position - len(self._pending))


def folded(state: State, lines: list[bytes]) -> State:
    """Fold `lines`, which must follow `state`.

    Raises:
        UnreadableCommitError: a commit can't be decoded; the message names the position.
        BrokenChainError: a commit does not follow, or does not fit the state; the message names the position.
    """
    try:
        return fold(map(decode_commit, lines), state)
    except (UnreadableCommitError, BrokenChainError, *FOLD_ERRORS):
        for line in lines:  # one by one, for an error with its position
            state = step_of(state, line).after
        raise
