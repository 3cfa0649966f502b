"""How long people think: as fast as the server and its generator bear on one machine, found while they run."""

import random
from array import array
from collections import deque
from typing import Final

SECONDS_A_TURN: Final = 0.0025
"""A first guess at what one turn of one person costs the server."""
LATE_S: Final = 0.25
"""Where half of the calls take longer, the machine has less to give than its clock says."""
SLOWER_AT_MOST: Final = 1.2
FASTER_AT_MOST: Final = 0.97
"""A second: nobody should still be in an old, long thought when all others have become quick."""
THINK_S_MAX: Final = 15.0
LATELY: Final = 200
"""Calls, of which the median tells if the machine is late."""


class TurnRate:
    """The mean of the time between two turns of a person."""

    def __init__(self, people: int, busy: float, min_think_s: float) -> None:
        self._busy = busy
        self._min_think_s = min_think_s
        self.think_s = max(people * SECONDS_A_TURN / busy, min_think_s)

    def draw(self, rng: random.Random) -> float:
        """The seconds that someone thinks."""
        return self.think_s * rng.uniform(0.5, 1.5)

    def adjust(self, busy: float, median_s: float) -> None:
        """The server took that share of a core lately, and its calls that long."""
        factor = (max(busy, 0.01) / self._busy) ** 0.5
        if median_s > LATE_S:
            factor = SLOWER_AT_MOST
        factor = min(max(factor, FASTER_AT_MOST), SLOWER_AT_MOST)
        self.think_s = min(max(self.think_s * factor, self._min_think_s), THINK_S_MAX)


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
