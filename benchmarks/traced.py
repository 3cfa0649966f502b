"""`python -m benchmarks.traced FILE MODULE [ARGUMENT]...`: run a module, and say what its memory is for.

At a first SIGUSR1 it begins to note what allocates memory; at the next it writes to FILE how many bytes stand since
then, by package, as JSON. Nothing is noted before, so that it starts as fast as it does.
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
"""Up to the first that is not the standard library's: who makes an `asyncio.Event` matters, not where its queue is."""

LOOP: Final = "uvloop"
"""What no line of Python had made that runs within the loop."""

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
