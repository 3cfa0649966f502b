"""Ids of events of a GET stream (`streams.get_stream`), as far as a stream resumes from them."""

from __future__ import annotations

from typing import NamedTuple

from broker.hub import Delivery
from events.ids import POSITION_MAX, ConnectionId, Position
from mcp_facade.session import RECENT_HANDLES_MAX
from mcp_facade.sessions import Sessions

MARK_CHARS = 4
NUMBER_DIGITS_MAX = 15
"""More digits than any position or mask has."""

_HEX = frozenset("0123456789abcdef")


class ResumePoint(NamedTuple):
    """The progress of a stream: the client has all before `position`, and the notifications there in `sent_mask`.

    `sent_mask` has a bit for each recipient of the position, in ascending order of connection ids. The client keeps it,
    because no later stream knows the handles shown by then.
    """

    position: Position
    sent_mask: int
    marks: frozenset[str] | None = None
    """The marks of the handles that the stream was for by then (`mark_of`); `None`: all that were shown."""

    def includes(self, delivery: Delivery) -> bool:
        """Return whether the client has `delivery`."""
        return delivery.position == self.position and bool(self.sent_mask >> delivery.nth & 1)

    def advance(self, delivery: Delivery) -> ResumePoint:
        """Return the point after `delivery`, which comes next."""
        sent_mask = self.sent_mask if delivery.position == self.position else 0
        return ResumePoint(delivery.position, sent_mask | 1 << delivery.nth)


def mark_of(connection_id: ConnectionId) -> str:
    """Return a short mark that tells the connections of one session apart."""
    return connection_id[2 : 2 + MARK_CHARS]


def resume_point_of(event_id: str, epoch: str, sessions: Sessions, *, is_shared: bool) -> ResumePoint | None:
    """Return the point of `Last-Event-ID`; `None` if it is not of a log of that `epoch`, or malformed."""
    parts = event_id.split(".")
    if len(parts) not in ((3, 4) if is_shared else (3,)):
        return None
    marks = _marks_in(parts[3]) if len(parts) == 4 else None
    if parts[0] != epoch or not _is_number(parts[2]) or (len(parts) == 4 and marks is None):
        return None
    position = int(parts[1]) if _is_number(parts[1]) else sessions.open_position(parts[1])
    if position is None or position > POSITION_MAX:
        return None
    return ResumePoint(position, int(parts[2]), marks)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS_MAX


def _marks_in(text: str) -> frozenset[str] | None:
    """Return the marks of handles in an event id; `None` if they are none."""
    if len(text) % MARK_CHARS or len(text) > MARK_CHARS * RECENT_HANDLES_MAX or not set(text) <= _HEX:
        return None
    return frozenset(text[start : start + MARK_CHARS] for start in range(0, len(text), MARK_CHARS))
