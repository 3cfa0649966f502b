"""Short names for connections and rooms in place of 32 hexadecimal digits.

A short name has enough digits to be unique within the log, and at least four. So every command over a log prints the
same names, and takes them back (`--connection`, `--room`). A unique display name also names a connection.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, takewhile
from unicodedata import normalize

from broker.errors import UsageError
from broker.verification.safe_text import printable
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError
from events.events import Event, QueueEntered, RoomOpened
from events.ids import ConnectionId, Position, RoomId
from events.log import UnusableLogError
from events.text import Text
from log_debugger.reading.iterate import check_complete
from log_debugger.reading.sources import Source
from log_debugger.reading.traversal import Absences
from projections.notifications import REDACTED_TEXT
from projections.state import State

DIGITS_MIN = 4
CANDIDATES_MAX = 10
FOUND_MAX = 10_000
PAGE_COMMITS = 1_000
NAME_CHARS_MAX = 40
HANDLE_PREFIX = "cb_"
MARK = "·"
UNKNOWN = "?"

# As stored. Inside a JSON string both quotes would be escaped, so no typed text matches.
_ENTERED = b'"type":"queue_entered","connection_id":"'
_OPENED = b'"type":"room_opened","room_id":"'
_SENDS = b'"command":{"type":"send_message",'
SENDS_END_BYTES = 256
"""`_SENDS` ends before it in a line."""

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 _.'+#&/-]+")
_NAME_MARKS = frozenset(" -_.'+#&/")


DisplayNames = Callable[[], Iterable[tuple[str, str]]]
"""Scans a log for connections and their display names, in order of entry."""

CompletenessCheck = Callable[[], None]
"""Raises the error of folding a log to its end, if there is one."""


def _nothing_to_check() -> None:
    """Accept: there is no log to check."""


class ShortNames:
    """Every connection and room of a log, as far as the log can be read.

    Args:
        connections: the ids of connections, in any order.
        rooms: the ids of rooms, in any order.
        display_names: called only to look up or list display names.
        check: called only after a failed lookup.
    """

    def __init__(
        self,
        connections: Iterable[str],
        rooms: Iterable[str],
        display_names: DisplayNames = tuple,
        check: CompletenessCheck = _nothing_to_check,
    ) -> None:
        self._connections = sorted(set(connections))
        self._rooms = sorted(set(rooms))
        self._display_names = display_names
        self._check = check
        self._found: dict[str, str] = {}

    def person(self, connection_id: str, display_name: Text | None) -> str:
        """Return a person's short name, as in `Ann·6f5d`."""
        name = shown_name(display_name) if display_name is not None else UNKNOWN
        return f"{name}{MARK}{self._short(self._connections, connection_id, 'c_').removeprefix('c_')}"

    def person_in(self, state: State, connection_id: ConnectionId) -> str:
        """Return a person's short name with the display name in `state`."""
        return self.person(connection_id, name_in(state, connection_id))

    def room(self, room_id: str) -> str:
        """Return a room's short name, as in `r_2370`."""
        return self._short(self._rooms, room_id, "r_")

    def connection_of(self, text: str) -> ConnectionId:
        """Return the connection for `text`: its id, a prefix with or without `c_`, a short or display name.

        Display names are tried last, in any case.

        Raises:
            UsageError: there is none, or more than one; the message lists some.
            UnreadableCommitError: there is none in the readable part of a damaged log.
            BrokenChainError: there is none in the readable part of a damaged log.
            UnusableLogError: there is none in the readable part of a damaged log.
        """
        found = _beginning(self._connections, text, "c_")
        if len(found) == 1:
            return ConnectionId(found[0])
        if found:
            known = dict.fromkeys(found[:CANDIDATES_MAX], UNKNOWN)
            known |= {who: name for who, name in self._display_names() if who in known}
            raise UsageError(_ambiguous("connection", "begins with", text, self._people(known), len(found)))
        by_first_name, called = self._by_display_name(normalize("NFC", text).casefold())
        if len(called) == 1:
            return ConnectionId(*called)
        if called:
            raise UsageError(_ambiguous("connection", "is called", text, self._people(called), len(called)))
        self._check()
        raise _unknown("connection", text, self._people(by_first_name), len(by_first_name))

    def room_of(self, text: str) -> RoomId:
        """Return the room for `text`: its id, or a prefix with or without `r_`.

        Raises:
            UsageError: there is none, or more than one; the message lists some.
            UnreadableCommitError: there is none in the readable part of a damaged log.
            BrokenChainError: there is none in the readable part of a damaged log.
            UnusableLogError: there is none in the readable part of a damaged log.
        """
        found = _beginning(self._rooms, text, "r_")
        if len(found) == 1:
            return RoomId(found[0])
        if found:
            raise UsageError(_ambiguous("room", "begins with", text, map(self.room, found), len(found)))
        self._check()
        raise _unknown("room", text, map(self.room, self._rooms), len(self._rooms))

    def learn(self, source: Source, after: Position) -> None:
        """Add the connections and rooms of the commits after `after`."""
        connections, rooms = _ids_in(source, after)
        self._found.clear()
        _add(self._connections, connections)
        _add(self._rooms, rooms)

    def _by_display_name(self, name: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return all connections by first display name, and the ones ever called `name` (casefolded)."""
        by_first_name: dict[str, str] = {}
        called: dict[str, str] = {}
        for who, display_name in self._display_names():
            by_first_name.setdefault(who, display_name)
            if display_name.casefold() == name:
                called.setdefault(who, display_name)
        return by_first_name, called

    def _people(self, known: dict[str, str]) -> Iterator[str]:
        return (self.person(who, name if name != UNKNOWN else None) for who, name in known.items())

    def _short(self, ids: list[str], name: str, prefix: str) -> str:
        found = self._found.get(name)
        if found is None:
            if len(self._found) >= FOUND_MAX:
                self._found.clear()
            found = self._found[name] = shown_id(_shortened(ids, name, prefix))
        return found


def names_of(source: Source, absences: Absences | None = None) -> ShortNames:
    """Return the short names of a log after one scan, without decoding most commits; `absences` is filled by it."""
    base: State = source.base.state
    connections, rooms = _ids_in(source, base.position, absences)
    return ShortNames(
        [*base.connections.by_id, *connections],
        [*base.rooms.by_id, *rooms],
        lambda: _display_names_in(source),
        lambda: check_complete(source),
    )


def id_beginning(text: str, prefix: str) -> str:
    """Return the beginning of the id meant by `text`, unless that is a display name; see `ShortNames`."""
    asked = text.rpartition(MARK)[2]
    return asked if asked.startswith(prefix) else prefix + asked


def name_in(state: State, connection_id: str) -> Text | None:
    """Return the display name of a connection in `state`, if known."""
    known = state.connections.get(ConnectionId(connection_id))
    return known.display_name if known is not None else None


def plain_name(name: Text) -> str:
    """Return a display name as a string, also a redacted one."""
    return name if isinstance(name, str) else REDACTED_TEXT


def shown_name(name: Text) -> str:
    """Return a display name as it is if a broker accepts it; else quoted, so it can't imitate other output."""
    if not isinstance(name, str):
        return REDACTED_TEXT
    if len(name) > NAME_CHARS_MAX:
        return printable(name[:NAME_CHARS_MAX]) + "…"
    if _PLAIN_NAME.fullmatch(name):
        return name
    if name and name.isprintable() and all(one.isalnum() or one in _NAME_MARKS or not one.isascii() for one in name):
        return printable(name) if MARK in name else name
    return printable(name)


def shown_id(text: str) -> str:
    """Return an id as it is, or quoted if no broker made it."""
    return text if _PLAIN_ID.fullmatch(text) else printable(text)


def _add(known: list[str], more: set[str]) -> None:
    for one in more:
        place = bisect_left(known, one)
        if place == len(known) or known[place] != one:
            insort(known, one)


def _ids_in(source: Source, after: Position, absences: Absences | None = None) -> tuple[set[str], set[str]]:
    connections: set[str] = set()
    rooms: set[str] = set()
    lines = _readable(source, after)
    while page := list(islice(lines, PAGE_COMMITS)):
        if absences is not None:
            absences.note(after, page)
            after += len(page)
        # Most commits are messages, which name nobody new: their beginnings tell, so their texts are not searched.
        rest = [line for line in page if line.find(_SENDS, 0, SENDS_END_BYTES) < 0]
        naming = [line for line in rest if b'"queue_entered"' in line or b'"room_opened"' in line]
        if not _add_ids(b"\n".join(naming), connections, rooms):
            for line in naming:
                if not _add_ids(line, connections, rooms):
                    _decode_into(line, connections, rooms)
    return connections, rooms


def _add_ids(stored: bytes, connections: set[str], rooms: set[str]) -> bool:
    """Add the ids in one or more stored lines; return `False` if some of them are in an unusual form."""
    entered, opened = _ids_after(_ENTERED, stored), _ids_after(_OPENED, stored)
    if len(entered) < stored.count(b'"queue_entered"') or len(opened) < stored.count(b'"room_opened"'):
        return False
    connections.update(entered)
    rooms.update(opened)
    return True


def _ids_after(mark: bytes, stored: bytes) -> list[str]:
    """Return the string after each `mark`, unless it is empty, unfinished or escaped."""
    ids = (part.partition(b'"')[0] for part in stored.split(mark)[1:])
    return [one.decode("utf-8", "replace") for one in ids if one and b"\\" not in one]


def _display_names_in(source: Source) -> Iterator[tuple[str, str]]:
    base: State = source.base.state
    for who in sorted(base.connections.by_id):
        yield who, plain_name(base.connections.by_id[who].display_name)
    for line in _readable(source, base.position):
        if b'"queue_entered"' in line:
            for event in _events(line):
                if isinstance(event, QueueEntered):
                    yield event.connection_id, plain_name(event.display_name)


def _readable(source: Source, after: Position) -> Iterator[bytes]:
    """Yield the lines after `after` up to the first missing or damaged one; folding reports the fault."""
    with suppress(UnreadableCommitError, UnusableLogError):
        yield from source.lines(after)


def _events(line: bytes) -> Sequence[Event]:
    """Return the events in `line`; none if it can't be decoded, since folding reports the fault."""
    try:
        return decode_commit(line).events
    except (UnreadableCommitError, BrokenChainError):
        return ()


def _decode_into(line: bytes, connections: set[str], rooms: set[str]) -> None:
    """Decode a line in an unusual format, and add its connections and rooms."""
    events = _events(line)
    connections.update(event.connection_id for event in events if isinstance(event, QueueEntered))
    rooms.update(event.room_id for event in events if isinstance(event, RoomOpened))


def _shortened(ids: list[str], name: str, prefix: str) -> str:
    place = bisect_left(ids, name)
    after = place + 1 if place < len(ids) and ids[place] == name else place
    shared = max((_common(name, ids[n]) for n in (place - 1, after) if 0 <= n < len(ids)), default=0)
    return name[: max(shared + 1, len(prefix) + DIGITS_MIN)]


def _common(one: str, other: str) -> int:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _beginning(ids: list[str], text: str, prefix: str) -> list[str]:
    """Return the ids equal to `text`, with or without `prefix`; if there is none, the ids with that beginning."""
    asked = text.rpartition(MARK)[2]
    found = [name for name in (asked, prefix + asked) if _has(ids, name)]
    if found or asked in ("", prefix):
        return found
    return _starting(ids, asked) or _starting(ids, prefix + asked)


def _ambiguous(kind: str, does: str, text: str, candidates: Iterable[str], total: int) -> str:
    give = "give more of its id" if does == "begins with" else "give the beginning of an id"
    return f"more than one {kind} {does} {printable(text)}: {_listed(candidates, total)}; {give}"


def _unknown(kind: str, text: str, candidates: Iterable[str], total: int) -> UsageError:
    if text.startswith(HANDLE_PREFIX):  # a secret, not to be printed again
        what = "that is a handle, which is a secret and in no log"
        return UsageError(f"{what}; take the connection_id (c_...) that was given with it")
    there = f"there are {_listed(candidates, total)}" if total else "there is none at all"
    return UsageError(f"there is no {kind} {printable(text)} in this log; {there}")


def _listed(candidates: Iterable[str], total: int) -> str:
    some = ", ".join(islice(candidates, CANDIDATES_MAX))
    return some + (f" and {total - CANDIDATES_MAX:,} more" if total > CANDIDATES_MAX else "")


def _has(ids: list[str], name: str) -> bool:
    place = bisect_left(ids, name)
    return place < len(ids) and ids[place] == name


def _starting(ids: list[str], prefix: str) -> list[str]:
    place = bisect_left(ids, prefix)
    return list(takewhile(lambda name: name.startswith(prefix), islice(ids, place, None)))
