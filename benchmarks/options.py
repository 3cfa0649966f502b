"""What a run does, and the command line that says it."""

import argparse
from dataclasses import dataclass
from typing import Final

QUICK_MESSAGES: Final = 1_000
QUICK_STREAMS: Final = 200


@dataclass(frozen=True)
class Options:
    """The size of a run; the defaults stay below three minutes."""

    pairs: int = 50
    messages: int = 1_500
    """Messages of one closed-loop measurement."""
    streams: int = 2_000
    """Connections with an open stream in the memory measurement, and besides the talking pairs afterwards."""
    rounds: int = 3
    rate_per_second: int = 300
    paced_messages: int = 600
    """Messages of one measurement at the fixed rate."""
    warmup_messages: int = 500
    idle_streams_few: int = 50
    """Idle streams that are open besides the talking pairs from the beginning."""
    budget_s: float = 165.0
    """A round that would end after it does not start."""
    deadline_s: float = 178.0
    """When this is spent, the run fails."""


def parse(arguments: list[str] | None = None) -> Options:
    """The options that a command line asks for; `--quick` is a smoke test and its figures mean little."""
    default = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--pairs", type=int, default=default.pairs, help="pairs that talk (%(default)s)")
    parser.add_argument("--messages", type=int, default=default.messages, help="a measurement (%(default)s)")
    parser.add_argument("--streams", type=int, default=default.streams, help="idle ones (%(default)s)")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="a server (%(default)s)")
    parser.add_argument("--rate", type=int, default=default.rate_per_second, help="for latency (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one small round: does it run at all?")
    chosen = parser.parse_args(arguments)
    for name in ("pairs", "messages", "streams", "rounds", "rate"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if chosen.quick:
        return Options(
            pairs=min(chosen.pairs, 10),
            messages=min(chosen.messages, QUICK_MESSAGES),
            streams=min(chosen.streams, QUICK_STREAMS),
            rounds=1,
            rate_per_second=chosen.rate,
            paced_messages=300,
            warmup_messages=300,
            idle_streams_few=min(10, chosen.streams // 2),
        )
    return Options(
        chosen.pairs,
        chosen.messages,
        chosen.streams,
        chosen.rounds,
        chosen.rate,
        idle_streams_few=min(default.idle_streams_few, chosen.streams // 2),
    )
