"""Answers of a matching that the machine refuses, and the words for it."""

from __future__ import annotations

import functools
import logging
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st

from broker.matching import MatchingError, Seeker
from broker.testing import BrokenPromiseError, BrokerMachine
from broker.testing.branches import BranchLog
from broker.testing.checked_matching import AskedBefore, CheckedMatching
from broker.testing.impurity import impure_calls
from broker.testing.reference_matching import IllegalChoiceError
from events.ids import ConnectionId
from projections.view import StateView
from tests.support.people import ANN, BOB, CAT
from tests.support.specs import NOON_MS, state_after, waiting

NEWCOMER = Seeker(CAT, (), 0)
QUEUE = state_after(waiting(ANN), waiting(BOB))
ALONE = "It has to decide by its arguments alone"


def first_of(state: StateView, seeker: Seeker) -> ConnectionId | None:
    """Return the longest waiting connection except the seeker."""
    return next((who for _, who in state.queue.entries.items() if who != seeker.connection_id), None)


def asked(matching: Callable[..., Any], seeker: Seeker = NEWCOMER) -> object:
    """Return the checked answer of `matching` while Ann and Bob wait."""
    return CheckedMatching(matching)(QUEUE, seeker, NOON_MS)


async def decides_later(*arguments: object) -> None:
    """Answer to whoever awaits it."""


class Later:
    """A matching in an object, which is async."""

    async def __call__(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        """Answer to whoever awaits it."""
        return None


@pytest.mark.parametrize(
    ("matching", "says"),
    [
        (lambda state, seeker, at_ms: 5, "returned something of the type int, and no ConnectionId or None"),
        (lambda state, seeker, at_ms: [ANN], "returned something of the type list, and no ConnectionId or None"),
        (lambda state, seeker, at_ms: decides_later(), "is async, and a matching decides at once"),
        (Later(), "is async, and a matching decides at once"),
        (lambda state, seeker, at_ms: seeker.connection_id, 'named "c_cat", the seeker itself'),
        (lambda state, seeker, at_ms: "c_dan", 'named "c_dan", who does not wait'),
        (lambda state, seeker, at_ms: ANN if time.time() else BOB, f"calls time.time(); the time is at_ms. {ALONE}"),
        (lambda state, seeker, at_ms: datetime.now(UTC) and ANN, f"calls datetime.now(); the time is at_ms. {ALONE}"),
        (lambda state, seeker, at_ms: datetime.today() and ANN, f"calls datetime.today(); the time is at_ms. {ALONE}"),  # noqa: DTZ002 - the fault to find
        (
            lambda state, seeker, at_ms: random.choice([ANN]),
            "draws from the module random; draw from random.Random(seed), with a seed from its arguments. " + ALONE,
        ),
        (
            lambda state, seeker, at_ms: random.SystemRandom().choice([ANN]),
            f"calls urandom(); what it reads belongs where its module is imported. {ALONE}",
        ),
        (
            lambda state, seeker, at_ms: open(__file__).close(),
            f"calls open(); what it reads belongs where its module is imported. {ALONE}",
        ),
    ],
)
def test_an_answer_that_can_not_be_used_is_named(matching: Callable[..., Any], says: str) -> None:
    """The words say what is wrong, and what to do; nothing is warned of beside them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(IllegalChoiceError) as caught:
            asked(matching)
    assert str(caught.value) == f"the matching {says}"


def seeded(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Choose at random, by what the arguments say."""
    return random.Random(f"{seeker.connection_id} {state.position}").choice([ANN, BOB])


def logged(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Note what happens; the note has the time."""
    logging.getLogger(__name__).warning("asked for %s", seeker.connection_id)
    return ANN


@pytest.mark.parametrize("matching", [seeded, logged])
def test_what_rests_on_the_arguments_alone_is_pure(matching: Callable[..., Any]) -> None:
    """A random choice may, and a line of a log changes nothing."""
    assert asked(matching) in (ANN, BOB)


def test_another_profiler_goes_on_afterwards() -> None:
    """That of the test run, say."""
    import sys

    seen: list[str] = []
    sys.setprofile(lambda frame, event, arg: seen.append(event))
    try:
        assert impure_calls(len, "abc") == (3, [])
        mine = sys.getprofile()
    finally:
        sys.setprofile(None)
    assert mine is not None
    assert seen


@pytest.mark.parametrize(
    ("matching", "says"),
    [
        (lambda state, seeker: None, "the matching <lambda> takes other arguments than (state, seeker, at_ms)"),
        (
            functools.partial(first_of, seeker=NEWCOMER),
            "the matching partial takes other arguments than (state, seeker, at_ms)",
        ),
        (decides_later, "the matching decides_later is no matching: it is async, and a matching decides at once"),
    ],
)
def test_what_is_no_matching_is_refused_before_it_is_asked(matching: Any, says: str) -> None:
    """The machine raises it when it is made."""
    machine = type("Machine", (BrokerMachine,), {"matching": staticmethod(matching)})
    with pytest.raises(MatchingError) as caught:
        machine()
    assert str(caught.value) == says


def test_an_exit_is_no_end_of_the_test_run() -> None:
    """It is an exception of the matching like any other, and its cause is shown."""

    def leaves(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        raise SystemExit("bye")

    with pytest.raises(RuntimeError, match="the matching raised SystemExit: bye") as caught:
        asked(leaves)
    assert isinstance(caught.value.__cause__, SystemExit)


def test_the_same_question_of_another_example_has_the_same_answer() -> None:
    """A contradiction is found between two askings far apart, and is the same whenever the question comes again."""
    answers = iter([ANN, ANN, BOB, BOB, ANN, ANN])
    before = AskedBefore()

    def forgets(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        return next(answers)

    assert CheckedMatching(forgets, asked_before=before)(QUEUE, NEWCOMER, NOON_MS) == ANN
    for _ in range(2):
        with pytest.raises(IllegalChoiceError, match="named c_ann, and c_bob when it was asked the same again"):
            CheckedMatching(forgets, asked_before=before)(QUEUE, NEWCOMER, NOON_MS)


def test_a_matching_with_a_memory_is_found() -> None:
    """It answers the same twice, and otherwise later; the run is no flaky one."""
    entries: Counter[ConnectionId] = Counter()

    def remembers(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        entries[seeker.connection_id] += 1
        return first_of(state, seeker) if entries[seeker.connection_id] > 4 else None

    class Remembers(BrokerMachine):
        matching = remembers
        other_policies = st.nothing()

    case = Remembers.TestCase
    unshrunk = [Phase.generate]  # what a matching remembers of each attempt keeps Hypothesis shrinking for minutes
    case.settings = settings(max_examples=40, deadline=None, derandomize=True, database=None, phases=unshrunk)
    with pytest.raises(BrokenPromiseError, match="when it was asked the same again"):
        case().runTest()


def with_option(is_last: bool, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Return one end of the queue."""
    if is_last:
        return BOB
    return ANN


def test_a_partial_function_has_branches_too() -> None:
    """Those of the function behind it."""
    matching = functools.partial(with_option, True)
    branches = BranchLog(matching)
    branches.call(matching, QUEUE, NEWCOMER, NOON_MS)
    assert [line.partition(": ")[2] for line in branches.untried()] == ["`is_last` was never false"]
