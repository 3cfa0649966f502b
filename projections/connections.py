"""The place of each connection: idle, in the queue, or in one room, and never in two of them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from events.events import QueueEntered
from events.ids import ConnectionId, Position, RoomId
from events.text import ANONYMOUS, Interests, Text
from projections.ordered_map import Order, OrderMutation
from projections.persistent_map import Map, MapMutation
from projections.rate_limit import REPORTS_WINDOW_US, allowance_after

PARTNERS_KEPT = 8
"""The last partners of a connection that it may not meet again so soon."""


class Idle(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="idle"):
    """Neither waiting nor chatting; `key` orders the idle by the beginning of it."""

    key: int

    @property
    def since_position(self) -> Position:
        """The position of its last commit."""
        return self.key // 2


class Waiting(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="waiting"):
    """In the queue since the commit at `entered_position`."""

    entered_position: Position
    entered_at_ms: int | None = None  # the time of the entry, if the connection has a later commit


class Chatting(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="chatting"):
    """In an open room."""

    room_id: RoomId


Place = Idle | Waiting | Chatting


class MetPartner(NamedTuple):
    """A former partner, and the time at which their last room closed (Unix ms)."""

    connection_id: ConnectionId
    at_ms: int


class Connection(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The state of one participant."""

    display_name: Text
    interests: Interests
    place: Place
    last_position: Position  # of the last event it took part in, other than receiving a message
    last_at_ms: int
    queue_spent_until_us: int  # theoretical arrival time of the rate limit, see projections.rate_limit
    messages_spent_until_us: int
    salt: str | None = None  # of its name and interests, in the hash of commits
    partners: tuple[MetPartner, ...] = ()  # the last `PARTNERS_KEPT`, oldest first
    blocked: tuple[ConnectionId, ...] = ()  # oldest first
    reports_spent_until_us: int = 0
    idle_grace_ms: int | None = None  # of an attended connection

    @property
    def is_attended(self) -> bool:
        """True if its client, such as a window or a page, calls or listens all the time."""
        return self.idle_grace_ms is not None

    def has_met_since(self, other: ConnectionId, at_ms: int) -> bool:
        """Return whether a room with `other` closed after `at_ms`."""
        return any(met.connection_id == other and met.at_ms > at_ms for met in self.partners)

    @property
    def has_salted_name(self) -> bool:
        """True if its name can be redacted in the log, or was; so it is the same for a log and its redacted form."""
        return self.salt is not None or not isinstance(self.display_name, str)

    @property
    def is_forgotten(self) -> bool:
        """True if there is no name and no interest of it to forget."""
        return self.display_name == ANONYMOUS and self.interests == () and self.salt is None

    def waiting_since_ms(self) -> int:
        """Return the time at which it began to wait, for a waiting connection."""
        assert isinstance(self.place, Waiting)
        return self.place.entered_at_ms if self.place.entered_at_ms is not None else self.last_at_ms


class Connections(msgspec.Struct, frozen=True, gc=False):
    """Every known connection; the idle ones also in the order of becoming idle."""

    by_id: Map[ConnectionId, Connection] = Map()
    idle: Order[ConnectionId] = Order()

    def __len__(self) -> int:
        return len(self.by_id)

    def get(self, connection_id: ConnectionId) -> Connection | None:
        """Return the connection, or `None` if it is not known."""
        return self.by_id.get(connection_id)

    def partners_of(self, connection_id: ConnectionId) -> tuple[MetPartner, ...]:
        """Return the last `PARTNERS_KEPT` partners of a connection, oldest first; none for an unknown one.

        A partner counts once their room has closed, unless one of them missed the match. None are kept while the policy
        lets all meet again at once (`rematch_after_ms` is 0).
        """
        known = self.by_id.get(connection_id)
        return known.partners if known is not None else ()


class ConnectionsMutation(msgspec.Struct, gc=False):
    """A working copy of `Connections`. Each change belongs to the commit at `position`, made at `at_ms`."""

    by_id: MapMutation[ConnectionId, Connection]
    idle: OrderMutation[ConnectionId]

    def so_far(self) -> Connections:
        """Return the connections as they are now; the working copy goes on from them."""
        connections = Connections(self.by_id.finish(), self.idle.finish())
        self.by_id, self.idle = connections.by_id.mutate(), connections.idle.mutate()
        return connections

    def record_message(self, who: ConnectionId, position: Position, at_ms: int, limit_per_10s: int) -> None:
        """Take a message of a connection in a room off its allowance."""
        known = self.by_id[who]
        spent = allowance_after(known.messages_spent_until_us, at_ms, limit_per_10s)
        self.by_id[who] = Connection(
            known.display_name,
            known.interests,
            known.place,
            position,
            at_ms,
            known.queue_spent_until_us,
            spent,
            known.salt,
            known.partners,
            known.blocked,
            known.reports_spent_until_us,
            known.idle_grace_ms,
        )

    def set_waiting(self, entry: QueueEntered, position: Position, at_ms: int, limit_per_10s: int) -> None:
        """Let a new or idle connection wait under the name and interests of `entry`."""
        known = self.by_id.get(entry.connection_id)
        if known is None:
            spent = allowance_after(0, at_ms, limit_per_10s)
            self.by_id[entry.connection_id] = Connection(
                entry.display_name,
                entry.interests,
                Waiting(position),
                position,
                at_ms,
                spent,
                0,
                entry.salt,
                idle_grace_ms=entry.idle_grace_ms,
            )
            return
        assert isinstance(known.place, Idle)
        self.idle.remove(known.place.key)
        earlier, spent = entry.earlier, known.queue_spent_until_us
        self.by_id[entry.connection_id] = replace(
            known,
            display_name=entry.display_name,
            interests=entry.interests,
            salt=entry.salt,
            idle_grace_ms=entry.idle_grace_ms,
            place=Waiting(earlier.position, earlier.at_ms) if earlier is not None else Waiting(position),
            last_position=position,
            last_at_ms=at_ms,
            # The return to an earlier place is no new entry.
            queue_spent_until_us=spent if earlier is not None else allowance_after(spent, at_ms, limit_per_10s),
        )

    def set_chatting(self, who: ConnectionId, room_id: RoomId, position: Position, at_ms: int) -> None:
        """Put a connection into an open room."""
        place = Chatting(room_id)
        self.by_id[who] = replace(self.by_id[who], place=place, last_position=position, last_at_ms=at_ms)

    def set_idle(self, who: ConnectionId, key: int, position: Position, at_ms: int) -> None:
        """Make a connection the newest idle one; `key` is the highest so far, and twice `position` or one more."""
        self.by_id[who] = replace(self.by_id[who], place=Idle(key), last_position=position, last_at_ms=at_ms)
        self.idle.append(key, who)

    def record_meeting(self, who: ConnectionId, partner: ConnectionId, at_ms: int) -> None:
        """Note that the last room of these two closed at `at_ms`."""
        known = self.by_id[who]
        others = tuple(met for met in known.partners if met.connection_id != partner)
        self.by_id[who] = replace(known, partners=(*others, MetPartner(partner, at_ms))[-PARTNERS_KEPT:])

    def record_block(self, who: ConnectionId, blocked: ConnectionId, kept_max: int) -> None:
        """Note a block, and keep the `kept_max` newest ones."""
        known = self.by_id[who]
        self.by_id[who] = replace(known, blocked=(*known.blocked, blocked)[-kept_max:])

    def record_report(self, who: ConnectionId, at_ms: int, limit_per_10min: int) -> None:
        """Take a report of a connection off its allowance."""
        if limit_per_10min:
            known = self.by_id[who]
            spent = allowance_after(known.reports_spent_until_us, at_ms, limit_per_10min, REPORTS_WINDOW_US)
            self.by_id[who] = replace(known, reports_spent_until_us=spent)

    def forget_name(self, who: ConnectionId) -> None:
        """Forget the name and the interests of a connection."""
        self.by_id[who] = replace(self.by_id[who], display_name=ANONYMOUS, interests=(), salt=None)

    def forget_longest_idle(self, kept_max: int) -> list[ConnectionId]:
        """Forget the longest idle connections beyond `kept_max` connections, and return their ids."""
        gone = []
        while len(self.by_id) > kept_max and (longest := self.idle.pop_head()) is not None:
            del self.by_id[longest[1]]
            gone.append(longest[1])
        return gone
