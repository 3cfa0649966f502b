"""Where a command writes: its answer to standard output, its progress to a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import msgspec

from broker.verification.safe_text import json_escape

Advance = Callable[[int], None]
"""Reports that so many more units of the work are done."""

_encode = msgspec.json.Encoder().encode
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")


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


def ascii_json(value: Any) -> str:
    """Return `value` as one line of ASCII JSON without control characters."""
    text = _encode(value).decode()
    return text if text.isascii() and "\x7f" not in text else _NOT_ASCII.sub(lambda found: json_escape(found[0]), text)
