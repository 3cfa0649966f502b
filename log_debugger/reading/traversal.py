"""One pass over a log for a few of its commits, without decoding and folding the rest where a snapshot saves it.

A state is folded only where one is asked for, from the nearest snapshot before it. What was said in a room is counted
only where it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

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
from log_debugger.reading.sources import Source
from projections.rooms import Room
from projections.state import State, fold

PAGE_COMMITS = 1_000
PENDING_MAX = 2_000
"""The most passed lines in memory: beyond, they are read again if a state after them is asked for."""

JUMP_COMMITS_MIN = 10_000
"""Decoding a snapshot takes as long as folding so many commits."""

Wanted = Callable[[bytes], bool]
"""Tells by the ids in a stored line whether its commit may be wanted; true for more than those does no harm.

It is also asked about several lines at once, and about ids that would be in a line.
"""


ESCAPE = b"\\u"
"""An id with such a character in it is not found by its bytes."""


class Stretch(NamedTuple):
    """The commits after one position up to another."""

    after: Position
    last: Position


class Absences:
    """The stretches of a log without the bytes `sought`, noted while its lines are read for something else."""

    def __init__(self, sought: bytes) -> None:
        self.sought = sought
        self.stretches: list[Stretch] = []  # ascending; none begins where another ends

    def note(self, after: Position, page: Sequence[bytes]) -> None:
        """Take note of the next lines: those after position `after`."""
        stored = b"\n".join(page)
        if self.sought in stored or ESCAPE in stored:
            return
        before = self.stretches.pop() if self.stretches and self.stretches[-1].last == after else Stretch(after, after)
        self.stretches.append(Stretch(before.after, after + len(page)))


class Traversal:
    """A pass up to position `last`.

    Snapshots are believed, and the commits between one and the next wanted commit's snapshot are not checked; `verify`
    checks all. A log without snapshots is folded and checked as a whole.

    Args:
        source: the log.
        last: the last position.
        wanted: the commits to yield.
        advance: called with the number of passed commits, now and then.
        unwanted: stretches without a wanted commit, ascending; they are read only for a state after them.
    """

    def __init__(
        self,
        source: Source,
        last: Position,
        wanted: Wanted,
        advance: Callable[[int], None],
        unwanted: Sequence[Stretch] = (),
    ) -> None:
        self._source, self._last, self._wanted, self._advance, self._unwanted = source, last, wanted, advance, unwanted
        self._state: State = source.base.state  # the last one that was asked for
        self._position: Position = source.base.tip.position  # of the last passed line
        self._pending: list[bytes] | None = []  # the lines between the two; `None` if they are too many
        self._conversations = conversations_in(source.base.state)  # as far as the yielded commits tell

    def entries(self) -> Iterator[LogEntry]:
        """Yield each wanted commit up to the last.

        Raises:
            UnreadableCommitError: a commit can't be decoded; all before it were yielded.
            BrokenChainError: a commit does not follow the one before; all before it were yielded.
        """
        for after, last in (*self._unwanted, Stretch(self._last, self._last)):
            for page in _pages(self._source, self._position, min(after, self._last)):
                yield from self._entries_in(page)
                self._advance(len(page))
            self._skip_to(min(last, self._last))

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

    def _entries_in(self, page: list[bytes]) -> Iterator[LogEntry]:
        if not self._wanted(b"\n".join(page)):
            self._pass_over(page)
            return
        for line in page:
            if self._wanted(line):
                yield self._entry(line)
            else:
                self._pass_over([line])

    def _entry(self, line: bytes) -> LogEntry:
        step = step_of(self._caught_up(), line)
        before = self._conversations_before(step.before, step.commit)
        self._state, self._conversations = step.after, conversations_after(self._conversations, step.commit)
        self._position += 1
        return LogEntry(line, step, before)

    def _pass_over(self, page: list[bytes]) -> None:
        self._position += len(page)
        if self._pending is not None:
            self._pending += page
            if len(self._pending) > PENDING_MAX:
                self._pending = None

    def _skip_to(self, position: Position) -> None:
        if position > self._position:
            self._advance(position - self._position)
            self._position, self._pending = position, None

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
        return self._wanted(f"{room.room_id} {room.first} {room.second}".encode())

    def _caught_up(self) -> State:
        """Return the state after the last passed line, folded with the chain checked."""
        if self._pending is None:
            self._state = state_folded(self._source, self._start_state(), self._position)
        elif self._pending:
            self._state = folded(self._state, self._pending)
        self._pending = []
        return self._state

    def _start_state(self) -> State:
        """Return the last state, or a snapshot's if that saves work."""
        if self._position - self._state.position < JUMP_COMMITS_MIN:
            return self._state
        newest = max(each for each in self._source.snapshots() if each <= self._position)
        if newest - self._state.position < JUMP_COMMITS_MIN:
            return self._state
        stored: State = self._source.snapshot(newest).state  # an older one, if that can't be read
        return stored if stored.position > self._state.position else self._state


def state_folded(
    source: Source, state: State, last: Position, advance: Callable[[int], None] = lambda commits: None
) -> State:
    """Fold the commits after `state` up to `last`, with the chain checked.

    `advance` is called with the number of folded commits, now and then.

    Raises:
        UnreadableCommitError: a commit can't be decoded; the message names the position.
        BrokenChainError: a commit does not follow, or does not fit the state; the message names the position.
    """
    for page in _pages(source, state.position, last):
        state = folded(state, page)
        advance(len(page))
    return state


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


def _pages(source: Source, after: Position, last: Position) -> Iterator[list[bytes]]:
    """Yield the lines after `after` up to `last`, some at a time; before an error, all that could be read."""
    lines = source.lines(after)
    while after < last:
        page: list[bytes] = []
        try:
            page.extend(islice(lines, min(PAGE_COMMITS, last - after)))
        except Exception:
            yield page
            raise
        if not page:
            return
        after += len(page)
        yield page
