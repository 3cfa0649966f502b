"""Counts and times for Prometheus that cost next to nothing to note: the event loop's thread alone writes them.

The client library's own take a lock for each step, three of them for a time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric


class Count:
    """A counter; `collect` makes it a collector."""

    def __init__(self, name: str, meaning: str) -> None:
        self._name, self._meaning = name, meaning
        self._count = 0

    def inc(self) -> None:
        """One more."""
        self._count += 1

    def collect(self) -> Iterator[Metric]:
        """What a scrape is given."""
        yield CounterMetricFamily(self._name, self._meaning, value=self._count)


class Times:
    """A histogram of times in seconds."""

    def __init__(self, name: str, meaning: str, bounds_s: Sequence[float]) -> None:
        """`bounds_s`: the inclusive upper bounds of its buckets, ascending; one without a bound is added."""
        self._name, self._meaning = name, meaning
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Note one."""
        self._counts[bisect_left(self._bounds_s, duration_s)] += 1
        self._sum_s += duration_s

    def collect(self) -> Iterator[Metric]:
        """What a scrape is given."""
        bounds = [*(str(bound) for bound in self._bounds_s), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._meaning, buckets=buckets, sum_value=self._sum_s)
