"""`python -m benchmarks`: measure, print one table, stop."""

import asyncio
import gc
import os
import resource
import sys
import time
from typing import Final, TypeVar

import uvloop

from benchmarks.options import Options, parse
from benchmarks.report import table
from benchmarks.target import Kind, Target
from benchmarks.wire import MODERN, SESSIONS

T = TypeVar("T")

BROKER: Final = ("mcp_facade.main", "serve")
KINDS: Final = (
    Kind("bare ASGI", MODERN, ("benchmarks.bare",)),
    Kind(f"chat-broker, {MODERN}", MODERN, BROKER),
    Kind(f"chat-broker, {SESSIONS}", SESSIONS, BROKER),
)


async def measure(options: Options, few: list[Target], many: list[Target]) -> None:
    """Fill the targets' samples, one server after the other in every round.

    `few` and `many` gain one target of each kind: beside few idle streams, and beside many.
    """
    await _open(options, few)
    for number in range(options.rounds):
        _say(f"round {number + 1} of {options.rounds}")
        for target in _turned(few, number):
            await target.talk()
            await target.pace()
    await _open(options, many)
    for target in many:
        _say(f"{options.streams} streams: {target.kind.name}")
        await target.open_many()
    for number in range(options.rounds):
        _say(f"round {number + 1} of {options.rounds}, beside {options.streams} streams")
        for one, other in _turned(list(zip(few, many, strict=True)), number):
            await one.talk()
            await other.talk()


async def run(options: Options) -> None:
    """Measure and print; every server is stopped, whatever happens."""
    few: list[Target] = []
    many: list[Target] = []
    gc.freeze()
    gc.disable()  # the generator must not pause
    try:
        async with asyncio.timeout(options.deadline_s):
            await measure(options, few, many)
        print(table([(a.kind.name, a.samples, b.samples) for a, b in zip(few, many, strict=True)], options))
    except BaseException:
        for target in few + many:
            print(f"--- log of {target.kind.name}\n{target.log_tail()}", file=sys.stderr)
        raise
    finally:
        for target in few + many:
            target.close()


async def _open(options: Options, targets: list[Target]) -> None:
    for kind in KINDS:
        _say(f"starting {kind.name}")
        targets.append(Target(kind, options))
        await targets[-1].open()


def _turned(items: list[T], by: int) -> list[T]:
    by %= len(items)
    return items[by:] + items[:by]


def _say(what: str) -> None:
    print(what, file=sys.stderr)


def main() -> None:
    """The command line."""
    options = parse()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the servers inherit it
    began = time.monotonic()
    uvloop.run(run(options))
    cores = len(os.sched_getaffinity(0))
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    print(
        f"\n{options.pairs} pairs, {options.messages:,} messages a round, {options.rounds} rounds, latency at "
        f"{options.rate_per_second} messages/s; {python}, {cores} cores; {time.monotonic() - began:.0f} s."
    )


if __name__ == "__main__":
    main()
