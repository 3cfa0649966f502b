"""The `TestCase` of a machine: Hypothesis's, and a warning of branches of the matching that never ran."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine, TestCaseProperty

from broker.testing.branches import BranchLog, UntriedBranchWarning

_RUNNING: dict[type, BranchLog] = {}
"""The branches of the matchings of machines whose test case runs now."""


def branches_of(machine: type) -> BranchLog | None:
    """Return where to note the branches of a machine's matching; `None` if its test case does not run."""
    return _RUNNING.get(machine)


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
        branches = _RUNNING[kind] = BranchLog(kind.matching)
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
