"""`python -m benchmarks.memory`: memory of an open stream, and its use by package, while no messages are sent.

Servers, clients and accounting are those of `python -m benchmarks`, so the first table has the figures of its columns
`KB a stream` and `x bare`. Use by package comes from `tracemalloc`, in processes of their own: bytes for each of 1,000
streams, by the package that allocated them.
"""

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import uvloop

from benchmarks.kinds import ServerKind, kinds
from benchmarks.options import BenchmarkOptions, ascending
from benchmarks.server import python, raise_open_files
from benchmarks.target import Target

STREAMS: Final = "500,2000,10000"
TRACED: Final = 1_000
TRACED_WITHIN_S: Final = 60
LEAST_BYTES: Final = 50
KIND_WIDTH: Final = 24

KINDS: Final = [kind for kind in kinds() if kind.crowded]
"""The bare server first, then the broker in both eras."""

Bytes = Mapping[str, float]
"""Bytes a stream, by package."""


async def measure(options: BenchmarkOptions) -> list[Target]:
    """Open more and more streams at one target of each kind, in turns; return the targets."""
    targets = [Target(kind, options) for kind in KINDS]
    try:
        for target in targets:
            await target.open()
        for streams in options.streams:
            for target in targets:
                await target.open_idle(streams)
    finally:
        for target in targets:
            target.close()
    return targets


async def trace(kind: ServerKind, options: BenchmarkOptions, streams: int = TRACED) -> Bytes:
    """Return the memory of each of so many streams, by package.

    :raises RuntimeError: the server does not report it; with the end of its log.
    """
    with TemporaryDirectory() as directory:
        file = Path(directory) / "traced.json"
        target = Target(replace(kind, command=python("benchmarks.traced", str(file), *kind.command[2:])), options)
        try:
            await target.open()
            os.kill(target.pid, signal.SIGUSR1)
            await target.open_idle(options.idle_streams_few + streams)
            os.kill(target.pid, signal.SIGUSR1)
            for _ in range(TRACED_WITHIN_S):
                await asyncio.sleep(1)  # another process writes it in its own time
                if file.exists():
                    return {package: taken / streams for package, taken in json.loads(file.read_text()).items()}
            raise RuntimeError(f"what memory is for was not said in {TRACED_WITHIN_S} s:\n{target.log_tail()}")
        finally:
            target.close()


async def run(options: BenchmarkOptions) -> None:
    """Measure and print; stop every server in any case."""
    async with asyncio.timeout(options.deadline_s):
        targets = await measure(options)
        bare = targets[0].samples.stream_kb
        print(f"{'server':{KIND_WIDTH}} {'idle streams':>12} {'KB a stream':>12} {'x bare':>7}")
        for target in targets:
            for streams, kb in target.samples.stream_kb.items():
                print(f"{target.kind.name:{KIND_WIDTH}} {streams:>12,} {kb:>12.1f} {kb / bare[streams]:>7.2f}")
        traced = [await trace(kind, options) for kind in KINDS]
    print(f"\n{'bytes a stream':{KIND_WIDTH}} " + " ".join(f"{kind.name:>{KIND_WIDTH}}" for kind in KINDS))
    packages = sorted({package for taken in traced for package in taken}, key=lambda name: -traced[-1].get(name, 0))
    for package in packages:
        if any(taken.get(package, 0) >= LEAST_BYTES for taken in traced):
            _line(package, [taken.get(package, 0) for taken in traced])
    _line("all", [sum(taken.values()) for taken in traced])


def _line(name: str, sizes: list[float]) -> None:
    print(f"{name:{KIND_WIDTH}} " + " ".join(f"{size:>{KIND_WIDTH},.0f}" for size in sizes))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--streams", default=STREAMS, help="idle ones, step by step (%(default)s)")
    steps = ascending(parser.parse_args().streams)
    if not steps:
        parser.error("--streams takes whole numbers that ascend, as in 500,2000")
    raise_open_files()
    few = min(BenchmarkOptions().idle_streams_few, steps[0] // 2)
    uvloop.run(run(BenchmarkOptions(streams=steps, idle_streams_few=few)))


if __name__ == "__main__":
    main()
