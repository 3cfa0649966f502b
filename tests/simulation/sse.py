"""Server-sent events as read by a client: an event cut off before its empty line does not exist."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class Event(NamedTuple):
    """One event; `message` is its data as JSON, if it has any."""

    event_id: str | None
    message: dict[str, Any] | None


class EventReader:
    """A parser of bytes as they arrive."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Event]:
        """Return the events completed by `data`."""
        *blocks, self._rest = (self._rest + data).split(b"\r\n\r\n")
        return [event for block in blocks if (event := _event(block)) is not None]


def _event(block: bytes) -> Event | None:
    fields: dict[bytes, bytes] = {}
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if name and colon:
            fields[name] = value.removeprefix(b" ")
    if b"id" not in fields and b"data" not in fields:
        return None  # a comment
    data = fields.get(b"data", b"")
    event_id = fields[b"id"].decode() if b"id" in fields else None
    return Event(event_id, msgspec.json.decode(data) if data else None)
