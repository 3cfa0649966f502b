"""Exceptions of the client: each text says what to do."""

from __future__ import annotations

from typing import Any


class ChatError(Exception):
    """Base of the client's exceptions."""


class AddressError(ChatError, ValueError):
    """The address of the broker is not one."""


class UnreachableError(ChatError):
    """No broker answers at the address; raised by the first call alone, since later ones wait for it to come back."""


class NotChattingError(ChatError):
    """There is no stranger to talk to, to block or to report."""


class RefusedError(ChatError):
    """The broker refused a call; its text says what to do.

    Attributes:
        code: the broker's word for the reason, as in `docs/protocol.md`.
        details: the other fields of the refusal.
    """

    def __init__(self, code: str, text: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.details = details or {}


class ChatEndedError(RefusedError):
    """The conversation is over, so nothing more can be said in it; `events()` tells how it ended."""


class MessageRefusedError(RefusedError):
    """The message or the note is empty, or too large."""


class RateLimitedError(RefusedError):
    """Too many calls, and the wait would be longer than the client waits by itself.

    Attributes:
        retry_after_seconds: when the call will be taken.
    """

    def __init__(self, code: str, text: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(code, text, details)
        self.retry_after_seconds: float = self.details.get("retry_after_ms", 1_000) / 1_000


class UnknownHandleError(RefusedError):
    """The broker does not know this client (any more): it was restarted with a log in memory, or has forgotten it.

    The conversation is over. `enter()` begins anew.
    """


class FullError(RefusedError):
    """The queue is full, or your address has too many connections."""


_BY_CODE: dict[str, type[RefusedError]] = {
    "chat_ended": ChatEndedError,
    "room_not_found": ChatEndedError,
    "message_empty": MessageRefusedError,
    "message_too_large": MessageRefusedError,
    "rate_limited": RateLimitedError,
    "too_many_connections": FullError,
    "queue_full": FullError,
    "unknown_handle": UnknownHandleError,
}
_TEXTS = {
    "chat_ended": "This conversation has ended: call next() for another stranger.",
    "room_not_found": "This conversation is no longer known to the broker: call next() for another stranger.",
    "unknown_handle": (
        "The broker does not know you any more: it was restarted with a log in memory, or it has forgotten you. "
        "Call enter() to begin again."
    ),
    "queue_full": "The queue is full: try again in a minute.",
    "rate_limited": "That was too often: try again in {seconds} seconds.",
    "too_many_connections": "Too many people are here from your address: try again in {seconds} seconds.",
}
"""Texts in the client's own words, where the broker's name its tools."""


def refusal(details: dict[str, Any]) -> RefusedError:
    """Return the exception for a refusal of the broker, `{error, code, ...}`."""
    code = str(details.get("code", "refused"))
    text = _TEXTS.get(code) or str(details.get("error", "The broker refused the call."))
    seconds = -(-details.get("retry_after_ms", 1_000) // 1_000)
    return _BY_CODE.get(code, RefusedError)(code, text.format(seconds=seconds) if code in _TEXTS else text, details)
