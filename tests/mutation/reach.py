"""Which tests reach which line, and how long they take: measured once, and anew for what has changed since."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.mutation.mutants import Mutant
from tests.mutation.trial import ROOT, TESTS, WORK, Place, measure

CODE = ("events", "projections", "broker", "tests/support")


class Reach:
    """What is known of the tests."""

    def __init__(self, by_file: dict[str, dict[str, Any]]) -> None:
        self.seconds: dict[str, float] = {}
        self._lines: dict[str, dict[int, set[str]]] = {}
        for measured in by_file.values():
            self.seconds |= measured["seconds"]
            for file, lines in measured["lines"].items():
                for line, tests in lines.items():
                    self._lines.setdefault(file, {}).setdefault(int(line), set()).update(tests)

    def tests_of(self, mutant: Mutant) -> set[str]:
        """Those that reach the statement; all of them, if it runs in another process, or as its module is imported."""
        if not mutant.function:  # that happens once, wherever it is imported first, and has to do with every test
            return set(self.seconds)
        lines = self._lines.get(mutant.file, {})
        reached = set().union(*(lines.get(n, ()) for n in range(mutant.first_line, mutant.last_line + 1)))
        return reached or set(self.seconds)

    def reaching(self, file: str) -> set[str]:
        """Those that reach anything in `file`."""
        return set().union(*self._lines.get(file, {}).values())


def measured(place: Place) -> Reach:
    """What the tests reach, as they stand. One that fails is left out, and told of."""
    path = WORK / "reach.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    code = [file for folder in CODE for file in (ROOT / folder).rglob("*.py")]
    tests = sorted((ROOT / TESTS).glob("test_*.py"))
    wanted = {str(test.relative_to(ROOT)): _digest([*code, test]) for test in tests}
    for file, digest in wanted.items():
        if known.get(file, {}).get("digest") != digest:
            known[file] = {"digest": digest} | _measured(place, file)
            path.write_text(json.dumps(known))
    return Reach({file: known[file] for file in wanted})


def _measured(place: Place, file: str) -> dict[str, Any]:
    pid = place.fork(lambda: measure(place, [file]))
    os.waitpid(pid, 0)
    found: dict[str, Any] = json.loads((place.path / ".measured").read_text())
    for test in found["failed"]:
        print(f"not asked, since it fails without a fault: {test}", flush=True)
    return found


def _digest(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()
