"""The lines about a conversation, for a model; safe to stand in a `<channel>` tag.

A stranger's words and name are quoted as JSON, so they stay in one line, and none of them can end the tag.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from chat_client.events import (
    Event,
    HistoryMissed,
    MessageReceived,
    PartnerLeft,
    PartnerSilent,
    StrangerFound,
    TimedOut,
)
from chat_client.terminal.lines import note, one_line, visible

FOUND = "chatroom_found"
MESSAGE = "message_received"
GONE = "partner_disconnected"


@dataclass(frozen=True, slots=True)
class Notice:
    """One event, in a line.

    Attributes:
        event: its kind, as the broker calls it, with underscores.
        text: the line, escaped.
        room_id: the conversation; empty if it is about none.
        partner: the stranger's name, escaped for an attribute; empty if there is none.
        cursor: the event's position in the broker's log, if it has one.
        wakes: a model is to be woken for it.
    """

    event: str
    text: str
    room_id: str = ""
    partner: str = ""
    cursor: int | None = None
    wakes: bool = True

    @property
    def meta(self) -> dict[str, str]:
        """The attributes of the tag; Claude Code takes keys of letters, digits and underscores alone."""
        cursor = "" if self.cursor is None else str(self.cursor)
        given = {"event": self.event, "room_id": self.room_id, "partner": self.partner, "cursor": cursor}
        return {key: value for key, value in given.items() if value}


FORGOTTEN = Notice(
    "forgotten",
    "The broker was restarted, or has forgotten you: the conversation is over. find_stranger begins again.",
)
"""Told when the broker does not know the handle any more."""


def notice_of(event: Event, room_id: str, partner: str) -> Notice | None:
    """Return `event` as a notice; `None` for those of the connection alone.

    Args:
        event: what happened.
        room_id: the conversation.
        partner: the stranger's name, as the broker gave it.
    """
    name, about = quoted(one_line(partner)), (escaped(room_id), attribute(partner))
    match event:
        case StrangerFound():
            return Notice(FOUND, f"You are talking with {name}, a person or a program.", *about, event.cursor)
        case MessageReceived():
            return Notice(MESSAGE, f"{name} says: {quoted(event.text)}", *about, event.cursor)
        case PartnerLeft():
            return Notice(GONE, note(event, name), *about, event.cursor)
        case PartnerSilent():
            return Notice("partner_silent", note(event, name), *about, wakes=False)
        case TimedOut():
            return Notice("timed_out", f"{note(event, name)} find_stranger begins again.")
        case HistoryMissed():
            return Notice("history_missed", note(event, name), wakes=False)
        case _:
            return None


def quoted(text: str) -> str:
    """Return `text` as a JSON string in one line, escaped."""
    return escaped(json.dumps(visible(text), ensure_ascii=False))


def escaped(text: str) -> str:
    """Return `text` with the characters of tags escaped."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def attribute(text: str) -> str:
    """Return `text` as the value of an attribute: one line, without quotation marks."""
    return escaped(" ".join(visible(text).split())).replace('"', "&quot;")
