"""Many seeds, on one core or several, and their sum."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from tests.simulation.faults import FAULTS, SHARED_FAULTS
from tests.simulation.run import Outcome, Simulation
from tests.simulation.sometimes import ONLY_ALONE, ONLY_SHARED, PER, SOMETIMES

LONG_ENOUGH_SEEDS = 400
"""From so many seeds on, every kind of fault and every rare path must have been met."""


def outcome_of(seed: str) -> Outcome:
    """Run one seed."""
    return Simulation(seed).run()


def outcomes(seeds: Iterable[str], jobs: int) -> Iterator[Outcome]:
    """Run `seeds` on `jobs` cores; yield the outcomes in the order of the seeds."""
    if jobs == 1:
        yield from map(outcome_of, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, _lower_priority) as pool:
        yield from pool.imap(outcome_of, seeds, chunksize=8)


def _lower_priority() -> None:
    os.nice(5)


class Campaign:
    """The sum of many outcomes."""

    def __init__(self, *, is_shared: bool = False) -> None:
        """Begin a campaign; with `is_shared`, each seed has several brokers."""
        self.is_shared = is_shared
        self.began = time.monotonic()
        self.seeds = self.steps = self.commits = self.calls = self.starts = 0
        self.cpu_seconds = 0.0
        self.faults: Counter[str] = Counter()
        self.sometimes: Counter[str] = Counter()
        self.failed: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Add an outcome."""
        self.seeds += 1
        self.steps += outcome.steps
        self.commits += outcome.commits
        self.calls += outcome.calls
        self.starts += outcome.starts
        self.cpu_seconds += outcome.seconds
        self.faults += outcome.faults
        self.sometimes += outcome.sometimes
        if outcome.failure is not None:
            self.failed.append(outcome)

    def complaints(self) -> list[str]:
        """Return the complaints about the campaign as a whole, apart from failed seeds."""
        found = [f"{path}: {rate:.2f} of the {per}, at most {most} is right" for path, rate, per, most in self._rates()]
        if self.seeds >= LONG_ENOUGH_SEEDS:
            found += [f"this kind of fault never happened: {kind}" for kind in self._kinds() if self._is_missing(kind)]
            found += [f"this path was never reached: {path}" for path in SOMETIMES if self._is_missing(path)]
        return found

    def _kinds(self) -> Iterator[str]:
        yield from FAULTS
        if self.is_shared:
            yield from SHARED_FAULTS

    def _is_missing(self, what: str) -> bool:
        met = self.faults[what] + self.sometimes[what]
        return not met and what not in (ONLY_ALONE if self.is_shared else ONLY_SHARED)

    def _rates(self) -> Iterator[tuple[str, float, str, float]]:
        for path, most in SOMETIMES.items():
            per = PER.get(path, "calls")
            of = self.starts if per == "starts" else self.calls
            if most is not None and of and self.sometimes[path] / of > most:
                yield path, self.sometimes[path] / of, per, most

    def report(self) -> str:
        """Return a summary for the operator of the run."""
        seconds = time.monotonic() - self.began
        lines = [
            f"{self.seeds:,} seeds, {self.steps:,} steps, {self.commits:,} commits, {self.calls:,} calls, "
            f"{self.starts:,} starts in {seconds:.0f} s",
            f"{self.steps / seconds:,.0f} steps and {self.commits / seconds:,.0f} commits a second; "
            f"{self.steps / max(self.cpu_seconds, 1e-9):,.0f} steps a second of one core",
            "",
            "faults that happened:",
            *(f"{self.faults[kind]:>10,}  {kind}" for kind in (*FAULTS, *SHARED_FAULTS)),
            "",
            "rare paths that were reached:",
            *(f"{self.sometimes[path]:>10,}  {path}" for path in SOMETIMES),
        ]
        return "\n".join(lines)
