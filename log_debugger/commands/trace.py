"""`chat-broker trace LOG`: print the timeline of one connection or room, and the delivery of each message.

With `--pair`, print why two connections met, or did not.

Exit status: 0; 2 if a commit can't be read or doesn't follow the one before, after printing all before it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing

from broker.errors import UsageError
from broker.verification.safe_text import printable
from events.codec import UnreadableCommitError
from events.commit import BrokenChainError
from events.log import UnusableLogError
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.filter_parser import parse_filter
from log_debugger.reading.filters import CommitFilter, LogContext, add_when_argument
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.sources import Source, open_source
from log_debugger.reading.traversal import Stretch, Traversal
from log_debugger.telling.pair import JsonPairTimeline, Pair, PairTimeline
from log_debugger.telling.timeline import JsonTimeline, Timeline
from log_debugger.terminal import Terminal
from projections.state import State


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--connection", metavar="C", help="whose life: an id, the beginning of one, or a name")
    which.add_argument("--room", metavar="R", help="which room's life: its id, or the beginning of it")
    which.add_argument(
        "--pair",
        metavar="C",
        nargs=2,
        help="why two connections met or did not, at each moment at which they could have",
    )
    add_when_argument(parser, "the commits of that life that are told; the totals are of all")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: the commits, then the totals")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print a timeline; return 0.

    Raises:
        UsageError: there is no such connection or room, a pair is one connection, or the filter can't be parsed.
        UnreadableCommitError: a commit can't be decoded; all before it was printed.
        BrokenChainError: a commit does not follow the one before; all before it was printed.
    """
    when = parse_filter(options.when) if options.when is not None else None
    with closing(open_source(options.log)) as source:
        log = LogContext(source, options.connection, options.room)
        names, told = log.names, CommitFilter(when=when(log) if when is not None else None)
        commit_filter = CommitFilter(
            names.connection_of(options.connection) if options.connection is not None else None,
            names.room_of(options.room) if options.room is not None else None,
        )
        timeline: Timeline | PairTimeline
        if options.pair is not None:
            pair = _pair(names, *options.pair)
            timeline = (JsonPairTimeline if options.json else PairTimeline)(source, terminal, names, pair, told)
        else:
            timeline = (JsonTimeline if options.json else Timeline)(source, terminal, names, commit_filter, told)
        try:
            _print_timeline(source, terminal, timeline, commit_filter, log.unwanted(commit_filter))
        except (UnreadableCommitError, BrokenChainError, UnusableLogError):
            terminal.out.flush()
            raise
    return 0


def _pair(names: ShortNames, one: str, other: str) -> Pair:
    first, second = names.connection_of(one), names.connection_of(other)
    if first == second:
        raise UsageError(f"{printable(one)} and {printable(other)} are one connection; name two")
    return first, second


def _print_timeline(
    source: Source,
    terminal: Terminal,
    timeline: Timeline | PairTimeline,
    commit_filter: CommitFilter,
    unwanted: Sequence[Stretch],
) -> None:
    base: State = source.base.state
    timeline.begin(base)
    with terminal.progress("reading", timeline.last - base.position) as advance:
        traversal = Traversal(source, timeline.last, commit_filter.line_test(), advance, unwanted)
        for entry in traversal.entries():
            if commit_filter.matches(entry.step):
                timeline.commit(entry)
        state = traversal.end()
    room = state.rooms.get(commit_filter.room) if commit_filter.room is not None else None
    rooms = [room] if room is not None and room.is_open else []
    timeline.end(state, traversal.conversations_in(rooms))
