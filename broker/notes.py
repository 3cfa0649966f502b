"""Notes: what the brokers of a shared log tell each other beside it. They are small, numbered, and may be lost."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from events.ids import ConnectionId, Position

BROKER_ID_BYTES = 8
ROWS_MAX = 80
"""The most rows of a note, so that it keeps to the length of a channel's notes."""


class Gone(NamedTuple):
    """A connection is not heard any more. Times are ages when the note was written, so clocks need not agree."""

    connection_id: ConnectionId
    stream_ms: int | None
    """Time since its last stream closed; `None` if it had none."""
    call_ms: int | None
    """Time since its last call was over; `None` if it made none."""


class Confirmed(NamedTuple):
    """A member of a match has given a sign of life."""

    connection_id: ConnectionId
    opened_position: Position
    """The position at which its room was opened."""


SESSION_CHANGED = "changed"
CALL_CANCELLED = "off"


class SessionNote(NamedTuple):
    """News of a session of 2025, by the key of its record. Nothing in it is secret."""

    key: str
    what: str
    """`SESSION_CHANGED`: the record has changed; `CALL_CANCELLED`: the client has cancelled a call."""
    detail: str = ""
    """A short digest of the id of the cancelled call."""


class About(NamedTuple):
    """The broker that wrote the note."""

    version: str
    policy_digest: str
    """Of the policy it was started with."""


class Part(NamedTuple):
    """One of several notes that belong together."""

    number: int
    of: int


class Note(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One broker's news."""

    broker: bytes
    """Random, and new at each start."""
    number: int
    """1, 2, 3 and so on for each broker: a gap shows that a note was lost."""
    here: tuple[ConnectionId, ...] = ()
    """Connections heard from now on."""
    gone: tuple[Gone, ...] = ()
    confirmed: tuple[Confirmed, ...] = ()
    all_rows: Part | None = None
    """`here` and `gone` are rows of all connections heard there, in the place of everything said before."""
    is_hello: bool = False
    """The broker asks all others for all their rows."""
    is_bye: bool = False
    """The broker ends, and hears nobody any more."""
    sessions: tuple[SessionNote, ...] = ()
    about: About | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Note)


def encode_note(note: Note) -> bytes:
    """Return `note` for a channel."""
    return _encoder.encode(note)


def decode_note(raw: bytes) -> Note | None:
    """Return the note of `raw`; `None` if this version can't read it."""
    try:
        return _decoder.decode(raw)
    except msgspec.DecodeError:
        return None
