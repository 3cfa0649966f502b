"""The parts of a commit that redaction removes, kept apart from the rest.

An entry of a stream can't be changed, and a deleted one stays in memory until its neighbours are deleted too. So the
stream holds each commit as `events.commit.redact` leaves it, and a hash holds what is missing there. Deleting its field
there forgets it.

A field is a JSON array. It has one element for each place that `_PLACES` names, in order: `null` if the redacted commit
has the value, a number for the same value as the element of that index, else the value. A commit of an older schema
can't be encoded again. So its field is the whole line, a JSON object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from events.codec import decode_commit, encode_commit, redact_line
from events.commands import EnterQueue, ReportPartner, SendMessage
from events.commit import SCHEMA_VERSION, Commit, Facts, redact
from events.events import MessageSent, PartnerReported, QueueEntered, RoomOpened

_PLACES: Mapping[type, tuple[str, ...]] = {
    EnterQueue: ("display_name", "interests"),
    SendMessage: ("text",),
    ReportPartner: ("note",),
    Facts: ("salt",),
    MessageSent: ("text",),
    QueueEntered: ("display_name", "interests", "salt"),
    RoomOpened: ("first_name", "second_name", "first_salt", "second_salt"),
    PartnerReported: ("note",),
}
"""The fields that `redact` may change, by their struct."""

_WHOLE_LINE = b"{"

_SCHEMA = b'{"schema":%d,' % SCHEMA_VERSION
_REDACTED_TEXT = b'"text":{"length_bytes":'
_FACTS = b'"facts":{"at_ms":'
_SAID = b'},"events":[{"type":"message_sent",'
"""Parts of a message's redacted line. Within a string, a quote would have a backslash before it."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str | int | tuple[str, ...] | None]).decode


def split(commit: Commit) -> tuple[bytes, bytes]:
    """Return the redacted line of `commit`, and what is missing there: empty if nothing is."""
    redacted = redact(commit)
    return encode_commit(redacted), _missing(commit, redacted)


def split_line(line: bytes) -> tuple[Commit, bytes, bytes]:
    """Return the commit of a line of any schema, its redacted line, and what is missing there.

    Raises:
        UnreadableCommitError: it is damaged, or newer than this program.
        BrokenChainError: it is of an older schema, and was altered.
    """
    commit, redacted = decode_commit(line), redact_line(line)
    missing = _missing(commit, redact(commit)) if commit.schema == SCHEMA_VERSION else line
    if missing and missing != line and join_line(redacted, missing) != line:
        missing = line  # spelled in another way than this program's
    if not missing or redacted == line:
        return commit, line, b""
    return commit, redacted, missing


def join(line: bytes, missing: bytes | None) -> Commit:
    """Return the commit that was split; the redacted one if `missing` is `None`.

    Raises:
        UnreadableCommitError: the line is damaged, or newer than this program.
        BrokenChainError: it is of an older schema, and was altered.
        msgspec.DecodeError: `missing` is damaged.
    """
    if missing is None:
        return decode_commit(line)
    if missing.startswith(_WHOLE_LINE):
        return decode_commit(missing)
    return _restored(decode_commit(line), _decode(missing))


def join_line(line: bytes, missing: bytes | None) -> bytes:
    """Return the line of the commit that was split, of any schema; see `join`."""
    if missing is None:
        return line
    if missing.startswith(_WHOLE_LINE):
        return missing
    return _message_line(line, missing) or encode_commit(join(line, missing))


def _message_line(line: bytes, missing: bytes) -> bytes | None:
    """Return the line of a message without decoding it; `None` if it is something else, or has escapes in its text."""
    quoted = missing.split(b'"')
    parts = line.split(_REDACTED_TEXT)
    if quoted[::2] != [b"[", b",", b",0]"] or b"\\" in missing or len(parts) != 3 or not line.startswith(_SCHEMA):
        return None
    facts, said, sender = parts[1].partition(b"}")[2].partition(_SAID)
    if not said or not facts.rpartition(_FACTS)[2].isdigit():
        return None
    text, salt = quoted[1::2]
    end = parts[2].partition(b"}")[2]
    return b'%b"text":"%b"%b,"salt":"%b"%b%b"text":"%b"%b' % (parts[0], text, facts, salt, said, sender, text, end)


def _missing(commit: Commit, redacted: Commit) -> bytes:
    command, events = commit.command, commit.events
    if type(command) is SendMessage and type(command.text) is str and len(events) == 1:
        said = events[0]
        if type(said) is MessageSent and said.text == command.text:
            return _encode((command.text, commit.facts.salt, 0))  # almost every commit
    values: list[object] = []
    for holder, left in zip(_holders(commit), _holders(redacted), strict=True):
        for name in _PLACES.get(type(holder), ()):
            value = getattr(holder, name)
            if value == getattr(left, name):
                values.append(None)
            else:
                values.append(values.index(value) if value in values else value)
    return _encode(values) if any(value is not None for value in values) else b""


def _restored(redacted: Commit, missing: Sequence[Any]) -> Commit:
    values = iter(missing)
    command, facts, *events = (_filled(holder, values, missing) for holder in _holders(redacted))
    return msgspec.structs.replace(redacted, command=command, facts=facts, events=tuple(events))


def _filled(holder: Any, values: Iterator[Any], missing: Sequence[Any]) -> Any:
    """Return `holder` with its values from `values`, which may refer to others of `missing`."""
    given = {}
    for name in _PLACES.get(type(holder), ()):
        value = next(values, None)
        if value is not None:
            given[name] = missing[value] if type(value) is int else value
    return msgspec.structs.replace(holder, **given) if given else holder


def _holders(commit: Commit) -> tuple[Any, ...]:
    return (commit.command, commit.facts, *commit.events)
