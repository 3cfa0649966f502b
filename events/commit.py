"""The commit: one accepted command, the facts it was decided with and all its events, in one piece.

Commits form a chain. `commit_id` is a hash over everything else in the commit, `previous_id` names the commit
before it, so a log that was altered, rolled back or replaced is noticed. A text enters the hash as its salted
hash, so it can be redacted later without breaking the chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from events.commands import Command, SendMessage
from events.events import Event, MessageSent
from events.ids import NO_COMMIT, CommitId, Position, RoomId
from events.text import redacted

SCHEMA_VERSION = 1


class Facts(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """What the outside world gave a decision; stored, so that the decision can be repeated."""

    at_ms: int  # Unix time; never less than the commit before
    room_id: RoomId | None = None  # fresh, for a command that may match
    salt: str | None = None  # fresh, for a command that carries a text; dropped when that is redacted


class Tip(NamedTuple):
    """The end of a log, or of what somebody has folded of it."""

    position: Position
    commit_id: CommitId


EMPTY_TIP = Tip(0, NO_COMMIT)


class Commit(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One row of the log, atomic by construction."""

    schema: int
    position: Position
    commit_id: CommitId
    previous_id: CommitId
    at_ms: int  # the same as in `facts`
    command: Command
    facts: Facts
    events: tuple[Event, ...]

    @property
    def tip(self) -> Tip:
        """The tip of a log that ends with this commit."""
        return Tip(self.position, self.commit_id)


class BrokenChainError(Exception):
    """A log does not say what it said before: it was altered, rolled back or replaced."""


def commit_after(tip: Tip, command: Command, facts: Facts, events: Sequence[Event]) -> Commit:
    """The commit that stores `events`, next after `tip`."""
    assert facts.salt is not None or not isinstance(command, SendMessage), "a commit with a text in it has a salt"
    unsigned = Commit(
        schema=SCHEMA_VERSION,
        position=tip.position + 1,
        commit_id=NO_COMMIT,
        previous_id=tip.commit_id,
        at_ms=facts.at_ms,
        command=command,
        facts=facts,
        events=tuple(events),
    )
    return msgspec.structs.replace(unsigned, commit_id=commit_id_of(unsigned))


def commit_id_of(commit: Commit) -> CommitId:
    """The id that `commit` must have: 128 bits of SHA-256 over the rest, texts as salted hashes."""
    stored = redact(commit)
    fields = (
        stored.schema,
        stored.position,
        stored.previous_id,
        stored.at_ms,
        stored.command,
        stored.facts,
        stored.events,
    )
    return CommitId(hashlib.sha256(msgspec.json.encode(fields)).hexdigest()[:32])


def redact(commit: Commit) -> Commit:
    """`commit` without what was said in it; its id still holds, and nobody can find the text by trying."""
    if not isinstance(commit.command, SendMessage):
        return commit
    text, salt = commit.command.text, commit.facts.salt
    stand_in = redacted(text, salt)
    return msgspec.structs.replace(
        commit,
        command=msgspec.structs.replace(commit.command, text=stand_in),
        facts=Facts(commit.facts.at_ms, commit.facts.room_id),
        events=tuple(
            # An event that says something else than its command was altered, and must not hash alike.
            msgspec.structs.replace(event, text=stand_in if event.text == text else redacted(event.text, salt))
            if isinstance(event, MessageSent)
            else event
            for event in commit.events
        ),
    )


def check_link(tip: Tip, commit: Commit) -> None:
    """Make sure that `commit` follows `tip` and is what was stored.

    Raises:
        BrokenChainError: naming the position.
    """
    if commit.position != tip.position + 1:
        raise BrokenChainError(f"expected the commit at position {tip.position + 1}, found {commit.position}")
    if commit.previous_id != tip.commit_id:
        raise BrokenChainError(f"the commit at position {commit.position} does not follow the one before it")
    if commit.commit_id != commit_id_of(commit):
        raise BrokenChainError(f"the commit at position {commit.position} was altered")
