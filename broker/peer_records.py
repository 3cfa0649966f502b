"""Records of the peers of connections, and indexes of the waiting ones by peer."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from events.ids import ConnectionId, Position
from projections.connections import Idle, Place
from projections.ordered_map import Order
from projections.view import StateView

IDLE_KEPT_MAX = 20_000
"""The idle connections with a record: those that became idle last."""


class PeerRecord:
    """One connection: its peer, its place, and the peers it met."""

    __slots__ = ("address", "entered", "entering", "is_placed", "met", "peer")

    def __init__(self) -> None:
        self.peer: str | None = None  # exempt, or not known
        self.address: str | None = None
        self.entering = 0  # calls in flight that may put it into the queue
        self.is_placed = False  # it waits or chats
        self.entered: Position | None = None  # its place in the queue
        self.met: dict[str, int] = {}  # peers, the last met last, each with the time of the last parting (Unix ms)

    @property
    def is_active(self) -> bool:
        """Return whether it waits or chats, or is about to."""
        return self.is_placed or self.entering > 0

    def place_in(self, state: StateView, who: ConnectionId) -> None:
        """Take the place of this record's connection."""
        self.entered = state.queue.entered.get(who)
        self.is_placed = is_placed(state, who)


class PeerRecords:
    """The records of connections, at most one each: of all waiting and chatting ones, and of the latest idle ones."""

    def __init__(self) -> None:
        self.connections: Counter[str] = Counter()
        """By peer, the number of its connections that wait or chat, or are about to."""
        self.waiting = PeerIndex()
        """The waiting connections by their own peer."""
        self.waiting_met = PeerIndex()
        """The waiting connections by each peer that they met."""
        self._records: dict[ConnectionId, PeerRecord] = {}
        self._idle: OrderedDict[ConnectionId, None] = OrderedDict()

    def get(self, who: ConnectionId) -> PeerRecord | None:
        """Return the record of a connection, or `None`."""
        return self._records.get(who)

    def items(self) -> tuple[tuple[ConnectionId, PeerRecord], ...]:
        """Return all connections with their records."""
        return tuple(self._records.items())

    def add(self, who: ConnectionId) -> PeerRecord:
        """Return a new, empty record of a connection, to be changed at once."""
        record = self._records[who] = PeerRecord()
        return record

    @contextmanager
    def changing(self, who: ConnectionId, record: PeerRecord) -> Iterator[None]:
        """Keep the counts and the indexes right through a change of `record`, and forget what is of no use any more."""
        if record.is_active and record.peer is not None:
            self.connections[record.peer] -= 1
            if not self.connections[record.peer]:
                del self.connections[record.peer]
        if record.entered is not None:
            if record.peer is not None:
                self.waiting.remove(record.peer, record.entered)
            for peer in record.met:
                self.waiting_met.remove(peer, record.entered)
        yield
        if record.is_active and record.peer is not None:
            self.connections[record.peer] += 1
        if record.entered is not None:
            if record.peer is not None:
                self.waiting.add(record.peer, record.entered, who)
            for peer in record.met:
                self.waiting_met.add(peer, record.entered, who)
        self._forget_idle(who, record)

    def _forget_idle(self, who: ConnectionId, record: PeerRecord) -> None:
        self._idle.pop(who, None)
        if record.is_active:
            return
        if not record.met and record.address is None:
            del self._records[who]
            return
        self._idle[who] = None
        if len(self._idle) > IDLE_KEPT_MAX:
            longest, _ = self._idle.popitem(last=False)
            del self._records[longest]


class PeerIndex:
    """Waiting connections by a peer, each group in the order of the queue."""

    def __init__(self) -> None:
        self._groups: dict[str, Order[ConnectionId]] = {}

    def add(self, peer: str, entered: Position, who: ConnectionId) -> None:
        """Add a connection to the group of `peer`."""
        self._groups[peer] = self._groups.get(peer, _EMPTY).insert(entered, who)

    def remove(self, peer: str, entered: Position) -> None:
        """Remove the connection that entered at `entered` from the group of `peer`; it must be there."""
        if rest := self._groups[peer].remove(entered):
            self._groups[peer] = rest
        else:
            del self._groups[peer]

    def at(self, peer: str) -> Iterator[tuple[Position, ConnectionId]]:
        """Return the group of `peer` as it is now, by the place in the queue."""
        return self._groups.get(peer, _EMPTY).items()


_EMPTY: Order[ConnectionId] = Order()


def place_of(state: StateView, who: ConnectionId) -> Place | None:
    """Return the place of a connection; `None` if it is not known."""
    known = state.connections.by_id.get(who)
    return known.place if known is not None else None


def is_placed(state: StateView, who: ConnectionId) -> bool:
    """Return whether a connection waits or chats."""
    return not isinstance(place_of(state, who), Idle | None)
