"""The fold of a log with its chain checked: each commit, the states around it, the open conversations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from broker.verification.safe_text import safe
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError, Commit, Tip, check_link
from events.events import MessageSent, RoomClosed, RoomOpened
from events.ids import Position, RoomId
from log_debugger.reading.sources import Source, Step
from projections.persistent_map import Map
from projections.state import State, evolve

FOLD_ERRORS = (AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""Errors of folding a commit that doesn't fit the state: a fold relies on its log being made by a broker."""


class Conversation(NamedTuple):
    """The progress of an open room."""

    opened_at_ms: int | None  # unknown if it was trimmed
    messages: int  # since then, or since the start of the fold


ENDS_KEPT = 20_000
"""Closed rooms remembered: at least half of these, the number kept by a broker by default."""

_Ends = Map[RoomId, RoomClosed]


class Conversations(NamedTuple):
    """The progress of every open room, and the closing events of the newest closed ones."""

    ongoing: Map[RoomId, Conversation] = Map()
    newest_ends: _Ends = Map()
    older_ends: _Ends = Map()

    def get(self, room_id: RoomId) -> Conversation | None:
        """Return the progress of an open room, if known."""
        return self.ongoing.get(room_id)

    def end_of(self, room_id: RoomId) -> RoomClosed | None:
        """Return the closing event of a room, if known."""
        return self.newest_ends.get(room_id, self.older_ends.get(room_id))

    def with_conversation(self, room_id: RoomId, conversation: Conversation) -> Conversations:
        """Return a copy with the progress of one room."""
        return Conversations(self.ongoing.set(room_id, conversation), self.newest_ends, self.older_ends)

    def ended(self, event: RoomClosed) -> Conversations:
        """Return a copy with one room closed."""
        room_id, newest, older = event.room_id, self.newest_ends, self.older_ends
        if 2 * len(newest) >= ENDS_KEPT:
            newest, older = Map(), newest
        ongoing = self.ongoing.delete(room_id) if room_id in self.ongoing else self.ongoing
        return Conversations(ongoing, newest.set(room_id, event), older)


class LogEntry(NamedTuple):
    """One stored commit, the states around it, and the conversations before it: at least those of rooms it is about."""

    line: bytes
    step: Step
    conversations: Conversations


def iterate(source: Source, last: Position) -> Iterator[LogEntry]:
    """Yield each commit from the base up to `last`.

    Raises:
        UnreadableCommitError: a commit can't be decoded; all before it were yielded.
        BrokenChainError: a commit does not follow the one before; all before it were yielded.
    """
    state: State = source.base.state
    conversations = conversations_in(state)
    if last <= state.position:
        return
    for line in source.lines(state.position):
        step = step_of(state, line)
        yield LogEntry(line, step, conversations)
        state, conversations = step.after, conversations_after(conversations, step.commit)
        if state.position >= last:
            return


def step_of(before: State, line: bytes) -> Step:
    """Return the step from `before` to the state after the commit in `line`, which must be the next.

    Raises:
        UnreadableCommitError: the line can't be decoded; the message names the position.
        BrokenChainError: the commit does not follow, or does not fit the state; the message names the position.
    """
    position = before.position + 1
    commit = commit_at(position, line)
    check_link(before.tip, commit)
    try:
        return Step(before, commit, evolve(before, commit))
    except FOLD_ERRORS as error:
        # Its hash is right, so another program than a broker made it, or it belongs to another log.
        raise BrokenChainError(
            f"the commit at position {position} doesn't fit what stands before it ({type(error).__name__})"
        ) from error


def commit_at(position: Position, line: bytes) -> Commit:
    """Decode `line`, stored at `position`.

    Raises:
        UnreadableCommitError: the line can't be decoded; the message names the position.
        BrokenChainError: a commit of an older schema was altered.
    """
    try:
        return decode_commit(line)
    except UnreadableCommitError as error:
        raise UnreadableCommitError(f"the commit at position {position} can't be read: {safe(str(error))}") from None


def check_complete(source: Source) -> None:
    """Read every commit and check the chain, but not the commits' contents.

    Raises:
        UnreadableCommitError: a commit can't be decoded; the message names the position.
        BrokenChainError: a commit does not follow the one before; the message names the position.
        UnusableLogError: the file is damaged.
    """
    tip: Tip = source.base.tip
    for line in source.lines(tip.position):
        commit = commit_at(tip.position + 1, line)
        if (commit.position, commit.previous_id) != (tip.position + 1, tip.commit_id):
            check_link(tip, commit)
        tip = commit.tip


def conversations_in(state: State) -> Conversations:
    """Return the open conversations of `state`, with opening times and earlier messages unknown."""
    ongoing = {room.room_id: Conversation(None, 0) for room in state.rooms.by_id.values() if room.is_open}
    return Conversations(Map(ongoing))


def conversations_after(conversations: Conversations, commit: Commit) -> Conversations:
    """Return `conversations` after `commit`."""
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
