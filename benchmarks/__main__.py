"""`python -m benchmarks`: measure, print one table, stop."""

import asyncio
import gc
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import uvloop

from benchmarks.options import Options, parse
from benchmarks.report import footer, table
from benchmarks.target import Kind, Target
from benchmarks.wire import MODERN, SESSIONS

FEW_SHARE: Final = 0.55
"""Of the time, for the rounds beside few streams."""

BROKER: Final = ("mcp_facade.main", "serve")
PLAIN: Final = ("benchmarks.plain_sdk",)
KINDS: Final = (
    Kind("bare ASGI", MODERN, ("benchmarks.bare",), times=5),
    Kind(f"plain SDK, {MODERN}", MODERN, PLAIN, crowded=False),
    Kind(f"chat-broker, {MODERN}", MODERN, BROKER),
    Kind(f"plain SDK, {SESSIONS}", SESSIONS, PLAIN, crowded=False),
    Kind(f"chat-broker, {SESSIONS}", SESSIONS, BROKER),
)

T = TypeVar("T")


async def measure(options: Options, few: list[Target], many: list[Target]) -> None:
    """Fill the targets' samples, one server after the other in every round.

    `few` gains one target of each kind, `many` one of each that is measured in a crowd.
    """
    began = time.monotonic()
    await _open(options, few, KINDS)
    for number in _rounds(options, began + options.budget_s * FEW_SHARE, "beside few streams"):
        for target in _turned(few, number):
            await target.talk()
            await target.pace()
    crowded = [target for target in few if target.kind.crowded]
    await _open(options, many, [target.kind for target in crowded])
    for target in many:
        _say(f"{options.streams} streams: {target.kind.name}")
        await target.open_many()
    for number in _rounds(options, began + options.budget_s, "beside many streams"):
        for one, other in _turned(list(zip(crowded, many, strict=True)), number):
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
        beside_many = {target.kind.name: target.samples for target in many}
        rows = [(one.kind.name, one.samples, beside_many.get(one.kind.name)) for one in few]
        print(table(rows, options) + "\n\n" + footer(rows, options))
    except BaseException:
        for target in few + many:
            print(f"--- log of {target.kind.name}\n{target.log_tail()}", file=sys.stderr)
        raise
    finally:
        for target in few + many:
            target.close()


async def _open(options: Options, targets: list[Target], kinds: Iterable[Kind]) -> None:
    for kind in kinds:
        _say(f"starting {kind.name}")
        targets.append(Target(kind, options))
        await targets[-1].open()


def _rounds(options: Options, until: float, what: str) -> Iterator[int]:
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
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the servers inherit it
    uvloop.run(run(options))


if __name__ == "__main__":
    main()
