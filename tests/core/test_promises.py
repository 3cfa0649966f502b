"""The promises under any sequence of commands, and a check for each, with a violation to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from broker.decide import decide
from broker.decision import Rejection
from broker.testing import BrokerMachine, Outcome
from broker.testing.strategies import PEOPLE
from broker.verification.scenario import connections_of
from events.commands import Command, MatchDue
from events.commit import Commit, Facts, Tip, commit_after
from events.events import Event, PartnerBlocked, PolicyAdopted, RoomOpened
from events.ids import CommitId, ConnectionId, RoomId
from events.policy import Policy
from projections import event_checks as happened
from projections.connections import Chatting, Connection, Connections, Idle, Waiting
from projections.invariants import CheckedFold, Violation, check_events, check_state, check_step
from projections.notifications import recipients
from projections.ordered_map import Order
from projections.persistent_map import Map
from projections.queue import Queue
from projections.rooms import Room, Rooms
from projections.state import INITIAL_STATE, State, StateMutation, digest, evolve
from tests.support.examples import scaled
from tests.support.people import (
    ANN,
    BOB,
    CAT,
    DAN,
    FRESH,
    ROOM,
    closed,
    enter,
    entered,
    left,
    move_on,
    opened,
    said,
    vanish,
)
from tests.support.specs import NOON_MS, PAST, assert_same, chatting, state_after, then_also, waiting


class Checked(BrokerMachine):
    """A machine for comparing the checks of a state, of a step, and of a working copy."""

    def __init__(self) -> None:
        self.checked = CheckedFold(INITIAL_STATE.mutate())
        super().__init__()

    def submit(self, command: Command) -> Outcome:
        """Decide the command on the working copy too."""
        asked, facts = self.under_test[0].with_system_room(command), Facts(self.state.at_ms, FRESH, "salt")
        assert decide(self.checked.folding, asked, facts) == decide(self.state, asked, facts)
        return super().submit(command)

    def committed(self, before: State, commit: Commit, after: State) -> None:
        """Break `after` in many ways."""
        assert_same(self.checked.step(commit), [])
        for broken in breakages(before, commit, after):
            found = check_step(before, commit, broken)
            assert found or not check_state(broken), (commit, broken)
            assert_same(CheckedFold(misfolding(before, broken)).step(commit), found)

    def teardown(self) -> None:
        """Compare the working copy with the state."""
        assert digest(self.checked.folding.finish()) == digest(self.state)
        super().teardown()


def breakages(before: State, commit: Commit, after: State) -> Iterator[State]:
    """Return variants of `after`, each with one fault in the connections of `commit`."""
    rooms, places, queue = after.rooms, after.connections, after.queue
    fields = [(name, getattr(event, name)) for event in commit.events for name in event.__struct_fields__]
    for who in dict.fromkeys(who for event in commit.events for who in connections_of(event)):
        yield replaced(after, connections=Connections(places.by_id.set(who, STRANGER), places.idle))
        known = places.get(who)
        if known is not None:
            for place in (Idle(10**6), Waiting(10**6), Waiting(commit.position), Chatting(FRESH), Chatting(ROOM)):
                yield with_place(after, who, place)
            yield replaced(after, connections=Connections(places.by_id.delete(who), places.idle))
            if isinstance(known.place, Idle):
                yield replaced(after, connections=Connections(places.by_id, places.idle.remove(known.place.key)))
        yield replaced(after, connections=Connections(places.by_id, places.idle.insert(10**6, who)))
        if who in queue.entered:
            yield replaced(after, queue=queue.without(who))
            yield replaced(after, queue=queue.without(who).with_entry(who, queue.entered[who], ("rats",)))
        else:
            yield replaced(after, queue=queue.with_entry(who, 10**6, ("tea",)))
        yield replaced(after, queue=msgspec.structs.replace(queue, interests=queue.interests.set(who, ("rats",))))
        for interest in {*before.queue.interests.get(who, ()), *(known.interests if known is not None else ())}:
            sharing = queue.sharing(interest) or Order()
            wrong = Order() if sharing.get(commit.position) else sharing.insert(commit.position, who)
            by_interest = queue.by_interest.set(interest, wrong)
            yield replaced(after, queue=msgspec.structs.replace(queue, by_interest=by_interest))
    for room_id in dict.fromkeys(value for name, value in fields if name == "room_id"):
        room = rooms.get(room_id)
        if room is None:
            continue
        yield with_room(after, msgspec.structs.replace(room, closed_position=None))
        yield with_room(after, msgspec.structs.replace(room, closed_position=10**6))
        yield with_room(after, msgspec.structs.replace(room, second=room.first))
        yield with_room(after, msgspec.structs.replace(room, first=ConnectionId("c_nobody")))
        yield replaced(after, rooms=Rooms(rooms.by_id.delete(room_id), rooms.closed))
        yield replaced(after, rooms=Rooms(rooms.by_id, rooms.closed.insert(10**6, room_id)))


def misfolding(before: State, broken: State) -> StateMutation:
    """Return a working copy of `before` that any commit turns into `broken`."""

    class Misfolding:
        now = before.mutate()

        def fold(self, commit: Commit) -> None:
            self.now = broken.mutate()

        def __getattr__(self, name: str) -> object:
            return getattr(self.now, name)

    return cast("StateMutation", Misfolding())


STRANGER = Connection("Stranger", (), Idle(10**6), 1, NOON_MS, 0, 0)


class CheckedCompany(Checked):
    """Two members and a third, with missed matches, blocks and reports under one policy."""

    policy = Policy(
        matching="interests",
        confirm_grace_ms=25_000,
        requeue_on_missed_match=1,
        rematch_after_ms=60_000,
        blocks_per_connection_max=1,
        evidence_keep_ms=1_000,
    )
    other_policies = st.nothing()
    people = PEOPLE[:3]


for machine in (Checked, CheckedCompany):
    machine.TestCase.settings = settings(deadline=None, max_examples=scaled(30), stateful_step_count=50)
TestChecked = Checked.TestCase
TestCheckedCompany = CheckedCompany.TestCase


# Each check finds its breach.

CHATTING = state_after(chatting(ANN, BOB), waiting(CAT))


def replaced(state: State, **parts: object) -> State:
    """Return `state` with other fields."""
    return msgspec.structs.replace(state, **parts)


def with_place(state: State, who: ConnectionId, place: object) -> State:
    """Return `state` with `who` in another place."""
    connection = msgspec.structs.replace(state.connections.by_id[who], place=place)
    return replaced(
        state,
        connections=msgspec.structs.replace(state.connections, by_id=state.connections.by_id.set(who, connection)),
    )


def with_room(state: State, room: Room) -> State:
    """Return `state` with `room`."""
    return replaced(state, rooms=Rooms(state.rooms.by_id.set(room.room_id, room), state.rooms.closed))


def with_queue(state: State, *entries: tuple[int, ConnectionId]) -> State:
    """Return `state` with another queue."""
    order = Order[ConnectionId]()
    for position, who in entries:
        order = order.insert(position, who)
    return replaced(state, queue=Queue(order, Map({who: position for position, who in entries})))


BROKEN_STATES = {
    "who chats also waits": (
        [
            (1, "c_ann is in the queue at 3, but does not wait there"),
            (1, "c_cat waits, but is not in the queue at 3"),
            (1, "c_ann both waits and chats"),
            (1, "c_ann both waits and chats"),
        ],
        with_queue(CHATTING, (3, ANN)),
    ),
    "who chats is in no room": (
        [(1, "c_ann chats in r_fresh, which is not open to them"), (2, "c_ann is a member of r_old, but not in it")],
        with_place(CHATTING, ANN, Chatting(FRESH)),
    ),
    "who chats is in a closed room": (
        [(1, "c_ann chats in r_old, which is not open to them")],
        with_place(state_after(chatting(ANN, BOB), then_also(closed(ANN, BOB, "left"))), ANN, Chatting(ROOM)),
    ),
    "who chats is in a room of others": (
        [
            (1, "c_cat is in the queue at 3, but does not wait there"),
            (1, "c_cat both waits and chats"),
            (1, "c_cat chats in r_old, which is not open to them"),
        ],
        with_place(CHATTING, CAT, Chatting(ROOM)),
    ),
    "who waits is not in the queue": (
        [(1, "of 3 people, 0 are idle, 0 wait and 2 chat"), (1, "c_cat waits, but is not in the queue at 3")],
        replaced(CHATTING, queue=Queue()),
    ),
    "who waits stands elsewhere in the queue": (
        [(1, "c_cat is in the queue at 3, but does not wait there"), (1, "c_cat waits, but is not in the queue at 9")],
        with_place(CHATTING, CAT, Waiting(9)),
    ),
    "who is idle also waits": (
        [(1, "c_cat is in the queue at 3, but does not wait there"), (1, "c_cat is idle, but stands elsewhere too")],
        with_place(CHATTING, CAT, Idle(6)),
    ),
    "who is idle is not among the idle": (
        [(1, "c_ann is idle, but stands elsewhere too"), (2, "c_ann is a member of r_old, but not in it")],
        with_place(CHATTING, ANN, Idle(4)),
    ),
    "rooms are counted wrong": (
        [(1, "of 3 people, 0 are idle, 1 wait and 0 chat"), (2, "1 rooms are open, 0 are counted")],
        replaced(CHATTING, rooms=Rooms(CHATTING.rooms.by_id, Order[RoomId]().insert(2, ROOM))),
    ),
    "a room has one member twice": (
        [(1, "c_bob chats in r_old, which is not open to them"), (2, "r_old has one member twice")],
        with_room(CHATTING, msgspec.structs.replace(CHATTING.rooms.by_id[ROOM], second=ANN)),
    ),
    "a member is elsewhere": (
        [
            (1, "of 3 people, 0 are idle, 1 wait and 4 chat"),
            (2, "c_cat is a member of r_fresh, but not in it"),
            (2, "c_ann is a member of r_fresh, but not in it"),
        ],
        with_room(CHATTING, Room(FRESH, CAT, ANN, "Cat", "Ann", 3)),
    ),
    "a member is unknown": (
        [
            (1, "of 3 people, 0 are idle, 1 wait and 4 chat"),
            (2, "c_dan is a member of r_fresh, but not in it"),
            (2, "c_cat is a member of r_fresh, but not in it"),
        ],
        with_room(CHATTING, Room(FRESH, DAN, CAT, "Dan", "Cat", 3)),
    ),
    "the queue and its index disagree": (
        [
            (1, "of 3 people, 0 are idle, 2 wait and 2 chat"),
            (1, "the queue and its index disagree"),
            (1, "the queue and its index disagree"),
            (1, "c_dan is in the queue at 9, but does not wait there"),
        ],
        replaced(CHATTING, queue=Queue(CHATTING.queue.entries.insert(9, DAN), CHATTING.queue.entered)),
    ),
    "nobody is in the queue": (
        [(1, "of 3 people, 0 are idle, 2 wait and 2 chat"), (1, "c_dan is in the queue at 9, but does not wait there")],
        replaced(CHATTING, queue=CHATTING.queue.with_entry(DAN, 9)),
    ),
    "who waits has other interests": (
        [(1, "the queue and its interests disagree")],
        replaced(CHATTING, queue=CHATTING.queue.without(CAT).with_entry(CAT, 3, ("tea",))),
    ),
    "people are nowhere": (
        [(1, "of 3 people, 0 are idle, 0 wait and 2 chat"), (1, "c_cat waits, but is not in the queue at 3")],
        replaced(CHATTING, queue=Queue()),
    ),
}


@pytest.mark.parametrize("broken", BROKEN_STATES)
def test_a_broken_state_is_found(broken: str) -> None:
    """A broken state gives the promise, the position and the violation."""
    found, state = BROKEN_STATES[broken]
    breaches = [Violation(promise, state.position, what) for promise, what in found]
    assert sorted(check_state(state), key=str) == sorted(breaches, key=str)


def test_a_sound_state_has_no_breach() -> None:
    """The state from which the broken ones are made is sound."""
    assert check_state(CHATTING) == []


LONE = state_after(waiting(ANN))
TALKING = state_after(chatting(ANN, BOB), then_also(said(ANN, BOB, "hi", "m1")))
ENDED = state_after(chatting(ANN, BOB), then_also(closed(ANN, BOB, "left")))
THREE = state_after(waiting(ANN), waiting(BOB))
BLOCKED = state_after(
    [(PolicyAdopted(Policy(blocks_per_connection_max=1)),)],
    chatting(ANN, BOB),
    then_also(PartnerBlocked(ANN, BOB), closed(ANN, BOB, "left")),
    waiting(ANN),
)
CHOOSY = state_after([(PolicyAdopted(Policy(matching="interests")),)], waiting(ANN), waiting(BOB), waiting(CAT))

BROKEN_STEPS: dict[str, tuple[list[tuple[int, str]], State, list[Event]]] = {
    "a room of one": (
        [
            (2, "c_ann was paired with themselves"),
            (3, "c_ann did not enter before c_ann"),
            (3, "c_ann was not the one who waited longest"),
            (7, "one connection would be told two things at once"),
        ],
        LONE,
        [opened(ANN, ANN)],
    ),
    "a room's id comes again": ([(5, "r_old had been there before")], LONE, [entered(BOB), opened(ANN, BOB, ROOM)]),
    "the later one is first": (
        [(3, "c_bob did not enter before c_ann")],
        THREE,
        [opened(BOB, ANN)],
    ),
    "one who never entered is first": (
        [(3, "c_bob did not enter before c_ann"), (3, "c_bob was not the one who waited longest")],
        LONE,
        [entered(BOB), opened(BOB, ANN)],
    ),
    "one waits beside another": ([(3, "c_bob waits while c_ann waits, and they may meet")], LONE, [entered(BOB)]),
    "one who waits enters": ([(1, "c_ann entered the queue, but was not idle")], LONE, [entered(ANN)]),
    "one meets whom it has blocked": (
        [(9, "c_bob and c_ann met, and one had blocked the other")],
        BLOCKED,
        [entered(BOB), opened(ANN, BOB)],
    ),
    "one who chats enters": ([(1, "c_ann entered the queue, but was not idle")], TALKING, [entered(ANN)]),
    "one who does not wait leaves": ([(1, "c_bob left the queue, but was not in it")], LONE, [left(BOB)]),
    "one who does not wait is met": ([(1, "c_bob was paired, but did not wait")], LONE, [opened(ANN, BOB)]),
    "one who waits longer is passed over": (
        [(3, "c_bob was not the one who waited longest")],
        THREE,
        [entered(CAT), opened(BOB, CAT)],
    ),
    "a room is closed twice": ([(5, "r_old was not an open room of these two")], ENDED, [closed(BOB, ANN, "left")]),
    "a room that never was is closed": (
        [(5, "r_old was not an open room of these two")],
        LONE,
        [closed(ANN, BOB, "left")],
    ),
    "a room is closed by a stranger": (
        [(5, "r_old was not an open room of these two")],
        TALKING,
        [closed(CAT, ANN, "left")],
    ),
    "a message into a closed room": (
        [(4, "c_ann spoke in r_old, which was not open to them")],
        ENDED,
        [said(ANN, BOB)],
    ),
    "a message of a stranger": ([(4, "c_cat spoke in r_old, which was not open to them")], TALKING, [said(CAT, BOB)]),
    "a message to a stranger": ([(4, "c_ann spoke in r_old, which was not open to them")], TALKING, [said(ANN, CAT)]),
    "a message comes twice": ([(4, "a message of c_ann was stored twice")], TALKING, [said(ANN, BOB, "hi", "m1")]),
}


def asked_for(events: Sequence[Event]) -> Command:
    """Return a command that can lead to `events`: a room opens only for a connection in search of a partner."""
    return next((MatchDue(event.second) for event in events if isinstance(event, RoomOpened)), PAST)


@pytest.mark.parametrize("broken", BROKEN_STEPS)
def test_a_broken_step_is_found(broken: str) -> None:
    """A broken step gives the promise without evolving."""
    found, before, events = BROKEN_STEPS[broken]
    if broken == "a room's id comes again":
        before = with_room(before, Room(ROOM, CAT, DAN, "Cat", "Dan", 1))
    commit = commit_after(before.tip, asked_for(events), Facts(NOON_MS), events)
    breaches = check_step(before, commit, replaced(before, tip=commit.tip))
    assert breaches == [Violation(promise, commit.position, what) for promise, what in found]
    folding = before.mutate()
    assert_same(CheckedFold(folding).step(commit), breaches)
    assert folding.position == before.position, "it can't have happened, so it is not folded"


def test_with_interests_many_may_wait_and_be_passed_over() -> None:
    """With interests, a pair must only have entered in the order of its members."""

    def breaches(*events: Event) -> list[tuple[int, str]]:
        commit = commit_after(CHOOSY.tip, asked_for(events), Facts(NOON_MS), events)
        return [(one.promise, one.what) for one in check_step(CHOOSY, commit, evolve(CHOOSY, commit))]

    assert breaches(entered(DAN)) == []
    assert breaches(opened(BOB, CAT)) == []
    assert breaches(entered(DAN), opened(BOB, DAN)) == []
    assert breaches(opened(CAT, BOB)) == [(3, f"{CAT} did not enter before {BOB}")]


def test_what_came_of_a_sound_step_is_checked() -> None:
    """A fault in the state after is reported only if the events are sound."""
    commit = commit_after(TALKING.tip, PAST, Facts(NOON_MS), [closed(ANN, BOB, "left")])
    after = evolve(TALKING, commit)
    broken = with_place(after, BOB, Chatting(ROOM))
    assert check_step(TALKING, commit, after) == []
    assert [b.promise for b in check_step(TALKING, commit, broken)] == [1]
    again = commit_after(ENDED.tip, PAST, Facts(NOON_MS), [closed(ANN, BOB, "left")])
    assert [b.promise for b in check_step(ENDED, again, with_place(ENDED, BOB, Chatting(ROOM)))] == [5]


@pytest.mark.parametrize(
    ("promise", "what", "change"),
    [
        (5, "the commit does not follow the one before it", {"position": 9}),
        (5, "the commit does not follow the one before it", {"previous_id": CommitId("f" * 32)}),
        (5, "time went back, or is not the one that was decided with", {"at_ms": NOON_MS - 1}),
        (5, "time went back, or is not the one that was decided with", {"at_ms": NOON_MS + 1}),
    ],
)
def test_a_broken_link_is_found(promise: int, what: str, change: dict[str, object]) -> None:
    """A gap, another previous commit and a wrong time break promise 5."""
    commit = msgspec.structs.replace(commit_after(LONE.tip, PAST, Facts(NOON_MS), []), **change)
    breaches = check_events(LONE, commit)
    assert breaches == [Violation(promise, commit.position, what)]


def test_a_state_that_stands_elsewhere_is_found() -> None:
    """A state at another commit than the folded one breaks promise 6."""
    commit = commit_after(LONE.tip, enter(BOB), Facts(NOON_MS, FRESH), [entered(BOB), opened(ANN, BOB)])
    after = evolve(LONE, commit)
    assert check_step(LONE, commit, after) == []
    for tip in (Tip(1, CommitId("")), Tip(1, after.tip.commit_id), Tip(after.position, CommitId(""))):
        breaches = check_step(LONE, commit, replaced(after, tip=tip))
        assert breaches == [Violation(6, commit.position, "the state is not at the commit that was folded")]


MOVED_ON = [closed(ANN, BOB, "next"), entered(ANN), opened(CAT, ANN)]
TWO_ROOMS = [entered(DAN), opened(CAT, DAN), said(ANN, BOB)]


@pytest.mark.parametrize(
    ("events", "harm", "found"),
    [
        (
            MOVED_ON,
            lambda after: with_place(after, BOB, Chatting(ROOM)),
            [(1, "c_bob chats in r_old, which is not open to them")],
        ),
        (
            MOVED_ON,
            lambda after: with_place(after, CAT, Idle(10**6)),
            [(2, "c_cat is a member of r_fresh, but not in it")],
        ),
        (
            MOVED_ON,
            lambda after: replaced(after, queue=after.queue.with_entry(CAT, 3)),
            [(1, "c_cat both waits and chats"), (1, "of 3 people, 1 are idle, 1 wait and 2 chat")],
        ),
        (
            MOVED_ON,
            lambda after: replaced(after, rooms=Rooms(after.rooms.by_id, Order())),
            [
                (1, "of 3 people, 1 are idle, 0 wait and 4 chat"),
                (2, "2 rooms are counted, and 0 were opened"),
            ],
        ),
        (
            [closed(ANN, BOB, "left")],
            lambda after: replaced(after, rooms=Rooms(after.rooms.by_id, Order())),
            [
                (1, "of 3 people, 2 are idle, 1 wait and 2 chat"),
                (2, "1 rooms are counted, and -1 were opened"),
            ],
        ),
        (
            [closed(ANN, BOB, "left")],
            lambda after: with_place(with_place(after, ANN, Chatting(ROOM)), BOB, Chatting(ROOM)),
            [
                (1, "c_ann chats in r_old, which is not open to them"),
                (1, "c_bob chats in r_old, which is not open to them"),
            ],
        ),
        (
            [entered(DAN), opened(CAT, DAN)],
            lambda after: replaced(CHATTING, tip=after.tip, queue=msgspec.structs.replace(CHATTING.queue)),
            [(2, "1 rooms are counted, and 1 were opened")],
        ),
        (
            TWO_ROOMS,
            lambda after: with_place(after, CAT, Idle(10**6)),
            [(2, "c_cat is a member of r_fresh, but not in it")],
        ),
        (
            TWO_ROOMS,
            lambda after: with_place(after, ANN, Idle(10**6)),
            [(2, "c_ann is a member of r_old, but not in it")],
        ),
    ],
)
def test_what_came_of_each_event_is_looked_at(
    events: list[Event], harm: Callable[[State], State], found: list[tuple[int, str]]
) -> None:
    """The state after each event is checked, and each violation is reported once."""
    commit = commit_after(CHATTING.tip, asked_for(events), Facts(NOON_MS, FRESH), events)
    after = evolve(CHATTING, commit)
    assert check_step(CHATTING, commit, after) == []
    breaches = check_step(CHATTING, commit, harm(after))
    assert breaches == [Violation(promise, commit.position, what) for promise, what in found]


CURIOUS = state_after(
    [(PolicyAdopted(Policy(matching="interests")),)], [(entered(CAT, "Cat", "rats", "tea"),)]
)  # CAT entered at 2


def with_sharing(state: State, who: ConnectionId, *positions: int) -> State:
    """Return `state` with only `who` in the index of the interest in tea, at `positions`."""
    order = Order[ConnectionId].of([(position, who) for position in positions])
    queue = msgspec.structs.replace(state.queue, by_interest=state.queue.by_interest.set("tea", order))
    return replaced(state, queue=queue)


def with_interests(state: State, who: ConnectionId, *interests: str) -> State:
    """Return `state` with `who` waiting with `interests`."""
    queue = msgspec.structs.replace(state.queue, interests=state.queue.interests.set(who, interests))
    return replaced(state, queue=queue)


def without(state: State, who: ConnectionId) -> State:
    """Return `state` without the connection `who`."""
    return replaced(state, connections=Connections(state.connections.by_id.delete(who), Order()))


ENTERED = [entered(DAN, "Dan", "tea")]


@pytest.mark.parametrize(
    ("events", "harm", "is_found"),
    [
        (ENTERED, lambda after: with_interests(after, DAN, "rats"), True),
        (ENTERED, lambda after: with_sharing(after, CAT, 2), True),
        (ENTERED, lambda after: replaced(after, queue=after.queue.without(DAN).with_entry(DAN, 99, ("tea",))), False),
        ([left(CAT)], lambda after: with_sharing(after, CAT, 2), True),
        ([left(CAT)], lambda after: with_sharing(after, CAT, 3), True),
        ([left(CAT)], lambda after: with_sharing(after, DAN, 2), False),
        ([left(CAT)], lambda after: with_sharing(after, CAT), True),
        ([left(CAT)], lambda after: with_interests(after, CAT, "rats", "tea"), True),
        ([left(CAT)], lambda after: without(with_sharing(after, CAT, 2), CAT), True),
        ([left(CAT)], lambda after: without(after, CAT), False),
    ],
)
def test_whoever_is_touched_is_found_by_their_interests_alone(
    events: list[Event], harm: Callable[[State], State], is_found: bool
) -> None:
    """The index entries of an affected connection are checked, and those of others are not."""
    commit = commit_after(CURIOUS.tip, PAST, Facts(NOON_MS, FRESH), events)
    after = evolve(CURIOUS, commit)
    assert check_step(CURIOUS, commit, after) == []
    who = DAN if events is ENTERED else CAT
    breach = Violation(1, commit.position, f"{who} is in the queue with other interests than their own")
    assert (breach in check_step(CURIOUS, commit, harm(after))) == is_found


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([entered(CAT), opened(ANN, BOB)], [ANN]),
        ([entered(CAT), opened(ANN, BOB)], [ANN, BOB, CAT]),
        ([closed(ANN, BOB, "left")], [ANN]),
        ([said(ANN, BOB)], []),
        ([entered(CAT)], [CAT]),
    ],
)
def test_a_wrong_delivery_is_found(
    events: list[Event], told: list[ConnectionId], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing, extra or wrong recipient breaks promise 7."""
    monkeypatch.setattr(happened, "recipients", lambda event: tuple(told) if event is events[-1] else ())
    commit = commit_after(TALKING.tip, PAST, Facts(NOON_MS), events)
    owed = sorted(who for event in events for who in recipients(event))
    breaches = check_step(TALKING, commit, replaced(TALKING, tip=commit.tip))
    assert Violation(7, commit.position, f"told {told}, owed {owed}") in breaches


def test_the_order_in_which_people_are_told_is_no_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of recipients does not matter."""
    monkeypatch.setattr(happened, "recipients", lambda event: recipients(event)[::-1])
    commit = commit_after(LONE.tip, enter(BOB), Facts(NOON_MS), [entered(BOB), opened(ANN, BOB)])
    assert check_events(LONE, commit) == []


def test_each_breach_of_a_commit_is_found() -> None:
    """All violations of one commit are reported."""
    commit = msgspec.structs.replace(commit_after(LONE.tip, PAST, Facts(NOON_MS), [left(BOB), left(CAT)]), position=9)
    assert check_events(LONE, commit) == [
        Violation(5, 9, "the commit does not follow the one before it"),
        Violation(1, 9, "c_bob left the queue, but was not in it"),
        Violation(1, 9, "c_cat left the queue, but was not in it"),
    ]


def test_who_is_unknown_must_not_stand_anywhere() -> None:
    """An unknown connection in the queue breaks promise 1."""
    commit = commit_after(TALKING.tip, PAST, Facts(NOON_MS), [closed(ANN, BOB, "left")])
    after = evolve(TALKING, commit)
    gone = replaced(
        after,
        connections=Connections(after.connections.by_id.delete(BOB), after.connections.idle),
        queue=Queue().with_entry(BOB, 2),
    )
    assert Violation(1, commit.position, "c_bob is unknown, but stands elsewhere too") in check_step(
        TALKING, commit, gone
    )


def test_a_breach_says_what_where_and_which() -> None:
    """A violation's text is one line with the promise, the position and the violation."""
    text = "promise 3 is broken at position 7: c_ann and c_bob met again too soon"
    assert str(Violation(3, 7, "c_ann and c_bob met again too soon")) == text


def test_every_promise_about_states_and_steps_has_a_broken_specimen() -> None:
    """Promises 1 to 5 and 9 have specimens here; 6 and 7 have tests of their own."""
    specimens = [found for found, _ in BROKEN_STATES.values()] + [found for found, _, _ in BROKEN_STEPS.values()]
    assert {promise for found in specimens for promise, _ in found} >= {1, 2, 3, 4, 5, 9}


def test_moving_on_again_and_again_meets_each_once() -> None:
    """A repeated `next_partner` for a closed room leaves the new conversation alone."""
    state = CHATTING
    for _ in range(3):
        decision = decide(state, move_on(ANN), Facts(NOON_MS, FRESH))
        assert not isinstance(decision, Rejection)
        if decision:
            state = evolve(state, commit_after(state.tip, move_on(ANN), Facts(NOON_MS, FRESH), decision))
    assert state.rooms.open_count == 1
    assert state.rooms.by_id[FRESH].has(CAT)
    assert decide(state, vanish(CAT), Facts(NOON_MS)) == [closed(CAT, ANN, "timeout", FRESH)]
