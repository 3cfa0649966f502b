"""Counts and times as Prometheus reads them."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from broker.metrics import OF_THE_LOG, FastCounter, FastHistogram, Metrics
from broker.stores import DISTRIBUTION
from projections.state import INITIAL_STATE
from tests.support.logs import log_of
from tests.support.people import ANN, BOB, CAT, enter

BOUNDS_S = (0.001, 0.01, 0.1)


def samples(registry: CollectorRegistry) -> list[str]:
    """Return the samples of a scrape, without creation times."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


def test_a_count_counts() -> None:
    """A count begins at 0 and grows by one."""
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


def test_what_other_brokers_stored_is_not_ones_own() -> None:
    """Commits include the others'; the age of a foreign one is from its clock to ours, and never negative."""
    metrics = Metrics(lambda: INITIAL_STATE, lambda: 0)
    for commit in log_of(enter(ANN), enter(BOB), enter(CAT)):
        metrics.committed(commit)
    metrics.followed(3)
    metrics.followed(-70)
    lines = metrics.render().decode().splitlines()
    for sample in (
        "chat_broker_commits_total 3.0",
        "chat_broker_appended_total 1.0",
        "chat_broker_follow_seconds_count 2.0",
        "chat_broker_follow_seconds_sum 0.003",
        'chat_broker_follow_seconds_bucket{le="0.0001"} 1.0',
    ):
        assert sample in lines


def test_the_program_says_its_version() -> None:
    """The metric shows the operator which workers are older."""
    lines = Metrics(lambda: INITIAL_STATE, lambda: 0).render().decode().splitlines()
    assert f'chat_broker_info{{version="{version(DISTRIBUTION)}"}} 1.0' in lines


def test_what_is_the_logs_says_so() -> None:
    """Its help warns of adding the workers' up."""
    lines = Metrics(lambda: INITIAL_STATE, lambda: 0).render().decode().splitlines()
    warned = {line.split()[2] for line in lines if line.startswith("# HELP") and line.endswith(f"({OF_THE_LOG})")}
    assert warned == {f"chat_broker_{name}" for name in ("waiting", "rooms_open", "connections", "position")}
