"""`python -m benchmarks.startup`: time from a process's start to `/healthz`, and to `/readyz`.

The log is in memory; `benchmarks.replay` measures folding a long one. Times by the clock, and the process's CPU up to
there. Imports by package are those of a run of its own (`-X importtime`).
"""

import argparse
import asyncio
import re
import subprocess
import sys
import time
from collections import Counter
from statistics import median
from typing import Final, NamedTuple

from benchmarks.server import Server, python

POLL_S: Final = 0.005
WITHIN_S: Final = 20.0
US_PER_MS: Final = 1_000
LARGEST: Final = 8

_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\w+)")


class TimeToAnswer(NamedTuple):
    """Time to an answer of 200."""

    seconds: float
    cpu_s: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="starts (%(default)s)")
    asyncio.run(_measure(parser.parse_args().rounds))
    print("\nimported before /healthz answers, its own ms:", _largest("mcp_facade.serve"))
    print("all that is imported, its own ms:", _largest("mcp_facade.app"))


async def _measure(rounds: int) -> None:
    starts = [await start() for _ in range(rounds + 1)][1:]  # the first reads the files for the others
    print(f"{'':10} {'ms, median':>12} {'fastest':>9} {'slowest':>9} {'CPU ms':>9}")
    for path, reached in zip(("/healthz", "/readyz"), zip(*starts, strict=True), strict=True):
        times = [one.seconds * 1_000 for one in reached]
        cpu_ms = median(one.cpu_s for one in reached) * 1_000
        print(f"{path:10} {median(times):>12.0f} {min(times):>9.0f} {max(times):>9.0f} {cpu_ms:>9.0f}")


async def start() -> tuple[TimeToAnswer, TimeToAnswer]:
    """Start a broker, return its times to `/healthz` and to `/readyz`, and stop it."""
    began = time.monotonic()
    server = Server(*python("mcp_facade.main", "serve"))
    try:
        return await _reached(server, "/healthz", began), await _reached(server, "/readyz", began)
    finally:
        server.stop()


async def _reached(server: Server, path: str, began: float) -> TimeToAnswer:
    while time.monotonic() - began < WITHIN_S:
        try:
            if (await server.get(path)).startswith("HTTP/1.1 200"):
                return TimeToAnswer(time.monotonic() - began, server.cpu_seconds())
        except OSError:  # it does not listen yet
            pass
        await asyncio.sleep(POLL_S)
    raise RuntimeError(f"{path} did not answer in {WITHIN_S:.0f} s:\n{server.log_tail()}")


def _largest(module: str) -> str:
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    own: Counter[str] = Counter()
    for line in _LINE.finditer(lines):
        own[line[2]] += int(line[1])
    return ", ".join(f"{package} {took_us / US_PER_MS:.0f}" for package, took_us in own.most_common(LARGEST))


if __name__ == "__main__":
    main()
