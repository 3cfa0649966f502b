"""What one seed is about: how many brokers and people of which kind, under which limits."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from broker.broker import Broker
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

IN_MEMORY = 0.2
"""The share of seeds, among those with one broker, whose log is a `MemoryLog`: it lives as long as the process."""


class Plan:
    """Drawn from the seed; the population and the duration are bounded."""

    def __init__(self, seed: str, broker_type: Callable[..., Broker] = Broker) -> None:
        draw = self.random = random.Random(f"{seed} plan")
        self.broker_type = broker_type
        self.brokers = draw.choices((1, 2, 3), (7, 2, 1))[0]
        self.keep_commits = draw.choice((None, None, 12, 60)) if self.brokers == 1 else None
        # Drawn apart, so that what the other seeds draw does not depend on it.
        self.in_memory = self.brokers == 1 and random.Random(f"{seed} in memory").random() < IN_MEMORY
        self.redact_after_ms = draw.choice((None, None, 1, 5_000))
        self.duration_ms = draw.choice((6_000.0, 15_000.0, 40_000.0))
        self.haste = draw.choice((0.2, 1.0, 3.0))
        self.policy = _policy(draw)
        self.modern = draw.randrange(4)
        self.per_call = draw.randrange(3)
        self.kept = draw.randrange(4)
        self.listening = draw.randrange(3)
        if self.modern + self.per_call + self.kept + self.listening < 2:
            self.modern, self.kept = 1, 1
        self.roaming = draw.random() < 0.5
        self.fast_lane = draw.random() < 0.6

    @property
    def handles_are_kept(self) -> bool:
        """Whether nobody who is idle is ever forgotten."""
        return self.policy.connections_kept > 1_000

    @property
    def longest_grace_ms(self) -> float:
        """After it, whoever has gone has been taken out."""
        policy = self.policy
        return 10_000.0 + max(policy.stream_grace_ms, policy.idle_grace_queue_ms, policy.idle_grace_room_ms)

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
            f"{self.haste}; {log}keep_commits={self.keep_commits}, redact_after_ms={self.redact_after_ms}, "
            f"fast_lane={self.fast_lane}; " + " ".join(changed)
        )


def _policy(draw: random.Random) -> Policy:
    values: dict[str, Any] = {name: draw.choice(choices) for name, choices in LIMITS.items()}
    values |= {name: draw.choice(choices) for name, choices in SELDOM.items() if draw.random() < 0.2}
    values["matching"] = draw.choice(("first-come", "first-come", "interests"))
    return Policy(**values)
