"""`python -m benchmarks.garbage`: what the tuning of garbage collection is worth, in CPU and in the slowest answers.

Each broker twice, as it is shipped (`mcp_facade/serve.py`: what a start has made is left out of collections, which are
rarer than Python's) and with Python's own collections; the two take turns in every round, beside silent people with
open streams, through all of whom a full collection has to go.
"""

import argparse
import asyncio
import gc
from typing import Final

import uvloop

from benchmarks.kinds import BROKER
from benchmarks.options import Options
from benchmarks.report import message_table
from benchmarks.server import python, raise_open_files
from benchmarks.target import Kind, Target
from benchmarks.wire import MODERN, SESSIONS

UNTUNED: Final = python("benchmarks.untuned", "serve")
LANES: Final[dict[str, tuple[str, ...]]] = {"": (), ", no lane": ("--no-fast-lane",)}
DEADLINE_S: Final = 900


def main() -> None:
    """Measure and print, a table for each kind of broker."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.garbage", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="for each of the two (%(default)s)")
    parser.add_argument("--streams", type=int, default=2_000, help="silent people beside (%(default)s)")
    parser.add_argument("--messages", type=int, default=2_000, help="of one measurement (%(default)s)")
    asked = parser.parse_args()
    raise_open_files()
    gc.disable()  # the generator must not pause
    options = Options(
        rounds=asked.rounds, idle_streams_few=asked.streams, messages=asked.messages, paced_seconds=4.0, streams=()
    )
    uvloop.run(_measure(options))


async def _measure(options: Options) -> None:
    async with asyncio.timeout(DEADLINE_S):
        for version in (MODERN, SESSIONS):
            for lane, flags in LANES.items():
                name = f"{version}{lane}"
                tuned = Kind(f"{name}, as shipped", version, (*BROKER, *flags))
                untuned = Kind(f"{name}, Python's own", version, (*UNTUNED, *flags))
                await _compare((tuned, untuned), options)


async def _compare(kinds: tuple[Kind, Kind], options: Options) -> None:
    targets = [Target(kind, options) for kind in kinds]
    try:
        for target in targets:
            await target.open()
        for _ in range(options.rounds):
            for target in targets:
                await target.talk()
                await target.pace()
            targets.reverse()
    finally:
        for target in targets:
            target.close()
    rows = [(target.kind.name, target.samples) for target in sorted(targets, key=lambda one: kinds.index(one.kind))]
    print(message_table(rows, "shipped") + "\n")


if __name__ == "__main__":
    main()
