"""The commit: one accepted command, the facts it was decided with and all its events, in one piece.

Commits form a chain. `commit_id` is a hash over everything else in the commit, and `previous_id` names the commit
before it. So a log that was altered, rolled back or replaced is noticed. A text enters the hash as its salted hash, so
it can be redacted later without breaking the chain.
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
"""The version of new commits. 2 added `MatchDue`, and a policy's matching, its patience and its snapshots."""

_encode = msgspec.json.Encoder().encode


class Facts(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Input from the outside world to a decision; stored, so that the decision can be repeated."""

    at_ms: int  # Unix time; never less than the commit before
    room_id: RoomId | None = None  # fresh, for a command that may match
    salt: str | None = None  # fresh, for a command that carries a text; dropped when that is redacted


class Tip(NamedTuple):
    """The end of a log, or of a fold."""

    position: Position
    commit_id: CommitId


EMPTY_TIP = Tip(0, NO_COMMIT)


class Commit(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One row of the log, atomic by construction."""

    schema: int  # as stored; the fields are of the present version (`events.codec`)
    position: Position
    commit_id: CommitId
    previous_id: CommitId
    at_ms: int  # the same as in `facts`
    command: Command
    facts: Facts
    events: tuple[Event, ...]

    @property
    def tip(self) -> Tip:
        """The tip of a log with this commit at its end."""
        return Tip(self.position, self.commit_id)


class BrokenChainError(Exception):
    """A log has changed: it was altered, rolled back or replaced."""


def commit_after(tip: Tip, command: Command, facts: Facts, events: Sequence[Event]) -> Commit:
    """Return the commit after `tip` with `events`."""
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
    """Return the right id of `commit`, of the present schema: 128 bits of SHA-256 over the rest.

    Texts enter as salted hashes.
    """
    command, facts, events = _without_text(commit)
    return id_over((commit.schema, commit.position, commit.previous_id, commit.at_ms, command, facts, events))


def id_over(fields: Sequence[Any]) -> CommitId:
    """Return the id of a commit with `fields`: all but its id, in their order, with redacted texts."""
    return CommitId(sha256(_encode(fields)).hexdigest()[:32])


def redact(commit: Commit) -> Commit:
    """Return `commit` without its texts. Its id still holds, and the texts can't be guessed."""
    command, facts, events = _without_text(commit)
    return msgspec.structs.replace(commit, command=command, facts=facts, events=tuple(events))


def _without_text(commit: Commit) -> tuple[Command, Facts, Sequence[Event]]:
    """Return the hashed form of a commit. It runs for every commit that is written or checked."""
    command, facts = commit.command, commit.facts
    if type(command) is not SendMessage:
        return command, facts, commit.events
    text, salt = command.text, facts.salt
    stand_in = redacted(text, salt)
    events: list[Event] = []
    for event in commit.events:
        if type(event) is MessageSent:
            # An event with another text than its command was altered, and must not hash alike.
            said = stand_in if event.text == text else redacted(event.text, salt)
            events.append(MessageSent(event.room_id, event.sender, event.recipient, said, event.client_message_id))
        else:
            events.append(event)
    command = SendMessage(command.connection_id, command.room_id, stand_in, command.client_message_id)
    return command, Facts(facts.at_ms, facts.room_id), events


def check_link(last: Tip | Commit, commit: Commit) -> None:
    """Check that `commit` follows `last` and is as stored.

    The codec has checked the content of a commit of an older schema already, on its stored form.

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
    """Return the error for a commit with a wrong id."""
    return BrokenChainError(f"the commit at position {position} was altered")
