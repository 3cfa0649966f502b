"""`chat-broker trace LOG`: print the timeline of one connection or room, and the delivery of each message.

Exit status: 0; 2 if a commit can't be read or doesn't follow the one before, after printing all before it.
"""

from __future__ import annotations

import argparse
from contextlib import closing

from events.codec import UnreadableCommitError
from events.commit import BrokenChainError
from events.log import UnusableLogError
from log_debugger.reading.filters import CommitFilter
from log_debugger.reading.iterate import conversations_in, iterate
from log_debugger.reading.short_names import names_of
from log_debugger.reading.sources import Source, open_source
from log_debugger.telling.timeline import JsonTimeline, Timeline
from log_debugger.terminal import Terminal
from projections.state import State

PROGRESS_COMMITS = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help="sqlite:PATH, a dump (.jsonl, .jsonl.gz), its URL, or - for stdin")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--connection", metavar="C", help="whose life: an id, the beginning of one, or a name")
    which.add_argument("--room", metavar="R", help="which room's life: its id, or the beginning of it")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: the commits, then the totals")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print a timeline; return 0.

    Raises:
        UsageError: there is no such connection or room.
        UnreadableCommitError: a commit can't be decoded; all before it was printed.
        BrokenChainError: a commit does not follow the one before; all before it was printed.
    """
    with closing(open_source(options.log)) as source:
        names = names_of(source)
        commit_filter = CommitFilter(
            names.connection_of(options.connection) if options.connection is not None else None,
            names.room_of(options.room) if options.room is not None else None,
        )
        timeline = (JsonTimeline if options.json else Timeline)(source, terminal, names, commit_filter)
        try:
            _print_timeline(source, terminal, timeline, commit_filter)
        except (UnreadableCommitError, BrokenChainError, UnusableLogError):
            terminal.out.flush()
            raise
    return 0


def _print_timeline(source: Source, terminal: Terminal, timeline: Timeline, commit_filter: CommitFilter) -> None:
    base: State = source.base.state
    state, conversations = base, conversations_in(base)
    timeline.begin(base)
    with terminal.progress("reading", timeline.last - base.position) as advance:
        for entry in iterate(source, timeline.last):
            if commit_filter.matches(entry.step):
                timeline.commit(entry)
            state, conversations = entry.step.after, entry.conversations_after
            if state.position % PROGRESS_COMMITS == 0:
                advance(PROGRESS_COMMITS)
    timeline.end(state, conversations)
