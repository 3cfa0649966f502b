"""Short names for connections and rooms, which nobody could tell apart by 32 hexadecimal digits.

A short name holds as many digits of the id as no other id in the log begins with, and at least four; so it is the
same in every command over a log, and can be given back to one (`--connection`, `--room`).
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable

from broker.debugger.sources import Source
from broker.debugger.terminal import printable
from broker.usage import UsageError
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError
from events.events import QueueEntered, RoomOpened
from events.ids import ConnectionId, Position, RoomId
from projections.state import State

DIGITS_MIN = 4
CANDIDATES_MAX = 5
FOUND_MAX = 10_000
NAME_CHARS_MAX = 40
MARK = "·"
UNKNOWN = "?"

# As they are stored. Within a JSON string both quotes would be escaped, so no stranger's words are taken for these.
_ENTERED = re.compile(rb'"type":"queue_entered","connection_id":"([^"\\]+)"')
_OPENED = re.compile(rb'"type":"room_opened","room_id":"([^"\\]+)"')

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 _.'-]+")
_NAME_MARKS = frozenset(" -_.'")


class Names:
    """Every connection and room that a log names."""

    def __init__(self, connections: Iterable[str], rooms: Iterable[str]) -> None:
        self._connections = sorted(set(connections))
        self._rooms = sorted(set(rooms))
        self._found: dict[str, str] = {}

    def who(self, connection_id: str, display_name: str | None) -> str:
        """A person, as in `Ann·6f5d`."""
        name = shown_name(display_name) if display_name is not None else UNKNOWN
        return f"{name}{MARK}{self._short(self._connections, connection_id, 'c_').removeprefix('c_')}"

    def known(self, state: State, connection_id: ConnectionId) -> str:
        """A person, by the name that `state` knows."""
        return self.who(connection_id, name_in(state, connection_id))

    def room(self, room_id: str) -> str:
        """A room, as in `r_2370`."""
        return self._short(self._rooms, room_id, "r_")

    def connection_of(self, text: str) -> ConnectionId:
        """The connection that is called `text`: its id or the beginning of it, with or without `c_`, or a short name.

        Raises:
            UsageError: there is none, or more than one.
        """
        return ConnectionId(_resolved(self._connections, text, "c_", "connection"))

    def room_of(self, text: str) -> RoomId:
        """The room that somebody calls `text`, likewise.

        Raises:
            UsageError: there is none, or more than one.
        """
        return RoomId(_resolved(self._rooms, text, "r_", "room"))

    def learn(self, source: Source, after: Position) -> None:
        """Take in what the commits behind `after` name."""
        connections, rooms = _named(source, after)
        self._found.clear()
        _add(self._connections, connections)
        _add(self._rooms, rooms)

    def _short(self, ids: list[str], name: str, prefix: str) -> str:
        found = self._found.get(name)
        if found is None:
            if len(self._found) >= FOUND_MAX:
                self._found.clear()
            found = self._found[name] = shown_id(_shortened(ids, name, prefix))
        return found


def names_of(source: Source) -> Names:
    """All names in a log; looks through it once, without reading most of it."""
    base: State = source.base.state
    connections, rooms = _named(source, base.position)
    return Names([*base.places.by_id, *connections], [*base.rooms.by_id, *rooms])


def name_in(state: State, connection_id: str) -> str | None:
    """The display name that `state` knows someone by."""
    known = state.places.get(ConnectionId(connection_id))
    return known.display_name if known is not None else None


def shown_name(name: str) -> str:
    """A display name as it is, if it is one that a broker lets in; else in quotes, so that it can't pose as more."""
    if len(name) > NAME_CHARS_MAX:
        return printable(name[:NAME_CHARS_MAX]) + "…"
    if _PLAIN_NAME.fullmatch(name):
        return name
    if name and name.isprintable() and all(one.isalnum() or one in _NAME_MARKS or not one.isascii() for one in name):
        return printable(name) if MARK in name else name
    return printable(name)


def shown_id(text: str) -> str:
    """An id as it is, unless no broker made it; then in quotes."""
    return text if _PLAIN_ID.fullmatch(text) else printable(text)


def _add(known: list[str], more: set[str]) -> None:
    for one in more:
        place = bisect_left(known, one)
        if place == len(known) or known[place] != one:
            insort(known, one)


def _named(source: Source, after: Position) -> tuple[set[str], set[str]]:
    connections: set[str] = set()
    rooms: set[str] = set()
    for line in source.lines(after):
        if b'"queue_entered"' in line or b'"room_opened"' in line:
            entered, opened = _ENTERED.findall(line), _OPENED.findall(line)
            if len(entered) == line.count(b'"queue_entered"') and len(opened) == line.count(b'"room_opened"'):
                connections.update(one.decode("utf-8", "replace") for one in entered)
                rooms.update(one.decode("utf-8", "replace") for one in opened)
            else:
                _read_in_full(line, connections, rooms)
    return connections, rooms


def _read_in_full(line: bytes, connections: set[str], rooms: set[str]) -> None:
    """A line that no broker wrote like this."""
    try:
        events = decode_commit(line).events
    except (UnreadableCommitError, BrokenChainError):
        return  # whoever folds it will say so
    connections.update(event.connection_id for event in events if isinstance(event, QueueEntered))
    rooms.update(event.room_id for event in events if isinstance(event, RoomOpened))


def _shortened(ids: list[str], name: str, prefix: str) -> str:
    place = bisect_left(ids, name)
    after = place + 1 if place < len(ids) and ids[place] == name else place
    shared = max((_common(name, ids[n]) for n in (place - 1, after) if 0 <= n < len(ids)), default=0)
    return name[: max(shared + 1, len(prefix) + DIGITS_MIN)]


def _common(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _resolved(ids: list[str], text: str, prefix: str, kind: str) -> str:
    asked = text.rpartition(MARK)[2]
    found = [name for name in (asked, prefix + asked) if _has(ids, name)]
    if not found and asked not in ("", prefix):
        found = _beginning(ids, asked) or _beginning(ids, prefix + asked)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"there is no {kind} {printable(text)} in this log; give the beginning of its id")
    some = ", ".join(shown_id(name) for name in found[:CANDIDATES_MAX])
    more = ", ..." if len(found) > CANDIDATES_MAX else ""
    raise UsageError(f"more than one {kind} begins with {printable(text)}: {some}{more}; give more of its id")


def _has(ids: list[str], name: str) -> bool:
    place = bisect_left(ids, name)
    return place < len(ids) and ids[place] == name


def _beginning(ids: list[str], prefix: str) -> list[str]:
    """Enough of the ids that begin with `prefix` to tell whether it is one, and to show some."""
    place = bisect_left(ids, prefix)
    return [name for name in ids[place : place + CANDIDATES_MAX + 1] if name.startswith(prefix)]
