"""The table."""

from collections.abc import Sequence
from statistics import median
from typing import Final

from benchmarks.options import Options
from benchmarks.target import Samples

Row = tuple[str, Samples, Samples]
"""A server's name, its samples beside few idle streams, and beside many."""

HEADINGS: Final = (
    "server",
    "us a message",
    "x bare",
    "messages/s",
    "p50 ms",
    "p99 ms",
    "KB a stream",
    "us beside {streams} streams",
    "spread",
    "generator us",
)


def table(rows: Sequence[Row], options: Options) -> str:
    """A Markdown table: medians over the rounds; the first row is what the others are compared with."""
    bare = median(rows[0][1].cpu_us)
    cells = [[heading.format(streams=f"{options.streams:,}") for heading in HEADINGS]]
    cells += [_cells(*row, bare) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(
        1, "| " + " | ".join(("-" * w if i == 0 else "-" * (w - 1) + ":") for i, w in enumerate(widths)) + " |"
    )
    return "\n".join(lines)


def _cells(name: str, few: Samples, many: Samples, bare: float) -> list[str]:
    return [
        name,
        f"{median(few.cpu_us):.0f}",
        f"{median(few.cpu_us) / bare:.1f}",
        f"{median(few.messages_per_s):,.0f}",
        f"{median(few.p50_ms):.2f}",
        f"{median(few.p99_ms):.2f}",
        f"{many.stream_kb:.0f}",
        f"{median(many.cpu_us):.0f}",
        f"{min(few.cpu_us):.0f} to {max(few.cpu_us):.0f}",
        f"{median(few.generator_us):.0f}",
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True)))
    return "| " + " | ".join(padded) + " |"
