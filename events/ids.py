"""Names for the things that the log speaks of.

A `Handle` is a bearer secret and never enters the log; a `ConnectionId` is its public name, derived from it
by a one-way hash, so that whoever reads a log, a metric or a dump can act as nobody.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NewType

Handle = NewType("Handle", str)
"""The secret with which a client acts as its connection: `cb_` and 32 URL-safe characters (192 bits)."""

ConnectionId = NewType("ConnectionId", str)
"""The public name of a connection: `c_` and 32 hexadecimal digits (128 bits)."""

RoomId = NewType("RoomId", str)
"""The name of a room: `r_` and 32 hexadecimal digits (128 random bits, so it can't be guessed)."""

ClientMessageId = NewType("ClientMessageId", str)
"""A sender's own name for a message, `[A-Za-z0-9_-]{1,64}`, by which a repeat is recognised."""

CommitId = NewType("CommitId", str)
"""The first 128 bits of a commit's SHA-256, in hexadecimal."""

Position = int
"""1-based index of a commit; 0 is the empty log."""

POSITION_MAX = 2**53
"""Above every position there will ever be, and the largest integer that every JSON reader keeps."""

NO_COMMIT = CommitId("")
"""What stands before the first commit of a log."""

HANDLE_BYTES = 24
ID_BYTES = 16


def handle_from(random_bytes: bytes) -> Handle:
    """The handle that `HANDLE_BYTES` random bytes make."""
    assert len(random_bytes) == HANDLE_BYTES
    return Handle("cb_" + base64.urlsafe_b64encode(random_bytes).decode())


def room_id_from(random_bytes: bytes) -> RoomId:
    """The room id that `ID_BYTES` random bytes make."""
    assert len(random_bytes) == ID_BYTES
    return RoomId("r_" + random_bytes.hex())


def connection_id_of(handle: str) -> ConnectionId:
    """The public name of whoever holds `handle`; any text at all has one, and none can be turned back."""
    digest = hashlib.sha256(b"chat-broker connection\0" + handle.encode("utf-8", "surrogatepass"))
    return ConnectionId("c_" + digest.hexdigest()[: 2 * ID_BYTES])
