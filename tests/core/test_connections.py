"""The state of each connection, and its history."""

from __future__ import annotations

from typing import Any

import pytest

from events.ids import ConnectionId
from projections.connections import Chatting, Connection, Connections, ConnectionsMutation, Idle, Waiting
from projections.rate_limit import WINDOW_US
from tests.support.people import ANN, BOB, CAT, ROOM, entered

LIMIT = 10
SHARE_US = WINDOW_US // LIMIT


def working_on(places: Connections) -> ConnectionsMutation:
    """Return a working copy."""
    return ConnectionsMutation(places.by_id.mutate(), places.idle.mutate())


def finished(working: ConnectionsMutation) -> Connections:
    """Return the resulting connections."""
    return Connections(working.by_id.finish(), working.idle.finish())


def after(*steps: tuple[str, *tuple[Any, ...]], places: Connections = Connections()) -> Connections:  # noqa: B008 - it never changes
    """Return the connections after `steps`: names of methods with arguments."""
    working = working_on(places)
    for name, *arguments in steps:
        getattr(working, name)(*arguments)
    return finished(working)


ENTERED = ("set_waiting", entered(ANN, None, "tea"), 3, 5_000, LIMIT)
MET = ("set_chatting", ANN, ROOM, 4, 6_000)
SPOKE = ("record_message", ANN, 5, 7_000, LIMIT)
LEFT = ("set_idle", ANN, 12, 6, 8_000)
ENTERED_US, SPOKE_US = 5_000_000 + SHARE_US, 7_000_000 + SHARE_US


@pytest.mark.parametrize(
    ("steps", "known"),
    [
        ([ENTERED], Connection("Ann", ("tea",), Waiting(3), 3, 5_000, ENTERED_US, 0)),
        ([ENTERED, MET], Connection("Ann", ("tea",), Chatting(ROOM), 4, 6_000, ENTERED_US, 0)),
        ([ENTERED, MET, SPOKE], Connection("Ann", ("tea",), Chatting(ROOM), 5, 7_000, ENTERED_US, SPOKE_US)),
        ([ENTERED, MET, SPOKE, LEFT], Connection("Ann", ("tea",), Idle(12), 6, 8_000, ENTERED_US, SPOKE_US)),
    ],
)
def test_each_step_says_where_one_is_and_when_one_was_heard_of(steps: list[Any], known: Connection) -> None:
    """Each step sets place, position, time and allowances, and keeps name and interests."""
    assert after(*steps).get(ANN) == known


def test_coming_back_keeps_what_is_spent() -> None:
    """Coming back keeps both allowances, and takes the new name and interests."""
    again = ("set_waiting", entered(ANN, "Anna"), 7, 5_001, LIMIT)
    known = after(ENTERED, MET, SPOKE, LEFT, again).get(ANN)
    assert known == Connection("Anna", (), Waiting(7), 7, 5_001, ENTERED_US + SHARE_US, SPOKE_US)


def test_a_newcomer_has_spent_nothing() -> None:
    """A new connection has spent nothing, even at time 0."""
    known = after(("set_waiting", entered(ANN), 1, 0, LIMIT)).get(ANN)
    assert known is not None
    assert (known.queue_spent_until_us, known.messages_spent_until_us) == (SHARE_US, 0)


def test_who_waits_or_chats_is_not_among_the_idle() -> None:
    """Only idle connections are in the idle order."""
    places = after(
        ("set_waiting", entered(ANN), 1, 0, LIMIT),
        ("set_idle", ANN, 4, 2, 0),
        ("set_waiting", entered(BOB), 3, 0, LIMIT),
        ("set_idle", BOB, 8, 4, 0),
    )
    assert list(places.idle.items()) == [(4, ANN), (8, BOB)]
    assert list(after(("set_waiting", entered(ANN), 5, 0, LIMIT), places=places).idle.items()) == [(8, BOB)]


def three_of_whom_two_rest() -> Connections:
    """Return Ann, idle longest, Bob, idle too, and Cat, waiting."""
    steps: list[Any] = []
    for number, who in enumerate((ANN, BOB, CAT), 1):
        steps.append(("set_waiting", entered(who), 2 * number, 0, LIMIT))
        if who != CAT:
            steps.append(("set_idle", who, 4 * number + 2, 2 * number + 1, 0))
    return after(*steps)


@pytest.mark.parametrize(("kept_max", "gone"), [(4, []), (3, []), (2, [ANN]), (1, [ANN, BOB]), (0, [ANN, BOB])])
def test_the_longest_idle_are_forgotten_first(kept_max: int, gone: list[ConnectionId]) -> None:
    """Only idle connections are forgotten, and no more than necessary."""
    working = working_on(three_of_whom_two_rest())
    assert working.forget_longest_idle(kept_max) == gone
    left = finished(working)
    assert sorted(left.by_id) == sorted({ANN, BOB, CAT} - set(gone))
    assert [who for _, who in left.idle.items()] == [who for who in (ANN, BOB) if who not in gone]
    assert len(left) == 3 - len(gone)
