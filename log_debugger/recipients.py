"""Whom a commit told what, and JSON that is safe to show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from broker.verification.safe_text import json_escape
from events.events import Event, MessageSent, RoomClosed, RoomOpened
from events.ids import ConnectionId
from projections.notifications import METHODS, ChatroomFound, MessageReceived, PartnerDisconnected, recipients

METHOD_OF: Mapping[type[Event], str] = {
    RoomOpened: METHODS[ChatroomFound],
    MessageSent: METHODS[MessageReceived],
    RoomClosed: METHODS[PartnerDisconnected],
}
"""The notification that an event leads to."""

_encode = msgspec.json.Encoder().encode
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")


def told_by(events: Iterable[Event]) -> list[tuple[ConnectionId, str]]:
    """Everyone whom `events` told something, and by which method."""
    return [(who, METHOD_OF[type(event)]) for event in events for who in recipients(event)]


def ascii_json(value: Any) -> str:
    """`value` as one line of JSON in ASCII, in which no terminal finds anything to obey."""
    text = _encode(value).decode()
    return text if text.isascii() and "\x7f" not in text else _NOT_ASCII.sub(lambda found: json_escape(found[0]), text)
