"""Where a command writes: its answer to standard output, its progress to a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Advance = Callable[[int], None]
"""Says that so much more of the work is done."""


class Terminal:
    """The two ends of a command that talk to a person or to a pipe."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self.out = out
        self.err = err

    def line(self, text: str = "") -> None:
        """One line of the answer."""
        self.out.write(f"{text}\n")

    def data(self, data: bytes) -> None:
        """Bytes as they are, whatever the encoding of the terminal; one that has no bytes is a test's."""
        out = getattr(self.out, "buffer", None)
        if out is None:
            self.out.write(data.decode())
            return
        self.out.flush()
        out.write(data)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """A bar on standard error while it is open, if that is a terminal; `total` and steps are in one unit."""
        if not self.err.isatty():
            yield lambda steps: None
            return
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(file=self.err), transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda steps: progress.advance(task, steps)


def printable(text: str) -> str:
    """`text` in quotes on one line, as a JSON string, and nothing in it that a terminal would obey."""
    escaped = "".join(
        one if one.isprintable() else _escaped(one) for one in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'


def _escaped(one: str) -> str:
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(one)
    return short if short is not None else json_escape(one)


def json_escape(one: str) -> str:
    """A character as JSON writes one that it does not want to show, of whatever plane."""
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))
