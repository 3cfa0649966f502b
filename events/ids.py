"""Ids of everything in the log.

A `Handle` is a bearer secret and never enters the log. A `ConnectionId` is its public name, derived by a one-way hash,
so a reader of a log, a metric or a dump can't act for any connection.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NewType

Handle = NewType("Handle", str)
"""A client's secret for its connection: `cb_` and 32 URL-safe characters (192 bits)."""

ConnectionId = NewType("ConnectionId", str)
"""The public name of a connection: `c_` and 32 hexadecimal digits (128 bits)."""

RoomId = NewType("RoomId", str)
"""The name of a room: `r_` and 32 hexadecimal digits (128 random bits, so it can't be guessed)."""

ClientMessageId = NewType("ClientMessageId", str)
"""A sender's own id of a message, `[A-Za-z0-9_-]{1,64}`, for recognising a repeat."""

CommitId = NewType("CommitId", str)
"""The first 128 bits of a commit's SHA-256, in hexadecimal."""

Position = int
"""1-based index of a commit; 0 is the empty log."""

POSITION_MAX = 2**53
"""Above every position there will ever be, and the largest integer that every JSON reader keeps."""

NO_COMMIT = CommitId("")
"""The id before a log's first commit."""

HANDLE_BYTES = 24
ID_BYTES = 16


def handle_from(random_bytes: bytes) -> Handle:
    """Return the handle made from `HANDLE_BYTES` random bytes."""
    assert len(random_bytes) == HANDLE_BYTES
    return Handle("cb_" + base64.urlsafe_b64encode(random_bytes).decode())


def room_id_from(random_bytes: bytes) -> RoomId:
    """Return the room id made from `ID_BYTES` random bytes."""
    assert len(random_bytes) == ID_BYTES
    return RoomId("r_" + random_bytes.hex())


def connection_id_of(handle: str) -> ConnectionId:
    """Return the public name for `handle`; any text has one, and none can be turned back."""
    digest = hashlib.sha256(b"chat-broker connection\0" + handle.encode("utf-8", "surrogatepass"))
    return ConnectionId("c_" + digest.hexdigest()[: 2 * ID_BYTES])
