"""A message's text, and what stands for it in a commit's hash and after it was redacted."""

from __future__ import annotations

from hashlib import sha256

import msgspec


class RedactedText(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What is left of a text that an operator chose not to keep: enough for the chain of commits to hold."""

    length_bytes: int
    sha256: str  # of salt + text


Text = str | RedactedText


def redacted(text: Text, salt: str | None) -> RedactedText:
    """The stand-in for `text`; without `salt`, nobody can find the text again by trying.

    A text that is redacted already is its own stand-in. One whose salt is gone has another than it had with it.
    """
    if not isinstance(text, str):
        return text
    raw = text.encode()
    salted = salt.encode() + raw if salt else raw
    return RedactedText(len(raw), sha256(salted).hexdigest())
