"""`python -m benchmarks`: measure, print the tables, stop."""

import asyncio
import gc
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, TypeVar

import uvloop

from benchmarks.kinds import MESSAGE_KINDS, kinds
from benchmarks.options import BenchmarkOptions, parse
from benchmarks.report import footer, message_table, stream_table
from benchmarks.server import raise_open_files
from benchmarks.target import Target

FEW_SHARE: Final = 0.6
"""Share of the time for the rounds beside few streams."""

FILES_BESIDES: Final = 2_000
"""Open files of a server besides its idle streams."""

T = TypeVar("T")


async def measure(options: BenchmarkOptions, targets: list[Target]) -> None:
    """Fill the targets' samples, one server after the other in every round. `targets` gains one of each kind."""
    began = time.monotonic()
    for kind in MESSAGE_KINDS if options.only_messages else kinds():
        _say(f"starting {kind.name}")
        targets.append(Target(kind, options))
        await targets[-1].open()
    for number in _rounds(options, began + options.budget_s * FEW_SHARE, "beside few streams"):
        for target in _turned(targets, number):
            await target.talk()
            await target.pace()
    if options.only_messages:
        return
    crowded = [target for target in targets if target.kind.crowded]
    for target in targets:
        if not target.kind.crowded:
            target.close()
    await _beside_more_and_more(options, crowded, began)


async def _beside_more_and_more(options: BenchmarkOptions, targets: list[Target], began: float) -> None:
    """Measure the same processes beside few streams and then more, to compare each step with the one before."""
    left_s = began + options.budget_s - time.monotonic()
    steps = [options.idle_streams_few, *options.streams]
    for passed, streams in enumerate(steps, 1):
        if streams != options.idle_streams_few:
            for target in targets:
                _say(f"opening {streams:,} streams: {target.kind.name}")
                await target.open_idle(streams)
        await asyncio.gather(*(target.rest(streams) for target in targets))
        until = began + options.budget_s - left_s * (1 - passed / len(steps))
        for number in _rounds(options, until, f"beside {streams:,} streams"):
            for target in _turned(targets, number):
                await target.talk(beside=streams)


async def run(options: BenchmarkOptions) -> None:
    """Measure and print; stop every server in any case."""
    targets: list[Target] = []
    gc.freeze()
    gc.disable()  # the generator must not pause
    try:
        async with asyncio.timeout(options.deadline_s):
            await measure(options, targets)
        rows = [(target.kind.name, target.samples) for target in targets]
        print(message_table(rows) + "\n")
        if not options.only_messages:
            print(stream_table([row for row in rows if row[1].beside_us]) + "\n")
        print(footer(rows, options))
    except BaseException:
        for target in targets:
            print(f"--- log of {target.kind.name}\n{target.log_tail()}", file=sys.stderr)
        raise
    finally:
        for target in targets:
            target.close()


def _rounds(options: BenchmarkOptions, until: float, what: str) -> Iterator[int]:
    """The rounds' numbers, as long as there is time for one more."""
    for number in range(options.rounds):
        began = time.monotonic()
        _say(f"round {number + 1} of {options.rounds} {what}")
        yield number
        now = time.monotonic()
        if now + (now - began) > until and number + 1 < options.rounds:
            _say(f"no time for more than {number + 1} rounds {what}")
            return


def _turned(items: list[T], by: int) -> list[T]:
    by %= len(items)
    return items[by:] + items[:by]


def _say(what: str) -> None:
    print(what, file=sys.stderr)


def main() -> None:
    """The command line."""
    options = parse()
    most = raise_open_files()
    bearable = most - FILES_BESIDES
    steps = tuple(dict.fromkeys(min(streams, bearable) for streams in options.streams))
    if steps != options.streams:
        _say(f"a process may have {most:,} files open here, so there are {bearable:,} streams to a server at most")
    uvloop.run(run(replace(options, streams=steps)))


if __name__ == "__main__":
    main()
