"""Options of a chaos run, and its command line."""

import argparse
import secrets
from dataclasses import dataclass

from benchmarks.engines import STORES, Store
from benchmarks.soak.options import SEED_BELOW


@dataclass(frozen=True)
class ChaosOptions:
    """The size of a run."""

    store: Store = "redis"
    rounds: int = 10
    workers: int = 3
    seed: int = 0
    faults_s: float = 45.0
    """The time in which workers are killed, in each round; starting and leaving come on top."""
    listeners: int = 12
    """People with an open stream, half of each era."""
    tool_people: int = 6
    """People who only call tools, half of each era."""
    vanishing: int = 6
    """People who come one after the other, and vanish for good without a word."""
    worker_killed_every_s: tuple[float, float] = (4.0, 8.0)
    engine_down_s: float = 1.0
    grace_s: float = 15.0
    """Every grace; shorter ones would be as good as the brokers' lease of ten seconds."""
    patience_s: float = 26.0
    """The wait for a shared interest. Some share theirs with nobody, and vanish: then they are past their grace."""
    think_s: float = 0.4

    @property
    def people(self) -> int:
        """The number of staying people."""
        return self.listeners + self.tool_people

    def flags(self) -> list[str]:
        """Return the flags of a worker: every grace alike, and no limit in anyone's way."""
        grace_ms = round(self.grace_s * 1_000)
        limits: dict[str, int | str] = {
            "matching": "interests",
            "interest-patience-ms": round(self.patience_s * 1_000),
            "stream-grace-ms": grace_ms,
            "idle-grace-queue-ms": grace_ms,
            "idle-grace-room-ms": grace_ms,
            "confirm-grace-ms": grace_ms,
            "rematch-after-ms": 0,
            "messages-per-10s-max": 1_000_000,
            "reads-per-10s-max": 1_000_000,
            "queue-commands-per-10s-max": 1_000_000,
            "handles-minted-per-10s-max": 1_000_000,
        }
        return [f"--{name}={value}" for name, value in limits.items()]


def parse(arguments: list[str] | None = None) -> ChaosOptions:
    """Return the options of a command line; the default seed is random."""
    default = ChaosOptions()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--store", choices=STORES, default=default.store, help="of the log (%(default)s)")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="each with a new log (%(default)s)")
    parser.add_argument("--workers", type=int, default=default.workers, help="behind the proxy (%(default)s)")
    parser.add_argument("--seconds", type=float, default=default.faults_s, help="of faults a round (%(default)s)")
    parser.add_argument("--seed", type=int, help="of all that is drawn by lot")
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.rounds <= 1_000:
        parser.error("--rounds must be from 1 to 1000")
    if not 2 <= chosen.workers <= 16:
        parser.error("--workers must be from 2 to 16")
    if not 5 <= chosen.seconds <= 3_600:
        parser.error("--seconds must be from 5 to 3600")
    seed = chosen.seed if chosen.seed is not None else secrets.randbelow(SEED_BELOW)
    return ChaosOptions(chosen.store, chosen.rounds, chosen.workers, seed, chosen.seconds)
