"""Time between two acts of a client: as short as the server and its generator bear on one machine."""

import random
from array import array
from collections import deque
from typing import Final

SECONDS_A_TURN: Final = 0.0025
"""First guess at the server's cost of one act of one client."""
LATE_S: Final = 0.25
"""Median of calls above which the machine is overloaded in spite of its clock."""
SLOWER_AT_MOST: Final = 1.2
FASTER_AT_MOST: Final = 0.97
"""Factor a second: an old, long think time should not outlast the others' change."""
THINK_S_MAX: Final = 15.0
LATELY: Final = 200
"""Calls whose median shows if the machine is overloaded."""


class TurnRate:
    """The mean time between two acts of a client."""

    def __init__(self, people: int, busy: float, min_think_s: float) -> None:
        self._busy = busy
        self._min_think_s = min_think_s
        self.think_s = max(people * SECONDS_A_TURN / busy, min_think_s)

    def draw(self, rng: random.Random) -> float:
        """Draw a think time in seconds."""
        return self.think_s * rng.uniform(0.5, 1.5)

    def adjust(self, busy: float, median_s: float) -> None:
        """Adjust to the server's recent share of a core and the median of its calls."""
        factor = (max(busy, 0.01) / self._busy) ** 0.5
        if median_s > LATE_S:
            factor = SLOWER_AT_MOST
        factor = min(max(factor, FASTER_AT_MOST), SLOWER_AT_MOST)
        self.think_s = min(max(self.think_s * factor, self._min_think_s), THINK_S_MAX)


class Latencies:
    """Seconds of calls without a wait, and of messages."""

    def __init__(self) -> None:
        self.calls = array("f")
        self.messages = array("f")
        self.lately: deque[float] = deque(maxlen=LATELY)

    def answered(self, seconds: float) -> None:
        """Record the duration of a call."""
        self.calls.append(seconds)
        self.lately.append(seconds)

    def heard(self, seconds: float) -> None:
        """Record the time from sending a message to hearing it on a stream."""
        self.messages.append(seconds)
