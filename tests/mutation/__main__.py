"""`make mutate`: do the tests notice, whatever goes wrong in what everything else rests on?

    python -m tests.mutation [--workers N] [--part 1/3] [--seconds N] [FILE...]

The exit code is 1 if fewer than 95% of the faults are noticed, or if one goes unnoticed that `survivors.toml` does not
account for.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from typing import NamedTuple

from broker.errors import EXIT_USAGE, UsageError
from tests.mutation.annotations import merely_annotating_in
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.reach import Reach, measured
from tests.mutation.survivors import Listed, listed, suggestion
from tests.mutation.trial import (
    PACKAGES,
    ROOT,
    WORK,
    Fault,
    Outcome,
    Place,
    end_group,
    preload,
    try_importing,
    try_swapping,
)

TARGETS = (
    "events/*.py",
    "projections/*.py",
    *(f"broker/{name}.py" for name in ("decide", "matching", "pages", "waits")),
)
TRIED = ("events", "projections", "broker")  # what the tests of the core reach
KILLED_MIN_PERCENT = 95
OF_TYPES = "test_structs.py"  # what the heads of types promise
BATCH = 40  # faults that share the collecting of tests


class Tried(NamedTuple):
    """A mutant, and what became of it."""

    mutant: Mutant
    outcome: Outcome


class Tests:
    """Which tests to run against a mutant: those that reach it, in the order in which they are likely to notice."""

    def __init__(self, reach: Reach, seconds_max: float) -> None:
        self._reach = reach
        self._seconds_max = seconds_max
        self._path = WORK / "killers.json"
        self._killer_of: dict[str, str] = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._last: dict[tuple[str, str], list[str]] = {}

    def asked_about(self, mutant: Mutant) -> list[str]:
        """All that may notice, the likeliest and quickest first."""
        file = mutant.file
        own, near = (
            [f"test_{os.path.basename(file)}", *([] if mutant.function else [OF_TYPES])],
            self._reach.reaching(file),
        )
        earlier, last = self._killer_of.get("\n".join(mutant.key)), self._last.get(_beside(mutant), [])

        def rank(test: str) -> tuple[bool, bool, bool, bool, float, str]:
            is_own = test.partition("::")[0].rpartition("/")[2] in own
            return test != earlier, test not in last, not is_own, test not in near, self._reach.seconds[test], test

        ranked = sorted(self._reach.tests_of(mutant), key=rank)
        spent = accumulate(self._reach.seconds[test] for test in ranked)
        return [
            test
            for test, seconds in zip(ranked, spent, strict=True)
            if seconds <= self._seconds_max or test == ranked[0]
        ]

    def learn(self, mutant: Mutant, killer: str) -> None:
        """`killer` has noticed it: it is the first to be asked the next time, and about what stands beside it."""
        self._killer_of["\n".join(mutant.key)] = killer
        self._last.setdefault(_beside(mutant), []).append(killer)

    def keep(self) -> None:
        """For the next time."""
        self._path.write_text(json.dumps(self._killer_of))


def _beside(mutant: Mutant) -> tuple[str, str]:
    """What the same test may well notice: what is in the same function, or in none."""
    return mutant.file, mutant.function


class Trials:
    """As many trials at once as there are workers."""

    def __init__(self, places: Sequence[Place], reach: Reach, tests: Tests) -> None:
        self._free = list(places)
        self._under_way: dict[int, tuple[Place, Sequence[Mutant]]] = {}
        self._reach = reach
        self._tests = tests

    def run(self, mutants: Iterator[Mutant]) -> Iterator[Tried]:
        """Try each of `mutants`, those in functions some at a time, and answer in the order of their ends."""
        batch: list[Mutant] = []
        for mutant in mutants:
            if mutant.function:
                batch.append(mutant)
            else:
                yield from self._try([mutant])
            if len(batch) == BATCH:
                yield from self._try(batch)
                batch = []
        if batch:
            yield from self._try(batch)
        while self._under_way:
            yield from self._ended()

    def stop(self) -> None:
        """End what is under way still."""
        for pid in self._under_way:
            end_group(pid)

    def _try(self, mutants: Sequence[Mutant]) -> Iterator[Tried]:
        while not self._free:
            yield from self._ended()
        place = self._free.pop()
        faults = [Fault(each.file, each.function, each.source, self._tests.asked_about(each)) for each in mutants]
        if mutants[0].function:
            pid = place.fork(lambda: try_swapping(place, faults, self._reach.seconds))
        else:
            place.write(faults[0].file, faults[0].source)
            pid = place.fork(lambda: try_importing(place, faults[0], self._reach.seconds))
        self._under_way[pid] = place, mutants

    def _ended(self) -> Iterator[Tried]:
        pid, status = os.waitpid(-1, 0)
        end_group(pid)
        place, mutants = self._under_way.pop(pid)
        outcomes = place.outcomes() if mutants[0].function else [place.outcome(status)]
        for file in {each.file for each in mutants}:
            place.restore(file)
        self._free.append(place)
        for mutant, outcome in zip(mutants, outcomes, strict=True):
            if not outcome.is_tried:  # what can't be put into a function that is there is put in from the beginning
                yield from self._try([mutant._replace(function="")])
                continue
            if not outcome.passed:
                self._tests.learn(mutant, outcome.killer)
            yield Tried(mutant, outcome)


def main(arguments: Sequence[str]) -> int:
    """Try everything, and say what came of it; the answer is the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("files", nargs="*", metavar="FILE", help="all there are, if none is given")
    parser.add_argument("--workers", type=_count, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=math.inf, help="of tests for each fault, for a first look")
    parser.add_argument("--part", type=_part, default="1/1", help="one part of it, such as 2/3")
    given = parser.parse_args(arguments)
    part, parts = given.part
    try:
        files = [source(file) for file in given.files] or sorted(
            str(each.relative_to(ROOT)) for target in TARGETS for each in ROOT.glob(target)
        )
    except UsageError as error:
        print(f"tests.mutation: {error}", file=sys.stderr)
        return EXIT_USAGE
    WORK.mkdir(exist_ok=True)
    # Held by every process that is forked, so that none of a run that was cut short still writes to the copies.
    with open(WORK / "lock", "w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        return run(files, given.workers, given.seconds, part, parts)


def source(file: str) -> str:
    """The name, in the repository, of a source file whose faults can be tried.

    Raises:
        UsageError: `file` is none.
    """
    name = os.path.relpath(os.path.realpath(file), ROOT)
    if name.partition(os.sep)[0] not in TRIED or not name.endswith(".py") or not os.path.isfile(file):
        raise UsageError(f"{file} is no source file in {', '.join(TRIED)}; name one, such as projections/queue.py")
    return name


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("it has to be 1 or more")
    return int(text)


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError("it has to be a part of several, such as 2/3")
    return int(part), int(parts)


def run(files: Sequence[str], workers: int, seconds_max: float, part: int, parts: int) -> int:
    """Try every `parts`-th fault in `files`, from the one numbered `part` on; the answer is the exit code."""
    start = time.monotonic()
    preload()
    places = [Place(number) for number in range(workers)]
    reach = measured(places[0])
    gc.freeze()
    tests = Tests(reach, seconds_max)
    print(f"tests measured in {time.monotonic() - start:.0f} s", flush=True)
    spared = merely_annotating_in(ROOT, PACKAGES)
    mutants = (each for file in files for each in mutants_of(file, (ROOT / file).read_text(), spared.get(file, ())))
    some = islice(mutants, part - 1, None, parts)
    trials, tried = Trials(places, reach, tests), list[Tried]()
    try:
        for each in trials.run(some):
            tried.append(each)
            if each.outcome.passed:
                print(f"survived: {each.mutant}", flush=True)
    finally:
        trials.stop()
        tests.keep()
    keys = {each.mutant.key for each in tried}
    entries = [entry for entry in listed() if entry.file in files and (parts == 1 or entry.key in keys)]
    return report(tried, entries, time.monotonic() - start)


def report(tried: Sequence[Tried], entries: Sequence[Listed], seconds: float) -> int:
    """Print the figures, and what there is to do; the answer is the exit code."""
    survived = {each.mutant.key for each in tried if each.outcome.passed}
    unlisted = survived - {entry.key for entry in entries}
    for key in sorted(unlisted):
        print(suggestion(key))
    for entry in entries:
        if entry.key not in survived:
            print(f"stale in survivors.toml: {entry.file}, {entry.before!r} -> {entry.after!r}")
    print(f"{'file':<34}{'mutants':>8}{'killed':>8}{'survived':>9}{'timeouts':>9}")
    for file in (*sorted({each.mutant.file for each in tried}), ""):
        print(_row(file or "all", [each.outcome for each in tried if each.mutant.file.startswith(file)]))
    percent = 100 * (1 - sum(each.outcome.passed for each in tried) / max(1, len(tried)))
    print(f"{percent:.2f}% killed, {len(unlisted)} survivors not accounted for, in {seconds:.0f} s")
    return int(percent < KILLED_MIN_PERCENT or bool(unlisted))


def _row(name: str, outcomes: Sequence[Outcome]) -> str:
    count = Counter("survived" if each.passed else "timeouts" if each.timed_out else "killed" for each in outcomes)
    return f"{name:<34}{len(outcomes):>8}{count['killed']:>8}{count['survived']:>9}{count['timeouts']:>9}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
