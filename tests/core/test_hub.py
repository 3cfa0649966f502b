"""The way from commits to subscribers."""

from __future__ import annotations

import asyncio

import pytest

from broker.hub import Hub, participants
from broker.metrics import FastCounter
from events.commit import Commit, Facts, commit_after
from events.events import Event, PolicyAdopted
from events.ids import ConnectionId
from events.policy import Policy
from projections.state import INITIAL_STATE
from tests.support.bench import Ear
from tests.support.fake_clock import FakeClock
from tests.support.people import ANN, BOB, CAT, closed, entered, left, opened, said
from tests.support.specs import NOON_MS, PAST


def commit_of(*events: Event) -> Commit:
    """The first commit of a log."""
    return commit_after(INITIAL_STATE.tip, PAST, Facts(NOON_MS), events)


def new_hub() -> Hub:
    """One with no subscribers."""
    return Hub(FakeClock(), FastCounter("deliveries", "Notifications"))


def announce(notifier: Hub, *events: Event) -> None:
    """Let these events have happened."""
    notifier.announce(commit_of(*events))


def test_a_sink_hears_what_its_connection_is_told() -> None:
    """And nothing else; with position and time."""
    notifier, clock_ms = new_hub(), 0.0
    ear = Ear()
    notifier.attach(BOB, ear)
    announce(notifier, said(ANN, BOB))
    announce(notifier, said(BOB, ANN))
    announce(notifier, opened(ANN, CAT))
    assert ear.methods == [(BOB, "message.received")]
    assert (ear.heard[0].position, ear.heard[0].announced_ms) == (1, clock_ms)


def test_every_sink_of_a_connection_hears_it() -> None:
    """They hear it in the order of attaching, and a sink attached twice hears it once."""
    order: list[str] = []

    class Named(Ear):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def deliver(self, delivery: object) -> None:
            order.append(self.name)

    notifier = new_hub()
    first, second = Named("first"), Named("second")
    for sink in (first, second, first):
        notifier.attach(BOB, sink)
    announce(notifier, said(ANN, BOB))
    assert order == ["first", "second"]


def test_two_connections_of_one_commit_are_told_in_ascending_order() -> None:
    """The two may share a stream, and its frames have an order."""
    notifier, ear = new_hub(), Ear()
    for who in (BOB, ANN):
        notifier.attach(who, ear)
    announce(notifier, opened(BOB, ANN))
    assert [who for who, _ in ear.methods] == [ANN, BOB]


def test_a_detached_sink_hears_no_more() -> None:
    """A detached sink hears nothing; detaching an unknown one does nothing."""
    notifier, ear = new_hub(), Ear()
    notifier.attach(BOB, ear)
    notifier.detach(BOB, ear)
    notifier.detach(BOB, ear)
    notifier.detach(CAT, ear)
    announce(notifier, said(ANN, BOB))
    assert ear.heard == []
    assert notifier._subscribers == {}


def test_a_sink_may_detach_while_it_is_told() -> None:
    """A full backlog detaches its sink this way; the other sinks hear the event all the same."""
    notifier, other = new_hub(), Ear()

    class Full(Ear):
        def deliver(self, delivery: object) -> None:
            notifier.detach(BOB, self)

    notifier.attach(BOB, Full())
    notifier.attach(BOB, other)
    announce(notifier, said(ANN, BOB))
    assert len(other.heard) == 1


def test_deliveries_are_counted() -> None:
    """Each sink counts."""
    counter = FastCounter("deliveries", "Notifications")
    notifier = Hub(FakeClock(), counter)
    for who in (ANN, BOB, BOB):
        notifier.attach(who, Ear())
    announce(notifier, opened(ANN, BOB))
    (metric,) = counter.collect()
    assert metric.samples[0].value == 3


@pytest.mark.parametrize(
    ("event", "concerned"),
    [
        (entered(ANN), (ANN,)),
        (left(ANN), (ANN,)),
        (opened(ANN, BOB), (ANN, BOB)),
        (said(ANN, BOB), (ANN, BOB)),
        (closed(BOB, ANN, "left"), (BOB, ANN)),
        (PolicyAdopted(Policy()), ()),
    ],
)
def test_a_wait_is_woken_by_what_concerns_it(event: Event, concerned: tuple[ConnectionId, ...]) -> None:
    """Told of it or not: the end of one's own conversation ends one's wait too."""
    assert participants(event) == concerned
    notifier = new_hub()
    touched = {who: asyncio.Event() for who in (ANN, BOB, CAT)}
    with (
        notifier.waiting(ANN, touched[ANN]),
        notifier.waiting(BOB, touched[BOB]),
        notifier.waiting(CAT, touched[CAT]),
    ):
        announce(notifier, event)
    assert {who for who, event_ in touched.items() if event_.is_set()} == set(concerned)


def test_waits_are_counted_and_forgotten() -> None:
    """Also when one breaks off."""
    notifier, one, other = new_hub(), asyncio.Event(), asyncio.Event()
    assert notifier.waits_of(ANN) == 0
    with notifier.waiting(ANN, one):
        with notifier.waiting(ANN, other):
            assert notifier.waits_of(ANN) == 2
        with pytest.raises(RuntimeError), notifier.waiting(ANN, other):
            raise RuntimeError
        assert notifier.waits_of(ANN) == 1
        assert notifier.waits_of(BOB) == 0
    assert notifier.waits_of(ANN) == 0
    assert notifier._waits == {}


def test_all_waits_can_be_woken() -> None:
    """A shutdown does so without a commit."""
    notifier, one, other = new_hub(), asyncio.Event(), asyncio.Event()
    with notifier.waiting(ANN, one), notifier.waiting(BOB, other):
        notifier.wake_all()
    assert one.is_set()
    assert other.is_set()


def test_an_unheard_commit_costs_nothing_and_is_no_fault() -> None:
    """The event is in the log, so nothing is lost."""
    announce(new_hub(), opened(ANN, BOB))
