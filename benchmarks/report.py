"""Tables of results."""

import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Final

from benchmarks.options import BenchmarkOptions
from benchmarks.target import Samples

Row = tuple[str, Samples]
"""A server's name and its samples."""

Column = tuple[str, Callable[[Samples, Samples], str]]
"""A heading, and the function from a server's and the first row's samples to a cell."""

MESSAGES: Final[Sequence[Column]] = (
    ("us a message", lambda of, first: f"{median(of.cpu_us):.0f}"),
    ("x {first}", lambda of, first: f"{_ratio(of.cpu_us, first.cpu_us):.2f}"),
    ("lowest to highest x", lambda of, first: "{:.2f} to {:.2f}".format(*_extremes(of.cpu_us, first.cpu_us))),
    ("lowest to highest us", lambda of, first: f"{min(of.cpu_us):.0f} to {max(of.cpu_us):.0f}"),
    ("messages/s", lambda of, first: f"{median(of.messages_per_s):,.0f}"),
    ("busy", lambda of, first: f"{median(of.at_rate.busy):.0%}"),
    ("p50 ms", lambda of, first: f"{median(of.at_rate.p50_ms):.2f}"),
    ("p99 ms", lambda of, first: f"{median(of.at_rate.p99_ms):.2f}"),
    ("p99 ms at half load", lambda of, first: f"{median(of.at_half.p99_ms):.2f}"),
    ("x {first}", lambda of, first: f"{_ratio(of.at_half.p99_ms, first.at_half.p99_ms):.2f}"),
)


def message_table(rows: Sequence[Row], first: str = "bare") -> str:
    """Return the table of message costs: medians over the rounds, in units of the first row, headed `first`."""
    unit = rows[0][1]
    cells = [["server", *(heading.format(first=first) for heading, _ in MESSAGES)]]
    cells += [[name, *(cell(samples, unit) for _, cell in MESSAGES)] for name, samples in rows]
    return table(cells)


def stream_table(rows: Sequence[Row]) -> str:
    """Return the table of stream costs: memory, and a message beside so many streams and beside the fewest."""
    bare = rows[0][1]
    cells = [["server", "idle streams", "KB a stream", "x bare", "idle", "us a message", "x few"]]
    for name, samples in rows:
        few = samples.beside_us[min(samples.beside_us)]
        for streams, beside_us in samples.beside_us.items():
            kb = samples.stream_kb.get(streams)
            memory = ["", ""] if kb is None else [f"{kb:.0f}", f"{kb / bare.stream_kb[streams]:.2f}"]
            idle = f"{samples.idle[streams]:.1%}"
            cells.append(
                [name, f"{streams:,}", *memory, idle, f"{median(beside_us):.0f}", f"{_ratio(beside_us, few):.2f}"]
            )
    return table(cells)


def footer(rows: Sequence[Row], options: BenchmarkOptions) -> str:
    """Return the conditions of the measurement."""
    generator = " / ".join(f"{median(samples.generator_us):.0f}" for _, samples in rows)
    bare = rows[0][1]
    beside = " or ".join(map(str, sorted({len(samples) for samples in bare.beside_us.values()})))
    rounds = f"{len(bare.cpu_us)} rounds" + (f" and {beside} beside each number of streams" if beside else "")
    return (
        f"{datetime.now(UTC).date()}, {platform.python_implementation()} {platform.python_version()}, "
        f"{len(os.sched_getaffinity(0))} cores: {options.pairs} pairs, {options.messages:,} messages a "
        f"measurement, {rounds}, latency at {options.rate_per_second} messages/s; "
        f"the generator itself took {generator} us a message."
    )


def _extremes(values: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and the highest of the rounds' own ratios."""
    ratios = [value / other for value, other in zip(values, others, strict=False)]
    return min(ratios), max(ratios)


def _ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the rounds' own ratios: a slower machine slows both sides of a round."""
    return median(value / other for value, other in zip(values, others, strict=False))


def table(cells: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; the first line holds the headings."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, _line(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])], widths))
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True)))
    return "| " + " | ".join(padded) + " |"
