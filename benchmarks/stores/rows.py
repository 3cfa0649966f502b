"""Results beside the wanted values."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import NamedTuple

from benchmarks.report import table


class Row(NamedTuple):
    """One figure, with its range."""

    what: str
    figure: str
    lowest_to_highest: str
    wanted: str
    is_met: bool


def ratio_row(
    what: str, values: Sequence[float], units: Sequence[float], wanted: float | None, *, at_least: bool = False
) -> Row:
    """Return the median of the rounds' own ratios: a slower machine slows both sides of a round.

    Any ratio will do where none is `wanted`.
    """
    ratios = [value / unit for value, unit in zip(values, units, strict=True)]
    middle = median(ratios)
    extremes = f"{min(ratios):.2f} to {max(ratios):.2f}"
    if wanted is None:
        return Row(what, f"{middle:.2f}", extremes, "-", True)
    is_met = middle >= wanted if at_least else middle <= wanted
    return Row(what, f"{middle:.2f}", extremes, f"{'>=' if at_least else '<='} {wanted:g}", is_met)


def limit_row(what: str, values: Sequence[float], wanted: float, unit: str) -> Row:
    """Return the median of values, of which less is better."""
    middle = median(values)
    extremes = f"{min(values):,.1f} to {max(values):,.1f}"
    return Row(what, f"{middle:,.1f} {unit}", extremes, f"<= {wanted:g} {unit}", middle <= wanted)


def row_table(rows: Sequence[Row]) -> str:
    """Return the table, and the conditions under it."""
    cells = [["what", "measured", "lowest to highest", "wanted", "met"]]
    cells += [[*row[:4], "yes" if row.is_met else "NO"] for row in rows]
    load = os.getloadavg()[0]
    return (
        f"{table(cells)}\n{datetime.now(UTC).date()}, {platform.python_implementation()} {platform.python_version()}, "
        f"{len(os.sched_getaffinity(0))} cores, load {load:.1f}"
    )
