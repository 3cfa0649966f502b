"""`chat-broker bisect LOG --when FILTER`: find the first position at which a filter holds.

A monotone filter is found by binary search: first among the stored snapshots, then in the gap between two of them.
At most `STATES_KEPT` evenly spaced states of the gap are kept in each round. Any other filter may hold for one
position only, so every state is checked.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from events.commit import BrokenChainError
from events.ids import Position
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.filter_fields import OF_COMMITS, RISING
from log_debugger.reading.filter_parser import Filter, parse_filter
from log_debugger.reading.filters import LogContext, add_when_argument
from log_debugger.reading.iterate import Conversations, conversations_in, iterate
from log_debugger.reading.sources import Source, Step, commits, open_source
from log_debugger.reading.times import start_of
from log_debugger.telling.narrative import narrative_line
from log_debugger.terminal import Advance, Terminal
from projections.state import State, fold

EXIT_FOUND, EXIT_NEVER = 0, 1
STATES_KEPT = 500
PAGE_COMMITS = 1_000

T = TypeVar("T")


class FirstMatch(NamedTuple):
    """The first state that satisfies a filter, and the step to it; the log's base has no step."""

    state: State
    step: Step | None
    conversations: Conversations | None  # before it, if all before it was passed


class BisectResult(NamedTuple):
    """The first match, if any, and the number of states checked."""

    found: FirstMatch | None
    looked_at: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("log", metavar="LOG", help=LOG_HELP)
    add_when_argument(parser, "what is looked for", required=True)


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print the first match.

    Returns:
        The exit status: 0 if a position satisfies the filter, 1 if none does.

    Raises:
        UsageError: the log can't be opened, the filter can't be parsed, or its person, room or time is not in the log.
    """
    when = parse_filter(options.when)
    source = open_source(options.log)
    try:
        log = LogContext(source)
        bound = when(log)
        base, tip = source.base.tip.position, source.tip().position
        with terminal.progress("folding", tip - base) as advance:
            result = first_holding(source, bound, advance)
        if result.found is None:
            terminal.line(f"it never holds, from position {base} to {tip}")
        else:
            terminal.line(_result_line(source, log, result.found))
        terminal.line(_method(bound, result.looked_at))
    finally:
        source.close()
    return EXIT_FOUND if result.found is not None else EXIT_NEVER


def first_holding(source: Source, when: Filter, advance: Advance = lambda steps: None) -> BisectResult:
    """Return the first state from the base to the tip that satisfies `when`.

    The base has no commit, so it satisfies no filter about one.

    Raises:
        BrokenChainError: a commit on the way was altered, or does not follow the one before.
        UnreadableCommitError: a commit on the way can't be decoded.
    """
    return _searched(source, when, advance) if when.is_monotone else _scanned(source, when, advance)


def _scanned(source: Source, when: Filter, advance: Advance) -> BisectResult:
    state: State = source.base.state
    looked_at = int(not when.names & OF_COMMITS)
    if looked_at and when.holds(state, None):
        return BisectResult(FirstMatch(state, None, conversations_in(state)), looked_at)
    for entry in iterate(source, source.tip().position):
        looked_at += 1
        if when.matches(entry.step):
            return BisectResult(FirstMatch(entry.step.after, entry.step, entry.conversations), looked_at)
        if entry.step.after.position % PAGE_COMMITS == 0:
            advance(PAGE_COMMITS)
    return BisectResult(None, looked_at)


def _searched(source: Source, when: Filter, advance: Advance) -> BisectResult:
    looked_at: list[Position] = []

    def holds(state: State) -> bool:
        looked_at.append(state.position)
        return when.holds(state, None)

    stored = source.snapshots()
    number = _first(stored, lambda at: holds(source.snapshot(at).state))
    if number == 0:
        base: State = source.base.state
        return BisectResult(FirstMatch(base, None, conversations_in(base)), len(looked_at))
    before: State = source.snapshot(stored[number - 1]).state
    last = source.snapshot(stored[number]).tip.position if number < len(stored) else source.tip().position
    step = _in_gap(source, before, last, holds, advance)
    return BisectResult(FirstMatch(step.after, step, None) if step is not None else None, len(looked_at))


def _in_gap(
    source: Source, before: State, last: Position, holds: Callable[[State], bool], advance: Advance
) -> Step | None:
    """Return the step to the first match after `before`, which is none itself; `None` if there is none up to `last`."""
    while before.position < last:
        stride = -(-(last - before.position) // STATES_KEPT)
        kept = list(_every(stride, before, last, source, advance))
        number = _first(kept, holds)
        if number == len(kept):
            return None
        before, after = kept[number - 1] if number else before, kept[number]
        if stride == 1:
            return Step(before, next(commits(source, before.position)), after)
        last = after.position
    return None


def _every(stride: int, state: State, last: Position, source: Source, advance: Advance) -> Iterator[State]:
    """Yield each `stride`th state after `state`, and the state at `last`."""
    behind = commits(source, state.position)
    while state.position < last:
        count = min(stride, last - state.position)
        after = fold(islice(behind, count), state)
        if after.position != state.position + count:
            raise BrokenChainError(f"the commits after position {after.position} are gone")
        advance(count)
        state = after
        yield state


def _first(values: Sequence[T], holds: Callable[[T], bool]) -> int:
    """Return the index of the first of `values` for which `holds` is true; their number if there is none.

    `holds` must be true for every value after the first match.
    """
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if holds(values[middle]):
            high = middle
        else:
            low = middle + 1
    return low


def _result_line(source: Source, log: LogContext, found: FirstMatch) -> str:
    if found.step is None:
        return f"{found.state.position:>7}  it holds from the start: the log begins with this state"
    return narrative_line(log.names, found.step, found.conversations, start_of(source))


def _method(when: Filter, looked_at: int) -> str:
    states = f"{looked_at:,} state{'s' * (looked_at != 1)} looked at"
    if when.is_monotone:
        return f"({states}, by halving: what was asked goes on to hold once it does)"
    passing = ", ".join(sorted(when.names - RISING)) or ", ".join(sorted(when.names))
    return f"({states}, one after the other: what was asked about {passing} may hold for a moment only)"
