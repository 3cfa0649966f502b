"""A command's terminal: output on standard output, progress on standard error."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import msgspec

from broker.errors import UsageError
from broker.verification.safe_text import json_escape

Advance = Callable[[int], None]
"""Reports that so many more units of the work are done."""

_encode = msgspec.json.Encoder().encode
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")


class Terminal:
    """The output streams of a command."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self.out = out
        self.err = err

    def line(self, text: str = "") -> None:
        """Write one line of output."""
        self.out.write(f"{text}\n")

    def data(self, data: bytes) -> None:
        """Write raw bytes in any encoding of the terminal; a text-only stream gets them decoded."""
        out = getattr(self.out, "buffer", None)
        if out is None:
            self.out.write(data.decode())
            return
        self.out.flush()
        out.write(data)

    def check_interactive(self, what: str, instead: str) -> None:
        """Check that `what` can show a screen here, and be given keys; `instead` names the way without one.

        Raises:
            UsageError: input or output is no terminal, or one for lines alone.
        """
        if not (sys.stdin.isatty() and self.out.isatty() and self.err.isatty()):
            raise UsageError(f"{what} needs a terminal for its input and output; {instead}")
        if os.environ.get("TERM", "") in ("", "dumb"):
            raise UsageError(f"{what} needs a terminal that can do more than lines, and TERM says that this one can't")

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Advance]:
        """Show a progress bar on standard error while open, if that is a terminal.

        Args:
            what: the label.
            total: the amount of work, in the unit of the steps.
        """
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
