"""Peers: the limits for each, and pairs that must not meet again because of them. Time is a number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import peer_records
from broker.networks import NetworkSet
from broker.peer_records import is_placed
from broker.peers import AVOIDED_MAX, PEERS_MET_MAX, RETRY_AFTER_MS, EntryRefusal, PeerLimits, Peers
from events.commands import LeaveQueue
from events.commit import Facts, commit_after
from events.events import Event, RoomClosed
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from projections.connections import Chatting
from projections.state import State, evolve
from tests.support.fake_clock import FakeClock
from tests.support.people import ANN, BOB, CAT, DAN, enter, entered, left, move_on, opened
from tests.support.specs import NOON_MS

WITHIN_MS = 60_000
OFFICE = "198.51.100.0/24"
LIMITS = PeerLimits(3, 5, NetworkSet.of([OFFICE]))
UNLIMITED = LIMITS._replace(connections_max=0, queue_entries_per_10s_max=0)


class Lobby:
    """A state, the peers of its connections, and a clock. Events come from the test, without decisions."""

    def __init__(self, limits: PeerLimits = UNLIMITED, **policy: Any) -> None:
        self.clock = FakeClock()
        self.now_ms = NOON_MS
        self.state = State(policy=Policy(**({"rematch_after_ms": WITHIN_MS} | policy)))
        self.peers = Peers(self.clock, lambda: self.now_ms, limits)

    def happen(self, *events: Event, announced: bool = True) -> None:
        """Let these events be one commit."""
        commit = commit_after(self.state.tip, LeaveQueue(ANN), Facts(self.now_ms), events)
        self.state = evolve(self.state, commit)
        if announced:
            self.peers.observe(commit, self.state)

    def enter(self, who: ConnectionId, address: str) -> EntryRefusal | None:
        """Let `who` enter the queue from `address`, unless refused."""
        with self.peers.entering(self.state, enter(who), address) as refusal:
            if refusal is None and not is_placed(self.state, who):
                self.happen(entered(who))
        return refusal

    def leave(self, who: ConnectionId) -> None:
        """Let `who` leave the queue."""
        self.happen(left(who))

    def match(self, first: ConnectionId, second: ConnectionId) -> RoomId:
        """Match two waiting connections, and return their room."""
        room = RoomId(f"r_{self.state.position}")
        self.happen(opened(first, second, room))
        return room

    def part(self, by: ConnectionId, *, missed_by: tuple[ConnectionId, ...] = ()) -> None:
        """`by` leaves its room."""
        room = self.room_of(by)
        self.happen(RoomClosed(room, by, self.state.rooms.by_id[room].partner_of(by), "left", missed_by))

    def room_of(self, who: ConnectionId) -> RoomId:
        """Return the room of `who`."""
        place = self.state.connections.by_id[who].place
        assert isinstance(place, Chatting)
        return place.room_id

    def meet(self, first: ConnectionId, second: ConnectionId, addresses: tuple[str, str]) -> None:
        """Two come from `addresses`, meet, and part."""
        self.enter(first, addresses[0])
        self.enter(second, addresses[1])
        self.match(first, second)
        self.part(second)

    def avoided(self, who: ConnectionId) -> list[ConnectionId]:
        """Return the connections to avoid for `who`."""
        return list(self.peers.to_avoid(self.state, who))


HOME, ELSEWHERE, ATTACKER = "192.0.2.1", "192.0.2.2", "203.0.113.9"
ANNS, ATTACKERS = (HOME, ATTACKER)


def connections(count: int) -> list[ConnectionId]:
    """So many of the attacker's."""
    return [ConnectionId(f"c_{number:03}") for number in range(count)]


def test_two_peers_that_met_do_not_meet_again() -> None:
    """By no other connection of theirs either, and whichever of them seeks."""
    lobby = Lobby()
    lobby.meet(ANN, BOB, (ANNS, ATTACKERS))
    lobby.enter(CAT, ATTACKERS)
    assert lobby.avoided(ANN) == [CAT]
    lobby.enter(ANN, ANNS)
    assert lobby.avoided(DAN) == []
    with lobby.peers.entering(lobby.state, enter(DAN), ATTACKERS):
        assert lobby.avoided(DAN) == [ANN]
    with lobby.peers.entering(lobby.state, enter(DAN), ELSEWHERE):
        assert lobby.avoided(DAN) == []


def test_other_connections_of_a_peer_that_was_met_are_not_bound() -> None:
    """Only the one that met avoids: its neighbour at the same address has met no one."""
    lobby = Lobby()
    lobby.meet(ANN, BOB, (ANNS, ATTACKERS))
    lobby.enter(CAT, ATTACKERS)
    with lobby.peers.entering(lobby.state, enter(DAN), ANNS):
        assert lobby.avoided(DAN) == []


def test_an_open_room_is_a_meeting() -> None:
    """It is still open when `next_partner` is decided; a third party is not bound by it."""
    lobby = Lobby()
    lobby.enter(ANN, ANNS)
    lobby.enter(BOB, ATTACKERS)
    lobby.match(ANN, BOB)
    lobby.enter(CAT, ATTACKERS)
    assert lobby.avoided(ANN) == [CAT]
    assert lobby.avoided(DAN) == []


def test_a_partner_whose_seeker_is_not_known_here_is_a_meeting_too() -> None:
    """The seeker never called here, as after a restart."""
    lobby = Lobby()
    lobby.happen(entered(ANN))
    lobby.enter(BOB, ATTACKERS)
    lobby.match(ANN, BOB)
    lobby.enter(CAT, ATTACKERS)
    assert lobby.avoided(ANN) == [CAT]
    lobby.part(BOB)
    assert lobby.avoided(ANN) == [CAT]


def test_a_missed_match_is_no_meeting() -> None:
    """They did not meet."""
    lobby = Lobby()
    lobby.enter(ANN, ANNS)
    lobby.enter(BOB, ATTACKERS)
    lobby.match(ANN, BOB)
    lobby.part(ANN, missed_by=(BOB,))
    lobby.enter(BOB, ATTACKERS)
    assert lobby.avoided(ANN) == []


def test_a_meeting_is_forgotten_in_time() -> None:
    """`rematch_after_ms` after they parted, for both sides."""
    lobby = Lobby()
    lobby.meet(ANN, BOB, (ANNS, ATTACKERS))
    lobby.enter(BOB, ATTACKERS)
    lobby.enter(CAT, ATTACKERS)
    lobby.enter(DAN, ANNS)
    lobby.now_ms += WITHIN_MS - 1
    assert lobby.avoided(ANN) == [BOB, CAT]
    assert lobby.avoided(DAN) == [BOB]
    lobby.now_ms += 1
    assert lobby.avoided(ANN) == []
    assert lobby.avoided(DAN) == []
    lobby.leave(BOB)
    assert lobby.enter(BOB, ATTACKERS) is None


def test_without_a_time_nothing_is_avoided() -> None:
    """0 is off."""
    lobby = Lobby(rematch_after_ms=0)
    lobby.meet(ANN, BOB, (ANNS, ATTACKERS))
    lobby.enter(CAT, ATTACKERS)
    assert lobby.avoided(ANN) == []


def test_the_longest_waiting_come_first() -> None:
    """At most so many of them, by their place in the queue, also after a change of address."""
    lobby = Lobby()
    lobby.meet(ANN, BOB, (ANNS, ATTACKERS))
    waiting = connections(AVOIDED_MAX + 2)
    for who in waiting:
        lobby.enter(who, ATTACKERS)
    lobby.peers.heard(lobby.state, waiting[0], ELSEWHERE)
    lobby.peers.heard(lobby.state, waiting[0], ATTACKERS)
    assert lobby.avoided(ANN) == waiting[:AVOIDED_MAX]
    lobby.leave(waiting[0])
    assert lobby.avoided(ANN) == waiting[1 : AVOIDED_MAX + 1]


def test_the_last_peers_met_are_remembered() -> None:
    """A bounded number; to meet one again makes it the last."""
    lobby = Lobby()
    addresses = [f"203.0.113.{number}" for number in range(PEERS_MET_MAX + 1)]
    others = connections(PEERS_MET_MAX + 1)
    for who, address in zip(others[:-1], addresses[:-1], strict=True):
        lobby.meet(ANN, who, (ANNS, address))
    lobby.meet(ANN, others[0], (ANNS, addresses[0]))
    lobby.meet(ANN, others[-1], (ANNS, addresses[-1]))
    fresh = [ConnectionId(f"c_fresh{number}") for number in range(PEERS_MET_MAX + 1)]
    for who, address in zip(fresh, addresses, strict=True):
        lobby.enter(who, address)
    assert lobby.avoided(ANN) == [fresh[0], *fresh[2:]]


def test_an_exempt_peer_is_never_avoided() -> None:
    """Many people share it; it may avoid others."""
    lobby = Lobby()
    lobby.enter(ANN, ANNS)
    lobby.enter(BOB, "198.51.100.7")
    lobby.match(ANN, BOB)
    lobby.enter(CAT, "198.51.100.7")
    assert lobby.avoided(ANN) == []
    lobby.part(ANN)
    lobby.enter(BOB, "198.51.100.7")
    assert lobby.avoided(ANN) == []
    lobby.enter(ANN, ANNS)
    assert lobby.avoided(BOB) == [ANN]


def test_a_connection_is_at_the_peer_of_its_last_call() -> None:
    """Wherever it came from before, also if it is exempt by now."""
    lobby = Lobby()
    lobby.meet(ANN, BOB, (ANNS, ATTACKERS))
    lobby.enter(CAT, ELSEWHERE)
    assert lobby.avoided(ANN) == []
    lobby.peers.heard(lobby.state, CAT, ATTACKERS)
    assert lobby.avoided(ANN) == [CAT]
    lobby.peers.heard(lobby.state, CAT, "198.51.100.7")
    assert lobby.avoided(ANN) == []


def test_a_connection_that_never_called_here_is_not_avoided() -> None:
    """After a restart, a connection is avoided from its first call on."""
    lobby = Lobby()
    lobby.meet(ANN, BOB, (ANNS, ATTACKERS))
    lobby.happen(entered(CAT))
    assert lobby.avoided(ANN) == []
    lobby.peers.heard(lobby.state, CAT, ATTACKERS)
    assert lobby.avoided(ANN) == [CAT]


def test_a_subscriber_of_ipv6_is_one_peer() -> None:
    """All addresses of its network count as one."""
    lobby = Lobby()
    lobby.meet(ANN, BOB, (ANNS, "2001:db8:0:1::1"))
    lobby.enter(BOB, "2001:db8:0:1::2")
    lobby.enter(CAT, "2001:db8:0:2::1")
    assert lobby.avoided(ANN) == [BOB]


def test_whom_a_tentative_state_has_moved_is_left_out() -> None:
    """An earlier command of the batch took that one out of the queue."""
    lobby = Lobby()
    lobby.meet(ANN, BOB, (ANNS, ATTACKERS))
    lobby.enter(BOB, ATTACKERS)
    lobby.enter(CAT, ATTACKERS)
    lobby.happen(left(BOB), announced=False)
    assert lobby.avoided(ANN) == [CAT]


def test_places_are_looked_up_after_commits_that_were_not_announced() -> None:
    """The log was trimmed before this broker had read it."""
    lobby = Lobby(LIMITS)
    lobby.meet(ANN, BOB, (ANNS, ATTACKERS))
    lobby.enter(BOB, ATTACKERS)
    lobby.happen(left(BOB), announced=False)
    lobby.happen(entered(BOB), announced=False)
    lobby.peers.start_over(lobby.state)
    assert lobby.avoided(ANN) == [BOB]
    lobby.leave(BOB)
    assert lobby.avoided(ANN) == []


def test_the_queue_is_not_gone_through() -> None:
    """A search looks up only its results, however many connections wait."""
    lobby = Lobby()
    lobby.meet(ANN, BOB, (ANNS, ATTACKERS))
    for who in connections(200):
        lobby.enter(who, ELSEWHERE)
    lobby.enter(CAT, ATTACKERS)
    lobby.enter(DAN, ATTACKERS)
    looked_up = []

    def get(who: ConnectionId) -> int | None:
        looked_up.append(who)
        return lobby.state.queue.entered.get(who)

    state = lobby.state
    view: Any = SimpleNamespace(
        policy=state.policy, connections=state.connections, queue=SimpleNamespace(entered=SimpleNamespace(get=get))
    )
    assert lobby.peers.to_avoid(view, ANN) == (CAT, DAN)
    assert looked_up == [CAT, DAN]


def test_a_peer_has_so_many_connections() -> None:
    """Waiting and chatting together; another may come once one has left."""
    lobby = Lobby(LIMITS)
    for who in (ANN, BOB, CAT):
        assert lobby.enter(who, HOME) is None
    room = lobby.match(ANN, BOB)
    assert lobby.enter(DAN, HOME) == EntryRefusal("too_many_connections", RETRY_AFTER_MS)
    assert lobby.enter(DAN, ELSEWHERE) is None
    lobby.leave(DAN)
    assert lobby.enter(DAN, HOME) is not None
    with lobby.peers.entering(lobby.state, move_on(ANN, room), HOME) as refusal:
        assert refusal is None
    lobby.part(ANN)
    assert lobby.enter(DAN, HOME) is None


def test_who_is_there_already_is_not_refused() -> None:
    """A repeated call changes nothing, so it is no entry: neither limit counts it."""
    lobby = Lobby(LIMITS)
    for who in (ANN, BOB, CAT):
        lobby.enter(who, HOME)
    assert [lobby.enter(ANN, HOME) for _ in range(9)] == [None] * 9
    room = lobby.match(ANN, BOB)
    for _ in range(9):
        assert lobby.enter(ANN, HOME) is None
        with lobby.peers.entering(lobby.state, move_on(ANN, RoomId("r_before")), HOME) as refusal:
            assert refusal is None
    with lobby.peers.entering(lobby.state, move_on(ANN, room), HOME) as refusal:
        assert refusal is None


def test_entries_in_flight_are_counted() -> None:
    """A slow log lets no more in; a failed entry does not count any more."""
    lobby = Lobby(LIMITS._replace(queue_entries_per_10s_max=0))
    with ExitStack() as in_flight:
        for who in (ANN, BOB, CAT):
            assert in_flight.enter_context(lobby.peers.entering(lobby.state, enter(who), HOME)) is None
        assert in_flight.enter_context(lobby.peers.entering(lobby.state, enter(ANN), HOME)) is None
        assert lobby.enter(DAN, HOME) is not None
    assert lobby.enter(DAN, HOME) is None


def test_a_peer_enters_so_often() -> None:
    """All connections of the peer count; a refusal has the time to wait."""
    lobby = Lobby(LIMITS._replace(connections_max=0))
    people = connections(6)
    assert [lobby.enter(who, HOME) for who in people[:5]] == [None] * 5
    assert lobby.enter(people[5], HOME) == EntryRefusal("rate_limited", 2_000)
    assert lobby.enter(people[5], ELSEWHERE) is None


def test_the_next_partner_is_an_entry() -> None:
    """It counts during a conversation, and after its end."""
    lobby = Lobby(LIMITS)
    lobby.enter(ANN, HOME)
    lobby.enter(BOB, ELSEWHERE)
    room = lobby.match(ANN, BOB)
    for _ in range(2):
        with lobby.peers.entering(lobby.state, move_on(ANN, room), HOME) as refusal:
            assert refusal is None
    lobby.part(BOB)
    for expected in (None, None, EntryRefusal("rate_limited", 2_000)):
        with lobby.peers.entering(lobby.state, move_on(ANN, room), HOME) as refusal:
            assert refusal == expected


@pytest.mark.parametrize(("limits", "address"), [(UNLIMITED, HOME), (LIMITS, "198.51.100.7")])
def test_limits_can_be_off(limits: PeerLimits, address: str) -> None:
    """By 0 for all, or for exempt addresses."""
    lobby = Lobby(limits)
    assert [lobby.enter(who, address) for who in connections(99)] == [None] * 99


def test_nothing_is_kept_of_who_has_gone_and_met_no_one() -> None:
    """Passing peers fill no memory."""
    lobby = Lobby()
    for who in connections(9):
        lobby.enter(who, HOME)
        lobby.leave(who)
        lobby.peers.heard(lobby.state, who, HOME)
    assert lobby.peers._records.items() == ()
    assert not lobby.peers._records.connections


def test_of_the_idle_the_last_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recent meetings are kept up to a bound; the longest idle are forgotten."""
    monkeypatch.setattr(peer_records, "IDLE_KEPT_MAX", 2)
    lobby = Lobby()
    lobby.meet(ANN, BOB, (HOME, ELSEWHERE))
    lobby.meet(CAT, DAN, (HOME, ELSEWHERE))
    assert {who for who, _ in lobby.peers._records.items()} == {CAT, DAN}


def test_an_address_is_kept_on_request_alone() -> None:
    """The whole address of the last call is kept, also for an idle connection."""
    lobby = Lobby(UNLIMITED._replace(keeps_addresses=True))
    assert lobby.peers.address_of(ANN) is None
    lobby.enter(ANN, "2001:db8::1")
    lobby.peers.heard(lobby.state, ANN, "2001:db8::2")
    lobby.leave(ANN)
    assert lobby.peers.address_of(ANN) == "2001:db8::2"
    lobby.peers.heard(lobby.state, ANN, "198.51.100.7")
    assert lobby.peers.address_of(ANN) == "198.51.100.7"
    unasked = Lobby()
    unasked.enter(ANN, "2001:db8::1")
    assert unasked.peers.address_of(ANN) is None


def test_a_peer_that_is_the_stranger_of_all_shows() -> None:
    """Its share of the matches is 1; exempt addresses are no peer, and matches of others elsewhere don't count."""
    lobby = Lobby()
    assert lobby.peers.share.busiest() == 0
    for number, who in enumerate(connections(40)):
        lobby.meet(ANN, who, (ATTACKERS, f"192.0.2.{number}"))
    lobby.happen(entered(BOB))
    lobby.happen(entered(CAT))
    lobby.match(BOB, CAT)
    assert lobby.peers.share.busiest() == 1
    office = Lobby()
    for number, who in enumerate(connections(40)):
        office.meet(ANN, who, ("198.51.100.7", f"192.0.2.{number}"))
    assert office.peers.share.busiest() == 1 / 40


PEOPLE = (ANN, BOB, CAT, DAN)
ADDRESSES = (HOME, ELSEWHERE, ATTACKER, "198.51.100.7")


class Reference:
    """The same said plainly: all meetings there were, and everyone's peer."""

    def __init__(self, lobby: Lobby) -> None:
        self.lobby = lobby
        self.peer: dict[ConnectionId, str] = {}
        self.met: list[tuple[ConnectionId, str, int]] = []

    def part(self, one: ConnectionId, other: ConnectionId) -> None:
        """Note a meeting."""
        for who, whom in ((one, other), (other, one)):
            if not self.peer[whom].startswith("198."):
                self.met.append((who, self.peer[whom], self.lobby.now_ms))

    def avoided(self, seeker: ConnectionId) -> list[ConnectionId]:
        """Return the connections to avoid for `seeker`, with the peer of its last call."""
        return [who for who in self.lobby.state.queue.entered if who != seeker and self._met(seeker, who)]

    def _met(self, seeker: ConnectionId, who: ConnectionId) -> bool:
        since_ms = self.lobby.now_ms - WITHIN_MS
        pairs = ((seeker, self.peer[who]), (who, self.peer.get(seeker)))
        return any((one, peer) in pairs and at_ms > since_ms for one, peer, at_ms in self.met)


def _steps() -> Iterator[st.SearchStrategy[tuple[Any, ...]]]:
    people, addresses = st.sampled_from(PEOPLE), st.sampled_from(ADDRESSES)
    yield st.tuples(st.just("enter"), people, addresses)
    yield st.tuples(st.just("leave"), people)
    yield st.tuples(st.just("meet"), people, people)
    yield st.tuples(st.just("call"), people, addresses)
    yield st.tuples(st.just("pass"), st.sampled_from([1_000, WITHIN_MS - 1_000, WITHIN_MS]))


@given(st.lists(st.one_of(*_steps()), max_size=40))
def test_whatever_happens_it_is_those_who_met(steps: list[tuple[Any, ...]]) -> None:
    """At each step, for each seeker, by the plain reference."""
    lobby = Lobby()
    reference = Reference(lobby)
    for step in steps:
        match step:
            case "enter", who, address:
                lobby.enter(who, address)
                reference.peer[who] = address
            case "leave", who if who in lobby.state.queue.entered:
                lobby.leave(who)
            case "meet", one, other if one != other and {one, other} <= set(lobby.state.queue.entered):
                lobby.match(one, other)
                lobby.part(one)
                reference.part(one, other)
            case "call", who, address if who in lobby.state.queue.entered:
                lobby.peers.heard(lobby.state, who, address)
                reference.peer[who] = address
            case "pass", ms:
                lobby.now_ms += ms
        for seeker in lobby.state.queue.entered:
            assert sorted(lobby.avoided(seeker)) == sorted(reference.avoided(seeker))
    for who in tuple(lobby.state.queue.entered):
        lobby.leave(who)
    assert not lobby.peers._records.connections
    assert not lobby.peers._records.waiting._groups
    assert not lobby.peers._records.waiting_met._groups
