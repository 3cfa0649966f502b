"""`chat-broker tail LOG`: print each commit and note as it is stored, in the lines of `replay`, until Ctrl-C.

Nothing is written to the log. A store that goes away is waited for.

Exit status: 0 after Ctrl-C; 2 if a commit can't be read or doesn't follow the one before, after printing all before it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from broker.errors import UsageError
from events.ids import Position
from events.log import LogUnavailableError
from log_debugger.reading.files import WRITTEN_LOG_HELP
from log_debugger.reading.filters import CommitFilter, LogContext, add_filter_arguments, filter_from_options, when_asked
from log_debugger.reading.following import Follower, open_growing
from log_debugger.reading.operations import GrowingNotes
from log_debugger.reading.sources import Source
from log_debugger.reading.times import AT_HELP, LogSpan, position_of, span_of, start_of
from log_debugger.telling.commit_printer import CommitPrinter, JsonCommitPrinter
from log_debugger.terminal import Terminal
from projections.state import State

PAGES_A_LOOK = 5
"""The pages between two looks for notes: records come late by a second, so it need not be oftener."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=WRITTEN_LOG_HELP)
    parser.add_argument(
        "--from",
        dest="start",
        metavar="WHERE",
        help=f"begin with the commit at this position, or the first from a time on, not at the end; {AT_HELP}",
    )
    add_filter_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Follow the log until an interrupt; return 0.

    Raises:
        UsageError: the log does not grow, or the start or something in a filter is not in it.
        UnreadableCommitError: a commit can't be decoded; all before it was printed.
        BrokenChainError: a commit does not follow the one before; all before it was printed.
        UnusableLogError: the log is damaged or was rolled back; all before it was printed.
        LogUnavailableError: its store can't be reached at the start.
    """
    when = when_asked(options)
    try:
        with closing(open_growing(options.log, "tail")) as source:
            log = _GrowingContext(source)
            commit_filter = filter_from_options(options, when, log)
            start = _start(source, options.start)
            follower = Follower(source, log.names, start, lambda error: _tell_away(terminal, error))
            notes = GrowingNotes(source, commit_filter, None if options.start is None else start)
            printer = JsonCommitPrinter if options.json else CommitPrinter
            new_printer = partial(printer, terminal, log.names, commit_filter)
            base = source.base.state if options.start is not None and start == source.base.tip.position else None
            _tell(follower, notes, commit_filter, lambda: _begun(new_printer(start_of(source)), base), terminal)
    except KeyboardInterrupt:  # the way to end it
        terminal.out.flush()
    return 0


def _tell(
    follower: Follower,
    notes: GrowingNotes,
    commit_filter: CommitFilter,
    new_printer: Callable[[], CommitPrinter],
    terminal: Terminal,
) -> None:
    """Print what comes, without an end. `new_printer` is called once there is a commit: times count from the first."""
    printer: CommitPrinter | None = None
    for number, page in enumerate(follower.pages()):
        if number % PAGES_A_LOOK == 0:
            notes.look()
        try:
            for entry in page:
                printer = printer or new_printer()
                if commit_filter.matches(entry.step):
                    printer.notes(notes.before(entry.step.commit.position), entry.step.before)
                    printer.commit(entry)
            if follower.state.position > 0:
                printer = printer or new_printer()
                printer.notes(notes.before(follower.state.position + 1), follower.state)
        finally:
            terminal.out.flush()


def _begun(printer: CommitPrinter, base: State | None) -> CommitPrinter:
    """Return `printer`; say first that the log begins at `base` if it was trimmed, and what comes begins there."""
    if base is not None and base.position:
        printer.base(base)
    return printer


class _GrowingContext(LogContext):
    """`LogContext` of a log that goes on until now."""

    @property
    def span(self) -> LogSpan:
        """The time of the first commit, and now."""
        span = super().span
        return LogSpan(span.start_ms, max(span.end_ms or 0, int(time.time() * 1_000)))


def _start(source: Source, asked: str | None) -> Position:
    """Return the position before the first commit to print.

    Raises:
        UsageError: it is no position and no time, or not in the log.
    """
    tip = source.tip().position
    if asked is None:
        return tip
    first = position_of(asked, lambda: span_of(source), lambda at_ms: source.position_at(at_ms - 1) + 1)
    if first > tip + 1:
        raise UsageError(f"{source.name} goes up to position {tip}, so there is no position {first} yet")
    return max(first - 1, source.base.tip.position)


def _tell_away(terminal: Terminal, error: LogUnavailableError) -> None:
    terminal.err.write(f"chat-broker: {' '.join(str(error).split())}; waiting for it\n")
    terminal.err.flush()
