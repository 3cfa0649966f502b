"""`python -m benchmarks.profile`: the broker's time for a message, by source file.

py-spy samples the current line of the server while all clients talk. Work in C (encoding, hashing, a system call)
counts for the line of Python that called it, and the event loop's own part for the loop. Microseconds are shares of a
message's cost by the process's CPU clock, measured just before.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Final

import uvloop

from benchmarks.kinds import ServerKind, kinds
from benchmarks.options import BenchmarkOptions
from benchmarks.target import Target

BROKER: Final = ("chat-broker, 2026-07-28", "chat-broker, 2025-11-25")
RATE: Final = 400
"""Samples a second: more would slow the server down."""
LARGEST: Final = 24

_FRAME: Final = re.compile(r"\((?:.*?site-packages/)?(?P<file>[^()]+?)(?::\d+)?\)$")
_SAMPLES: Final = re.compile(r"^(?P<stack>.*) (?P<count>\d+)$", re.MULTILINE)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="for each protocol version (%(default)s)")
    seconds = parser.parse_args().seconds
    for kind in kinds():
        if kind.name in BROKER:
            uvloop.run(_profile(kind, seconds))


async def _profile(kind: ServerKind, seconds: int) -> None:
    target = Target(kind, BenchmarkOptions())
    try:
        await target.open()
        await target.talk()
        message_us = median(target.samples.cpu_us)  # before anyone looks and slows it down
        with tempfile.TemporaryDirectory() as directory:
            stacks = Path(directory) / "stacks"
            spying = await _spy(target.pid, seconds, stacks)
            while spying.returncode is None:
                await target.talk()
            _, said = await spying.communicate()
            if spying.returncode:
                raise SystemExit(f"py-spy: {said.decode().strip()} (it may need CAP_SYS_PTRACE)")
            _print(kind.name, message_us, _by_file(stacks.read_text()))
    finally:
        target.close()


async def _spy(pid: int, seconds: int, stacks: Path) -> asyncio.subprocess.Process:
    # A thread that waits for work counts as one that works, unless it is asked for the interpreter's lock.
    options = ["--gil", "--pid", str(pid), "--duration", str(seconds), "--rate", str(RATE)]
    program = Path(sys.executable).parent / "py-spy"
    return await asyncio.create_subprocess_exec(
        *(str(program), "record", *options, "--format", "raw", "--full-filenames", "--output", str(stacks)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _by_file(stacks: str) -> Counter[str]:
    """Samples by the file of the innermost frame."""
    here = f"{os.getcwd()}/"
    found: Counter[str] = Counter()
    for sample in _SAMPLES.finditer(stacks):
        frame = _FRAME.search(sample["stack"].rpartition(";")[2])
        found[frame["file"].removeprefix(here) if frame else "elsewhere"] += int(sample["count"])
    return found


def _print(name: str, message_us: float, samples: Counter[str]) -> None:
    total = samples.total()
    print(f"{name}: {message_us:.0f} us of CPU a message, {total:,} samples")
    for file, count in samples.most_common(LARGEST):
        print(f"{message_us * count / total:>8.1f} us {count / total:>6.1%}  {file}")


if __name__ == "__main__":
    main()
