"""The commit: one accepted command, the facts it was decided with and all its events, in one piece.

Commits form a chain. `commit_id` is a hash over everything else in the commit, `previous_id` names the commit
before it, so a log that was altered, rolled back or replaced is noticed. A text enters the hash as its salted
hash, so it can be redacted later without breaking the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from events.commands import Command, SendMessage
from events.events import Event, MessageSent
from events.ids import NO_COMMIT, CommitId, Position, RoomId
from events.text import redacted

SCHEMA_VERSION = 2
"""Of what is written today. 2 brought `MatchDue`, and a policy's matching, its patience and its snapshots."""

_encode = msgspec.json.Encoder().encode


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

    schema: int  # the version that it was stored under; what it holds is of the present one (`events.codec`)
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
    """The id that `commit`, of the present schema, must have: 128 bits of SHA-256 over the rest.

    Texts stand in it as salted hashes.
    """
    command, facts, events = _without_text(commit)
    return id_over((commit.schema, commit.position, commit.previous_id, commit.at_ms, command, facts, events))


def id_over(fields: Sequence[Any]) -> CommitId:
    """The id of a commit with `fields`: all but its id, in their order, and texts redacted."""
    return CommitId(sha256(_encode(fields)).hexdigest()[:32])


def redact(commit: Commit) -> Commit:
    """`commit` without what was said in it; its id still holds, and nobody can find the text by trying."""
    command, facts, events = _without_text(commit)
    return msgspec.structs.replace(commit, command=command, facts=facts, events=tuple(events))


def _without_text(commit: Commit) -> tuple[Command, Facts, Sequence[Event]]:
    """What goes into the hash of every commit that is written or checked, so it takes no detours."""
    command, facts = commit.command, commit.facts
    if type(command) is not SendMessage:
        return command, facts, commit.events
    text, salt = command.text, facts.salt
    stand_in = redacted(text, salt)
    events: list[Event] = []
    for event in commit.events:
        if type(event) is MessageSent:
            # An event that says something else than its command was altered, and must not hash alike.
            said = stand_in if event.text == text else redacted(event.text, salt)
            events.append(MessageSent(event.room_id, event.sender, event.recipient, said, event.client_message_id))
        else:
            events.append(event)
    command = SendMessage(command.connection_id, command.room_id, stand_in, command.client_message_id)
    return command, Facts(facts.at_ms, facts.room_id), events


def check_link(last: Tip | Commit, commit: Commit) -> None:
    """Make sure that `commit` follows `last` and is what was stored.

    Of a commit of an older schema the codec has made sure already, since only its stored form tells.

    Raises:
        BrokenChainError: naming the position.
    """
    if commit.position != last.position + 1:
        raise BrokenChainError(f"expected the commit at position {last.position + 1}, found {commit.position}")
    if commit.previous_id != last.commit_id:
        raise BrokenChainError(f"the commit at position {commit.position} does not follow the one before it")
    if commit.schema == SCHEMA_VERSION and commit.commit_id != commit_id_of(commit):
        raise altered(commit.position)


def altered(position: Position) -> BrokenChainError:
    """The error for a commit whose id is not that of what it holds."""
    return BrokenChainError(f"the commit at position {position} was altered")
