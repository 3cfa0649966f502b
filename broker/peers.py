"""Peer addresses: limits for each of them, and the connections that should not meet again because of them.

A peer is an IPv4 address, or a /64 of IPv6 (`broker.addresses.subscriber_of`). All of this is in memory alone: the log
holds no address. So it is empty after a restart, and each process counts the connections that call it. A connection
without a peer known here has no limit, and is never avoided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from heapq import merge
from typing import Literal, NamedTuple

from broker.addresses import parse_address, subscriber_of
from broker.clock import Clock
from broker.hub import participants
from broker.networks import NetworkSet
from broker.peer_records import PeerRecord, PeerRecords, is_placed, place_of
from broker.peer_share import PeerShare
from broker.rate_limiter import RateLimiter
from events.commands import EnterQueue, NextPartner
from events.commit import Commit
from events.events import RoomClosed, RoomOpened
from events.ids import ConnectionId, Position
from projections.connections import Chatting, Idle
from projections.state import State
from projections.view import StateView

CONNECTIONS_PER_PEER_MAX = 50
QUEUE_ENTRIES_PER_PEER_10S_MAX = 30
LOOPBACK = ("127.0.0.0/8", "::1")

AVOIDED_MAX = 64
"""The most connections that one search avoids."""

PEERS_MET_MAX = 8
"""The peers that a connection is known to have met: the last ones."""

ADDRESSES_CACHED = 4_096

RETRY_AFTER_MS = 10_000
"""The advice to a peer with too many connections; the end of one is not known in advance."""


class PeerLimits(NamedTuple):
    """Limits of one peer, which are not in the log's policy. 0 turns a limit off.

    Addresses in `exempt` have no limits, and are never avoided. `keeps_addresses`: see `Peers.address_of`.
    """

    connections_max: int = CONNECTIONS_PER_PEER_MAX
    queue_entries_per_10s_max: int = QUEUE_ENTRIES_PER_PEER_10S_MAX
    exempt: NetworkSet = NetworkSet.of(LOOPBACK)
    keeps_addresses: bool = False


class EntryRefusal(NamedTuple):
    """The refusal of an entry into the queue, by a limit of the caller's peer."""

    code: Literal["rate_limited", "too_many_connections"]
    retry_after_ms: int


class Peers:
    """The peers of one broker's connections."""

    def __init__(self, clock: Clock, time_ms: Callable[[], int], limits: PeerLimits) -> None:
        """`time_ms`: the clock of commit timestamps."""
        self._time_ms = time_ms
        self._limits = limits
        self._entries = RateLimiter(clock)
        self._records = PeerRecords()
        self.share = PeerShare()
        self.peer_of = lru_cache(ADDRESSES_CACHED)(self._peer_of)
        """Return the peer that an address belongs to; `None` for an exempt one."""

    def _peer_of(self, address: str) -> str | None:
        parsed = parse_address(address)
        return None if parsed is not None and parsed in self._limits.exempt else subscriber_of(address)

    def address_of(self, who: ConnectionId) -> str | None:
        """Return the address of a connection's latest call; `None` unless the limits say `keeps_addresses`."""
        record = self._records.get(who)
        return record.address if record is not None else None

    def heard(self, state: State, who: ConnectionId, address: str) -> None:
        """Note a call of a connection from `address`. It runs for every call of a tool."""
        record, keeps_addresses = self._records.get(who), self._limits.keeps_addresses
        if record is None:
            if keeps_addresses or is_placed(state, who):
                self._call(state, who, address)
        elif record.peer != self.peer_of(address) or (keeps_addresses and record.address != address):
            self._call(state, who, address)

    @contextmanager
    def entering(self, state: State, command: EnterQueue | NextPartner, address: str) -> Iterator[EntryRefusal | None]:
        """Count an entry into the queue from `address`, in flight while the context is open.

        The context is the refusal instead, if there are too many. A call that repeats what is done already is no
        entry, and never refused.
        """
        who = command.connection_id
        refusal = self._refusal(state, who, self.peer_of(address)) if _is_entry(state, command) else None
        if refusal is not None:
            yield refusal
            return
        record = self._call(state, who, address, entering=1)
        try:
            yield None
        finally:
            with self._records.changing(who, record):
                record.entering -= 1

    def observe(self, commit: Commit, state: State) -> None:
        """Follow the connections moved by `commit`; `state` is the one right after it. A message moves none."""
        for event in commit.events:
            if isinstance(event, RoomOpened):
                self._count_match(event)
            elif isinstance(event, RoomClosed) and not event.missed_by:
                self._part(event.closed_by, event.other, commit.at_ms)
                self._part(event.other, event.closed_by, commit.at_ms)
        for who in dict.fromkeys(who for event in commit.events for who in participants(event)):
            record = self._records.get(who)
            if record is not None:
                with self._records.changing(who, record):
                    record.place_in(state, who)

    def start_over(self, state: State) -> None:
        """Look up the place of every known connection: `state` was reached by unannounced commits."""
        for who, record in self._records.items():
            with self._records.changing(who, record):
                record.place_in(state, who)

    def to_avoid(self, state: StateView, seeker: ConnectionId) -> tuple[ConnectionId, ...]:
        """Return the waiting connections that `seeker` should not meet, the longest waiting first; at most 64.

        They are those of a peer that `seeker` has met, or is with in a room, and those that met the peer of `seeker`,
        each within `rematch_after_ms`. The cost grows with the result alone, however many wait.
        """
        within_ms = state.policy.rematch_after_ms
        if not within_ms:
            return ()
        since_ms = self._time_ms() - within_ms
        avoided: dict[ConnectionId, None] = {}
        for entered, who in self._candidates(state, seeker, since_ms):
            if len(avoided) == AVOIDED_MAX:
                break
            if who != seeker and state.queue.entered.get(who) == entered:  # a tentative state may have moved it
                avoided[who] = None
        return tuple(avoided)

    def _refusal(self, state: State, who: ConnectionId, peer: str | None) -> EntryRefusal | None:
        if peer is None:
            return None
        limits, record = self._limits, self._records.get(who)
        is_active = is_placed(state, who) or (record is not None and record.is_active)
        if not is_active and 0 < limits.connections_max <= self._records.connections[peer]:
            return EntryRefusal("too_many_connections", RETRY_AFTER_MS)
        wait_ms = self._entries.use(
            peer, per_10s_max=limits.queue_entries_per_10s_max, keys_max=state.policy.peers_tracked_max
        )
        return EntryRefusal("rate_limited", wait_ms) if wait_ms else None

    def _candidates(
        self, state: StateView, seeker: ConnectionId, since_ms: int
    ) -> Iterator[tuple[Position, ConnectionId]]:
        """Return the connections to avoid by their place in the queue; one may come several times in a row."""
        record = self._records.get(seeker)
        peers = {peer: None for peer, at_ms in record.met.items() if at_ms > since_ms} if record is not None else {}
        place = place_of(state, seeker)
        if isinstance(place, Chatting):
            partner = self._records.get(state.rooms.by_id[place.room_id].partner_of(seeker))
            if partner is not None and partner.peer is not None:
                peers[partner.peer] = None
        found = [self._records.waiting.at(peer) for peer in peers]
        if record is not None and record.peer is not None:
            found.append(self._met_lately(record.peer, since_ms))
        return merge(*found)

    def _met_lately(self, peer: str, since_ms: int) -> Iterator[tuple[Position, ConnectionId]]:
        """Yield the waiting connections that met `peer` after `since_ms`, and forget older meetings on the way."""
        for entered, who in self._records.waiting_met.at(peer):
            record = self._records.get(who)
            assert record is not None, "an index holds connections with a record"
            if record.met[peer] > since_ms:
                yield entered, who
            else:
                with self._records.changing(who, record):
                    del record.met[peer]

    def _part(self, who: ConnectionId, other: ConnectionId, at_ms: int) -> None:
        """Note that a connection, to be placed anew after this, has met the peer of `other`."""
        partner = self._records.get(other)
        if partner is None or partner.peer is None:
            return
        record = self._records.get(who) or self._records.add(who)
        assert record.entered is None, "a member of a room does not wait"
        record.met.pop(partner.peer, None)
        record.met[partner.peer] = at_ms
        if len(record.met) > PEERS_MET_MAX:
            del record.met[next(iter(record.met))]

    def _count_match(self, event: RoomOpened) -> None:
        """Count a match with a member that has called here."""
        members = [record for who in (event.first, event.second) if (record := self._records.get(who)) is not None]
        if members:
            self.share.add(frozenset(record.peer for record in members if record.peer is not None))

    def _call(self, state: State, who: ConnectionId, address: str, *, entering: int = 0) -> PeerRecord:
        """Note a call of a connection from `address`; it may be `entering`."""
        record = self._records.get(who) or self._records.add(who)
        with self._records.changing(who, record):
            record.place_in(state, who)
            record.peer = self.peer_of(address)
            record.address = address if self._limits.keeps_addresses else None
            record.entering += entering
        return record


def _is_entry(state: StateView, command: EnterQueue | NextPartner) -> bool:
    """Return whether `command` may put its sender into the queue, rather than repeat what is done already."""
    place = place_of(state, command.connection_id)
    if isinstance(command, NextPartner) and isinstance(place, Chatting):
        return place.room_id == command.room_id
    return isinstance(place, Idle | None)
