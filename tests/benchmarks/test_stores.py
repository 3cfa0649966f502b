"""The figures of stores: the median of the rounds' own ratios counts, and a row says whether it is as wanted."""

from __future__ import annotations

import pytest

from benchmarks.stores import latency
from benchmarks.stores.rows import limit_row, ratio_row, row_table
from tests.support.engines.redis import binary_of


def test_a_ratio_is_that_of_each_round() -> None:
    """A round in which the whole machine was slow counts as any other."""
    row = ratio_row("x", [2, 40, 9], [1, 10, 3], 3)
    assert (row.figure, row.lowest_to_highest, row.wanted, row.is_met) == ("3.00", "2.00 to 4.00", "<= 3", True)
    assert not ratio_row("x", [2, 40, 9], [1, 10, 3], 2.9).is_met


def test_of_some_ratios_more_is_better() -> None:
    """Then the wanted one is the least."""
    assert ratio_row("x", [3], [4], 0.75, at_least=True).is_met
    assert not ratio_row("x", [2.9], [4], 0.75, at_least=True).is_met


def test_a_limit_is_compared_with_the_median() -> None:
    """One slow round does not break it."""
    row = limit_row("x", [1, 100, 2], 2, "s")
    assert (row.figure, row.lowest_to_highest, row.wanted, row.is_met) == ("2.0 s", "1.0 to 100.0", "<= 2 s", True)
    assert not limit_row("x", [3, 100, 2], 2, "s").is_met


def test_the_table_says_what_is_not_met() -> None:
    """In its last column."""
    lines = row_table([limit_row("first", [1], 2, "s"), limit_row("second", [3], 2, "s")]).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:4]] == ["yes", "NO"]


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_message_between_two_brokers_is_measured() -> None:
    """On a real Valkey, against appends to the same."""
    binary_of("valkey")
    (row,) = await latency.measure(1, 0.5, ["redis"])
    assert float(row.figure) > 0
