"""Counts and times for Prometheus. Labels are kinds and codes alone: none names a person."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric

from events.commands import SendMessage
from events.commit import Commit
from events.events import MessageSent, PartnerReported, RoomClosed, RoomOpened
from projections.state import State

logger = structlog.get_logger("broker.log")

_IN_A_ROOM = (RoomOpened, MessageSent, RoomClosed, PartnerReported)

STREAM_KINDS = ("get", "listen")
LATENCY_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


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
        self._commits = FastCounter("chat_broker_commits", "Commits stored")
        self.deliveries = FastCounter("chat_broker_deliveries", "Notifications handed to a stream")
        self.denied = FastCounter("chat_broker_denied", "Requests of peers in --deny-peers refused")
        self.append_s = FastHistogram("chat_broker_append_seconds", "A batch's way into the log", LATENCY_BUCKETS_S)
        self.delivery_s = FastHistogram(
            "chat_broker_delivery_seconds", "From a commit to the stream's transport", LATENCY_BUCKETS_S
        )
        for fast in (self._commits, self.deliveries, self.denied, self.append_s, self.delivery_s):
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

    def rejected(self, code: str) -> None:
        """Count a refused command."""
        self._rejections.labels(code).inc()

    def render(self) -> bytes:
        """Return the metrics in the Prometheus text format."""
        return generate_latest(self._registry)


def _gauges(state_now: Callable[[], State]) -> Iterator[tuple[str, str, Callable[[], float]]]:
    yield "chat_broker_waiting", "Connections in the queue", lambda: len(state_now().queue)
    yield "chat_broker_rooms_open", "Conversations going on", lambda: state_now().rooms.open_count
    yield "chat_broker_connections", "Connections known", lambda: len(state_now().connections)
    yield "chat_broker_position", "Position of the last commit", lambda: state_now().position


class FastCounter:
    """A counter; `collect` makes it a collector."""

    def __init__(self, name: str, meaning: str) -> None:
        self._name, self._meaning = name, meaning
        self._count = 0

    def inc(self) -> None:
        """Add one."""
        self._count += 1

    def collect(self) -> Iterator[Metric]:
        """Yield the metric for a scrape."""
        yield CounterMetricFamily(self._name, self._meaning, value=self._count)


class FastHistogram:
    """A histogram of times in seconds."""

    def __init__(self, name: str, meaning: str, bounds_s: Sequence[float]) -> None:
        """`bounds_s`: the inclusive upper bounds of its buckets, ascending; an unbounded one is added."""
        self._name, self._meaning = name, meaning
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

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
