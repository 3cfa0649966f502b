"""Which tests reach which line, and how long they take: measured once, and anew for what has changed since."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from tests.mutation.mutants import Mutant
from tests.mutation.trial import ROOT, WORK, Place, measure

ATTEMPTS = 3  # some tests wait for the disk, and are slower while they are measured
TESTS = "tests/core"
"""Whoever changes the core has these at hand; a fault there that only a test over HTTP would see counts as unseen."""


class Reach:
    """What is known of the tests."""

    def __init__(self, by_file: dict[str, dict[str, object]]) -> None:
        self.seconds: dict[str, float] = {}
        self._lines: dict[str, dict[int, set[str]]] = {}
        for measured in by_file.values():
            self.seconds |= measured["seconds"]  # type: ignore[operator]  # JSON
            for file, lines in measured["lines"].items():  # type: ignore[attr-defined]  # JSON
                for line, tests in lines.items():
                    self._lines.setdefault(file, {}).setdefault(int(line), set()).update(tests)

    def tests_of(self, mutant: Mutant) -> set[str]:
        """Those that reach the statement; all of them, if it runs as its module is imported, or in another process."""
        lines = self._lines.get(mutant.file, {})
        reached = set().union(*(lines.get(n, ()) for n in range(mutant.first_line, mutant.last_line + 1)))
        return reached or set(self.seconds)

    def reaching(self, file: str) -> set[str]:
        """Those that reach anything in `file`."""
        return set().union(*self._lines.get(file, {}).values())


def measured(place: Place) -> Reach:
    """What the tests reach, as they stand.

    Raises:
        SystemExit: a test fails without any fault.
    """
    path = WORK / "reach.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    common = _digest([*(ROOT / "tests/support").glob("*.py"), *(f for p in ("events", "projections", "broker") for f in (ROOT / p).rglob("*.py"))])  # fmt: skip
    wanted = {str(file.relative_to(ROOT)): common + _digest([file]) for file in sorted((ROOT / TESTS).glob("test_*.py"))}
    for file, digest in wanted.items():
        if known.get(file, {}).get("digest") != digest:
            known[file] = {"digest": digest} | _measured(place, file)
            path.write_text(json.dumps(known))
    return Reach({file: known[file] for file in wanted})


def _measured(place: Place, file: str) -> dict[str, object]:
    for _ in range(ATTEMPTS):
        pid = place.fork(lambda: measure(place, [file]))
        if os.waitpid(pid, 0)[1] == 0:
            found: dict[str, object] = json.loads((place.path / ".measured").read_text())
            return found
    raise SystemExit(f"{file} fails without any fault:\n{(place.path / '.output').read_text()}")


def _digest(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()
