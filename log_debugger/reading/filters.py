"""Which commits somebody wants to see: those of a room, a connection or a type, those after which something holds."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, get_args

from broker.decide import Decision, Rejection, decide
from broker.errors import UsageError
from broker.verification.safe_text import printable
from broker.verification.scenario import CONNECTION_FIELDS, connections_in
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
"""Commands and events, by their stored tags and by the names of their classes, in small letters."""


class CommitFilter(NamedTuple):
    """What a commit must have to be wanted: all of it."""

    connection: ConnectionId | None = None
    room: RoomId | None = None
    types: frozenset[type[Any]] = frozenset()
    when: Callable[[State], bool] | None = None
    rejection: bool = False

    @property
    def matches_all(self) -> bool:
        """Whether every commit is wanted."""
        return self == _MATCH_ALL

    def matches(self, step: Step) -> bool:
        """Whether this one is."""
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
    """Let `parser` take all that a commit can be wanted for."""
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
    """What `options` ask for.

    Raises:
        UsageError: there is no such room, connection or type, or the expression can't be read.
    """
    return CommitFilter(
        names.connection_of(options.connection) if options.connection is not None else None,
        names.room_of(options.room) if options.room is not None else None,
        frozenset(type_of(name) for name in options.type),
        condition_of(options.when) if options.when is not None else None,
        options.rejection,
    )


def parse_filter(text: str, names: ShortNames) -> CommitFilter:
    """What `text` asks for: conditions with commas between them, as in `room 2370, type message_sent, waiting > 3`.

    Raises:
        UsageError: one of them can't be read, or there is no such room, connection or type.
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
    """The command or event that `name` stands for.

    Raises:
        UsageError: listing them.
    """
    found = TYPES.get(name.casefold())
    if found is None:
        tags = sorted({str(one.__struct_config__.tag) for one in TYPES.values()})
        raise UsageError(f"there is no command or event {printable(name)}; there are {', '.join(tags)}")
    return found


def condition_of(text: str, where: str = "--when") -> Callable[[State], bool]:
    """The condition on a state that `text`, which was given as `where`, says.

    Raises:
        UsageError: it can't be read.
    """
    from log_debugger.reading.predicate import parse_predicate  # who doesn't ask for one doesn't wait for it

    return parse_predicate(text, where).holds


def rooms_in(commit: Commit) -> Iterator[RoomId]:
    """The rooms that `commit` names; some more than once."""
    for holder in (commit.command, *commit.events):
        if (found := getattr(holder, "room_id", None)) is not None:
            yield found


def concerns(event: Event, commit_filter: CommitFilter) -> bool:
    """Whether `event` is of the connection or the room that is wanted; every one is, where neither is."""
    if commit_filter.connection is not None:
        return any(getattr(event, field, None) == commit_filter.connection for field in CONNECTION_FIELDS)
    return commit_filter.room is None or getattr(event, "room_id", None) == commit_filter.room


def decide_again(step: Step) -> Decision | None:
    """What is decided if the stored command is decided again; `None` if it can't be."""
    try:
        return decide(step.before, step.commit.command, step.commit.facts)
    except (AssertionError, AttributeError, LookupError, TypeError):
        return None  # a commit that no broker made


def is_reproduced(step: Step) -> bool:
    """Whether the stored command leads to the stored events, decided again."""
    decision = decide_again(step)
    return not isinstance(decision, Rejection) and decision is not None and tuple(decision) == step.commit.events
