"""The positions of a connection's notifications: the index for reading on from a cursor.

It holds positions alone; the content is read from the log. It is bounded: the oldest positions go, a chunk at a time.
Up to `dropped_through`, the log itself must be searched.
"""

from __future__ import annotations

import msgspec

from events.ids import ConnectionId, Position
from projections.persistent_map import Map, MapMutation

CHUNK = 16


class Inbox(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Ascending positions: full chunks of `CHUNK`, then the newest."""

    newest: tuple[Position, ...] = ()
    chunks: tuple[tuple[Position, ...], ...] = ()
    dropped_through: Position = 0  # positions at or below it may not be listed
    last_at_ms: int = 0

    def __len__(self) -> int:
        return CHUNK * len(self.chunks) + len(self.newest)

    def after(self, cursor: Position) -> list[Position]:
        """Return the positions above `cursor`."""
        found: list[Position] = [p for p in self.newest if p > cursor]
        if len(found) == len(self.newest):
            for chunk in reversed(self.chunks):
                if chunk[-1] <= cursor:
                    break
                found[:0] = [p for p in chunk if p > cursor]
        return found

    def last(self, limit: int) -> list[Position]:
        """Return the newest `limit` positions, ascending."""
        return self.after(0)[-limit:]


EMPTY_INBOX = Inbox()

Inboxes = Map[ConnectionId, Inbox]


def add_to_inbox(
    inboxes: MapMutation[ConnectionId, Inbox],
    who: ConnectionId,
    position: Position,
    at_ms: int,
    kept_max: int,
) -> None:
    """Add `position` to the inbox of a connection.

    At most `kept_max`, rounded up to a whole chunk, and one chunk more are kept.
    """
    inbox = inboxes.get(who, EMPTY_INBOX)
    newest, chunks, dropped_through = inbox.newest, inbox.chunks, inbox.dropped_through
    if len(newest) == CHUNK:
        newest, chunks = (), (*chunks, newest)
        if CHUNK * (len(chunks) - 1) >= kept_max:
            chunks, dropped_through = chunks[1:], chunks[0][-1]
    inboxes[who] = Inbox(newest + (position,), chunks, dropped_through, at_ms)  # noqa: RUF005 - this is faster
