"""`chat-broker replay LOG`: print the commits, one line each, and the state after them.

Exit status: 0; 2 if a commit can't be read or doesn't follow the one before, after printing all before it.
"""

from __future__ import annotations

import argparse
from contextlib import closing, nullcontext
from typing import Any

import msgspec

from broker.errors import UsageError
from events.codec import UnreadableCommitError
from events.commit import BrokenChainError
from events.ids import Position
from events.log import UnusableLogError
from log_debugger.reading.deliveries import recipients_of
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.filters import CommitFilter, add_filter_arguments, filter_from_options
from log_debugger.reading.iterate import Conversations, LogEntry, conversations_in, iterate
from log_debugger.reading.short_names import ShortNames, names_of
from log_debugger.reading.sources import Source, open_source
from log_debugger.reading.times import AT_HELP, clock, position_asked, position_number, start_of
from log_debugger.telling.describe import connection_lines, detail_json, room_lines, state_json, state_lines
from log_debugger.telling.narrative import count, narrative, narrative_line
from log_debugger.terminal import Terminal, ascii_json
from projections.state import State

PROGRESS_COMMITS = 1_000


class _AsStored(msgspec.Struct):
    """The parts of a stored commit that are printed as stored, in any schema version."""

    command: msgspec.Raw
    events: msgspec.Raw
    facts: msgspec.Raw


_decode = msgspec.json.Decoder(_AsStored).decode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    until = parser.add_mutually_exclusive_group()
    until.add_argument(
        "--to",
        metavar="N",
        type=position_number,
        help="end at this position, or begin there with --step; 0 is the empty log",
    )
    until.add_argument("--at", metavar="TIME", help=f"the same for what there was at {AT_HELP}")
    add_filter_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line: the commits, then the state")
    parser.add_argument(
        "--step",
        action="store_true",
        help="go through the log in the terminal, forwards and backwards; "
        "what else was asked for is then what its search stops at",
    )


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the log, or step through it; return 0.

    Raises:
        UsageError: the log, or an argument's position, time, room, connection or type, does not exist.
        UnreadableCommitError: a commit can't be decoded; all before it was printed.
        BrokenChainError: a commit does not follow the one before; all before it was printed.
    """
    if options.step and options.json:
        raise UsageError("--step is for people, --json for programs: leave one of them out")
    with closing(open_source(options.log)) as source:
        start_ms = start_of(source)
        last = position_asked(source, options.to, options.at, start_ms)
        if options.step:
            from log_debugger.telling.stepper import step_through  # slow to import

            asked = options.to is not None or options.at is not None
            return step_through(source, terminal, options, last if asked else None, start_ms)
        names = names_of(source)
        commit_filter = filter_from_options(options, names)
        printer: ReplayPrinter = (JsonReplayPrinter if options.json else ReplayPrinter)(
            terminal, names, commit_filter, start_ms
        )
        try:
            _print_log(source, last, printer, terminal, commit_filter)
        except (UnreadableCommitError, BrokenChainError, UnusableLogError):
            terminal.out.flush()  # before the error message, if both go to one terminal
            raise
    return 0


def _print_log(
    source: Source, last: Position, printer: ReplayPrinter, terminal: Terminal, commit_filter: CommitFilter
) -> None:
    base: State = source.base.state
    state, conversations, shown = base, conversations_in(base), 0
    if base.position:
        printer.base(base)
    # If every commit is printed, the lines themselves show the progress.
    quiet = not commit_filter.matches_all and not terminal.out.isatty()
    with terminal.progress("reading", last - base.position) if quiet else nullcontext(_no_progress) as advance:
        for entry in iterate(source, last):
            if commit_filter.matches(entry.step):
                printer.commit(entry)
                shown += 1
            state, conversations = entry.step.after, entry.conversations_after
            if state.position % PROGRESS_COMMITS == 0:
                advance(PROGRESS_COMMITS)
    printer.end(state, conversations, shown)


def _no_progress(steps: int) -> None:
    """Show no progress."""


class ReplayPrinter:
    """Prints a log for people."""

    def __init__(self, terminal: Terminal, names: ShortNames, commit_filter: CommitFilter, start_ms: int) -> None:
        self._line, self._names, self._filter, self._start_ms = terminal.line, names, commit_filter, start_ms

    def base(self, base: State) -> None:
        """Print a summary of the state before the first commit of a trimmed log."""
        rooms = count(base.rooms.open_count, "room")
        self._line(
            f"{base.position:>7}  {clock(base.at_ms - self._start_ms)}  the log begins here: what was before is gone, "
            f"and left {len(base.queue):,} waiting and {rooms} open"
        )

    def commit(self, entry: LogEntry) -> None:
        """Print one commit."""
        self._line(narrative_line(self._names, entry.step, entry.conversations, self._start_ms))

    def end(self, state: State, conversations: Conversations, shown: int) -> None:
        """Print the state after the last commit; `shown` commits were printed."""
        if not shown:
            self._line("nothing happened" if self._filter.matches_all else "no commit is like that")
        self._line()
        lines = [*state_lines(self._names, state, conversations, self._start_ms)]
        if self._filter.connection is not None:
            lines += connection_lines(self._names, state, self._filter.connection)
        if self._filter.room is not None:
            lines += room_lines(self._names, state, conversations, self._filter.room)
        for line in lines:
            self._line(line)


class JsonReplayPrinter(ReplayPrinter):
    """Prints a log for programs: one ASCII object a line, so typed text can't control a terminal."""

    def base(self, base: State) -> None:
        """See `ReplayPrinter.base`."""
        self._object({"base": {"position": base.position, "at_ms": base.at_ms, "commit_id": base.tip.commit_id}})

    def commit(self, entry: LogEntry) -> None:
        """See `ReplayPrinter.commit`."""
        commit, stored = entry.step.commit, _decode(entry.line)
        self._object(
            {
                "position": commit.position,
                "at_ms": commit.at_ms,
                "relative_ms": commit.at_ms - self._start_ms,
                "story": narrative(self._names, entry.step, entry.conversations),
                "command": stored.command,
                "facts": stored.facts,
                "events": stored.events,
                "told": [{"connection_id": who, "method": method} for who, method in recipients_of(commit.events)],
            }
        )

    def end(self, state: State, conversations: Conversations, shown: int) -> None:
        """See `ReplayPrinter.end`."""
        detail = detail_json(state, conversations, self._filter.connection, self._filter.room)
        self._object({"state": state_json(state, conversations) | detail})

    def _object(self, value: dict[str, Any]) -> None:
        self._line(ascii_json(value))
