"""States as lines of JSON, and back: what a log on disk keeps so that a start need not fold everything.

Only what can't be derived is written: who is known, which rooms, which inboxes; the queue and the orders follow from
the places. The bytes depend on the state alone.

`SNAPSHOT_VERSION` is raised when the form changes, and also when folding the same log comes to mean another state: a
snapshot of the old meaning must not be taken for one of the new.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import immutables
import msgspec

from events.commit import Tip
from events.ids import ClientMessageId, ConnectionId, Position, RoomId
from events.log import UnreadableSnapshotError
from events.policy import Policy
from projections.inbox import Inbox
from projections.order import Order
from projections.places import Connection, Idle, Places, Waiting
from projections.queue import Queue
from projections.rooms import MessageIds, Room, Rooms
from projections.state import State

SNAPSHOT_VERSION = 1
ROWS_PER_LINE = 500

V = TypeVar("V")

_Ids = list[tuple[ConnectionId, ClientMessageId, int]]


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    snapshot: int
    tip: Tip
    at_ms: int
    policy: Policy
    messages_sent: int
    rooms_closed: int


class _Room(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    room_id: RoomId
    first: ConnectionId
    second: ConnectionId
    first_name: str
    second_name: str
    opened_position: Position
    closed_position: Position | None
    newest_ids: _Ids
    older_ids: _Ids


class _Rows(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    connections: list[tuple[ConnectionId, Connection]] = []
    rooms: list[_Room] = []
    inboxes: list[tuple[ConnectionId, Inbox]] = []


_encode = msgspec.json.Encoder().encode
_header_decoder = msgspec.json.Decoder(_Header)
_rows_decoder = msgspec.json.Decoder(_Rows)


class _StateCodec:
    """The `StateCodec` of this fold."""

    def encode(self, state: State) -> Iterator[bytes]:
        """See `events.log.StateCodec.encode`."""
        yield _encode(
            _Header(SNAPSHOT_VERSION, state.tip, state.at_ms, state.policy, state.messages_sent, state.rooms_closed)
        )
        for some in _some(state.places.by_id):
            yield _encode(_Rows(connections=some))
        for rooms in _some(state.rooms.by_id):
            yield _encode(_Rows(rooms=[_room_row(room) for _, room in rooms]))
        for inboxes in _some(state.inboxes):
            yield _encode(_Rows(inboxes=inboxes))

    def decode(self, lines: Iterable[bytes]) -> State:
        """See `events.log.StateCodec.decode`."""
        rest = iter(lines)
        try:
            header = _header_decoder.decode(next(rest, b""))
            if header.snapshot != SNAPSHOT_VERSION:
                raise UnreadableSnapshotError(
                    f"a snapshot of version {header.snapshot}; this program reads version {SNAPSHOT_VERSION}"
                )
            return _state(header, [_rows_decoder.decode(line) for line in rest])
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise UnreadableSnapshotError(f"not a snapshot: {error}") from error


STATE_CODEC = _StateCodec()


def _some(table: Mapping[Any, V]) -> Iterator[list[tuple[Any, V]]]:
    keys = iter(sorted(table))
    while some := list(islice(keys, ROWS_PER_LINE)):
        yield [(key, table[key]) for key in some]


def _room_row(room: Room) -> _Room:
    fields = (getattr(room, name) for name in Room.__struct_fields__[:-2])
    return _Room(*fields, _ids_row(room.newest_ids), _ids_row(room.older_ids))


def _ids_row(ids: MessageIds) -> _Ids:
    return [(sender, name, at_ms) for (sender, name), at_ms in sorted(ids.items())]


def _ids(row: _Ids) -> MessageIds:
    return immutables.Map({(sender, name): at_ms for sender, name, at_ms in row})


def _state(header: _Header, rows: list[_Rows]) -> State:
    connections = {who: connection for some in rows for who, connection in some.connections}
    rooms = {
        row.room_id: Room(
            row.room_id,
            row.first,
            row.second,
            row.first_name,
            row.second_name,
            row.opened_position,
            row.closed_position,
            _ids(row.newest_ids),
            _ids(row.older_ids),
        )
        for some in rows
        for row in some.rooms
    }
    idle = sorted((one.place.key, who) for who, one in connections.items() if isinstance(one.place, Idle))
    closed = sorted((room.closed_position, room.room_id) for room in rooms.values() if room.closed_position is not None)
    return State(
        header.tip,
        header.at_ms,
        header.policy,
        _queue(connections),
        Rooms(immutables.Map(rooms), Order.of(closed)),
        Places(immutables.Map(connections), Order.of(idle)),
        immutables.Map({who: inbox for some in rows for who, inbox in some.inboxes}),
        header.messages_sent,
        header.rooms_closed,
    )


def _queue(connections: Mapping[ConnectionId, Connection]) -> Queue:
    waiting = sorted(
        (one.place.entered_position, who, one.interests)
        for who, one in connections.items()
        if isinstance(one.place, Waiting)
    )
    queue = Queue()
    for position, who, interests in waiting:
        queue = queue.with_entry(who, position, interests)
    return queue
