"""The table."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Final

from benchmarks.options import Options
from benchmarks.target import Samples

Row = tuple[str, Samples, Samples | None]
"""A server's name, its samples beside few idle streams, and beside many if it was measured there."""

HEADINGS: Final = (
    "server",
    "us a message",
    "x bare",
    "messages/s",
    "busy",
    "p50 ms",
    "p99 ms",
    "KB a stream",
    "us beside {streams} streams",
    "x few",
    "lowest to highest us",
)


def table(rows: Sequence[Row], options: Options) -> str:
    """A Markdown table: medians over the rounds; the first row is what the others are compared with."""
    bare = rows[0][1]
    cells = [[heading.format(streams=f"{options.streams:,}") for heading in HEADINGS]]
    cells += [_cells(*row, bare) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, _line(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], widths))
    return "\n".join(lines)


def footer(rows: Sequence[Row], options: Options) -> str:
    """What one needs to know to take the table again."""
    generator = " / ".join(f"{median(few.generator_us):.0f}" for _, few, _ in rows)
    bare_beside_many = rows[0][2]
    rounds = f"{len(rows[0][1].p50_ms)} + {len(bare_beside_many.cpu_us) if bare_beside_many is not None else 0}"
    return (
        f"{datetime.now(UTC).date()}, {platform.python_implementation()} {platform.python_version()}, "
        f"{len(os.sched_getaffinity(0))} cores: {options.pairs} pairs, {options.messages:,} messages a "
        f"measurement, {rounds} rounds, latency at {options.rate_per_second} messages/s; the generator "
        f"itself took {generator} us a message."
    )


def _cells(name: str, few: Samples, many: Samples | None, bare: Samples) -> list[str]:
    return [
        name,
        f"{median(few.cpu_us):.0f}",
        f"{_ratio(few.cpu_us[: len(few.p50_ms)], bare.cpu_us[: len(few.p50_ms)]):.1f}",
        f"{median(few.messages_per_s):,.0f}",
        f"{median(few.busy):.0%}",
        f"{median(few.p50_ms):.2f}",
        f"{median(few.p99_ms):.2f}",
        *_beside_many(few, many),
        f"{min(few.cpu_us):.0f} to {max(few.cpu_us):.0f}",
    ]


def _beside_many(few: Samples, many: Samples | None) -> list[str]:
    if many is None:
        return ["", "", ""]
    ratio = _ratio(many.cpu_us, few.cpu_us[-len(many.cpu_us) :])
    return [f"{many.stream_kb:.0f}", f"{median(many.cpu_us):.0f}", f"{ratio:.2f}"]


def _ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the rounds' own ratios: a machine that slows down slows both sides of one round."""
    return median(value / other for value, other in zip(values, others, strict=True))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True)))
    return "| " + " | ".join(padded) + " |"
