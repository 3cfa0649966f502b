"""What a bug has to get past, and how long each of them takes to catch it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

SECONDS_MAX = 900


class Net(NamedTuple):
    """A command that fails where it finds something wrong."""

    name: str
    arguments: tuple[str, ...]


class Catch(NamedTuple):
    """How a net fared: `seconds` until it failed, or until it had found nothing."""

    caught: bool
    seconds: float
    evidence: str


_PYTEST = ("pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-n", "0")

NETS = (
    Net("model", (*_PYTEST, "tests/testing/test_machine.py", "tests/core/test_promises.py")),
    Net("simulation", ("tests.simulation", "--seeds", "60")),
    Net("examples", (*_PYTEST, "tests/core", "tests/facade")),
)
"""State machines against the reference model; the simulation of the whole broker; the examples, first the core's."""


def cast(net: Net, directory: Path) -> Catch:
    """Run `net` on the source in `directory`; one that does not end in time has caught something: a hang."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", *net.arguments],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Catch(caught=True, seconds=time.monotonic() - began, evidence=f"did not end in {SECONDS_MAX} s")
    return Catch(done.returncode != 0, time.monotonic() - began, _first_words(done.stdout + done.stderr))


def _first_words(output: str) -> str:
    """The line that says best what was found."""
    lines = [line.strip() for line in output.splitlines()]
    telling = [line for line in lines if line.startswith(("E  ", "promise", "seed"))]
    return telling[0] if telling else next((line for line in reversed(lines) if line), "")
