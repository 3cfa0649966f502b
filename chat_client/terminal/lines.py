"""The words of the terminal, for the screen and for plain lines alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from chat_client.answers import Lobby
from chat_client.errors import ChatEndedError, ChatError, NotChattingError, UnknownHandleError
from chat_client.events import (
    ConnectionLost,
    ConnectionRestored,
    Event,
    HistoryMissed,
    PartnerLeft,
    PartnerSilent,
    StrangerFound,
    TimedOut,
)
from chat_client.stranger import CATEGORIES

YOU = "you"
REPLACEMENT = "\ufffd"
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

WARNING = (
    "A stranger is a person or a program. What you both say is kept in the broker's log, "
    "where its operator can read it."
)
FORGOTTEN = "The broker was restarted and knows nobody any more."


def visible(text: str) -> str:
    """Return `text` as it can be shown by a terminal: control characters are replaced, and directions dropped.

    A broker cleans the text of strangers; this is for one without that.
    """
    return "".join(_visible(character) for character in text if character not in BIDI_CONTROLS)


def _visible(character: str) -> str:
    if character == "\n":
        return character
    if character == "\t":
        return " "
    return REPLACEMENT if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") else character


def one_line(text: str) -> str:
    """Return `text` in one line, for plain output."""
    return visible(text).replace("\n", " / ")


def shown_name(partner: str) -> str:
    """Return a stranger's name, in quotation marks if it could be taken for the user or for the program."""
    name = one_line(partner)
    return f"“{name}”" if name.casefold().strip() in ("", YOU) or name.startswith("*") else name


def introduction(lobby: Lobby, interests: list[str]) -> Iterator[str]:
    """Yield the first lines: a warning of strangers, and the operator's rules."""
    yield WARNING
    if lobby.rules_url:
        yield f"Rules: {one_line(lobby.rules_url)}"
    if lobby.operator_contact:
        yield f"Operator: {one_line(lobby.operator_contact)}"
    if interests and lobby.matching == "first-come":
        yield "Interests are not used here: the one who has waited longest comes first."


def waiting(people: int) -> str:
    """Return the line about a queue of `people`, including you."""
    others = people - 1
    if others < 1:
        return "Waiting for a stranger; nobody else waits yet."
    return f"Waiting for a stranger; {others} {'other waits' if others == 1 else 'others wait'}."


def note(event: Event, partner: str) -> str:
    """Return the line for `event`, except for messages; `partner` is the stranger's name."""
    match event:
        case StrangerFound():
            return f"You are chatting with {partner}."
        case PartnerLeft():
            return f"{partner} {_PARTINGS[event.reason if not event.requeued else 'requeued']}"
        case PartnerSilent(seconds=seconds):
            return f"{partner} has not been heard of for {seconds} seconds."
        case HistoryMissed():
            return "Some of what was said meanwhile is lost."
        case TimedOut(reason=reason):
            return _TIMED_OUT[reason]
        case ConnectionLost(why=why):
            return f"Connection lost ({one_line(why)}); trying again. What you write is sent when it is back."
        case ConnectionRestored():
            return "The connection was lost for a while, and is back."
        case _:
            raise AssertionError(event)


_PARTINGS = {
    "left": "has left.",
    "next": "has left.",
    "disconnected": "has vanished.",
    "timeout": "has vanished.",
    "requeued": "never came. You wait again, in your old place.",
}
_TIMED_OUT = {
    "missed_match": "A stranger was found while you were cut off, and is gone.",
    "you_timed_out": "You were cut off for too long, and were taken out.",
}


def refused(error: ChatError) -> str:
    """Return why something was not done, in a sentence for people instead of authors."""
    match error:
        case NotChattingError():
            return "Nobody is here yet."
        case ChatEndedError():
            return "The conversation is over."
        case UnknownHandleError():
            return FORGOTTEN
        case _:
            return one_line(str(error))


CATEGORY_MEANINGS = dict(
    zip(
        CATEGORIES,
        ("spam", "harassment", "sexual content", "a child may be in danger", "a threat", "something else"),
        strict=True,
    )
)
"""The categories of a report, and what each is for."""
