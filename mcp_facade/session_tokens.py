"""`Mcp-Session-Id` as a sealed token: any broker of the log recognises its own, and no session has to be stored.

    "cs_" + base64url(format, version, seconds, random, tag)      54 characters, visible ASCII
      format    1 byte, 1
      version   1 byte, an index into `VERSIONS`: the negotiated protocol version
      seconds   4 bytes, the time of its making, in seconds since 2020
      random    16 bytes
      tag       the first 16 bytes of HMAC-SHA256(secret, all before it)

Nothing in it is secret, so it is sealed and not encrypted. The token as a whole is a bearer capability: it is never
stored or logged. A record of the session is kept under a hash of it, and the token locks the record's handles.
(MCP 2025-11-25, basic/transports, 'Session Management'.)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple

from events.ids import HANDLE_BYTES, ConnectionId, Handle, Position, connection_id_of, handle_from

PREFIX = "cs_"
VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Tokens hold an index into it, so a version never changes its place."""

RANDOM_BYTES = 16
NONCE_BYTES = 8

_FORMAT = 1
_HEX = frozenset("0123456789abcdef")
_TAG_BYTES = 16
_BODY_BYTES = 2 + 4 + RANDOM_BYTES
_CHARACTERS = -(-(_BODY_BYTES + _TAG_BYTES) * 4 // 3)
_EPOCH_S = 1_577_836_800  # 2020-01-01


class SessionToken(NamedTuple):
    """The content of a session's id."""

    session_id: str
    version: str
    made_ms: int
    """Unix time."""
    random: bytes

    @property
    def record_key(self) -> str:
        """Return the key of the session's record; it does not lead back to the id."""
        return hashlib.sha256(b"chat-broker session\0" + self.session_id.encode()).hexdigest()[:32]

    def lock(self, connection_id: ConnectionId, handle: Handle) -> bytes:
        """Return `handle`, locked for the session's id alone to open."""
        return _xor(_decoded(handle.removeprefix("cb_")), self._mask(connection_id))

    def unlock(self, connection_id: ConnectionId, locked: bytes) -> Handle | None:
        """Return the locked handle; `None` if it is not that of `connection_id`."""
        handle = handle_from(_xor(locked, self._mask(connection_id)))
        return handle if connection_id_of(handle) == connection_id else None

    def _mask(self, connection_id: ConnectionId) -> bytes:
        return hmac.digest(self.random, b"lock" + connection_id.encode(), "sha256")[:HANDLE_BYTES]


class TokenSealer:
    """Makes and opens the tokens of one log, by its secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, version: str, now_ms: int, random: bytes) -> str:
        """Return a new session's id."""
        seconds = max(0, now_ms // 1_000 - _EPOCH_S)
        body = bytes([_FORMAT, VERSIONS.index(version)]) + seconds.to_bytes(4, "big") + random
        return PREFIX + _encoded(body + self._tag(body))

    def open(self, session_id: str) -> SessionToken | None:
        """Return the content of `session_id`; `None` if it is no token of this log."""
        if not session_id.startswith(PREFIX) or len(session_id) != len(PREFIX) + _CHARACTERS:
            return None
        try:
            raw = _decoded(session_id[len(PREFIX) :])
        except ValueError:
            return None
        body, tag = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
        if not hmac.compare_digest(self._tag(body), tag) or body[0] != _FORMAT or body[1] >= len(VERSIONS):
            return None
        if _encoded(raw) != session_id[len(PREFIX) :]:  # bits that no byte needs: one token has one name
            return None
        made_ms = (int.from_bytes(body[2:6], "big") + _EPOCH_S) * 1_000
        return SessionToken(session_id, VERSIONS[body[1]], made_ms, body[6:])

    def own_handle(self, token: SessionToken) -> Handle:
        """Return the session's own handle, for calls that name none."""
        return handle_from(hmac.digest(self._secret, b"handle" + token.random, "sha256")[:HANDLE_BYTES])

    def seal_position(self, position: Position, nonce: bytes) -> str:
        """Return `position`, readable by the brokers of the log alone, since it may be that of others' events."""
        return (nonce + _xor(position.to_bytes(8, "big"), self._position_mask(nonce))).hex()

    def open_position(self, sealed: str) -> Position | None:
        """Return the position in `sealed`; `None` if it is not in that form."""
        if len(sealed) != 2 * (NONCE_BYTES + 8) or not set(sealed) <= _HEX:
            return None
        raw = bytes.fromhex(sealed)
        nonce, masked = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
        return int.from_bytes(_xor(masked, self._position_mask(nonce)), "big")

    def _position_mask(self, nonce: bytes) -> bytes:
        return hmac.digest(self._secret, b"position" + nonce, "sha256")[:8]

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")[:_TAG_BYTES]


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
