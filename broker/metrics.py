"""Counts and times for Prometheus. Labels are kinds and codes alone: none names a person."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import accumulate

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Info,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric

from broker.stores import DISTRIBUTION
from events.commands import SendMessage
from events.commit import Commit
from events.events import MessageSent, PartnerReported, RoomClosed, RoomOpened
from projections.state import State

logger = structlog.get_logger("broker.log")

_IN_A_ROOM = (RoomOpened, MessageSent, RoomClosed, PartnerReported)

STREAM_KINDS = ("get", "listen")
LATENCY_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
TURN_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)

OF_THE_LOG = "the log's: of several brokers take the maximum, never the sum"


class Metrics:
    """One registry a broker, so two in one process do not add up."""

    def __init__(self, state_now: Callable[[], State], tasks_now: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        for name, meaning, value in _gauges(state_now):
            Gauge(name, meaning, registry=registry).set_function(value)
        Gauge("chat_broker_tasks", "Tasks of the event loop", registry=registry).set_function(tasks_now)
        ProcessCollector(registry=registry)  # where there is a /proc
        GCCollector(registry=registry)
        streams = Gauge("chat_broker_streams", "Open streams", ["kind"], registry=registry)
        self.streams = {kind: streams.labels(kind) for kind in STREAM_KINDS}
        self.sessions = Gauge("chat_broker_sessions", "Open 2025 sessions", registry=registry)
        self.store_available = Gauge("chat_broker_store_available", "1 while the log takes commits", registry=registry)
        self.store_available.set(1)
        self.brokers = Gauge("chat_broker_workers", "Living brokers of this log", registry=registry)
        self.brokers.set(1)
        self.roster_fresh_s = Gauge(
            "chat_broker_roster_fresh_seconds",
            "Age of the news of other brokers",
            registry=registry,
        )
        self.busiest_peer_share = Gauge(
            "chat_broker_busiest_peer_share", "Share of the latest matches with one peer", registry=registry
        )
        self._rejections = Counter("chat_broker_rejections", "Commands refused", ["code"], registry=registry)
        Info("chat_broker", "This program", registry=registry).info({"version": version(DISTRIBUTION)})
        self._commits = FastCounter("chat_broker_commits", "Commits folded, those of other brokers included")
        self._followed = 0  # the commits of other brokers
        self._appended = FastCounter(
            "chat_broker_appended", "Commits stored by this broker", lambda: self._commits.count - self._followed
        )
        self.conflicts = FastCounter("chat_broker_conflicts", "Appends that came after one of another broker")
        self.turn_s = FastHistogram(
            "chat_broker_turn_seconds", "From asking for a turn to write to having it, or doing without", TURN_BUCKETS_S
        )
        self.follow_s = FastHistogram(
            "chat_broker_follow_seconds",
            "From the decision of another broker's commit, by that one's clock, to its fold here",
            LATENCY_BUCKETS_S,
        )
        turns = FastCounter("chat_broker_turns", "Turns to write that were asked for", lambda: self.turn_s.count)
        self.deliveries = FastCounter("chat_broker_deliveries", "Notifications handed to a stream")
        self.denied = FastCounter("chat_broker_denied", "Requests of peers in --deny-peers refused")
        self.append_s = FastHistogram("chat_broker_append_seconds", "A batch's way into the log", LATENCY_BUCKETS_S)
        self.delivery_s = FastHistogram(
            "chat_broker_delivery_seconds", "From a commit to the stream's transport", LATENCY_BUCKETS_S
        )
        counters = (self._commits, self._appended, self.conflicts, turns, self.deliveries, self.denied)
        for fast in (*counters, self.append_s, self.turn_s, self.follow_s, self.delivery_s):
            registry.register(fast)
        self._log_level = logger.get_effective_level()

    def committed(self, commit: Commit) -> None:
        """Count and log a commit: never a text, a name or a handle.

        Messages are logged at `debug`, all else at `info`: a line for each message would drown the others.
        """
        self._commits.inc()
        level = logging.DEBUG if type(commit.command) is SendMessage else logging.INFO
        if level < self._log_level:  # before any field is computed: this runs for every message
            return
        logger.log(
            level,
            "commit",
            position=commit.position,
            command=type(commit.command).__name__,
            events=[type(event).__name__ for event in commit.events],
            connection=getattr(commit.command, "connection_id", None),
            rooms=list(dict.fromkeys(event.room_id for event in commit.events if isinstance(event, _IN_A_ROOM))),
        )

    def followed(self, age_ms: float) -> None:
        """Count a commit of another broker, folded `age_ms` after it was decided there. Their clocks may differ."""
        self._followed += 1
        self.follow_s.observe_ms(max(0.0, age_ms))

    def rejected(self, code: str) -> None:
        """Count a refused command."""
        self._rejections.labels(code).inc()

    def render(self) -> bytes:
        """Return the metrics in the Prometheus text format."""
        return generate_latest(self._registry)


def _gauges(state_now: Callable[[], State]) -> Iterator[tuple[str, str, Callable[[], float]]]:
    yield "chat_broker_waiting", f"Connections in the queue ({OF_THE_LOG})", lambda: len(state_now().queue)
    yield "chat_broker_rooms_open", f"Conversations going on ({OF_THE_LOG})", lambda: state_now().rooms.open_count
    yield "chat_broker_connections", f"Connections known ({OF_THE_LOG})", lambda: len(state_now().connections)
    yield "chat_broker_position", f"Position of the last commit ({OF_THE_LOG})", lambda: state_now().position


class FastCounter:
    """A counter; `collect` makes it a collector."""

    def __init__(self, name: str, meaning: str, value: Callable[[], int] | None = None) -> None:
        """`value`: what it counts, if `inc` is never called."""
        self._name, self._meaning = name, meaning
        self._value = value
        self.count = 0

    def inc(self) -> None:
        """Add one."""
        self.count += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the metric for a scrape."""
        yield CounterMetricFamily(self._name, self._meaning, value=self._value() if self._value else self.count)


class FastHistogram:
    """A histogram of times in seconds."""

    def __init__(self, name: str, meaning: str, bounds_s: Sequence[float]) -> None:
        """`bounds_s`: the inclusive upper bounds of its buckets, ascending; an unbounded one is added."""
        self._name, self._meaning = name, meaning
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    @property
    def count(self) -> int:
        """Return how many durations were recorded."""
        return sum(self._counts)

    def observe_ms(self, duration_ms: float) -> None:
        """Record one duration, given in milliseconds."""
        duration_s = duration_ms / 1_000
        self._counts[bisect_left(self._bounds_s, duration_s)] += 1
        self._sum_s += duration_s

    def collect(self) -> Iterator[Metric]:
        """Yield the metric for a scrape."""
        bounds = [*(str(bound) for bound in self._bounds_s), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._meaning, buckets=buckets, sum_value=self._sum_s)
