"""Who there is, and what each member of a room has said and heard; facts alone, the ledger judges them."""

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
"""A call that takes longer than this to reach the server is taken to have reached it."""
FLOOD_MESSAGES: Final = 100
FLOOD_BYTES: Final = 4_000
ROUNDING_S: Final = 0.05
"""What the timestamps of two clocks of one machine may differ by."""


class Identity:
    """One identity: a handle, under a name that nobody else has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rooms: dict[str, RoomMember] = {}
        self.flood: Flood | None = None
        """The request of a slow reader whose partner this is."""
        self.has_left = False
        self._story: deque[tuple[float, str]] = deque(maxlen=STORY_LINES)
        self._streams = 0
        self._here_at = time.time()
        self._absences: deque[tuple[float, float]] = deque(maxlen=STORY_LINES)

    def did(self, what: str) -> None:
        """Keep it for whoever asks later."""
        self._story.append((time.time(), what))

    def story(self) -> Iterator[str]:
        """What it did last, a line each."""
        for at, what in self._story:
            yield f"    {datetime.fromtimestamp(at, UTC):%H:%M:%S.%f} {self.name} {what}"

    def stream_opened(self) -> None:
        """The server has answered with a stream: it is there from now on."""
        self._back(time.time())
        self._streams += 1

    def stream_dropped(self) -> None:
        """That stream is gone, or it may be, from now on."""
        self._streams -= 1
        self._here_at = max(self._here_at, time.time())

    def called(self, sent_at: float, lasted_s: float = 0.0) -> None:
        """A call that was sent at `sent_at` was answered, and lasted that long by design.

        One that was broken off is not told here: the server may have seen it or not.
        """
        self._back(min(time.time(), sent_at + SEEN_WITHIN_S))
        self._here_at = max(self._here_at, sent_at + lasted_s)

    def was_absent(self, timestamp: str, grace_s: float) -> bool:
        """Whether the server may say so of that moment: nobody was seen there for the whole grace before it."""
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
    """What the last answer to it said; `None` before there is one."""
    heard: bool = False


@dataclass(eq=False, slots=True)
class RoomMember:
    """One of the two in a room, as they see it."""

    who: Identity
    room: "ChatRoom"
    partner_name: str
    opened_at: int
    """The cursor of its opening."""
    needs_notice: bool = True
    """Whether a notification has to tell of the opening, or the result of a call was all that there is."""
    notices: int = 0
    said: list[SentMessage] = field(default_factory=list)
    heard: int = 0
    """How many of the other's messages, those that were refused included."""
    closing: set[str] = field(default_factory=set)
    """The reasons that it gave, or was about to give, for the closing."""
    left: bool = False
    """It knows by an answer of its own that the room is closed."""
    closed_for: str = ""
    """The reason that it was told of."""
    closed_at: str = ""
    """The timestamp of that."""
    settled: bool = False

    @property
    def other(self) -> "RoomMember | None":
        """The other member, once they know of the room."""
        return next((member for who, member in self.room.members.items() if who is not self.who), None)

    @property
    def is_over(self) -> bool:
        """Whether it knows that the room is closed."""
        return self.left or bool(self.closed_for)


@dataclass(eq=False, slots=True)
class ChatRoom:
    """A room, as far as anyone was told of it."""

    room_id: str
    members: dict[Identity, RoomMember] = field(default_factory=dict)


class Flood:
    """What a slow reader asks of their partner: more than fits between the two."""

    def __init__(self, room: ChatRoom) -> None:
        self.room = room
        self.left = FLOOD_MESSAGES
        self.bytes_each = FLOOD_BYTES
        self.done = asyncio.Event()
