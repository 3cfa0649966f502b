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

FOLD_ERRORS = (AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What comes of folding a commit that doesn't fit: a fold takes it for granted that its log was made by a broker."""


class Conversation(NamedTuple):
    """What goes on in an open room."""

    opened_at_ms: int | None  # unknown where that was trimmed
    messages: int  # since then, or since where the fold began


ENDS_KEPT = 20_000
"""As many rooms as can still be asked for by default have at least their end told: a broker keeps half as many."""

_Ends = immutables.Map[RoomId, RoomClosed]


class Conversations(NamedTuple):
    """What goes on in every open room, and how the newest of those that have closed ended."""

    ongoing: immutables.Map[RoomId, Conversation] = immutables.Map()
    newest_ends: _Ends = immutables.Map()
    older_ends: _Ends = immutables.Map()

    def get(self, room_id: RoomId) -> Conversation | None:
        """What goes on in an open room, if anything is known of it."""
        return self.ongoing.get(room_id)

    def end_of(self, room_id: RoomId) -> RoomClosed | None:
        """How a room ended, if it has and that is known."""
        return self.newest_ends.get(room_id, self.older_ends.get(room_id))

    def with_conversation(self, room_id: RoomId, conversation: Conversation) -> Conversations:
        """These, and what goes on in one room."""
        return Conversations(self.ongoing.set(room_id, conversation), self.newest_ends, self.older_ends)

    def ended(self, event: RoomClosed) -> Conversations:
        """These, but of one room the end."""
        room_id, newest, older = event.room_id, self.newest_ends, self.older_ends
        if 2 * len(newest) >= ENDS_KEPT:
            newest, older = immutables.Map(), newest
        ongoing = self.ongoing.delete(room_id) if room_id in self.ongoing else self.ongoing
        return Conversations(ongoing, newest.set(room_id, event), older)


class LogEntry(NamedTuple):
    """One commit as it is stored, the states around it, and the conversations that went on before and after it."""

    line: bytes
    step: Step
    conversations: Conversations
    conversations_after: Conversations


def iterate(source: Source, last: Position) -> Iterator[LogEntry]:
    """Each commit from the base up to `last`.

    Raises:
        UnreadableCommitError: naming the position; all before it has been given.
        BrokenChainError: likewise.
    """
    state: State = source.base.state
    conversations = conversations_in(state)
    if last <= state.position:
        return
    for line in source.lines(state.position):
        step = step_of(state, line)
        now = conversations_after(conversations, step.commit)
        yield LogEntry(line, step, conversations, now)
        state, conversations = step.after, now
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
    except FOLD_ERRORS as error:
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


def check_complete(source: Source) -> None:
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


def conversations_in(state: State) -> Conversations:
    """The conversations that go on in `state`, of which nothing else is known."""
    ongoing = {room.room_id: Conversation(None, 0) for room in state.rooms.by_id.values() if room.is_open}
    return Conversations(immutables.Map(ongoing))


def conversations_after(conversations: Conversations, commit: Commit) -> Conversations:
    """`conversations` after `commit`."""
    for event in commit.events:
        match event:
            case MessageSent(room_id=room_id) if (conversation := conversations.get(room_id)) is not None:
                conversations = conversations.with_conversation(
                    room_id, Conversation(conversation.opened_at_ms, conversation.messages + 1)
                )
            case RoomOpened(room_id=room_id):
                conversations = conversations.with_conversation(room_id, Conversation(commit.at_ms, 0))
            case RoomClosed():
                conversations = conversations.ended(event)
    return conversations
