"""Filters over commits: by room, connection, command or event type, and the state after them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, get_args

from broker.decision import Decision
from broker.errors import UsageError
from broker.own_matching import decide_logged
from broker.verification.repetition import is_repeated
from broker.verification.safe_text import printable
from broker.verification.scenario import connections_in, connections_of
from events.commands import Command
from events.commit import Commit
from events.events import Event
from events.ids import ConnectionId, RoomId
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.sources import Step
from projections.state import State

TYPES: Mapping[str, type[Any]] = {
    name.casefold(): one
    for one in (*get_args(Command), *get_args(Event))
    for name in (one.__name__, str(one.__struct_config__.tag))
}
"""Commands and events by stored tag and by class name, both in lower case."""


class CommitFilter(NamedTuple):
    """Conditions on a commit, all of which must hold; the default has none."""

    connection: ConnectionId | None = None
    room: RoomId | None = None
    types: frozenset[type[Any]] = frozenset()
    when: Callable[[State], bool] | None = None
    rejection: bool = False

    @property
    def matches_all(self) -> bool:
        """`True` if there is no condition."""
        return self == _MATCH_ALL

    def matches(self, step: Step) -> bool:
        """Return `True` if the step's commit satisfies every condition."""
        commit = step.commit
        if self.types and not (type(commit.command) in self.types or any(type(e) in self.types for e in commit.events)):
            return False
        if self.connection is not None and self.connection not in connections_in(commit):
            return False
        if self.room is not None and self.room not in rooms_in(commit):
            return False
        if self.when is not None and not self.when(step.after):
            return False
        return not self.rejection or not is_reproduced(step)


_MATCH_ALL = CommitFilter()


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
    parser.add_argument("--when", metavar="EXPR", help='commits after which this holds, as in "waiting > 3"')
    parser.add_argument(
        "--rejection",
        action="store_true",
        help="commits that would not be stored again as they are: refusals are in no log, but a stored command that "
        "is refused when it is decided again, or leads to other events, shows a rule that has changed or a fault",
    )


def filter_from_options(options: argparse.Namespace, names: ShortNames) -> CommitFilter:
    """Return the filter in parsed `options`.

    Raises:
        UsageError: there is no such room, connection or type, or the expression can't be parsed.
    """
    return CommitFilter(
        names.connection_of(options.connection) if options.connection is not None else None,
        names.room_of(options.room) if options.room is not None else None,
        frozenset(type_of(name) for name in options.type),
        condition_of(options.when) if options.when is not None else None,
        options.rejection,
    )


def parse_filter(text: str, names: ShortNames) -> CommitFilter:
    """Return the filter in `text`, conditions separated by commas.

    An example is `room 2370, type message_sent, waiting > 3`.

    Raises:
        UsageError: a condition can't be parsed, or there is no such room, connection or type.
    """
    commit_filter = CommitFilter()
    for condition in filter(None, map(str.strip, text.split(","))):
        kind, _, what = condition.partition(" ")
        match kind.casefold(), what.strip():
            case "room", what if what:
                commit_filter = commit_filter._replace(room=names.room_of(what))
            case "connection", what if what:
                commit_filter = commit_filter._replace(connection=names.connection_of(what))
            case "type", what if what:
                commit_filter = commit_filter._replace(types=commit_filter.types | {type_of(what)})
            case "room" | "connection" | "type", _:
                raise UsageError(f"say which {kind.casefold()}, as in room 2370, connection b6cd, type message_sent")
            case "rejection", "":
                commit_filter = commit_filter._replace(rejection=True)
            case _:
                commit_filter = commit_filter._replace(when=condition_of(condition, f"in {printable(condition)}"))
    return commit_filter


def type_of(name: str) -> type[Any]:
    """Return the class of the command or event `name`: a stored tag or a class name, in any case.

    Raises:
        UsageError: there is none; the message lists them.
    """
    found = TYPES.get(name.casefold())
    if found is None:
        tags = sorted({str(one.__struct_config__.tag) for one in TYPES.values()})
        raise UsageError(f"there is no command or event {printable(name)}; there are {', '.join(tags)}")
    return found


def condition_of(text: str, where: str = "--when") -> Callable[[State], bool]:
    """Return the condition on a state in `text`; errors name `where` as its origin.

    Raises:
        UsageError: it can't be parsed.
    """
    from log_debugger.reading.predicate import parse_predicate  # slow to import, and rarely needed

    return parse_predicate(text, where).holds


def rooms_in(commit: Commit) -> Iterator[RoomId]:
    """Yield the rooms in `commit`, some more than once."""
    for holder in (commit.command, *commit.events):
        if (found := getattr(holder, "room_id", None)) is not None:
            yield found


def concerns(event: Event, commit_filter: CommitFilter) -> bool:
    """Return `True` if `event` involves the filter's connection, or else its room, or if it has neither."""
    if commit_filter.connection is not None:
        return commit_filter.connection in connections_of(event)
    return commit_filter.room is None or getattr(event, "room_id", None) == commit_filter.room


def decide_again(step: Step) -> Decision | None:
    """Return the present decision on the stored command; `None` if deciding it fails.

    Raises:
        MatchingError: the log's own matching is missing or failed.
    """
    try:
        return decide_logged(step.before, step.commit.command, step.commit.facts)
    except (AssertionError, AttributeError, LookupError, TypeError):
        return None  # no broker made this commit


def is_reproduced(step: Step) -> bool:
    """Return `True` if deciding the stored command again gives the stored events."""
    decision = decide_again(step)
    return decision is not None and is_repeated(step.before, step.commit, decision)
