"""The plan of one seed: the number of brokers, the kinds of people, and the limits."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from broker.broker import Broker
from broker.roster import LEASE_MS
from events.policy import Policy

LIMITS: dict[str, tuple[int, ...]] = {
    "stream_grace_ms": (300, 2_000, 8_000, 30_000),
    "idle_grace_queue_ms": (1_500, 6_000, 90_000),
    "idle_grace_room_ms": (3_000, 20_000, 300_000),
    "messages_per_10s_max": (3, 20, 1_000),
    "queue_commands_per_10s_max": (3, 10, 1_000),
    "events_per_page_max": (1, 2, 5, 500),
    "inbox_events_max": (1, 20, 512),
    "stream_backlog_max": (1, 2, 4, 1_000),
    "closed_rooms_kept": (1, 4, 10_000),
    "command_timeout_ms": (400, 2_000, 5_000),
    "interest_patience_ms": (300, 2_000, 15_000),
    "snapshot_every_commits": (5, 20, 50_000),
    "session_idle_ms": (4_000, 1_800_000),
}
"""Values that a seed draws from, each alike; tiny ones are where the mistakes are."""

SELDOM: dict[str, tuple[int, ...]] = {
    "commands_pending_max": (2,),
    "waits_per_connection_max": (1, 2),
    "wait_ms_max": (700,),
    "connections_kept": (3, 6),
    "queue_connections_max": (1, 2),
    "rooms_open_max": (1, 2),
    "streams_max": (2,),
    "sessions_max": (8,),
    "message_bytes_max": (16,),
    "handles_minted_per_10s_max": (3,),
}
"""Values that one seed in five draws, each limit by itself."""

COMPANY: dict[str, tuple[int, ...]] = {
    "confirm_grace_ms": (0, 700, 3_000, 25_000),
    "requeue_on_missed_match": (0, 1, 1),
    "rematch_after_ms": (0, 2_000, 600_000),
    "rematch_patience_ms": (0, 300, 2_000, 20_000),
    "blocks_per_connection_max": (0, 1, 2, 100),
    "reports_per_10min_max": (0, 1, 3),
    "evidence_keep_ms": (0, 3_000, 2_592_000_000),
}
"""Values of the rules about who meets whom; 0 is off."""

VANISHING = (0.0, 0.01, 0.05, 0.15)
"""The chance of a host to vanish within a second while one of its people waits or chats."""

IN_MEMORY = 0.2
"""The share of seeds, among those with one broker, whose log is a `MemoryLog`: it lives as long as the process."""


SHARED = "shared-"
"""The seeds that begin so are about two to four brokers on one log, and clients that move between them."""

LAGS_MS = (0.0, 5.0, 50.0, 300.0, 1_000.0)
"""By how much later a broker hears of what another has stored, at most."""

SHARED_GRACES_MS: dict[str, tuple[int, ...]] = {
    "stream_grace_ms": (15_000, 30_000),
    "idle_grace_queue_ms": (15_000, 30_000, 90_000),
    "idle_grace_room_ms": (20_000, 60_000, 300_000),
    "confirm_grace_ms": (0, 3_000, 25_000),
}
"""Graces longer than the time in which a lost broker is noticed."""

SHARED_SESSION_IDLE_MS = 1_800_000
"""More than the clocks of the brokers differ by: one that is ahead removes the records of sessions that others use."""

SHARED_ATTENDED_MS = (15_000, 45_000)
SHARED_DURATIONS_MS = (15_000.0, 40_000.0, 90_000.0)


class Plan:
    """The bounded choices drawn from a seed: population, duration and limits."""

    def __init__(self, seed: str, broker_type: Callable[..., Broker] = Broker) -> None:
        draw = self.random = random.Random(f"{seed} plan")
        self.broker_type = broker_type
        self.brokers = draw.choices((1, 2, 3), (7, 2, 1))[0]
        self.keep_commits = draw.choice((None, None, 12, 60)) if self.brokers == 1 else None
        # A separate generator keeps the draws of other seeds unchanged.
        self.in_memory = self.brokers == 1 and random.Random(f"{seed} in memory").random() < IN_MEMORY
        self.redact_after_ms = draw.choice((None, None, 1, 5_000))
        self.duration_ms = draw.choice((6_000.0, 15_000.0, 40_000.0))
        self.haste = draw.choice((0.2, 1.0, 3.0))
        self.policy = _policy(draw, random.Random(f"{seed} company"))
        self.vanishing = random.Random(f"{seed} vanishing").choice(VANISHING)
        self.attended_grace_ms = random.Random(f"{seed} attended").choice((1_000, 5_000, 45_000))
        self.modern = draw.randrange(4)
        self.per_call = draw.randrange(3)
        self.kept = draw.randrange(4)
        self.listening = draw.randrange(3)
        if self.modern + self.per_call + self.kept + self.listening < 2:
            self.modern, self.kept = 1, 1
        self.roams = 0.2 if draw.random() < 0.5 else 0.0
        """How likely a client is to go on with another broker, at each request."""
        self.fast_lane = draw.random() < 0.6
        self.lag_ms = random.Random(f"{seed} lag").choice(LAGS_MS) if self.brokers > 1 else 0.0
        self.graces_outlast_leases = False
        """Whether several brokers can tell who is present; with shorter graces, it is as good as a lease."""
        if seed.startswith(SHARED):
            self._share(random.Random(f"{seed} shared"))

    def _share(self, draw: random.Random) -> None:
        self.brokers = draw.choice((2, 3, 4))
        self.in_memory, self.keep_commits = False, None
        self.lag_ms = draw.choice(LAGS_MS)
        self.roams = draw.choice((0.1, 0.5, 1.0))
        self.modern += 1
        graces = {name: draw.choice(values) for name, values in SHARED_GRACES_MS.items()}
        self.policy = msgspec.structs.replace(self.policy, **graces, session_idle_ms=SHARED_SESSION_IDLE_MS)
        self.attended_grace_ms = draw.choice(SHARED_ATTENDED_MS)
        self.duration_ms = draw.choice(SHARED_DURATIONS_MS)
        self.graces_outlast_leases = True

    @property
    def handles_are_kept(self) -> bool:
        """Return whether idle connections are never forgotten."""
        return self.policy.connections_kept > 1_000

    @property
    def longest_grace_ms(self) -> float:
        """The time after which every vanished connection has been removed."""
        policy, leases_ms = self.policy, 0 if self.brokers == 1 else 2 * LEASE_MS
        return (
            10_000.0
            + leases_ms
            + max(
                policy.stream_grace_ms,
                policy.idle_grace_queue_ms,
                policy.idle_grace_room_ms,
                self.attended_grace_ms,
            )
        )

    def __str__(self) -> str:
        default = Policy()
        changed = [
            f"{name}={getattr(self.policy, name)}"
            for name in Policy.__struct_fields__
            if getattr(self.policy, name) != getattr(default, name)
        ]
        log = "log in memory; " if self.in_memory else ""
        return (
            f"{self.brokers} brokers; people: {self.modern} modern, {self.listening} listening, {self.per_call} with a "
            f"session a call, {self.kept} hosts with a session; {self.duration_ms / 1_000:.0f} s of faults, haste "
            f"{self.haste}, vanishing={self.vanishing}; {log}lag_ms={self.lag_ms:.0f}, roams={self.roams}, "
            f"keep_commits={self.keep_commits}, redact_after_ms={self.redact_after_ms}, fast_lane={self.fast_lane}; "
            + " ".join(changed)
        )


def _policy(draw: random.Random, company: random.Random) -> Policy:
    values: dict[str, Any] = {name: draw.choice(choices) for name, choices in LIMITS.items()}
    values |= {name: draw.choice(choices) for name, choices in SELDOM.items() if draw.random() < 0.2}
    values |= {name: company.choice(choices) for name, choices in COMPANY.items()}
    values["matching"] = draw.choice(("first-come", "first-come", "interests"))
    return Policy(**values)
