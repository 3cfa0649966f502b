"""What people write (messages, names, interests), and its stand-in in a commit's hash and after redaction."""

from __future__ import annotations

from hashlib import sha256

import msgspec


class RedactedText(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The rest of a redacted text: enough for the chain of commits to hold."""

    length_bytes: int
    sha256: str  # of salt + text


Text = str | RedactedText

Interests = tuple[str, ...] | RedactedText

ANONYMOUS = "Anonymous"
"""The display name of a connection that gives none, or whose name was forgotten."""

_encode = msgspec.json.Encoder().encode


def redacted(text: Text, salt: str | None) -> RedactedText:
    """Return the stand-in for `text`. Without `salt`, the text can't be guessed from it.

    A redacted text is its own stand-in. The stand-in of a text differs with and without its salt.
    """
    if not isinstance(text, str):
        return text
    raw = text.encode()
    salted = salt.encode() + raw if salt else raw
    return RedactedText(len(raw), sha256(salted).hexdigest())


def redacted_interests(interests: Interests, salt: str | None) -> RedactedText:
    """Return the stand-in for `interests`: that of their JSON."""
    return redacted(_encode(interests).decode(), salt) if isinstance(interests, tuple) else interests


def known_interests(interests: Interests) -> tuple[str, ...]:
    """Return `interests`; none if they were redacted."""
    return interests if isinstance(interests, tuple) else ()
