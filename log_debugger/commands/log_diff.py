"""`chat-broker log diff A B`: tell where two logs part, and what each has next.

Exit status: 0 if they are equal, or one is the beginning of the other; 1 if they part; 2 if a commit can't be read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

from broker.errors import UsageError
from events.ids import Position
from log_debugger.reading.dumps import LOG_HELP
from log_debugger.reading.parting import Parting, RedactedRange, named_errors, parting_of
from log_debugger.reading.short_names import ShortNames, names_of
from log_debugger.reading.sources import STDIN, Source, open_source
from log_debugger.reading.times import clock, start_of
from log_debugger.reading.traversal import Traversal
from log_debugger.telling.describe import JsonObject
from log_debugger.telling.narrative import count, narrative
from log_debugger.terminal import Terminal, ascii_json

EXIT_SAME, EXIT_PARTED = 0, 1
NEXT_COMMITS = 5
"""Commits after the parting that are shown of each log."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to `parser`."""
    parser.add_argument("a", metavar="A", help=LOG_HELP)
    parser.add_argument("b", metavar="B", help="another log, in any of these forms")
    parser.add_argument("--json", action="store_true", help="all of it, as one JSON object")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Print where the logs part.

    Returns:
        The exit status: 0 if they do not part, else 1.

    Raises:
        UsageError: one can't be opened, or both are standard input.
        UnreadableCommitError: a commit can't be decoded; the message names its log and its position.
        BrokenChainError: a commit was altered; the message names its log and its position.
    """
    if options.a == options.b == STDIN:
        raise UsageError("A and B can't both be standard input: name a file for one of them")
    with closing(open_source(options.a)) as a, closing(open_source(options.b)) as b:
        with terminal.progress("comparing", min(a.tip().position, b.tip().position)) as advance:
            parting = parting_of(a, b, advance)
        sides = [_Side(name, source, parting) for name, source in (("A", a), ("B", b))]
        lines = [ascii_json(_json(parting, sides))] if options.json else _lines(parting, sides)
        for line in lines:
            terminal.line(line)
    return EXIT_PARTED if parting.relation in ("parted", "apart") else EXIT_SAME


class _Side:
    """One of the two logs, with what it has after the last common position."""

    def __init__(self, name: str, source: Source, parting: Parting) -> None:
        is_a = name == "A"
        self.name, self.log = name, source.name
        self.base, self.tip = source.base.tip.position, parting.a_tip if is_a else parting.b_tip
        self.redacted: RedactedRange = parting.a_redacted if is_a else parting.b_redacted
        last = parting.common if parting.common is not None else min(parting.start, self.tip)
        self.commits = self.tip - last
        self.next: list[JsonObject] = []
        if self.commits:
            with named_errors(source):
                self.next += _next(source, last)

    def where(self) -> str:
        """Return the log's name and positions in words."""
        there = f"positions {self.base + 1:,} to {self.tip:,}" if self.tip > self.base else "no commits"
        trimmed = f"; what was up to {self.base:,} is trimmed" if self.base else ""
        return f"{self.name} is {self.log}: {there}{trimmed}"


def _next(source: Source, last: Position) -> Iterator[JsonObject]:
    """Yield the first commits after `last`, each with its narrative."""
    lines = [*islice(source.lines(last), NEXT_COMMITS)]
    names: ShortNames = names_of(source)
    start_ms = start_of(source)
    traversal = Traversal(
        source, last + len(lines), lambda text: any(line in text for line in lines), lambda commits: None
    )
    for entry in traversal.entries():
        commit = entry.step.commit
        yield {
            "position": commit.position,
            "commit_id": commit.commit_id,
            "at_ms": commit.at_ms,
            "relative_ms": commit.at_ms - start_ms,
            "story": narrative(names, entry.step, entry.conversations),
        }


def _lines(parting: Parting, sides: list[_Side]) -> Iterator[str]:
    yield from (side.where() for side in sides)
    yield from _bases(parting, sides)
    yield _verdict(parting, sides)
    for side in sides:
        if side.redacted.commits:
            where = f"positions {side.redacted.first:,} to {side.redacted.last:,}"
            yield f"redacted in {side.name} alone: texts of {count(side.redacted.commits, 'commit')}, {where}"
    for side in sides:
        if side.commits:
            yield f"{side.name} goes on for {count(side.commits, 'commit')}:"
            for one in side.next:
                yield f"{one['position']:>7}  {clock(one['relative_ms'])}  {one['story']}"
        if side.commits > len(side.next):
            yield f"         and {side.commits - len(side.next):,} more"


def _bases(parting: Parting, sides: list[_Side]) -> Iterator[str]:
    if sides[0].base != sides[1].base and parting.relation != "apart":
        yield f"compared after position {parting.start:,}, where the later one begins"
    if parting.is_other_base:
        yield f"the snapshots at position {parting.start:,} say different things; one may be redacted"


def _verdict(parting: Parting, sides: list[_Side]) -> str:
    a, b = sides
    match parting.relation:
        case "apart":
            one, other = (a, b) if a.tip < b.base else (b, a)
            ends = f"{one.name} ends at position {one.tip:,}"
            return f"nothing to compare: {ends}, and {other.name} begins after {other.base:,}"
        case "parted" if parting.common is None:
            return f"they part at position {parting.start:,} or before: they have other commits there"
        case "parted" if not parting.common:
            return "they part at the first commit: they are two logs, or one was redacted by log dump --redact"
        case "parted":
            redacted = "; they go on at the same times: one was redacted by log dump --redact"
            return f"they part after position {parting.common:,}{redacted if _are_alike(a, b) else ''}"
        case "equal":
            return f"they are the same up to position {parting.common:,}, where both end"
        case _:
            shorter = a if parting.relation == "a_is_prefix" else b
            return f"they are the same up to position {parting.common:,}, where {shorter.name} ends"


def _are_alike(a: _Side, b: _Side) -> bool:
    """Return true if both go on at the same times: then one was made of the other."""
    times = [[one["at_ms"] for one in side.next] for side in (a, b)]
    return bool(times[0]) and times[0] == times[1]


def _json(parting: Parting, sides: list[_Side]) -> JsonObject:
    return {
        "relation": parting.relation,
        "compared_after": parting.start,
        "last_common": parting.common,
        "bases_differ": sides[0].base != sides[1].base,
        "snapshots_differ": parting.is_other_base,
    } | {
        side.name.lower(): {
            "log": side.log,
            "base": side.base,
            "tip": side.tip,
            "commits_after": side.commits,
            "redacted": side.redacted._asdict() if side.redacted.commits else None,
            "next": side.next,
        }
        for side in sides
    }
