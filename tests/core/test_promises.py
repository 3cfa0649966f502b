"""The promises, kept under any sequence of commands, and a check for each that finds its breach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import immutables
import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.decide import Rejection, decide
from events.codec import decode_commit, encode_commit
from events.commands import AdoptPolicy, Command, Disconnect, MatchDue, NextPartner
from events.commit import Commit, Facts, Tip, commit_after, redact
from events.events import Event, MessageSent, PolicyAdopted, RoomOpened
from events.ids import CommitId, ConnectionId, RoomId
from events.policy import MatchingName, Policy
from projections import happened
from projections.deliveries import deliveries
from projections.invariants import Breach, CheckedFold, check_events, check_state, check_step
from projections.order import Order
from projections.places import Chatting, Connection, Idle, Places, Waiting
from projections.queue import Queue
from projections.rooms import Room, Rooms
from projections.state import INITIAL_STATE, State, StateMutation, digest, evolve, fold
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
    leave,
    leave_queue,
    left,
    move_on,
    opened,
    said,
    say,
    vanish,
)
from tests.support.specs import NOON_MS, PAST, assert_same, chatting, state_after, then_also, waiting

PEOPLE = st.sampled_from([ANN, BOB, CAT, DAN, ConnectionId("c_eve")])
TINY = st.integers(1, 3)
INTERESTS = st.lists(st.sampled_from(["chess", "tea"]), unique=True).map(sorted)


class Chat(RuleBasedStateMachine):
    """A few people do anything at all, again and again, under limits that they run into."""

    def __init__(self) -> None:
        super().__init__()
        self.state: State = INITIAL_STATE
        self.states: list[State] = [INITIAL_STATE]
        self.commits: list[Commit] = []
        self.rooms: list[RoomId] = [ROOM]
        self.now_ms = NOON_MS
        self.facts_made = 0
        self.heard: dict[ConnectionId, list[int]] = {}
        self.stored_ids: set[tuple[ConnectionId, RoomId, str]] = set()
        self.last: Command | None = None
        self.checked = CheckedFold(INITIAL_STATE.mutate())

    def submit(self, command: Command) -> None:
        """Decide, store, fold; and hold against what was promised."""
        self.facts_made += 1
        self.last = command
        facts = Facts(self.now_ms, RoomId(f"r_{self.facts_made}"), f"salt{self.facts_made}")
        decision = decide(self.state, command, facts)
        assert decide(self.checked.folding, command, facts) == decision
        if isinstance(decision, Rejection) or not decision:
            return
        before, commit = self.state, commit_after(self.state.tip, command, facts, decision)
        commit = decode_commit(encode_commit(commit))
        self.state = evolve(before, commit)
        self.commits.append(commit)
        self.states.append(self.state)
        assert_same(check_step(before, commit, self.state), [])
        assert_same(self.checked.step(commit), [])
        for broken in breakages(before, commit, self.state):
            found = check_step(before, commit, broken)
            assert found or not check_state(broken), (commit, broken)
            assert_same(CheckedFold(misfolding(before, broken)).step(commit), found)
        assert_same(check_state(self.state), [])
        assert_same(decide(before, commit.command, commit.facts), commit.events)  # type: ignore[arg-type]
        self.note(commit.events, commit)

    def note(self, stored: tuple[Event, ...], commit: Commit) -> None:
        """Keep count of what a naive witness would."""
        for event in stored:
            if isinstance(event, MessageSent) and event.client_message_id is not None:
                key = (event.sender, event.room_id, event.client_message_id)
                assert key not in self.stored_ids, "a message was stored twice"
                self.stored_ids.add(key)
            if isinstance(event, RoomOpened):
                assert event.room_id not in self.rooms, "a room's id was used twice"
                self.rooms.append(event.room_id)
        for who, notification in deliveries(commit):
            assert notification.params.cursor == commit.position
            self.heard.setdefault(who, []).append(commit.position)

    def room_of(self, who: ConnectionId, number: int) -> RoomId:
        """Mostly the room that one is in, else any that there ever was."""
        known = self.state.places.get(who)
        if known is not None and isinstance(known.place, Chatting) and number % 4:
            return known.place.room_id
        return self.rooms[-1 - number % len(self.rooms)]

    @rule(who=PEOPLE, name=st.sampled_from(["Ann", "Anonymous"]), interests=INTERESTS)
    def enter(self, who: ConnectionId, name: str, interests: list[str]) -> None:
        """Someone wants to chat."""
        self.submit(enter(who, name, *interests))

    @rule(who=PEOPLE)
    def match_due(self, who: ConnectionId) -> None:
        """Someone's patience has ended, or not."""
        self.submit(MatchDue(who))

    @rule(who=PEOPLE, number=st.integers(0, 20))
    def next_partner(self, who: ConnectionId, number: int) -> None:
        """Someone wants someone else."""
        self.submit(NextPartner(who, self.room_of(who, number)))

    @rule(who=PEOPLE)
    def leave_queue(self, who: ConnectionId) -> None:
        """Someone does not want to wait."""
        self.submit(leave_queue(who))

    @rule(who=PEOPLE, number=st.integers(0, 20), message_id=st.none() | st.sampled_from("ab"))
    def send(self, who: ConnectionId, number: int, message_id: str | None) -> None:
        """Someone says something."""
        self.submit(say(who, "words", message_id, self.room_of(who, number)))

    @rule(who=PEOPLE, number=st.integers(0, 20))
    def leave_room(self, who: ConnectionId, number: int) -> None:
        """Someone has had enough."""
        self.submit(leave(who, self.room_of(who, number)))

    @rule(who=PEOPLE, ago=st.integers(0, 3))
    def disconnect(self, who: ConnectionId, ago: int) -> None:
        """Someone was found absent, just now or a while ago."""
        self.submit(Disconnect(who, "disconnected", max(0, self.state.position - ago)))

    @rule(
        messages=TINY,
        queueing=TINY,
        kept=TINY,
        rooms=TINY,
        inbox=TINY,
        waiting=TINY,
        matching=st.sampled_from(["first-come", "interests"]),
    )
    def adopt(
        self, messages: int, queueing: int, kept: int, rooms: int, inbox: int, waiting: int, matching: MatchingName
    ) -> None:
        """An operator sets other limits."""
        policy = Policy(
            messages_per_10s_max=messages,
            queue_commands_per_10s_max=queueing,
            connections_kept=kept,
            closed_rooms_kept=rooms,
            inbox_events_max=inbox,
            queue_connections_max=waiting,
            matching=matching,
        )
        self.submit(AdoptPolicy(policy))

    @rule()
    def repeat(self) -> None:
        """A client did not get its answer, and asks again at once: nothing is sent or queued twice."""
        if self.last is not None:
            self.submit(self.last)

    @rule(by_ms=st.sampled_from([1, 500, 3_000, 30_000]))
    def time_passes(self, by_ms: int) -> None:
        """Allowances come back."""
        self.now_ms += by_ms

    @invariant()
    def the_fold_is_the_state(self) -> None:
        """From the beginning, and after a redaction."""
        if len(self.commits) % 5 == 0:
            assert digest(fold(self.commits)) == digest(self.state)

    def teardown(self) -> None:
        """The whole log once more, and nobody has missed anything."""
        assert digest(fold(self.commits)) == digest(self.state)
        assert digest(self.checked.folding.finish()) == digest(self.state)
        assert digest(fold([redact(commit) for commit in self.commits])) == digest(self.state)
        for number, commit in enumerate(self.commits):
            assert_same(decide(self.states[number], commit.command, commit.facts), commit.events)  # type: ignore[arg-type]
        for who, inbox in self.state.inboxes.items():
            kept = inbox.last(len(inbox))
            assert kept == self.heard[who][len(self.heard[who]) - len(kept) :]


def breakages(before: State, commit: Commit, after: State) -> Iterator[State]:
    """`after` with something wrong in it about those whom `commit` names, in many ways."""
    rooms, places, queue = after.rooms, after.places, after.queue
    fields = [(name, getattr(event, name)) for event in commit.events for name in event.__struct_fields__]
    for who in dict.fromkeys(value for name, value in fields if name in _PEOPLE_FIELDS):
        yield replaced(after, places=Places(places.by_id.update({who: STRANGER}), places.idle))
        known = places.get(who)
        if known is not None:
            for place in (Idle(10**6), Waiting(10**6), Waiting(commit.position), Chatting(FRESH), Chatting(ROOM)):
                yield with_place(after, who, place)
            yield replaced(after, places=Places(places.by_id.delete(who), places.idle))
            if isinstance(known.place, Idle):
                yield replaced(after, places=Places(places.by_id, places.idle.remove(known.place.key)))
        yield replaced(after, places=Places(places.by_id, places.idle.insert(10**6, who)))
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
    """A working copy of `before` which any commit turns into `broken`."""

    class Misfolding:
        now = before.mutate()

        def fold(self, commit: Commit) -> None:
            self.now = broken.mutate()

        def __getattr__(self, name: str) -> object:
            return getattr(self.now, name)

    return cast("StateMutation", Misfolding())


STRANGER = Connection("Stranger", (), Idle(10**6), 1, NOON_MS, 0, 0)
_PEOPLE_FIELDS = ("connection_id", "sender", "recipient", "first", "second", "closed_by", "other")


Chat.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=50)
TestPromises = Chat.TestCase


# Each check finds its breach.

CHATTING = state_after(chatting(ANN, BOB), waiting(CAT))


def replaced(state: State, **parts: object) -> State:
    """`state` with something wrong in it."""
    return msgspec.structs.replace(state, **parts)


def with_place(state: State, who: ConnectionId, place: object) -> State:
    """`state`, in which `who` is said to be somewhere else."""
    connection = msgspec.structs.replace(state.places.by_id[who], place=place)
    return replaced(state, places=msgspec.structs.replace(state.places, by_id=state.places.by_id.set(who, connection)))


def with_room(state: State, room: Room) -> State:
    """`state` with `room` in it."""
    return replaced(state, rooms=Rooms(state.rooms.by_id.set(room.room_id, room), state.rooms.closed))


def with_queue(state: State, *entries: tuple[int, ConnectionId]) -> State:
    """`state` with another queue."""
    order = Order[ConnectionId]()
    for position, who in entries:
        order = order.insert(position, who)
    return replaced(state, queue=Queue(order, immutables.Map({who: position for position, who in entries})))


BROKEN_STATES = {
    "who chats also waits": (1, "both waits and chats", with_queue(CHATTING, (3, ANN))),
    "who chats is in no room": (1, "not open to them", with_place(CHATTING, ANN, Chatting(FRESH))),
    "who chats is in a closed room": (
        1,
        "not open to them",
        with_place(state_after(chatting(ANN, BOB), then_also(closed(ANN, BOB, "left"))), ANN, Chatting(ROOM)),
    ),
    "who chats is in a room of others": (1, "not open to them", with_place(CHATTING, CAT, Chatting(ROOM))),
    "who waits is not in the queue": (1, "not in the queue at 3", replaced(CHATTING, queue=Queue())),
    "who waits stands elsewhere in the queue": (1, "not in the queue at 9", with_place(CHATTING, CAT, Waiting(9))),
    "who is idle also waits": (1, "stands elsewhere too", with_place(CHATTING, CAT, Idle(6))),
    "who is idle is not among the idle": (1, "stands elsewhere too", with_place(CHATTING, ANN, Idle(4))),
    "rooms are counted wrong": (
        2,
        "1 rooms are open, 0 are counted",
        replaced(CHATTING, rooms=Rooms(CHATTING.rooms.by_id, Order[RoomId]().insert(2, ROOM))),
    ),
    "a room has one member twice": (
        2,
        "one member twice",
        with_room(CHATTING, msgspec.structs.replace(CHATTING.rooms.by_id[ROOM], second=ANN)),
    ),
    "a member is elsewhere": (2, "but not in it", with_room(CHATTING, Room(FRESH, CAT, ANN, "Cat", "Ann", 3))),
    "a member is unknown": (2, "but not in it", with_room(CHATTING, Room(FRESH, DAN, CAT, "Dan", "Cat", 3))),
    "the queue and its index disagree": (
        1,
        "disagree",
        replaced(CHATTING, queue=Queue(CHATTING.queue.entries.insert(9, DAN), CHATTING.queue.entered)),
    ),
    "nobody is in the queue": (
        1,
        "in the queue at 9, but does not wait there",
        replaced(CHATTING, queue=CHATTING.queue.with_entry(DAN, 9)),
    ),
    "who waits has other interests": (
        1,
        "its interests disagree",
        replaced(CHATTING, queue=CHATTING.queue.without(CAT).with_entry(CAT, 3, ("tea",))),
    ),
    "people are nowhere": (
        1,
        "of 3 people, 0 are idle, 0 wait and 2 chat",
        replaced(CHATTING, queue=Queue()),
    ),
}


@pytest.mark.parametrize("broken", BROKEN_STATES)
def test_a_broken_state_is_found(broken: str) -> None:
    """By the promise that it breaks, with the place and what is wrong."""
    promise, what, state = BROKEN_STATES[broken]
    breaches = check_state(state)
    assert [b for b in breaches if b.promise == promise and what in b.what and b.position == state.position], breaches


def test_a_sound_state_has_no_breach() -> None:
    """The ones that are broken above are broken by what was done to them."""
    assert check_state(CHATTING) == []


LONE = state_after(waiting(ANN))
TALKING = state_after(chatting(ANN, BOB), then_also(said(ANN, BOB, "hi", "m1")))
ENDED = state_after(chatting(ANN, BOB), then_also(closed(ANN, BOB, "left")))
THREE = state_after(waiting(ANN), waiting(BOB))
CHOOSY = state_after([(PolicyAdopted(Policy(matching="interests")),)], waiting(ANN), waiting(BOB), waiting(CAT))

BROKEN_STEPS: dict[str, tuple[int, str, State, list[Event]]] = {
    "a room of one": (2, "paired with themselves", LONE, [opened(ANN, ANN)]),
    "a room's id comes again": (5, "had been there before", LONE, [entered(BOB), opened(ANN, BOB, ROOM)]),
    "the later one is first": (3, "did not enter before", THREE, [opened(BOB, ANN)]),
    "one who never entered is first": (3, "did not enter before", LONE, [entered(BOB), opened(BOB, ANN)]),
    "one waits beside another": (3, "waits while another waits", LONE, [entered(BOB)]),
    "one who waits enters": (1, "but was not idle", LONE, [entered(ANN)]),
    "one who chats enters": (1, "but was not idle", TALKING, [entered(ANN)]),
    "one who does not wait leaves": (1, "but was not in it", LONE, [left(BOB)]),
    "one who does not wait is met": (1, "but did not wait", LONE, [opened(ANN, BOB)]),
    "one who waits longer is passed over": (3, "waited longest", THREE, [entered(CAT), opened(BOB, CAT)]),
    "a room is closed twice": (5, "not an open room of these two", ENDED, [closed(BOB, ANN, "left")]),
    "a room that never was is closed": (5, "not an open room of these two", LONE, [closed(ANN, BOB, "left")]),
    "a room is closed by a stranger": (5, "not an open room of these two", TALKING, [closed(CAT, ANN, "left")]),
    "a message into a closed room": (4, "not open to them", ENDED, [said(ANN, BOB)]),
    "a message of a stranger": (4, "not open to them", TALKING, [said(CAT, BOB)]),
    "a message to a stranger": (4, "not open to them", TALKING, [said(ANN, CAT)]),
    "a message comes twice": (4, "stored twice", TALKING, [said(ANN, BOB, "hi", "m1")]),
}


@pytest.mark.parametrize("broken", BROKEN_STEPS)
def test_a_broken_step_is_found(broken: str) -> None:
    """By the promise that it breaks; `evolve` is not asked."""
    promise, what, before, events = BROKEN_STEPS[broken]
    if broken == "a room's id comes again":
        before = with_room(before, Room(ROOM, CAT, DAN, "Cat", "Dan", 1))
    commit = commit_after(before.tip, PAST, Facts(NOON_MS), events)
    breaches = check_step(before, commit, replaced(before, tip=commit.tip))
    assert [b for b in breaches if b.promise == promise and what in b.what and b.position == commit.position], breaches
    folding = before.mutate()
    assert_same(CheckedFold(folding).step(commit), breaches)
    assert folding.position == before.position, "it can't have happened, so it is not folded"


def test_with_interests_many_may_wait_and_be_passed_over() -> None:
    """What is still promised of a pair is that `first` entered before `second`."""

    def breaches(*events: Event) -> list[tuple[int, str]]:
        commit = commit_after(CHOOSY.tip, PAST, Facts(NOON_MS), events)
        return [(one.promise, one.what) for one in check_step(CHOOSY, commit, evolve(CHOOSY, commit))]

    assert breaches(entered(DAN)) == []
    assert breaches(opened(BOB, CAT)) == []
    assert breaches(entered(DAN), opened(BOB, DAN)) == []
    assert breaches(opened(CAT, BOB)) == [(3, f"{CAT} did not enter before {BOB}")]


def test_what_came_of_a_sound_step_is_checked() -> None:
    """Where nothing else is wrong with it: what can't have happened is not to be blamed on the fold."""
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
        (5, "does not follow", {"position": 9}),
        (5, "does not follow", {"previous_id": CommitId("f" * 32)}),
        (5, "time went back", {"at_ms": NOON_MS - 1}),
    ],
)
def test_a_broken_link_is_found(promise: int, what: str, change: dict[str, object]) -> None:
    """A gap, another past, or a clock that went back."""
    commit = msgspec.structs.replace(commit_after(LONE.tip, PAST, Facts(NOON_MS), []), **change)
    breaches = check_events(LONE, commit)
    assert [(b.promise, what in b.what) for b in breaches] == [(promise, True)]


def test_a_state_that_stands_elsewhere_is_found() -> None:
    """After a commit, the state is at that commit."""
    commit = commit_after(LONE.tip, enter(BOB), Facts(NOON_MS, FRESH), [entered(BOB), opened(ANN, BOB)])
    after = evolve(LONE, commit)
    assert check_step(LONE, commit, after) == []
    breaches = check_step(LONE, commit, replaced(after, tip=Tip(1, CommitId(""))))
    assert [(b.promise, b.what) for b in breaches] == [(6, "the state is not at the commit that was folded")]


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
    """One too few, one too many, or the wrong one."""
    monkeypatch.setattr(happened, "recipients", lambda event: told if event is events[-1] else [])
    commit = commit_after(TALKING.tip, PAST, Facts(NOON_MS), events)
    assert [b for b in check_step(TALKING, commit, replaced(TALKING, tip=commit.tip)) if b.promise == 7]


def test_a_breach_says_what_where_and_which() -> None:
    """On one line."""
    text = "promise 3 is broken at position 7: someone waits while another waits"
    assert str(Breach(3, 7, "someone waits while another waits")) == text


def test_every_promise_about_states_and_steps_has_a_broken_specimen() -> None:
    """Promises 1 to 5 above; 6 and 7 in tests of their own; 8 is about what is not there."""
    specimens = {promise for promise, _, _ in BROKEN_STATES.values()}
    specimens |= {promise for promise, _, _, _ in BROKEN_STEPS.values()}
    assert specimens == {1, 2, 3, 4, 5}


def test_moving_on_again_and_again_meets_each_once() -> None:
    """A and B part; A meets C; A's repeated `next_partner` for the first room leaves C alone."""
    state = CHATTING
    for _ in range(3):
        decision = decide(state, move_on(ANN), Facts(NOON_MS, FRESH))
        assert not isinstance(decision, Rejection)
        if decision:
            state = evolve(state, commit_after(state.tip, move_on(ANN), Facts(NOON_MS, FRESH), decision))
    assert state.rooms.open_count == 1
    assert state.rooms.by_id[FRESH].has(CAT)
    assert decide(state, vanish(CAT), Facts(NOON_MS)) == [closed(CAT, ANN, "timeout", FRESH)]
