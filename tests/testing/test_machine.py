"""The machine finds planted bugs in a core or a broker, and reports nothing about a sound one."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from broker import batch as draft
from broker import reads as pages
from broker.decide import decide
from broker.decision import Rejection
from broker.hub import Hub
from broker.matching import MATCHINGS, Seeker, first_come
from broker.testing import (
    BrokenPromiseError,
    BrokerMachine,
    CoreSystem,
    broker_in_file,
    broker_in_memory,
    check_history,
    systems,
)
from broker.testing.machine import MEMBERS
from broker.testing.strategies import PEOPLE, tiny_policies
from events.commands import EnterQueue, SendMessage
from events.commit import Facts
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from projections.inbox import Inbox
from projections.state import State
from projections.view import StateView
from tests.support.examples import scaled
from tests.testing.planted import BUGS, newest_first

UNTRIED = "broker.testing.UntriedBranchWarning"
FOREVER_MS = 10**9
COMPANY = Policy(
    confirm_grace_ms=25_000,
    requeue_on_missed_match=1,
    rematch_after_ms=60_000,
    rematch_patience_ms=3_000,
    blocks_per_connection_max=1,
    reports_per_10min_max=2,
    evidence_keep_ms=1_000,
)
PATIENT = Policy(stream_grace_ms=FOREVER_MS, idle_grace_queue_ms=FOREVER_MS, idle_grace_room_ms=FOREVER_MS)


def sought(examples: int, steps: int) -> settings:
    """Return settings for a repeatable search; it stops at the first find, which saves minutes."""
    return settings(
        phases=[Phase.generate],
        report_multiple_bugs=False,
        deadline=None,
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class FirstCome(BrokerMachine):
    """The default policy; an operator changes it."""


class ByInterests(BrokerMachine):
    """Matching by interests; few may wait."""

    policy = Policy(matching="interests", queue_connections_max=2)
    other_policies = tiny_policies("interests")


class Choosy(BrokerMachine):
    """Matching by interests under a constant policy, so that some members wait until their patience ends."""

    policy = Policy(matching="interests")
    other_policies = st.nothing()


class Tiny(BrokerMachine):
    """Constant limits within the reach of five members."""

    policy = Policy(
        messages_per_10s_max=2,
        queue_commands_per_10s_max=2,
        connections_kept=3,
        rooms_open_max=1,
        closed_rooms_kept=1,
        message_ids_kept=2,
        events_per_page_max=1,
        inbox_events_max=1,
    )
    other_policies = st.nothing()


class Talkative(BrokerMachine):
    """Two members with more messages than a room remembers ids, and more than fits on a page."""

    policy = Policy(message_ids_kept=2, events_per_page_max=3, inbox_events_max=1, messages_per_10s_max=100)
    other_policies = st.nothing()
    people = BrokerMachine.people[:2]


class OnesOwn(BrokerMachine):
    """A sound matching without a name in any policy."""

    matching = newest_first


def who_shares_a_peer(state: State, seeker: ConnectionId) -> tuple[ConnectionId, ...]:
    """Return waiting connections of the peers of the seeker's partners; members alternate between two peers."""
    known = state.connections.get(seeker)
    peers = {PEOPLE.index(met.connection_id) % 2 for met in known.partners} if known is not None else set()
    return tuple(who for _, who in state.queue.entries.items() if who != seeker and PEOPLE.index(who) % 2 in peers)


class Company(BrokerMachine):
    """Three members who miss matches, block, report and meet again, of two peers."""

    policy = COMPANY
    other_policies = st.nothing()
    people = PEOPLE[:3]
    systems = (partial(CoreSystem, who_shares_a_peer),)


class CompanyByInterests(BrokerMachine):
    """The same by interests, and for long enough to be patient in two ways."""

    policy = msgspec.structs.replace(COMPANY, matching="interests", interest_patience_ms=10_000)
    other_policies = st.nothing()
    people = PEOPLE[:4]
    systems = (partial(CoreSystem, who_shares_a_peer),)


def next_in_line(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Choose the one before the seeker in the queue, or else the last."""
    line = [who for _, who in state.queue.entries.items()]
    place = line.index(seeker.connection_id) if seeker.connection_id in line else len(line)
    others = [who for who in line if who != seeker.connection_id]
    return line[place - 1] if place else next(reversed(others), None)


class InLine(BrokerMachine):
    """A matching that looks up the seeker's own place."""

    matching = next_in_line
    policy = COMPANY
    other_policies = st.nothing()
    people = PEOPLE[:3]


class InMemory(BrokerMachine):
    """A broker over a log in memory."""

    policy = Policy(matching="interests", idle_grace_queue_ms=20_000, idle_grace_room_ms=40_000)
    systems = (broker_in_memory,)


class InAFile(BrokerMachine):
    """A broker over a log in a file."""

    systems = (broker_in_file,)


class Agreeing(BrokerMachine):
    """The pure core and two brokers, under a policy without timeouts."""

    policy = msgspec.structs.replace(
        PATIENT,
        rematch_after_ms=FOREVER_MS,
        rematch_patience_ms=FOREVER_MS,
        blocks_per_connection_max=2,
        reports_per_10min_max=2,
        evidence_keep_ms=1,
    )
    other_policies = st.nothing()
    systems = (CoreSystem, broker_in_memory, broker_in_file)


class CompanyInMemory(BrokerMachine):
    """A broker that matches again after a missed match, and at the end of a member's patience."""

    policy = COMPANY
    other_policies = st.nothing()
    people = PEOPLE[:3]
    systems = (broker_in_memory,)


class BrokersWithTimeouts(BrokerMachine):
    """Two brokers with timeouts: absent connections are disconnected, patient ones matched."""

    policy = msgspec.structs.replace(COMPANY, matching="interests")
    systems = (broker_in_memory, broker_in_file)


for machine, examples, steps in (
    (FirstCome, 30, 50),
    (ByInterests, 30, 50),
    (Choosy, 30, 50),
    (Tiny, 25, 50),
    (Talkative, 20, 40),
    (Company, 40, 50),
    (CompanyByInterests, 30, 50),
    (InLine, 20, 40),
    (OnesOwn, 15, 40),
    (InMemory, 15, 40),
    (CompanyInMemory, 10, 40),
    (InAFile, 5, 30),
    (Agreeing, 6, 30),
    (BrokersWithTimeouts, 6, 30),
):
    machine.TestCase.settings = settings(deadline=None, max_examples=scaled(examples), stateful_step_count=steps)

TestFirstCome = FirstCome.TestCase
TestByInterests = ByInterests.TestCase
TestChoosy = Choosy.TestCase
TestTiny = Tiny.TestCase
TestTalkative = Talkative.TestCase
TestCompany = Company.TestCase
TestCompanyByInterests = CompanyByInterests.TestCase
# A daily run has too few examples for every branch.
TestInLine = pytest.mark.filterwarnings(f"ignore::{UNTRIED}")(InLine.TestCase)
TestOnesOwn = pytest.mark.filterwarnings(f"ignore::{UNTRIED}")(OnesOwn.TestCase)
TestInMemory = InMemory.TestCase
TestCompanyInMemory = CompanyInMemory.TestCase
TestInAFile = InAFile.TestCase
TestAgreeing = Agreeing.TestCase
TestBrokersWithTimeouts = BrokersWithTimeouts.TestCase


def broken_by(machine: type[BrokerMachine], examples: int = 400, steps: int = 30) -> BrokenPromiseError:
    """Return the error raised by a run of `machine`."""
    with pytest.raises(BrokenPromiseError) as caught:
        run_state_machine_as_test(machine, settings=sought(examples, steps))
    return caught.value


@pytest.mark.parametrize("bug", ["the newest is met first", "messages cost nothing", "who was met waits on"])
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the named matching or in the fold is found, with a short history."""
    BUGS[bug].plant(monkeypatch)
    broken = broken_by(ByInterests).counterexample
    shortest = check_history(broken.history)
    assert shortest is not None
    assert broken.promise == shortest.promise == BUGS[bug].promise
    assert len(shortest.history) <= BUGS[bug].commits + 1, str(shortest)


@pytest.mark.parametrize(
    "bug",
    [
        "a block is ignored",
        "a recent meeting is ignored",
        "two meet again without patience",
        "a confirmed match is cancelled",
        "the place in the queue is lost",
        "a missed match is a meeting",
        "reports cost nothing",
        "a name is kept",
    ],
)
def test_a_bug_in_the_rules_of_company_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the rules of meeting, missed matches, reports or forgotten names breaks a promise.

    A wrong pair can break the order of matching (3) first, or the agreement with the reference (6).
    """
    BUGS[bug].plant(monkeypatch)
    assert broken_by(Company, 600, 50).counterexample.promise in {BUGS[bug].promise, 3, 6}


def test_whom_a_matching_may_not_name_is_found() -> None:
    """A matching that names the seeker itself breaks promise 3, and the report shows the command."""

    def forgetful(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        return state.queue.head()

    class Forgetful(BrokerMachine):
        matching = forgetful
        other_policies = st.nothing()

    error = broken_by(Forgetful)
    assert error.counterexample.promise == 3
    assert ", the seeker itself" in str(error)
    assert "the next command is MatchDue(" in str(error)


def test_a_real_broker_with_such_a_matching_is_not_just_unavailable() -> None:
    """The machine reports a matching's fault even though the broker handles the exception."""

    class Forgetful(BrokerMachine):
        matching = staticmethod(lambda state, seeker, at_ms: state.queue.head())
        systems = (broker_in_memory,)

    machine = Forgetful()
    machine.enter(machine.people[0], "Ann", ())
    with pytest.raises(BrokenPromiseError) as caught:
        machine.match_due(machine.people[0], waits=False, early_ms=0)
    machine.teardown()
    assert caught.value.counterexample.promise == 3


def test_what_a_matching_raises_is_raised() -> None:
    """An exception in a matching is raised as it is, not as a broken promise."""

    class Falls(BrokerMachine):
        matching = staticmethod(lambda state, seeker, at_ms: 1 // len(state.queue))

    with pytest.raises(ZeroDivisionError):
        run_state_machine_as_test(Falls, settings=sought(20, 10))


def off_by_one(inbox: Inbox, cursor: int) -> list[int]:
    """Return the positions at the cursor too."""
    return _after(inbox, cursor - 1)


_after, _deliveries_to, _decide = Inbox.after, pages._deliveries_to, decide


def late(*whatever: Any) -> None:
    """Announce nothing."""


def lenient(state: State, command: Any, facts: Facts) -> Any:
    """Accept messages into a closed room as done."""
    decision = _decide(state, command, facts)
    return [] if isinstance(command, SendMessage) and not isinstance(decision, list) else decision


SERVED_BUGS = {
    "a cursor is off by one": (4, "read [", lambda patch: patch.setattr(Inbox, "after", off_by_one)),
    "a wake-up is lost": (7, "heard was []", lambda patch: patch.setattr(Hub, "announce", late)),
    "a refusal is swallowed": (6, "the answer was None", lambda patch: patch.setattr(draft, "decide", lenient)),
}


@pytest.mark.parametrize("bug", SERVED_BUGS)
def test_a_bug_of_what_serves_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug outside the core, in reading, announcing or answering, is found."""
    promise, what, plant = SERVED_BUGS[bug]
    plant(monkeypatch)

    class Talking(BrokerMachine):
        systems = (broker_in_memory,)
        policy = Policy(events_per_page_max=1)
        other_policies = st.nothing()
        people = BrokerMachine.people[:2]

    error = broken_by(Talking, 60, 25)
    assert (error.counterexample.promise, what in error.counterexample.what) == (promise, True), str(error)


def test_systems_that_do_not_agree_are_found() -> None:
    """Two sound systems with different clocks are found to disagree."""

    class Late(CoreSystem):
        def pass_time(self, by_ms: int) -> systems.Observation:
            return super().pass_time(by_ms + 1)

    class Apart(BrokerMachine):
        systems = (CoreSystem, Late)
        other_policies = st.nothing()

    error = broken_by(Apart)
    assert (error.counterexample.promise, "the systems do not agree" in error.counterexample.what) == (6, True)


def test_a_subclass_adds_rules_and_hears_of_commits() -> None:
    """A subclass's rule names rooms by the order of their opening, and `committed` sees every commit."""
    seen: list[tuple[int, int, int]] = []

    class Ours(BrokerMachine):
        systems = (broker_in_memory,)

        @rule(who=MEMBERS)
        def cry(self, who: ConnectionId) -> None:
            outcome = self.submit(SendMessage(who, RoomId("r_1"), "HEY", None))
            for events in outcome.events:
                assert events[0].room_id == "r_1"

        def committed(self, before: State, commit: Any, after: State) -> None:
            seen.append((before.position, commit.position, after.position))

    run_state_machine_as_test(Ours, settings=sought(10, 20))
    assert seen
    assert all((position - 1, position, position) == one for one in seen for position in [one[1]])


def test_a_machine_can_be_driven_by_hand() -> None:
    """A machine can be called directly, also across a restart."""
    machine = ByInterests()
    ann, bob = machine.people[:2]
    machine.submit(EnterQueue(ann, "Ann", ("tea",)))
    outcome = machine.submit(EnterQueue(bob, "Bob", ("tea",)))
    machine.restart()
    assert machine.room_of(ann, 1) == "r_1"
    assert [method for _, method, _ in outcome.notifications] == ["chatroom.found", "chatroom.found"]
    machine.time_passes(30_000)
    assert machine.submit(SendMessage(ann, RoomId("r_9"), "hi", None)).rejection == Rejection("room_not_found")
    machine.teardown()


def test_the_matchings_come_back_with_the_end_of_a_machine() -> None:
    """`teardown` restores the named matchings."""
    machine = OnesOwn()
    assert MATCHINGS["first-come"] is not first_come
    machine.teardown()
    assert MATCHINGS["first-come"] is first_come
