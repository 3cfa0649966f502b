"""What the server's process holds, read every second, and whether it grows."""

import statistics
from dataclasses import dataclass
from typing import Final

POSITION: Final = "chat_broker_position"
COLLECTIONS: Final = tuple(f'python_gc_collections_total{{generation="{generation}"}}' for generation in range(3))
WARM_UP_SHARE: Final = 0.6
"""Of a run, for whatever may grow up to a limit to get there."""
JUDGED_S_MIN: Final = 180.0
"""A shorter look at memory tells a leak from noise no more."""
GROWTH_SHARE_MAX: Final = 0.05
GROWTH_KB_MAX: Final = 4_096
"""Growth that is still called flat, over all of the time that is judged: a part of what is held, and in KiB; the
larger of the two. So a longer run is stricter."""


@dataclass(frozen=True)
class Reading:
    """One look at the process."""

    at_s: float
    """Since the first people came."""
    resident_kb: int
    open_fds: int
    cpu_s: float
    position: int = 0
    """Of the log, as of the last look at the metrics."""
    collections: tuple[int, ...] = (0, 0, 0)
    """Of Python's garbage collector, by generation."""


@dataclass(frozen=True)
class Growth:
    """How resident memory went after the warm-up."""

    began_s: float
    """When the warm-up was over."""
    span_s: float
    kb_a_minute: float
    """The slope of a straight line, by least squares."""
    first_kb: float
    """The median of the first tenth."""
    last_kb: float
    commits: int

    @property
    def kb(self) -> float:
        """All in all, by the slope."""
        return self.kb_a_minute * self.span_s / 60

    @property
    def kb_max(self) -> float:
        """Above this it counts as growth."""
        return max(GROWTH_KB_MAX, GROWTH_SHARE_MAX * self.first_kb)

    @property
    def is_judged(self) -> bool:
        """Whether it was looked at for long enough."""
        return self.span_s >= JUDGED_S_MIN

    @property
    def is_flat(self) -> bool:
        """Whether it stays within the bound."""
        return self.kb <= self.kb_max

    @property
    def bytes_a_commit(self) -> float:
        """The same slope, by what happened meanwhile."""
        return self.kb * 1_024 / max(self.commits, 1)


def growth(readings: list[Reading], warm_up_s: float, warm_up_commits: int) -> Growth | None:
    """Of all that was read after the warm-up, which lasts `warm_up_s` and `warm_up_commits` at least.

    `None` where that is nothing.
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
    """The samples of the Prometheus text format; those with labels also by their name alone, added up."""
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
