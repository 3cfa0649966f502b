"""`python -m benchmarks.maps`: cost of the persistent map's operations, of `immutables` and of our own.

CPU time of this process for one operation on a map of 100,000 connections, whose keys are chosen at random: the best of
some rounds, since other work on the machine can only add to it.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from projections.persistent_map import Map, TrieMap

ENTRIES: Final = 100_000
PROBES: Final = 5_000
ROUNDS: Final = 15


def operations(full: Any, keys: list[str], new: list[str]) -> dict[str, Callable[[], object]]:
    """Return the operations to measure, each once for every one of `keys` or `new`."""

    def mutate_and_set() -> None:
        working = full.mutate()
        for key in keys:
            working[key] = 0
        working.finish()

    def mutate_once_for_each() -> None:
        for key in keys:
            working = full.mutate()
            working[key] = 0
            working.finish()

    return {
        "get": lambda: [full.get(key) for key in keys],
        "set a known key": lambda: [full.set(key, 0) for key in keys],
        "set a new key": lambda: [full.set(key, 0) for key in new],
        "delete": lambda: [full.delete(key) for key in keys],
        "set in a working copy, of 5,000": mutate_and_set,
        "mutate, set and finish": mutate_once_for_each,
    }


def best_us(work: Callable[[], object]) -> float:
    """Return the least CPU time of `work` for one of `PROBES`, in microseconds."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds) / PROBES * 1e6


def main() -> None:
    """Measure and print."""
    dice = random.Random(1)
    names = [f"c_{dice.getrandbits(128):032x}" for _ in range(ENTRIES + PROBES)]
    known, new = names[:ENTRIES], names[ENTRIES:]
    keys = dice.sample(known, PROBES)
    gc.disable()
    print(f"Python {sys.version.split()[0]}, {ENTRIES:,} entries: CPU of one operation, best of {ROUNDS} rounds")
    for kind in dict.fromkeys([Map, TrieMap]):
        print(f"\n{kind.__module__}.{kind.__qualname__}")
        for name, work in operations(kind(dict.fromkeys(known, 1)), keys, new).items():
            print(f"{name:32} {best_us(work):5.2f} us")


if __name__ == "__main__":
    main()
