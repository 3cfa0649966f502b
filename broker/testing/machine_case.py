"""The `TestCase` of a machine: Hypothesis's, and a warning of branches of the matching that never ran."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, NamedTuple

from hypothesis.stateful import RuleBasedStateMachine, TestCaseProperty

from broker.testing.branches import BranchLog, UntriedBranchWarning
from broker.testing.checked_matching import AskedBefore


class MatchingRun(NamedTuple):
    """The notes about a machine's matching over all examples of a run."""

    branches: BranchLog | None = None
    asked_before: AskedBefore | None = None


_RUNNING: dict[type, MatchingRun] = {}
"""The notes about the matchings of machines whose test case runs now."""


def run_of(machine: type) -> MatchingRun:
    """Return where to note what a machine's matching does; empty if its test case does not run."""
    return _RUNNING.get(machine, MatchingRun())


class MachineTestCase(TestCaseProperty):
    """The attribute `TestCase` of a machine with an attribute `matching`."""

    def __get__(self, machine: RuleBasedStateMachine | None, kind: type[RuleBasedStateMachine] | None = None) -> Any:
        plain: Any = super().__get__(machine, kind)
        return _with_warning(plain, type(machine) if machine is not None else kind)


@cache
def _with_warning(plain: Any, kind: Any) -> Any:
    """Return a test case like `plain` that warns; always the same, since its settings may be set."""

    def run_test(self: object) -> None:
        __tracebackhide__ = True
        if kind.matching is None:
            plain.runTest(self)
            return
        branches = BranchLog(kind.matching)
        _RUNNING[kind] = MatchingRun(branches, AskedBefore())
        try:
            plain.runTest(self)
        finally:
            del _RUNNING[kind]
        if untried := branches.untried():
            lines = ["these branches of the matching never ran, so nothing is known about them:", *untried]
            lines.append("try other interests, people or policies, or more examples; or leave out what can't happen")
            warnings.warn("\n  ".join(lines), UntriedBranchWarning, stacklevel=1)

    run_test.__dict__.update(vars(plain.runTest))  # marks of Hypothesis, for its plugin of pytest
    return type(plain.__name__, (plain,), {"runTest": run_test, "__qualname__": plain.__qualname__})
