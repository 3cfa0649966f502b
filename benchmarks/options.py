"""Options of a run, and its command line."""

import argparse
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

QUICK_MESSAGES: Final = 300
QUICK_STREAMS: Final = (50, 200)


@dataclass(frozen=True)
class BenchmarkOptions:
    """The size of a run; the defaults stay below ten minutes."""

    pairs: int = 50
    messages: int = 1_000
    """Messages of one closed-loop measurement."""
    streams: tuple[int, ...] = (500, 2_000, 10_000)
    """Idle streams besides the talking pairs, step by step: memory and messages are measured at each."""
    rounds: int = 3
    rate_per_second: int = 300
    paced_seconds: float = 2.0
    """The length of one measurement by the clock."""
    rest_seconds: float = 15.0
    """Idle time beside each number of streams; each stream gets its ping in that time."""
    warmup_messages: int = 500
    idle_streams_few: int = 50
    """Idle streams open from the beginning, besides the talking pairs."""
    budget_s: float = 560.0
    """Time for all rounds; one that would end later does not start."""
    only_messages: bool = False
    """Measure a message alone, of the bare servers and of the broker with its log in memory."""
    deadline_s: float = 680.0
    """The run fails after this time."""


def parse(arguments: list[str] | None = None) -> BenchmarkOptions:
    """Return the options of a command line; `--quick` is a smoke test and its figures mean little."""
    default = BenchmarkOptions()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--pairs", type=int, default=default.pairs, help="pairs that talk (%(default)s)")
    parser.add_argument("--messages", type=int, default=default.messages, help="a measurement (%(default)s)")
    streams = ",".join(map(str, default.streams))
    parser.add_argument("--streams", default=streams, help="idle ones, step by step (%(default)s)")
    parser.add_argument("--rounds", type=int, default=default.rounds, help="a server (%(default)s)")
    parser.add_argument("--rate", type=int, default=default.rate_per_second, help="for latency (%(default)s)")
    parser.add_argument("--only-messages", action="store_true", help="of the bare servers and the broker; no streams")
    parser.add_argument("--quick", action="store_true", help="one small round: does it run at all?")
    chosen = parser.parse_args(arguments)
    for name in ("pairs", "messages", "rounds", "rate"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if chosen.quick:
        return BenchmarkOptions(
            pairs=min(chosen.pairs, 10),
            messages=min(chosen.messages, QUICK_MESSAGES),
            streams=QUICK_STREAMS,
            rounds=1,
            rate_per_second=chosen.rate,
            paced_seconds=0.5,
            rest_seconds=0.2,
            warmup_messages=100,
            idle_streams_few=10,
        )
    steps = ascending(chosen.streams)
    if not steps:
        parser.error("--streams takes whole numbers that ascend, as in 500,2000")
    return BenchmarkOptions(
        chosen.pairs,
        chosen.messages,
        steps,
        chosen.rounds,
        chosen.rate,
        idle_streams_few=min(default.idle_streams_few, steps[0] // 2),
        only_messages=chosen.only_messages,
    )


def ascending(text: str) -> tuple[int, ...]:
    """Return the numbers in `text`, or none if it holds anything else."""
    parts = text.split(",")
    steps = tuple(int(part) for part in parts if part.isascii() and part.isdigit())
    is_sound = len(steps) == len(parts) and steps[0] > 1 and all(fewer < more for fewer, more in pairwise(steps))
    return steps if is_sound else ()
