"""One pass over a log for a few of its commits, without folding what lies between two snapshots.

A state is folded only where one is asked for, from the nearest snapshot before it. The open conversations are followed
over all lines, but most of these are not decoded for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError
from events.ids import ConnectionId, Position, RoomId
from log_debugger.reading.iterate import (
    FOLD_ERRORS,
    Conversation,
    Conversations,
    LogEntry,
    commit_at,
    conversations_after,
    conversations_in,
    step_of,
)
from log_debugger.reading.own_acts import OwnAct, newest_own_act, own_act
from log_debugger.reading.sources import Source, state_at
from projections.state import State, fold

PAGE_COMMITS = 1_000
PENDING_MAX = 50_000
"""The most lines in memory: beyond, they are folded."""

JUMP_COMMITS_MIN = 10_000
"""Decoding a snapshot takes as long as folding so many commits."""

_SENT = b'"events":[{"type":"message_sent","room_id":"'
_TYPE = b'{"type":"'  # a quote in a text is escaped, so neither stands in one

Wanted = Callable[[bytes], bool]
"""Tells by a stored line whether its commit may be wanted; true for more than those does no harm."""


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
        who: the connection of `last_act`.
    """

    def __init__(
        self,
        source: Source,
        last: Position,
        wanted: Wanted,
        advance: Callable[[int], None],
        who: ConnectionId | None = None,
    ) -> None:
        self.last_act: OwnAct | None = None
        """The newest act of `who` that was passed; `None` if there is none, or it is not in the log any more."""
        self._who = who
        self._source, self._last, self._wanted, self._advance = source, last, wanted, advance
        self._state: State | None = source.base.state  # None after a jump to the snapshot before the pending lines
        self._position: Position = source.base.tip.position  # of the last line
        self._pending: list[bytes] = []  # the last lines, which are not in the state
        self._conversations = conversations_in(source.base.state)
        self._messages: Counter[bytes] = Counter()  # by room, not yet in the conversations

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

    def end(self) -> tuple[State, Conversations]:
        """Return the state and the conversations at the end of the pass.

        Raises:
            UnreadableCommitError: a commit can't be decoded.
            BrokenChainError: a commit does not follow the one before.
        """
        return self._caught_up(), self._counted()

    def _entry(self, line: bytes) -> LogEntry:
        step = step_of(self._caught_up(), line)
        before = self._counted()
        self._state, self._conversations = step.after, conversations_after(before, step.commit)
        self._position += 1
        if self._who is not None:
            self.last_act = own_act(step.commit, self._who) or self.last_act
        return LogEntry(line, step, before, self._conversations)

    def _pass_over(self, page: list[bytes]) -> None:
        rooms: list[bytes] = []
        for number, line in enumerate(page, self._position + 1):
            begin = line.find(_SENT) + len(_SENT)
            if begin >= len(_SENT) and line.count(_TYPE) == 2:  # a command, and one event
                rooms.append(line[begin : line.index(b'"', begin)])
            else:
                self._conversations = conversations_after(self._conversations, commit_at(number, line))
        self._messages.update(rooms)
        self._position += len(page)
        if self._who is not None:
            self.last_act = newest_own_act(page, self._position, self._who) or self.last_act
        self._pending += page
        if len(self._pending) > PENDING_MAX:
            self._caught_up()

    def _counted(self) -> Conversations:
        """Return the conversations with all messages so far."""
        for room, messages in self._messages.items():
            room_id = RoomId(room.decode())
            if (known := self._conversations.get(room_id)) is not None:
                now = Conversation(known.opened_at_ms, known.messages + messages)
                self._conversations = self._conversations.with_conversation(room_id, now)
        self._messages.clear()
        return self._conversations

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
