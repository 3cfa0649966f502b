"""A copy of the source with one bug in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.planted.bugs import Bug

ROOT = Path(__file__).parents[2]
COPIED = ("broker", "events", "mcp_facade", "projections", "tests", "pyproject.toml", "README.md", "docs", "benchmarks")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis")


class Misplaced(Exception):  # noqa: N818 - what is wrong with it
    """The code that a bug replaces is not there, or more than once: the bug has to be written anew."""


def plant(bug: Bug | None, directory: Path) -> None:
    """Copy the source into `directory`, with `bug` in it, if there is one.

    Raises:
        Misplaced: it can't be planted.
    """
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=LEFT_OUT)
        else:
            shutil.copy2(source, directory / name)
    if bug is None:
        return
    path = directory / bug.path
    text = path.read_text()
    if text.count(bug.sound) != 1:
        raise Misplaced(f"{bug.name}: {bug.path} holds the code that it replaces {text.count(bug.sound)} times")
    path.write_text(text.replace(bug.sound, bug.broken))
