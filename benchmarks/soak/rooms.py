"""Identities, rooms and their messages: facts alone, judged by the ledger."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

STORY_LINES: Final = 30
SEEN_WITHIN_S: Final = 5.0
"""Time after which a call counts as received by the server."""
FLOOD_MESSAGES: Final = 100
FLOOD_BYTES: Final = 4_000
ROUNDING_S: Final = 0.05
"""Largest difference between two clocks of one machine."""


class Identity:
    """One identity: a handle, under a unique name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rooms: dict[str, RoomMember] = {}
        self.flood: Flood | None = None
        """The flood that its partner, a slow reader, asks for."""
        self.has_left = False
        self._story: deque[tuple[float, str]] = deque(maxlen=STORY_LINES)
        self._streams = 0
        self._here_at = time.time()
        self._absences: deque[tuple[float, float]] = deque(maxlen=STORY_LINES)

    def did(self, what: str) -> None:
        """Note an act for a later report."""
        self._story.append((time.time(), what))

    def story(self) -> Iterator[str]:
        """Yield its last acts, a line each."""
        for at, what in self._story:
            yield f"    {datetime.fromtimestamp(at, UTC):%H:%M:%S.%f} {self.name} {what}"

    def stream_opened(self) -> None:
        """Record that a stream is open: the client is present from now on."""
        self._back(time.time())
        self._streams += 1

    def stream_dropped(self) -> None:
        """Record that a stream is gone, or may be, from now on."""
        self._streams -= 1
        self._here_at = max(self._here_at, time.time())

    def called(self, sent_at: float, lasted_s: float = 0.0) -> None:
        """Record an answered call, sent at `sent_at`, that lasted that long by design.

        A broken-off call is not recorded: the server may have seen it or not.
        """
        self._back(min(time.time(), sent_at + SEEN_WITHIN_S))
        self._here_at = max(self._here_at, sent_at + lasted_s)

    def was_absent(self, timestamp: str, grace_s: float) -> bool:
        """Tell if the client was unseen for the whole grace before that moment."""
        at = datetime.fromisoformat(timestamp).timestamp()
        absences = [*self._absences, (self._here_at, math.inf)] if not self._streams else self._absences
        return any(start + grace_s - ROUNDING_S <= at <= end + ROUNDING_S for start, end in absences)

    def _back(self, at: float) -> None:
        if not self._streams:
            self._absences.append((self._here_at, at))


@dataclass(eq=False, slots=True)
class SentMessage:
    """A message."""

    text: str
    sent_at: float
    accepted: bool | None = None
    """Result in its last answer; `None` before there is one."""
    heard: bool = False


@dataclass(eq=False, slots=True)
class RoomMember:
    """One of the two members of a room, with its own view of it."""

    who: Identity
    room: "ChatRoom"
    partner_name: str
    opened_at: int
    """Cursor of the opening."""
    needs_notice: bool = True
    """True if a notification has to announce the opening, since no result of a call did."""
    notices: int = 0
    said: list[SentMessage] = field(default_factory=list)
    heard: int = 0
    """Number of the partner's messages passed, refused ones included."""
    closing: set[str] = field(default_factory=set)
    """Reasons that it gave, or was about to give, for the closing."""
    left: bool = False
    """True if an answer to it showed that the room is closed."""
    closed_for: str = ""
    """Reason in its notification of the closing."""
    closed_at: str = ""
    """Timestamp of that notification."""
    settled: bool = False

    @property
    def other(self) -> "RoomMember | None":
        """The other member, once it knows of the room."""
        return next((member for who, member in self.room.members.items() if who is not self.who), None)

    @property
    def is_over(self) -> bool:
        """True if it knows that the room is closed."""
        return self.left or bool(self.closed_for)


@dataclass(eq=False, slots=True)
class ChatRoom:
    """A room, as far as its members know."""

    room_id: str
    members: dict[Identity, RoomMember] = field(default_factory=dict)


class Flood:
    """A slow reader's request to its partner: more bytes than the buffers between them hold."""

    def __init__(self, room: ChatRoom) -> None:
        self.room = room
        self.left = FLOOD_MESSAGES
        self.bytes_each = FLOOD_BYTES
        self.done = asyncio.Event()
