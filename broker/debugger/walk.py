"""The fold that every telling rests on: each commit with the states around it, in a chain that was checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import immutables

from broker.debugger.showing import safe
from broker.debugger.sources import Source, Step
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError, Commit, check_link
from events.events import MessageSent, RoomClosed, RoomOpened
from events.ids import Position, RoomId
from projections.state import State, evolve

UNFIT_ERRORS = (AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What comes of folding a commit that doesn't fit: a fold takes it for granted that its log was made by a broker."""


class Talk(NamedTuple):
    """What goes on in an open room."""

    opened_at_ms: int | None  # unknown where that was trimmed
    messages: int  # since then, or since where the fold began


Talks = immutables.Map[RoomId, Talk]
"""Of every open room."""


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
    try:
        commit = decode_commit(line)
    except UnreadableCommitError as error:
        raise UnreadableCommitError(f"the commit at position {position} can't be read: {safe(str(error))}") from None
    check_link(before.tip, commit)
    try:
        return Step(before, commit, evolve(before, commit))
    except UNFIT_ERRORS as error:
        # Its hash is right, so it was made by another program than a broker, or for another log.
        raise BrokenChainError(
            f"the commit at position {position} doesn't fit what stands before it ({type(error).__name__})"
        ) from error


def talks_of(state: State) -> Talks:
    """The conversations that go on in `state`, of which nothing else is known."""
    return immutables.Map({room.room_id: Talk(None, 0) for room in state.rooms.by_id.values() if room.is_open})


def talks_after(talks: Talks, commit: Commit) -> Talks:
    """The conversations that go on after `commit`."""
    for event in commit.events:
        match event:
            case MessageSent(room_id=room_id) if (talk := talks.get(room_id)) is not None:
                talks = talks.set(room_id, Talk(talk.opened_at_ms, talk.messages + 1))
            case RoomOpened(room_id=room_id):
                talks = talks.set(room_id, Talk(commit.at_ms, 0))
            case RoomClosed(room_id=room_id) if room_id in talks:
                talks = talks.delete(room_id)
    return talks
