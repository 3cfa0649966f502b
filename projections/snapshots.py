"""States as lines of JSON, and back: a log's snapshots, from which a start need not fold the whole log.

Only what can't be derived is written: connections, rooms and inboxes; the queue and the orders follow from them. The
first line is a header, the last one a hash of the lines before. The bytes depend on the state alone.

`SNAPSHOT_VERSION` is raised when the form changes, and also when the same commits come to mean another state: a
snapshot of the old meaning must not be read as one of the new, or two brokers would disagree. So an upcast must give
exactly the state of a new fold. Without an upcast the old snapshot is unreadable, and the log is folded from its
commits.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, pairwise
from operator import attrgetter
from typing import TypeVar

import msgspec

from events.codec import Upcast
from events.commit import Tip
from events.events import QueueEntry
from events.ids import ClientMessageId, ConnectionId, Position, RoomId
from events.log import UnreadableSnapshotError
from events.policy import Policy
from events.text import Text, known_interests
from projections.connections import Connection, Connections, Idle, Waiting
from projections.inbox import Inbox
from projections.ordered_map import Order
from projections.persistent_map import Map
from projections.queue import Queue
from projections.reports import Report
from projections.rooms import MessageIds, Room, Rooms
from projections.state import State

SNAPSHOT_VERSION = 3
"""2 added entries and reporters of rooms, partners, blocks and reports; 3, attended connections.

Earlier logs make no such state.
"""

UPCASTS: Mapping[int, Upcast] = {1: lambda line: line, 2: lambda line: line}
"""Snapshot version to the function that turns one of its lines, except the last, into the next version's."""

LINE_WEIGHT = 500
"""A line is full at the weight of this many connections without notifications: work for some 0.3 ms."""

POSITIONS_PER_WEIGHT = 32
IDS_PER_WEIGHT = 2

T = TypeVar("T")

_Ids = dict[ConnectionId, dict[ClientMessageId, int]]


class _SnapshotHeader(msgspec.Struct, forbid_unknown_fields=True):
    snapshot: int
    tip: Tip
    at_ms: int
    policy: Policy
    messages_sent: int
    rooms_closed: int


class _Room(msgspec.Struct, array_like=True, gc=False):
    room_id: RoomId
    first: ConnectionId
    second: ConnectionId
    first_name: Text
    second_name: Text
    opened_position: Position
    closed_position: Position | None
    newest_ids: _Ids
    older_ids: _Ids
    first_entry: QueueEntry | None = None
    second_entry: QueueEntry | None = None
    reporters: tuple[ConnectionId, ...] = ()


class _Rows(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    rooms: list[_Room] = []
    connections: dict[ConnectionId, Connection] = {}
    inboxes: dict[ConnectionId, Inbox] = {}
    reports: list[tuple[Position, Report]] = []


class _Trailer(msgspec.Struct, forbid_unknown_fields=True):
    sha256: str  # of all lines before, with their ends


class _Version(msgspec.Struct):
    snapshot: int


_encode = msgspec.json.Encoder().encode
_version_decoder = msgspec.json.Decoder(_Version)
_header_decoder = msgspec.json.Decoder(_SnapshotHeader)
_rows_decoder = msgspec.json.Decoder(_Rows)
_end_decoder = msgspec.json.Decoder(_Trailer)


class _StateCodec:
    """The `events.log.StateCodec` of this fold."""

    def encode(self, state: State) -> Iterator[bytes]:
        """Return `state` as lines of JSON.

        Each takes less than a millisecond, except that the first rooms wait for a sort.
        """
        hashed = hashlib.sha256()
        for line in chain(
            (_encode(_header_of(state)),), _room_lines(state), _people_lines(state), _report_lines(state)
        ):
            hashed.update(line + b"\n")
            yield line
        yield _encode(_Trailer(hashed.hexdigest()))

    def decode(self, lines: Iterable[bytes]) -> State:
        """Return the state that `encode` made `lines` from; equal to it, and of the same digest.

        Raises:
            UnreadableSnapshotError: they are damaged, cut short, or newer than this program.
        """
        try:
            with _gc_paused():
                return _decoded(lines)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableSnapshotError(f"not a snapshot: {error}") from error


STATE_CODEC = _StateCodec()


def _header_of(state: State) -> _SnapshotHeader:
    return _SnapshotHeader(
        SNAPSHOT_VERSION, state.tip, state.at_ms, state.policy, state.messages_sent, state.rooms_closed
    )


def _room_lines(state: State) -> Iterator[bytes]:
    """Encode the closed rooms in the order of their closing, then the open ones in that of their opening."""
    closed = (state.rooms.by_id[room_id] for _, room_id in state.rooms.closed.items())
    for some in _portions(chain(closed, _open_rooms(state)), _weight_of_room):
        yield _encode(_Rows(rooms=[_stored_room(room) for room in some]))


def _people_lines(state: State) -> Iterator[bytes]:
    """Encode the connections with their inboxes: idle, waiting, chatting, each in its own order, without sorting."""
    by_id, inboxes, count = state.connections.by_id, state.inboxes, 0
    present = (member for room in _open_rooms(state) for member in (room.first, room.second))
    absent = (who for _, who in chain(state.connections.idle.items(), state.queue.entries.items()))
    for some in _portions(chain(absent, present), lambda who: _weight_of_inbox(inboxes.get(who))):
        inboxes_of = {who: inboxes[who] for who in some if who in inboxes}
        yield _encode(_Rows(connections={who: by_id[who] for who in some}, inboxes=inboxes_of))
        count += len(some)
    assert count == len(by_id), "promises 1 and 2: everyone is in exactly one place"


def _report_lines(state: State) -> Iterator[bytes]:
    for some in _portions(state.reports.items(), lambda report: 1):
        yield _encode(_Rows(reports=some))


def _open_rooms(state: State) -> list[Room]:
    open_rooms = [room for room in state.rooms.by_id.values() if room.closed_position is None]
    return sorted(open_rooms, key=attrgetter("opened_position"))  # a commit opens one at most


def _portions(items: Iterable[T], weight: Callable[[T], int]) -> Iterator[list[T]]:
    portion: list[T] = []
    weighs = 0
    for item in items:
        portion.append(item)
        weighs += weight(item)
        if weighs >= LINE_WEIGHT:
            yield portion
            portion, weighs = [], 0
    if portion:
        yield portion


def _weight_of_room(room: Room) -> int:
    return 4 + (len(room.newest_ids) + len(room.older_ids)) // IDS_PER_WEIGHT


def _weight_of_inbox(inbox: Inbox | None) -> int:
    return 1 + len(inbox) // POSITIONS_PER_WEIGHT if inbox is not None else 1


def _stored_room(room: Room) -> _Room:
    return _Room(
        room.room_id,
        room.first,
        room.second,
        room.first_name,
        room.second_name,
        room.opened_position,
        room.closed_position,
        _stored_ids(room.newest_ids),
        _stored_ids(room.older_ids),
        room.first_entry,
        room.second_entry,
        room.reporters,
    )


def _stored_ids(ids: MessageIds) -> _Ids:
    stored: _Ids = {}
    for (sender, message_id), at_ms in sorted(ids.items()):
        stored.setdefault(sender, {})[message_id] = at_ms
    return stored


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Pause garbage collection: decoding makes no garbage, and the search for it would take longest of all."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _decoded(lines: Iterable[bytes]) -> State:
    header: _SnapshotHeader | None = None
    version, hashed, end = SNAPSHOT_VERSION, hashlib.sha256(), b""
    tables = _Tables()
    for line, following in pairwise(lines):
        hashed.update(line + b"\n")
        end = following
        if header is None:
            version = _version_decoder.decode(line).snapshot
            header = _line(line, version, _header_decoder)
        else:
            tables.add(_line(line, version, _rows_decoder))
    if header is None or _end_decoder.decode(end).sha256 != hashed.hexdigest():
        raise UnreadableSnapshotError("the snapshot is damaged")
    return tables.state(header)


class _Tables:
    """The rows read so far."""

    def __init__(self) -> None:
        self._rooms = Map[RoomId, Room]().mutate()
        self._connections = Map[ConnectionId, Connection]().mutate()
        self._inboxes = Map[ConnectionId, Inbox]().mutate()
        self._closed: list[tuple[Position, RoomId]] = []
        self._idle: list[tuple[int, ConnectionId]] = []
        self._reports: list[tuple[Position, Report]] = []
        self._waiting: list[tuple[Position, ConnectionId, tuple[str, ...]]] = []

    def add(self, rows: _Rows) -> None:
        self._connections.update(rows.connections)
        self._inboxes.update(rows.inboxes)
        self._reports += rows.reports
        for stored in rows.rooms:
            self._rooms[stored.room_id] = _room(stored)
            if stored.closed_position is not None:
                self._closed.append((stored.closed_position, stored.room_id))
        for who, known in rows.connections.items():
            place = known.place
            if type(place) is Idle:
                self._idle.append((place.key, who))
            elif type(place) is Waiting:
                self._waiting.append((place.entered_position, who, known_interests(known.interests)))

    def state(self, header: _SnapshotHeader) -> State:
        return State(
            header.tip,
            header.at_ms,
            header.policy,
            Queue.of(sorted(self._waiting)),
            Rooms(self._rooms.finish(), Order.of(sorted(self._closed))),
            Connections(self._connections.finish(), Order.of(sorted(self._idle))),
            self._inboxes.finish(),
            header.messages_sent,
            header.rooms_closed,
            Order.of(self._reports),
        )


def _line(line: bytes, version: int, decoder: msgspec.json.Decoder[T]) -> T:
    if version == SNAPSHOT_VERSION:
        return decoder.decode(line)
    raw = msgspec.json.decode(line)
    while version != SNAPSHOT_VERSION:
        upcast = UPCASTS.get(version)
        if upcast is None:
            raise UnreadableSnapshotError(
                f"a snapshot of version {version}; this program reads version {SNAPSHOT_VERSION}"
            )
        raw, version = upcast(raw), version + 1
    converted: T = msgspec.convert(raw, decoder.type)
    return converted


def _room(stored: _Room) -> Room:
    return Room(
        stored.room_id,
        stored.first,
        stored.second,
        stored.first_name,
        stored.second_name,
        stored.opened_position,
        stored.closed_position,
        _ids(stored.newest_ids),
        _ids(stored.older_ids),
        stored.first_entry,
        stored.second_entry,
        stored.reporters,
    )


def _ids(stored: _Ids) -> MessageIds:
    return Map({(sender, id_): at_ms for sender, ids in stored.items() for id_, at_ms in ids.items()})
