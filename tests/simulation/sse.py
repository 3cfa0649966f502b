"""Server-sent events, as a client reads them: what was cut off before its empty line was never there."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class Event(NamedTuple):
    """One event; `message` is its data as JSON, if it has any."""

    event_id: str | None
    message: dict[str, Any] | None


class EventReader:
    """Takes bytes as they come."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
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
