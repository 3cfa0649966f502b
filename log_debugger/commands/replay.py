"""`chat-broker replay LOG`: print the commits, one line each, and the state after them.

Exit status: 0; 2 if a commit can't be read or doesn't follow the one before, after printing all before it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing, nullcontext

from broker.errors import UsageError
from events.codec import UnreadableCommitError
from events.commit import BrokenChainError
from events.ids import Position
from events.log import UnusableLogError
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.filters import (
    MATCH_ALL,
    CommitFilter,
    LogContext,
    add_filter_arguments,
    filter_from_options,
    when_asked,
)
from log_debugger.reading.iterate import Conversations
from log_debugger.reading.operations import Notes, notes_matching
from log_debugger.reading.own_acts import newest_own_act
from log_debugger.reading.room_messages import conversations_counted
from log_debugger.reading.sources import Source, open_source
from log_debugger.reading.times import AT_HELP, position_asked, position_number, start_of
from log_debugger.reading.traversal import Stretch, Traversal, state_folded
from log_debugger.telling.commit_printer import CommitPrinter, JsonCommitPrinter
from log_debugger.telling.describe import open_rooms
from log_debugger.terminal import Terminal
from projections.state import State


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
        "--state-only",
        action="store_true",
        help="the state alone, with what is known of the --room and the --connection; no commits",
    )
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
    if options.state_only:
        _check_state_only(options)
    when = when_asked(options)
    with closing(open_source(options.log)) as source:
        start_ms = start_of(source)
        last, until_ms = position_asked(source, options.to, options.at)
        if options.step:
            from log_debugger.telling.stepper import step_through  # slow to import

            asked = options.to is not None or options.at is not None
            return step_through(source, terminal, options, last if asked else None, start_ms)
        log = LogContext(source, options.connection, options.room)
        commit_filter = filter_from_options(options, when, log)
        printer = (JsonCommitPrinter if options.json else CommitPrinter)(terminal, log.names, commit_filter, start_ms)
        try:
            if options.state_only:
                _print_state(source, last, printer, terminal)
            else:
                notes = notes_matching(source, commit_filter, until_ms)
                _print_log(source, last, printer, terminal, commit_filter, notes, log.unwanted(commit_filter))
        except (UnreadableCommitError, BrokenChainError, UnusableLogError):
            terminal.out.flush()  # before the error message, if both go to one terminal
            raise
    return 0


def _check_state_only(options: argparse.Namespace) -> None:
    """Check that nothing is asked for that would choose commits.

    Raises:
        UsageError: something is.
    """
    given = {"--step": options.step, "--type": options.type, "--when": options.when, "--rejection": options.rejection}
    if chosen := [name for name, value in given.items() if value]:
        raise UsageError(f"--state-only prints no commits, and {chosen[0]} is about them: leave one of them out")


def _print_state(source: Source, last: Position, printer: CommitPrinter, terminal: Terminal) -> None:
    """Print the state at `last`, folded from the newest snapshot before it."""
    start: State = source.snapshot(last).state
    with terminal.progress("reading", last - start.position) as advance:
        state = state_folded(source, start, last, advance)
    _print_end(source, printer, state, Conversations(conversations_counted(source, open_rooms(state), state.position)))


def _print_log(
    source: Source,
    last: Position,
    printer: CommitPrinter,
    terminal: Terminal,
    commit_filter: CommitFilter,
    notes: Notes,
    unwanted: Sequence[Stretch],
) -> None:
    """Print the commits that match, then the state."""
    base: State = source.base.state
    shown = 0
    if base.position:
        printer.base(base)
    # If every commit is printed, the lines themselves show the progress.
    quiet = commit_filter != MATCH_ALL and not terminal.out.isatty()
    with terminal.progress("reading", last - base.position) if quiet else nullcontext(_no_progress) as advance:
        traversal = Traversal(source, last, commit_filter.line_test(), advance, unwanted)
        for entry in traversal.entries():
            if commit_filter.matches(entry.step):
                printer.notes(notes.before(entry.step.commit.position), entry.step.before)
                printer.commit(entry)
                shown += 1
        state = traversal.end()
        conversations = traversal.conversations_in(open_rooms(state))
    printer.notes(notes.before(last + 1), state)
    printer.after_commits(shown)
    _print_end(source, printer, state, conversations)


def _print_end(source: Source, printer: CommitPrinter, state: State, conversations: Conversations) -> None:
    who = printer.connection
    last_act = newest_own_act(source, state.position, who) if who is not None else None
    printer.state(state, conversations, last_act, source.base.tip.position)


def _no_progress(steps: int) -> None:
    """Show no progress."""
