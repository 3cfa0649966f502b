"""Docstrings and comments stay plain: a finished package stays below the limits."""

from __future__ import annotations

import pytest

from tests.support.pages import ROOT
from tests.support.prose import Rates, modules, rates_of

FINISHED = [
    "events",
    "projections",
    "broker",
    "mcp_facade",
    "log_debugger",
    "chat_client",
    "benchmarks",
    "examples",
    "tests",
]
LIMITS = Rates(openers=3.0, pronouns=1.5, relatives=22.0)


@pytest.mark.parametrize("package", FINISHED)
def test_a_finished_package_stays_plain(package: str) -> None:
    """No rate is above its limit; CONTRIBUTING.md has the rules."""
    rates = rates_of(modules(ROOT / package))
    assert [name for name in Rates._fields if getattr(rates, name) > getattr(LIMITS, name)] == [], rates


def test_each_rate_counts_its_words() -> None:
    """All kinds of docstrings count, and all comments except those to tools."""
    plain = '"""Return it."""\n\n\nclass A:\n    """The writer of one log."""\n'
    assert rates_of([plain]) == Rates(0, 0, 0)
    private = 'def f() -> None:  # noqa: nobody\n    """What somebody is told."""\n    # for those who ask\n'
    assert rates_of([plain, private]) == Rates(100 / 3, 1_000 / 15, 2_000 / 15)
