"""Commits as JSON, one line each, and back.

What was stored stays readable: each type has a tag that never changes, each commit a schema version, and
`UPCASTS` brings the JSON of an older version up to the present one before it is read. What is newer than this
program, or unknown to it, fails loudly rather than being half understood.

A commit's id is the hash of what was stored, so that of an old commit is checked on its stored form, before it is
brought up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from events.commit import SCHEMA_VERSION, Commit, altered, id_over
from events.ids import CommitId
from events.text import redacted

Stored = dict[str, Any]
"""A commit as its JSON object, of whatever schema version it says."""

Upcast = Callable[[Stored], Stored]


def _name_the_matching(commit: Stored) -> Stored:
    """1 to 2: there was one matching, and no snapshots."""
    for holder in (commit["command"], *commit["events"]):
        if "policy" in holder:
            holder["policy"] |= {
                "matching": "first-come",
                "interest_patience_ms": 15_000,
                "snapshot_every_commits": 50_000,
            }
    return commit


UPCASTS: Mapping[int, Upcast] = {1: _name_the_matching}
"""Schema version to the function that turns that version's JSON object into the next version's."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Commit)


class UnreadableCommitError(Exception):
    """Stored bytes that are no commit this program knows; nothing was skipped or guessed."""


class _Header(msgspec.Struct):
    schema: int


_header_decoder = msgspec.json.Decoder(_Header)


def encode_commit(commit: Commit) -> bytes:
    """`commit` as one line of JSON, without its end; the same commit always gives the same bytes.

    One that was read from an older schema has its old line, and no other.
    """
    assert commit.schema == SCHEMA_VERSION, "an old commit is copied as the line it is"
    return _encoder.encode(commit)


def decode_commit(line: bytes) -> Commit:
    """The commit that `encode_commit` made `line` from, at any schema version up to the present.

    Raises:
        UnreadableCommitError: the line is damaged, or newer than this program, or holds a tag or a field
            that it does not know.
        BrokenChainError: it is of an older schema, and was altered.
    """
    try:
        # Almost every line is of the present schema, and one pass over it is enough.
        commit = _decoder.decode(line)
        if commit.schema == SCHEMA_VERSION:
            return commit
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if _schema_of(line) == SCHEMA_VERSION:
            raise UnreadableCommitError(f"not a commit: {error}") from error
    return _brought_up_to_date(line)


def redact_line(line: bytes) -> bytes:
    """`line` without what was said in it, of whatever schema version; its id still holds.

    Raises:
        UnreadableCommitError: it is no JSON object of a commit.
    """
    stored = _read(line)
    try:
        return _encoder.encode(_redacted(stored))
    except (LookupError, TypeError, AttributeError) as error:
        raise UnreadableCommitError(f"not a commit: {error}") from error


def _brought_up_to_date(line: bytes) -> Commit:
    stored = _read(line)
    schema = stored["schema"]
    try:
        if _id_of(stored) != stored["commit_id"]:
            raise altered(stored["position"])
        for version in range(schema, SCHEMA_VERSION):
            stored = UPCASTS[version](stored)
        return msgspec.convert(stored, Commit)
    except (msgspec.ValidationError, LookupError, TypeError, AttributeError) as error:
        raise UnreadableCommitError(f"not a commit of schema version {schema}: {error}") from error


def _schema_of(line: bytes) -> int:
    try:
        return _header_decoder.decode(line).schema
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnreadableCommitError(f"not a commit: {error}") from error


def _read(line: bytes) -> Stored:
    schema = _schema_of(line)
    if schema != SCHEMA_VERSION and schema not in UPCASTS:
        raise UnreadableCommitError(f"schema version {schema}; this program reads up to {SCHEMA_VERSION}")
    try:
        stored: Stored = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # RecursionError: looking for the header goes as deep
        raise UnreadableCommitError(f"not a commit: {error}") from error
    return stored


def _id_of(stored: Stored) -> CommitId:
    """As `events.commit.commit_id_of`, from the JSON, whose order is the order in which it was stored."""
    return id_over([value for name, value in _redacted(stored).items() if name != "commit_id"])


def _redacted(stored: Stored) -> Stored:
    """As `events.commit.redact`, on the JSON: a text is what stands under that name in a command or an event."""
    if "text" not in stored["command"]:
        return stored
    salt = stored["facts"].get("salt")
    return stored | {
        "command": _without_text(stored["command"], salt),
        "facts": {name: value for name, value in stored["facts"].items() if name != "salt"},
        "events": [_without_text(event, salt) for event in stored["events"]],
    }


def _without_text(holder: Stored, salt: str | None) -> Stored:
    text = holder.get("text")
    return holder | {"text": msgspec.to_builtins(redacted(text, salt))} if isinstance(text, str) else holder
