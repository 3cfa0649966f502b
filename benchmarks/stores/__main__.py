"""`python -m benchmarks.stores`: the cost of a log in a store; exit status 1 if a figure is not as wanted.

CPU time is that of the brokers' processes; the engine's is not counted. Figures are medians of rounds, in which the
two sides of a ratio alternate.
"""

import argparse
import gc
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import uvloop

from benchmarks.server import end_in_order_on_sigterm, raise_open_files
from benchmarks.stores import cost, latency, start, streams, writers
from benchmarks.stores.rows import Row, row_table

Measure = Callable[[argparse.Namespace], Awaitable[list[Row]]]

PARTS: Final[Mapping[str, Measure]] = {
    "cost": lambda options: cost.measure(options.rounds, options.seconds),
    "latency": lambda options: latency.measure(options.rounds, options.seconds),
    "writers": lambda options: writers.measure(options.rounds, options.seconds),
    "streams": lambda options: streams.measure(min(options.rounds, 3), options.streams),
    "start": lambda options: start.measure(min(options.rounds, 3), options.commits),
}


async def measure(options: argparse.Namespace) -> list[Row]:
    """Measure the chosen parts, one after the other."""
    rows = []
    for part in options.parts or PARTS:
        rows += await PARTS[part](options)
    return rows


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stores", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument(
        "--rounds", type=int, default=5, help="of each figure; at most 3 of streams and start (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement (%(default)s)")
    parser.add_argument("--streams", type=int, default=5_000, help="on the broker that is killed (%(default)s)")
    parser.add_argument("--commits", type=int, default=1_000_000, help="of the log to start from (%(default)s)")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if options.rounds < 1 or options.seconds <= 0 or options.commits < 1:
        parser.error("--rounds and --commits must be at least 1, and --seconds above 0")
    if options.streams < 20 or options.streams % 2:
        parser.error("--streams must be even, and at least 20")
    return options


def main() -> int:
    """The command line."""
    options = parse()
    end_in_order_on_sigterm()
    raise_open_files()
    gc.set_threshold(50_000, 20, 50)  # the generator must not pause for long
    rows = uvloop.run(measure(options))
    print(row_table(rows))
    return 0 if all(row.is_met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
