"""The fold that every telling rests on: each commit with the states around it, in a chain that was checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import immutables

from broker.verification.safe_text import safe
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError, Commit, Tip, check_link
from events.events import MessageSent, RoomClosed, RoomOpened
from events.ids import Position, RoomId
from log_debugger.reading.sources import Source, Step
from projections.state import State, evolve

UNFIT_ERRORS = (AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What comes of folding a commit that doesn't fit: a fold takes it for granted that its log was made by a broker."""


class Talk(NamedTuple):
    """What goes on in an open room."""

    opened_at_ms: int | None  # unknown where that was trimmed
    messages: int  # since then, or since where the fold began


ENDS_KEPT = 20_000
"""As many rooms as can still be asked for by default have at least their end told: a broker keeps half as many."""

_Ends = immutables.Map[RoomId, RoomClosed]


class Talks(NamedTuple):
    """What goes on in every open room, and how the newest of those that have closed ended."""

    going_on: immutables.Map[RoomId, Talk] = immutables.Map()
    newest_ends: _Ends = immutables.Map()
    older_ends: _Ends = immutables.Map()

    def get(self, room_id: RoomId) -> Talk | None:
        """What goes on in an open room, if anything is known of it."""
        return self.going_on.get(room_id)

    def end_of(self, room_id: RoomId) -> RoomClosed | None:
        """How a room ended, if it has and that is known."""
        return self.newest_ends.get(room_id, self.older_ends.get(room_id))

    def with_talk(self, room_id: RoomId, talk: Talk) -> Talks:
        """These, and what goes on in one room."""
        return Talks(self.going_on.set(room_id, talk), self.newest_ends, self.older_ends)

    def ended(self, event: RoomClosed) -> Talks:
        """These, but of one room the end."""
        room_id, newest, older = event.room_id, self.newest_ends, self.older_ends
        if 2 * len(newest) >= ENDS_KEPT:
            newest, older = immutables.Map(), newest
        going_on = self.going_on.delete(room_id) if room_id in self.going_on else self.going_on
        return Talks(going_on, newest.set(room_id, event), older)


class Walked(NamedTuple):
    """One commit as it is stored, the states around it, and the conversations that went on before and after it."""

    line: bytes
    step: Step
    talks: Talks
    talks_after: Talks


def walk(source: Source, last: Position) -> Iterator[Walked]:
    """Each commit from the base up to `last`.

    Raises:
        UnreadableCommitError: naming the position; all before it has been given.
        BrokenChainError: likewise.
    """
    state: State = source.base.state
    talks = talks_of(state)
    if last <= state.position:
        return
    for line in source.lines(state.position):
        step = step_of(state, line)
        now = talks_after(talks, step.commit)
        yield Walked(line, step, talks, now)
        state, talks = step.after, now
        if state.position >= last:
            return


def step_of(before: State, line: bytes) -> Step:
    """What `line`, which must be the next commit, makes of `before`.

    Raises:
        UnreadableCommitError: naming the position.
        BrokenChainError: likewise.
    """
    position = before.position + 1
    commit = commit_at(position, line)
    check_link(before.tip, commit)
    try:
        return Step(before, commit, evolve(before, commit))
    except UNFIT_ERRORS as error:
        # Its hash is right, so it was made by another program than a broker, or for another log.
        raise BrokenChainError(
            f"the commit at position {position} doesn't fit what stands before it ({type(error).__name__})"
        ) from error


def commit_at(position: Position, line: bytes) -> Commit:
    """What `line`, which stands at `position`, says.

    Raises:
        UnreadableCommitError: naming the position.
        BrokenChainError: it is of an older schema, and was altered.
    """
    try:
        return decode_commit(line)
    except UnreadableCommitError as error:
        raise UnreadableCommitError(f"the commit at position {position} can't be read: {safe(str(error))}") from None


def make_sure_that_it_is_whole(source: Source) -> None:
    """Read every commit, and look whether each follows the one before; what they say is not checked.

    Raises:
        UnreadableCommitError: naming the position.
        BrokenChainError: likewise.
        UnusableLogError: likewise.
    """
    tip: Tip = source.base.tip
    for line in source.lines(tip.position):
        commit = commit_at(tip.position + 1, line)
        if (commit.position, commit.previous_id) != (tip.position + 1, tip.commit_id):
            check_link(tip, commit)
        tip = commit.tip


def talks_of(state: State) -> Talks:
    """The conversations that go on in `state`, of which nothing else is known."""
    going_on = {room.room_id: Talk(None, 0) for room in state.rooms.by_id.values() if room.is_open}
    return Talks(immutables.Map(going_on))


def talks_after(talks: Talks, commit: Commit) -> Talks:
    """`talks` after `commit`."""
    for event in commit.events:
        match event:
            case MessageSent(room_id=room_id) if (talk := talks.get(room_id)) is not None:
                talks = talks.with_talk(room_id, Talk(talk.opened_at_ms, talk.messages + 1))
            case RoomOpened(room_id=room_id):
                talks = talks.with_talk(room_id, Talk(commit.at_ms, 0))
            case RoomClosed():
                talks = talks.ended(event)
    return talks
