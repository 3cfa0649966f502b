"""The figures of stores: the median of the ratios of single rounds, and a row's verdict on its limit."""

from __future__ import annotations

import pytest

from benchmarks.stores import latency
from benchmarks.stores.rows import limit_row, ratio_row, row_table
from tests.support.engines.redis import binary_of


def test_a_ratio_is_that_of_each_round() -> None:
    """The ratio is taken within a round, so a round on a slow machine counts like any other."""
    row = ratio_row("x", [2, 40, 9], [1, 10, 3], 3)
    assert (row.figure, row.lowest_to_highest, row.wanted, row.is_met) == ("3.00", "2.00 to 4.00", "<= 3", True)
    assert not ratio_row("x", [2, 40, 9], [1, 10, 3], 2.9).is_met


def test_of_some_ratios_more_is_better() -> None:
    """For such a ratio, the limit is the least value."""
    assert ratio_row("x", [3], [4], 0.75, at_least=True).is_met
    assert not ratio_row("x", [2.9], [4], 0.75, at_least=True).is_met


def test_a_ratio_without_a_wanted_one_is_only_told() -> None:
    """Nothing is said to be missed."""
    row = ratio_row("x", [2, 4], [1, 1], None)
    assert (row.figure, row.wanted, row.is_met) == ("3.00", "-", True)


def test_a_limit_is_compared_with_the_median() -> None:
    """One slow round does not exceed the limit."""
    row = limit_row("x", [1, 100, 2], 2, "s")
    assert (row.figure, row.lowest_to_highest, row.wanted, row.is_met) == ("2.0 s", "1.0 to 100.0", "<= 2 s", True)
    assert not limit_row("x", [3, 100, 2], 2, "s").is_met


def test_the_table_says_what_is_not_met() -> None:
    """The last column has the verdict."""
    lines = row_table([limit_row("first", [1], 2, "s"), limit_row("second", [3], 2, "s")]).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:4]] == ["yes", "NO"]


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_message_between_two_brokers_is_measured() -> None:
    """The row compares a message on a real Valkey with appends to the same server."""
    binary_of("valkey")
    (row,) = await latency.measure(1, 0.5, ["redis"])
    assert float(row.figure) > 0
