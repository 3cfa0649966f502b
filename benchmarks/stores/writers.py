"""Four writers on one log, without HTTP: all are served, none starves, and appends hardly ever conflict."""

import asyncio
from asyncio.subprocess import PIPE, Process
from statistics import median
from typing import Final

import msgspec

from benchmarks.engines import started
from benchmarks.server import python
from benchmarks.stores.rows import Row, limit_row
from benchmarks.stores.writer import WriterFigures

WRITERS: Final = 4
RATE_PER_SECOND: Final = 600
"""Of each writer."""
P99_MS: Final = 250.0
CONFLICTS_PERCENT: Final = 1.0
SERVED_WITHIN: Final = 1.25
"""A writer that takes longer than so many times its time is not served."""


async def measure(rounds: int, seconds: float) -> list[Row]:
    """Let all writers write at once, in each round."""
    engine = started("redis")
    writers: list[Process] = []
    try:
        for number in range(WRITERS):
            command = python("benchmarks.stores.writer", engine.url, str(number))
            writers.append(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=2**26))
            await _line(writers[-1])  # one after the other, for each to pair its own
        p99_ms, conflicts_percent, slowest, unserved = [], [], [], 0
        for _ in range(rounds):
            figures = await asyncio.gather(*(_talk(writer, seconds) for writer in writers))
            ordered = sorted(each for figure in figures for each in figure.seconds)
            p99_ms.append(ordered[len(ordered) * 99 // 100] * 1_000)
            conflicts_percent.append(sum(figure.conflicts for figure in figures) / len(ordered) * 100)
            slowest.append(max(figure.took_s for figure in figures) / seconds)
            unserved += sum(figure.unserved for figure in figures)
            own = ", ".join(f"{_p99_ms(figure.seconds):.0f}" for figure in figures)
            cpu_us = sum(figure.cpu_s for figure in figures) / len(ordered) * 1_000_000
            print(
                f"writers: {len(ordered):,} commits; p99 of each {own} ms; {cpu_us:.0f} us of CPU a commit", flush=True
            )
    finally:
        for writer in writers:
            writer.kill()
            await writer.communicate()
        engine.remove()
    what = f"redis: {WRITERS} writers offered {RATE_PER_SECOND} commits/s each"
    extremes = f"{min(slowest):.2f} to {max(slowest):.2f}"
    served = median(slowest) <= SERVED_WITHIN and not unserved
    return [
        limit_row(f"{what}: p99", p99_ms, P99_MS, "ms"),
        limit_row(f"{what}: conflicts of commits", conflicts_percent, CONFLICTS_PERCENT, "%"),
        Row(
            f"{what}: the slowest's time, against that offered",
            f"{median(slowest):.2f}",
            extremes,
            "all served",
            served,
        ),
    ]


def _p99_ms(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) * 99 // 100] * 1_000


async def _talk(writer: Process, seconds: float) -> WriterFigures:
    assert writer.stdin is not None
    writer.stdin.write(b"%d %f\n" % (RATE_PER_SECOND, seconds))
    return msgspec.json.decode(await _line(writer), type=WriterFigures)


async def _line(writer: Process) -> bytes:
    assert writer.stdout is not None
    line = await writer.stdout.readline()
    if not line:
        raise RuntimeError("a writer has ended")
    return line
