"""The run with vanishing people: each seed is repeatable, and confirmed matches shorten the time with ghosts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from statistics import mean, quantiles

import pytest
import structlog

from benchmarks.ghosts import POLICIES, Outcome, Scenario, outcome_of, row

SEEDS = (1, 2, 3)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Silence the log of commits; it would take most of the time."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


def outcomes(policy: str) -> list[Outcome]:
    """Run some seeds under one of the policies; each lost connection is noticed."""
    return [outcome_of(Scenario(POLICIES[policy], seed, unnoticed=0)) for seed in SEEDS]


def test_a_seed_gives_the_same_waits_again() -> None:
    """A scenario with both noticed and unnoticed vanishing has the same outcome twice."""
    scenario = Scenario(POLICIES["after"], seed=7)
    assert outcome_of(scenario) == outcome_of(scenario)


def test_a_ghost_holds_its_partner_for_less_time() -> None:
    """A ghost lasts for the grace of a match, and the longest waits for a living partner are shorter."""
    before, after = outcomes("before"), outcomes("after")
    held_before_ms, held_after_ms = (
        [held_ms for outcome in some for held_ms in outcome.with_ghosts_ms] for some in (before, after)
    )
    assert len(held_before_ms) >= len(SEEDS) <= len(held_after_ms)
    assert mean(held_after_ms) <= POLICIES["after"].confirm_grace_ms < mean(held_before_ms)
    longest_before_ms, longest_after_ms = (
        quantiles((wait_ms for outcome in some for wait_ms in outcome.waits_ms), n=100, method="inclusive")[-1]
        for some in (before, after)
    )
    assert longest_after_ms < longest_before_ms


def test_a_row_names_its_policy() -> None:
    """The row has the share of unnoticed ends, and the waits in seconds."""
    assert row("after", 0.5, [Outcome([0.0, 1_000.0, 61_000.0], [25_000.0])]) == (
        "| after | 50% | 3 | 1.0 | 55 | 60 | 33.3% | 1 | 25 |"
    )
