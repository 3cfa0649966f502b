"""The commit: one accepted command, the facts it was decided with and all its events, in one piece.

Commits form a chain. `commit_id` is a hash over everything else in the commit, and `previous_id` names the commit
before it. So a log that was altered, rolled back or replaced is noticed. What people write (messages, notes, names,
interests) enters the hash as its salted hash, so it can be redacted later without breaking the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from events.commands import Command, EnterQueue, ReportPartner, SendMessage
from events.events import Event, MessageSent, PartnerReported, QueueEntered, RoomOpened
from events.ids import NO_COMMIT, CommitId, ConnectionId, Position, RoomId
from events.text import Text, redacted, redacted_interests

SCHEMA_VERSION = 3
"""The version of new commits.

2 added `MatchDue`, and a policy's matching, its patience and its snapshots. 3 added confirmed matches, blocks, reports
and forgotten names; names and interests are salted in the hash.
"""

_encode = msgspec.json.Encoder().encode


class Facts(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Input from the outside world to a decision; stored, so that the decision can be repeated."""

    at_ms: int  # Unix time; never less than the commit before
    room_id: RoomId | None = None  # fresh, for a command that may match
    salt: str | None = None  # fresh, for a command with a text, a name or a note; dropped when that is redacted
    avoid: tuple[ConnectionId, ...] = ()  # waiting connections that the command's own should not meet, by their peers


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
    """Return `commit` without its texts. Its id still holds, and the texts can't be guessed.

    A name without a salt stays, since it could be guessed: `Anonymous` after the name was forgotten, or one that
    commits of an older schema hold too.
    """
    command, facts, events = _without_text(commit)
    if type(command) is EnterQueue and commit.facts.salt is None:
        command = commit.command
    redacted_events = tuple(map(_with_unsalted_names, events, commit.events))
    return msgspec.structs.replace(commit, command=command, facts=facts, events=redacted_events)


def _with_unsalted_names(event: Event, stored: Event) -> Event:
    if type(stored) is QueueEntered and stored.salt is None:
        return stored
    if type(event) is RoomOpened and type(stored) is RoomOpened:
        return msgspec.structs.replace(
            event,
            first_name=stored.first_name if stored.first_salt is None else event.first_name,
            second_name=stored.second_name if stored.second_salt is None else event.second_name,
        )
    return event


def _without_text(commit: Commit) -> tuple[Command, Facts, Sequence[Event]]:
    """Return the hashed form of a commit. It runs for every commit that is written or checked."""
    command, facts, events = commit.command, commit.facts, commit.events
    salt = facts.salt
    if salt is not None:
        facts = Facts(facts.at_ms, facts.room_id, avoid=facts.avoid)
    if type(command) is not SendMessage:
        return _command_without_text(command, salt), facts, events_without_text(events, salt)
    text = redacted(command.text, salt)
    hashed = SendMessage(command.connection_id, command.room_id, text, command.client_message_id)
    if len(events) == 1 and type(said := events[0]) is MessageSent and said.text == command.text:
        # Almost every commit: its text is hashed once.
        sent = MessageSent(said.room_id, said.sender, said.recipient, text, said.client_message_id)
        return hashed, facts, (sent,)
    return hashed, facts, events_without_text(events, salt)


def _command_without_text(command: Command, salt: str | None) -> Command:
    if type(command) is EnterQueue:
        return EnterQueue(
            command.connection_id,
            redacted(command.display_name, salt),
            redacted_interests(command.interests, salt),
            command.idle_grace_ms,
        )
    if type(command) is ReportPartner:
        return msgspec.structs.replace(command, note=_redacted_note(command.note, salt))
    return command


def events_without_text(events: Sequence[Event], salt: str | None) -> list[Event]:
    """Return the hashed form of events. `salt` is that of their commit; a name has a salt of its own.

    Two lists of events with equal forms say the same, even if one of them was redacted.
    """
    # An event with another text than its command was altered, and must not hash alike: so each is hashed by itself.
    return [_event_without_text(event, salt) for event in events]


def _event_without_text(event: Event, salt: str | None) -> Event:
    if type(event) is MessageSent:
        text = redacted(event.text, salt)
        return MessageSent(event.room_id, event.sender, event.recipient, text, event.client_message_id)
    if type(event) is QueueEntered:
        name, interests = redacted(event.display_name, event.salt), redacted_interests(event.interests, event.salt)
        return QueueEntered(event.connection_id, name, interests, None, event.earlier, event.idle_grace_ms)
    if type(event) is RoomOpened:
        return RoomOpened(
            event.room_id,
            event.first,
            event.second,
            redacted(event.first_name, event.first_salt),
            redacted(event.second_name, event.second_salt),
            None,
            None,
            event.first_entry,
            event.second_entry,
        )
    if type(event) is PartnerReported:
        return msgspec.structs.replace(event, note=_redacted_note(event.note, salt))
    return event


def _redacted_note(note: Text | None, salt: str | None) -> Text | None:
    return redacted(note, salt) if note is not None else None


def check_link(last: Tip | Commit, commit: Commit) -> None:
    """Check that `commit` follows `last` and is as stored.

    The codec has checked the content of a commit of an older schema already, on its stored form.

    Raises:
        BrokenChainError: naming the position.
    """
    check_order(last, commit)
    if commit.schema == SCHEMA_VERSION and commit.commit_id != commit_id_of(commit):
        raise altered(commit.position)


def check_order(last: Tip | Commit, commit: Commit) -> None:
    """Check that `commit` follows `last`, but not that it is as stored.

    Raises:
        BrokenChainError: naming the position.
    """
    if commit.position != last.position + 1:
        raise BrokenChainError(f"expected the commit at position {last.position + 1}, found {commit.position}")
    if commit.previous_id != last.commit_id:
        raise BrokenChainError(f"the commit at position {commit.position} does not follow the one before it")


def altered(position: Position) -> BrokenChainError:
    """Return the error for a commit with a wrong id."""
    return BrokenChainError(f"the commit at position {position} was altered")
