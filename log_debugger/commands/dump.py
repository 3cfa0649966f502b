"""`chat-broker log dump LOG`: write the stored commits to standard output or a file, one JSON object a line."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice

from broker.errors import UsageError
from events.ids import Position
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.redacting import KEY_BYTES, Redactor
from log_debugger.reading.sources import Source, open_source
from log_debugger.reading.times import position_number
from log_debugger.telling.output import STDOUT, add_output_argument, output
from log_debugger.terminal import Advance, Terminal
from projections.snapshots import STATE_CODEC
from projections.state import State

LINES_AT_ONCE = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    parser.add_argument(
        "--after", metavar="N", type=position_number, default=0, help="only the commits behind this position"
    )
    redact = "without texts, names and interests; what comes out is a log of its own"
    parser.add_argument("--redact", action="store_true", help=redact)
    add_output_argument(parser, "where to write it, once all of it is there", default=STDOUT)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Write the dump; return 0.

    Raises:
        UsageError: the log can't be opened, or it ends before `--after`.
    """
    if options.after < 0:
        raise UsageError(f"--after must be a position, not {options.after}")
    with closing(open_source(options.log)) as source:
        last = source.tip().position
        if options.after > last:
            raise UsageError(f"{source.name} ends at position {last}, so there is nothing behind {options.after}")
        total = max(0, last - max(options.after, source.base.tip.position))
        with output(options.output, options.log, terminal) as out, terminal.progress("dumping", total) as advance:
            _write(_dumped(source, options.after, is_redacted=options.redact), out.write, advance)
    return 0


def _write(lines: Iterator[bytes], write: Callable[[bytes], object], advance: Advance) -> None:
    """Write `lines`; if the iterator fails, the lines before the failure are written."""
    page: list[bytes] = []
    try:
        for line in lines:
            page.append(line)
            if len(page) == LINES_AT_ONCE:
                write(_joined(page))
                advance(len(page))
                page.clear()
    finally:
        write(_joined(page))


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _dumped(source: Source, after: Position, *, is_redacted: bool) -> Iterator[bytes]:
    """Yield the lines of the base, if there is one and `after` includes it, and of the commits after `after`."""
    state: State = source.base.state
    start = state.position
    if not is_redacted:
        yield from _base(state, after)
        yield from source.lines(max(start, after))
        return
    redactor = Redactor(secrets.token_bytes(KEY_BYTES), state)
    yield from _base(redactor.base(), after)
    # A commit's id depends on all before it, so these are redacted too.
    yield from islice(redactor.lines(source.lines(start)), max(0, after - start), None)


def _base(state: State, after: Position) -> Iterator[bytes]:
    return STATE_CODEC.encode(state) if state.position and after <= state.position else iter(())
