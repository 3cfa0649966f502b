"""Commits as JSON, one line each, and back.

What was stored stays readable: each type has a tag that never changes, each commit a schema version, and
`UPCASTS` brings the JSON of an older version up to the present one before it is read. What is newer than this
program, or unknown to it, fails loudly rather than being half understood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from events.commit import SCHEMA_VERSION, Commit

Upcast = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTS: Mapping[int, Upcast] = {}
"""Schema version to the function that turns that version's JSON object into the next version's."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Commit)


class UnreadableCommitError(Exception):
    """Stored bytes that are no commit this program knows; nothing was skipped or guessed."""


class _Header(msgspec.Struct):
    schema: int


_header_decoder = msgspec.json.Decoder(_Header)


def encode_commit(commit: Commit) -> bytes:
    """`commit` as one line of JSON, without its end; the same commit always gives the same bytes."""
    return _encoder.encode(commit)


def decode_commit(line: bytes | str) -> Commit:
    """The commit that `encode_commit` made `line` from, at any schema version up to the present.

    Raises:
        UnreadableCommitError: the line is damaged, or newer than this program, or holds a tag or a field
            that it does not know.
    """
    try:
        schema = _header_decoder.decode(line).schema
        if schema == SCHEMA_VERSION:
            return _decoder.decode(line)
        return msgspec.convert(_upcast(msgspec.json.decode(line), schema), Commit)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableCommitError(f"not a commit: {error}") from error


def _upcast(commit: dict[str, Any], schema: int) -> dict[str, Any]:
    while schema != SCHEMA_VERSION:
        upcast = UPCASTS.get(schema)
        if upcast is None:
            raise UnreadableCommitError(f"schema version {schema}; this program reads up to {SCHEMA_VERSION}")
        commit = upcast(commit)
        schema += 1
    return commit
