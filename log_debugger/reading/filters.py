"""Filters over commits in a command's arguments."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from broker.verification.scenario import connections_in, connections_of
from events.events import Event
from events.ids import ConnectionId, RoomId
from log_debugger.reading.filter_fields import FilterContext, rooms_in
from log_debugger.reading.filter_parser import FILTER_HELP, BoundLater, Filter, equal, joined, parse_filter, rejection
from log_debugger.reading.filter_tokens import quoted_value
from log_debugger.reading.short_names import ShortNames, id_beginning, names_of
from log_debugger.reading.sources import Source, Step
from log_debugger.reading.times import LogSpan, span_of
from log_debugger.reading.traversal import ESCAPE, Absences, Stretch, Wanted


class CommitFilter(NamedTuple):
    """Conditions on a commit, all of which must hold; the default has none."""

    connection: ConnectionId | None = None
    room: RoomId | None = None
    when: Filter | None = None

    @property
    def matches_all(self) -> bool:
        """`True` if there is no condition."""
        return self == MATCH_ALL

    def line_test(self) -> Wanted:
        """Return a test of stored lines: false only if their commits can't match. An escaped id is not looked for."""
        ids = [one.encode() for one in (self.connection, self.room) if one is not None]

        def may_match(line: bytes) -> bool:
            for one in ids:
                if one not in line:
                    return ESCAPE in line
            return True

        return may_match

    def matches(self, step: Step) -> bool:
        """Return `True` if the step's commit satisfies every condition."""
        if self.connection is not None and self.connection not in connections_in(step.commit):
            return False
        if self.room is not None and self.room not in rooms_in(step.commit):
            return False
        return self.when is None or self.when.matches(step)


MATCH_ALL = CommitFilter()


class LogContext:
    """`FilterContext` of a log: what is asked for is read from it once."""

    def __init__(self, source: Source, connection: str | None = None, room: str | None = None) -> None:
        """`connection` and `room` are those of a filter as its user names them; see `unwanted`."""
        self._source = source
        beginning = id_beginning(connection, "c_") if connection is not None else None
        beginning = id_beginning(room, "r_") if room is not None else beginning
        self._absences = Absences(beginning.encode()) if beginning is not None else None

    @cached_property
    def names(self) -> ShortNames:
        """The short names of the log."""
        return names_of(self._source, self._absences)

    def unwanted(self, commit_filter: CommitFilter) -> Sequence[Stretch]:
        """Return stretches of the log without a commit of `commit_filter`, as far as reading the names has shown."""
        ids = (one.encode() for one in (commit_filter.connection, commit_filter.room) if one is not None)
        absences = self._absences
        return absences.stretches if absences is not None and any(absences.sought in one for one in ids) else ()

    @cached_property
    def span(self) -> LogSpan:
        """The times between which the log goes."""
        return span_of(self._source)


def add_when_argument(parser: argparse.ArgumentParser, what: str, *, required: bool = False) -> None:
    """Add `--when` to `parser`; `what` says what it is for."""
    parser.add_argument("--when", metavar="FILTER", required=required, help=f"{what}: {FILTER_HELP}")


def add_filter_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--room`, `--connection`, `--type`, `--when` and `--rejection` to `parser`."""
    parser.add_argument("--room", metavar="R", help="commits of this room: its id, or the beginning of it")
    parser.add_argument(
        "--connection", metavar="C", help="commits of this connection: its id, the beginning of it, or a name"
    )
    parser.add_argument(
        "--type",
        metavar="T",
        action="append",
        default=[],
        help="commits with this command or event, as in message_sent or SendMessage; may be repeated",
    )
    add_when_argument(parser, "commits with which this holds")
    parser.add_argument(
        "--rejection",
        action="store_true",
        help="commits that would not be stored again as they are: refusals are in no log, but a stored command that "
        "is refused when it is decided again, or leads to other events, shows a rule that has changed or a fault",
    )


def when_asked(options: argparse.Namespace) -> BoundLater | None:
    """Return the filter of `--type`, `--rejection` and `--when`; `None` without them.

    Raises:
        UsageError: the filter can't be parsed, or there is no such type.
    """
    parts = [parse_filter(options.when)] if options.when is not None else []
    if options.type:
        parts.append(joined([equal("type", name) for name in options.type], all_must_hold=False))
    if options.rejection:
        parts.append(rejection())
    return joined(parts, all_must_hold=True) if parts else None


def filter_from_options(options: argparse.Namespace, when: BoundLater | None, log: FilterContext) -> CommitFilter:
    """Return the filter in parsed `options`; `when` is the result of `when_asked`.

    Raises:
        UsageError: there is no such room, connection or time.
    """
    return CommitFilter(
        log.names.connection_of(options.connection) if options.connection is not None else None,
        log.names.room_of(options.room) if options.room is not None else None,
        when(log) if when is not None else None,
    )


def filter_text_of(options: argparse.Namespace) -> str:
    """Return the filter in `options` as one expression."""
    given: list[tuple[str, str | None]] = [("person", options.connection), ("room", options.room)]
    parts = [f"{name} == {quoted_value(value)}" for name, value in given if value is not None]
    if types := [quoted_value(name) for name in options.type]:
        parts.append(f"type == {types[0]}" if len(types) == 1 else f"type in ({', '.join(types)})")
    parts += ["rejection"] * options.rejection
    if options.when is not None:
        parts.append(f"({options.when})" if parts else options.when)
    return " and ".join(parts)


def concerns(event: Event, commit_filter: CommitFilter) -> bool:
    """Return `True` if `event` involves the filter's connection, or else its room, or if it has neither."""
    if commit_filter.connection is not None:
        return commit_filter.connection in connections_of(event)
    return commit_filter.room is None or getattr(event, "room_id", None) == commit_filter.room
