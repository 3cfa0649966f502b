"""What all the people of a soak share."""

from __future__ import annotations

import asyncio
from array import array
from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from benchmarks.soak.ledger import Ledger
from benchmarks.soak.options import Options
from benchmarks.soak.pace import Pace
from benchmarks.soak.rooms import Room, Who

if TYPE_CHECKING:
    from benchmarks.soak.person import Person

AT_ONCE: Final = 64
"""How many may be coming or leaving for good at a time."""
FLOOD_MESSAGES: Final = 100
FLOOD_BYTES: Final = 4_000
PROBLEMS_MAX: Final = 100
"""So many, and the run ends: there is nothing more to learn."""
LATELY: Final = 200


class Flood:
    """What a slow reader asks of their partner: more than fits between the two."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.left = FLOOD_MESSAGES
        self.bytes_each = FLOOD_BYTES
        self.done = asyncio.Event()


class Latencies:
    """Seconds, of every call that does not wait and of every message."""

    def __init__(self) -> None:
        self.calls = array("f")
        self.messages = array("f")
        self.lately: deque[float] = deque(maxlen=LATELY)

    def answered(self, seconds: float) -> None:
        """A call took so long."""
        self.calls.append(seconds)
        self.lately.append(seconds)

    def heard(self, seconds: float) -> None:
        """A message was heard on a stream so long after it was sent."""
        self.messages.append(seconds)


class Town:
    """One server's people."""

    def __init__(self, port: int, options: Options) -> None:
        self.port = port
        self.options = options
        self.ledger = Ledger(min(options.stream_grace_s, options.idle_grace_s))
        self.pace = Pace(options.people, options.busy, options.min_think_s)
        self.latencies = Latencies()
        self.is_open = True
        self.gate = asyncio.Semaphore(AT_ONCE)
        self.slowness = asyncio.Lock()
        """One slow reader at a time: each costs what a hundred turns cost."""
        self.persons: dict[Who, Person] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def counts(self) -> Counter[str]:
        """How often each kind of thing happened."""
        return self.ledger.counts

    def fail(self, error: Exception, who: Who) -> None:
        """Something happened that no client should ever see: the run ends."""
        if not self.failed.done():  # what comes after it, comes of it
            self.ledger.problem(f"{who.name}: {type(error).__name__}: {error}", who)
            self.failed.set_result(None)
