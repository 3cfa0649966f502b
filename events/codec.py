"""Commits as JSON, one line each, and back.

Stored commits stay readable: each type has a permanent tag, each commit a schema version. `UPCASTS` converts the JSON
of an older version before it is decoded. Anything newer or unknown raises an error; nothing is guessed.

A commit's id is the hash of its stored form, so the id of an old commit is checked before the conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from events.commit import SCHEMA_VERSION, Commit, altered, id_over, redact
from events.ids import CommitId
from events.text import redacted

JsonObject = dict[str, Any]
"""A decoded JSON object, such as a commit of any schema version."""

Upcast = Callable[[JsonObject], JsonObject]


def _add_matching(commit: JsonObject) -> JsonObject:
    """Convert 1 to 2: there was one matching, and there were no snapshots."""
    for holder in (commit["command"], *commit["events"]):
        if "policy" in holder:
            holder["policy"] |= {
                "matching": "first-come",
                "interest_patience_ms": 15_000,
                "snapshot_every_commits": 50_000,
            }
    return commit


def _unchanged(commit: JsonObject) -> JsonObject:
    """Convert 2 to 3: the new fields have defaults, which say that there was nothing of the kind."""
    return commit


UPCASTS: Mapping[int, Upcast] = {1: _add_matching, 2: _unchanged}
"""Schema version to the function that converts its JSON object to the next version."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Commit)


class UnreadableCommitError(Exception):
    """Stored bytes are no commit of a known version; nothing was skipped or guessed."""


class NewerCommitError(UnreadableCommitError):
    """A commit of a schema version after the present one: a newer program writes this log."""


class _SchemaHeader(msgspec.Struct):
    schema: int


_header_decoder = msgspec.json.Decoder(_SchemaHeader)


def encode_commit(commit: Commit) -> bytes:
    """Return `commit` as one line of JSON, without its end. The same commit always gives the same bytes.

    A commit of an older schema must not be encoded again; its old line is its only form.
    """
    assert commit.schema == SCHEMA_VERSION, "an old commit is copied as the line it is"
    return _encoder.encode(commit)


def decode_commit(line: bytes) -> Commit:
    """Return the commit that `encode_commit` made `line` from, at any schema version up to the present.

    Raises:
        NewerCommitError: the line is newer than this program.
        UnreadableCommitError: the line is damaged, or has an unknown tag or field.
        BrokenChainError: the commit is of an older schema, and was altered.
    """
    try:
        # Almost every line is of the present schema, and one pass over it is enough.
        commit = _decoder.decode(line)
        if commit.schema == SCHEMA_VERSION:
            return commit
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if _schema_of(line) == SCHEMA_VERSION:
            raise UnreadableCommitError(f"not a commit: {error}") from error
    return _upcast(line)


def redact_line(line: bytes) -> bytes:
    """Return `line` without its texts, at any schema version; its id still holds.

    Names and interests stay in a line of an older schema, whose id was made from them.

    Raises:
        UnreadableCommitError: the line is no JSON object of a commit.
    """
    if _schema_of(line) == SCHEMA_VERSION:
        return encode_commit(redact(decode_commit(line)))
    stored = _read(line)
    try:
        return _encoder.encode(_redacted(stored))
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableCommitError(f"not a commit: {error}") from error


def _upcast(line: bytes) -> Commit:
    stored = _read(line)
    schema = stored["schema"]
    try:
        if _id_of(stored) != stored["commit_id"]:
            raise altered(stored["position"])
        for version in range(schema, SCHEMA_VERSION):
            stored = UPCASTS[version](stored)
        return msgspec.convert(stored, Commit)
    except (msgspec.ValidationError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableCommitError(f"not a commit of schema version {schema}: {error}") from error


def _schema_of(line: bytes) -> int:
    try:
        return _header_decoder.decode(line).schema
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnreadableCommitError(f"not a commit: {error}") from error


def _read(line: bytes) -> JsonObject:
    schema = _schema_of(line)
    if schema != SCHEMA_VERSION and schema not in UPCASTS:
        error = NewerCommitError if schema > SCHEMA_VERSION else UnreadableCommitError
        raise error(f"schema version {schema}; this program reads up to {SCHEMA_VERSION}")
    try:
        stored: JsonObject = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableCommitError(f"not a commit: {error}") from error
    return stored


def _id_of(stored: JsonObject) -> CommitId:
    """Return the id of a commit of an older schema; the order of its fields is that of the stored line."""
    return id_over([value for name, value in _redacted(stored).items() if name != "commit_id"])


def _redacted(stored: JsonObject) -> JsonObject:
    """Return `stored`, of an older schema, without its texts: the values of that name in a command or an event."""
    if "text" not in stored["command"]:
        return stored
    salt = stored["facts"].get("salt")
    return stored | {
        "command": _without_text(stored["command"], salt),
        "facts": {name: value for name, value in stored["facts"].items() if name != "salt"},
        "events": [_without_text(event, salt) for event in stored["events"]],
    }


def _without_text(holder: JsonObject, salt: str | None) -> JsonObject:
    text = holder.get("text")
    return holder | {"text": msgspec.to_builtins(redacted(text, salt))} if isinstance(text, str) else holder
