"""Memory and other resources of the server's process, read every second, and their growth."""

import statistics
from dataclasses import dataclass
from typing import Final

POSITION: Final = "chat_broker_position"
COLLECTIONS: Final = tuple(f'python_gc_collections_total{{generation="{generation}"}}' for generation in range(3))
WARM_UP_SHARE: Final = 0.6
"""Share of a run until all that may grow up to a limit is full."""
JUDGED_S_MIN: Final = 180.0
"""Shortest time of readings to tell a leak from noise."""
GROWTH_SHARE_MAX: Final = 0.05
GROWTH_KB_MAX: Final = 4_096
"""Growth up to which memory is flat, over all of the judged time: a share of the memory and a size in KiB, of which the
larger counts. So a longer run is stricter.
"""


@dataclass(frozen=True)
class Reading:
    """One reading of the process."""

    at_s: float
    """Seconds since the first clients came."""
    resident_kb: int
    open_fds: int
    cpu_s: float
    position: int = 0
    """Position of the log in the last metrics."""
    collections: tuple[int, ...] = (0, 0, 0)
    """Runs of Python's garbage collector, by generation."""


@dataclass(frozen=True)
class Growth:
    """Growth of resident memory after the warm-up."""

    began_s: float
    """End of the warm-up."""
    span_s: float
    kb_a_minute: float
    """The slope of a straight line, by least squares."""
    first_kb: float
    """The median of the first tenth."""
    last_kb: float
    commits: int

    @property
    def kb(self) -> float:
        """Total growth, by the slope."""
        return self.kb_a_minute * self.span_s / 60

    @property
    def kb_max(self) -> float:
        """The limit of a flat line."""
        return max(GROWTH_KB_MAX, GROWTH_SHARE_MAX * self.first_kb)

    @property
    def is_judged(self) -> bool:
        """True if the readings span enough time."""
        return self.span_s >= JUDGED_S_MIN

    @property
    def is_flat(self) -> bool:
        """True if growth stays within the bound."""
        return self.kb <= self.kb_max

    @property
    def bytes_a_commit(self) -> float:
        """The same slope, by commits."""
        return self.kb * 1_024 / max(self.commits, 1)


def growth(readings: list[Reading], warm_up_s: float, warm_up_commits: int) -> Growth | None:
    """Return the growth after the warm-up, or `None` without readings from then.

    The warm-up lasts at least `warm_up_s` and `warm_up_commits`.
    """
    judged = [one for one in readings if one.at_s >= warm_up_s and one.position >= warm_up_commits]
    if len(judged) < 2:
        return None
    minutes = [reading.at_s / 60 for reading in judged]
    resident = [float(reading.resident_kb) for reading in judged]
    slope, _ = statistics.linear_regression(minutes, resident)
    tenth = max(len(judged) // 10, 1)
    return Growth(
        judged[0].at_s,
        judged[-1].at_s - judged[0].at_s,
        slope,
        statistics.median(resident[:tenth]),
        statistics.median(resident[-tenth:]),
        judged[-1].position - judged[0].position,
    )


def metrics(text: str) -> dict[str, float]:
    """Return the samples of the Prometheus text format; labelled ones also summed under their bare name."""
    samples: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#") and " " in line:
            labelled, _, value = line.rpartition(" ")
            for name in {labelled, labelled.partition("{")[0]}:
                try:
                    samples[name] = samples.get(name, 0.0) + float(value)
                except ValueError:
                    continue  # of the answer's head
    return samples
