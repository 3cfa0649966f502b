"""Counts and times as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from broker.metrics import FastCounter, FastHistogram

BOUNDS_S = (0.001, 0.01, 0.1)


def samples(registry: CollectorRegistry) -> list[str]:
    """What a scrape is given, but for when it was made."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_a_count_counts() -> None:
    """From nothing, one at a time."""
    registry, count = CollectorRegistry(), FastCounter("messages", "Said")
    registry.register(count)
    count.inc()
    count.inc()
    assert "messages_total 2.0" in samples(registry)


def test_times_are_those_of_the_client_library() -> None:
    """The same buckets, sum and count; a bound belongs to the bucket below it."""
    registry, theirs = CollectorRegistry(), CollectorRegistry()
    times = FastHistogram("seconds", "How long", BOUNDS_S)
    registry.register(times)
    histogram = Histogram("seconds", "How long", registry=theirs, buckets=BOUNDS_S)
    for duration_s in (0.0, 0.001, 0.0011, 0.05, 0.1, 7.0):
        times.observe_ms(duration_s * 1_000)
        histogram.observe(duration_s)
    assert samples(registry) == samples(theirs)
