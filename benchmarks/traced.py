"""`python -m benchmarks.traced FILE MODULE [ARGUMENT]...`: run a module, and report its memory by package.

At a first SIGUSR1 it starts tracing allocations; at the next it writes the bytes allocated since and still in use to
FILE, by package, as JSON. It does not trace before, so that the start is as fast as usual.
"""

import asyncio.runners
import gc
import json
import runpy
import signal
import sys
import sysconfig
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Final

FRAMES: Final = 12
"""Frames searched for the first outside the standard library: the maker of an `asyncio.Event` counts, not its queue."""

LOOP: Final = "uvloop"
"""Name for allocations of the loop itself, without a line of Python in it."""

_RUNS_THE_LOOP: Final = asyncio.runners.__file__
_INSTALLED: Final = sysconfig.get_path("purelib")
_OWN: Final = str(Path(__file__).parents[1])


def main(file: str, *command: str) -> None:
    """The command line."""
    signal.signal(signal.SIGUSR1, lambda *_: _report(Path(file)) if tracemalloc.is_tracing() else _begin())
    sys.argv = [*command]
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


def _begin() -> None:
    gc.collect()
    tracemalloc.start(FRAMES)


def _report(path: Path) -> None:
    gc.collect()
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()
    taken: Counter[str] = Counter()
    for statistic in snapshot.statistics("traceback"):
        taken[_package(statistic.traceback)] += statistic.size
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(taken))
    unfinished.rename(path)


def _package(traceback: tracemalloc.Traceback) -> str:
    for frame in reversed(traceback):  # the innermost is the last
        if frame.filename == _RUNS_THE_LOOP:
            break
        for root in (_INSTALLED, _OWN):
            if frame.filename.startswith(root):
                return Path(frame.filename).relative_to(root).parts[0]
    return LOOP


if __name__ == "__main__":
    main(*sys.argv[1:])
