"""Options of a soak, and its command line."""

import argparse
import secrets
from dataclasses import dataclass
from typing import Final

LOGS: Final = ("memory", "sqlite")
SEED_BELOW: Final = 1_000_000


@dataclass(frozen=True)
class SoakOptions:
    """The size of a run."""

    minutes: float = 10.0
    """Time for clients to come and go; the server's start, the leaving and the checks come on top."""
    connections: int = 2_000
    """Clients with an open stream, half of each era; a tenth as many again only call tools."""
    log: str = "memory"
    seed: int = 0
    busy: float = 0.6
    """Target share of one core for the server; it sets the rate at which clients talk."""
    stream_grace_s: float = 4.0
    idle_grace_s: float = 6.0
    session_idle_s: float = 8.0
    deletes: float = 0.3
    """Share of sessions ended with a DELETE; the rest expire."""
    min_think_s: float = 0.1

    @property
    def tool_people(self) -> int:
        """The number of clients with tools alone."""
        return max(self.connections // 10, 2)

    @property
    def people(self) -> int:
        """The number of clients."""
        return self.connections + self.tool_people

    @property
    def absence_s(self) -> float:
        """Silence after which the server must have removed a client."""
        return max(self.stream_grace_s, self.idle_grace_s) + 3.0

    @property
    def commits_kept(self) -> int:
        """The limit of the log in memory: half of it reaches back further than any absence."""
        return max(16 * self.people, 32_000)

    def flags(self) -> dict[str, int]:
        """Return the broker's limits: low enough to be reached before the warm-up is over."""
        return {
            "stream_grace_ms": round(self.stream_grace_s * 1_000),
            "idle_grace_queue_ms": round(self.idle_grace_s * 1_000),
            "idle_grace_room_ms": round(self.idle_grace_s * 1_000),
            "session_idle_ms": round(self.session_idle_s * 1_000),
            "connections_kept": self.people + max(self.people // 2, 1_000),
            "closed_rooms_kept": max(self.people // 2, 1_000),
            "log_commits_max": self.commits_kept,
            "inbox_events_max": 64,
            "events_per_page_max": PAGE,
            "stream_backlog_max": 50,
        }


PAGE: Final = 50
"""Events in one result: few, so that some pages are full."""


def parse(arguments: list[str] | None = None) -> SoakOptions:
    """Return the options of a command line; the default seed is random."""
    default = SoakOptions()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=default.minutes, help="of coming and going (%(default)s)")
    parser.add_argument("--connections", type=int, default=default.connections, help="with a stream (%(default)s)")
    parser.add_argument("--log", choices=LOGS, default=default.log, help="the broker's (%(default)s)")
    parser.add_argument("--busy", type=float, default=default.busy, help="the server's share of a core (%(default)s)")
    parser.add_argument("--seed", type=int, help="of all that is drawn by lot")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.minutes <= 240:
        parser.error("--minutes must be above 0 and at most 240")
    if not 2 <= chosen.connections <= 8_000:
        parser.error("--connections must be from 2 to 8000")
    if not 0.05 <= chosen.busy <= 1:
        parser.error("--busy must be from 0.05 to 1")
    seed = chosen.seed if chosen.seed is not None else secrets.randbelow(SEED_BELOW)
    return SoakOptions(chosen.minutes, chosen.connections, chosen.log, seed, chosen.busy)
