"""Deadlines: one heap and one timer for everything that comes due."""

from __future__ import annotations

import pytest

from broker.deadlines import Deadlines
from tests.support.fake_clock import FakeClock
from tests.support.logs import run


def test_callbacks_run_when_they_are_due() -> None:
    """In the order of their times, and not a millisecond early; of the same time, in the order of adding."""

    async def scenario() -> None:
        clock, ran = FakeClock(), []
        deadlines = Deadlines(clock)
        for at_ms, name in ((30, "last"), (10, "first"), (20, "second"), (20, "third")):
            deadlines.add(at_ms, ran.append, name)
        await clock.advance(9)
        assert ran == []
        await clock.advance(1)
        assert ran == ["first"]
        await clock.advance(20)
        assert ran == ["first", "second", "third", "last"]

    run(scenario)


def test_a_callback_may_add_a_deadline() -> None:
    """A due one runs in the same go, a later one at its time."""

    async def scenario() -> None:
        clock, ran = FakeClock(), []
        deadlines = Deadlines(clock)

        def again(at_ms: float) -> None:
            ran.append(at_ms)
            if at_ms < 30:
                deadlines.add(at_ms + 10, again, at_ms + 10)

        deadlines.add(10, again, 10)
        await clock.advance(20)
        assert ran == [10, 20]
        await clock.advance(10)
        assert ran == [10, 20, 30]

    run(scenario)


def test_due_ones_can_be_run_before_the_timer_fires() -> None:
    """Each runs once, and the later ones keep their time."""

    async def scenario() -> None:
        clock, ran = FakeClock(), []
        deadlines = Deadlines(clock)
        deadlines.add(10, ran.append, "due")
        deadlines.add(11, ran.append, "later")
        clock._now_ms = 10
        deadlines.run_due()
        assert ran == ["due"]
        await clock.advance(1)
        assert ran == ["due", "later"]

    run(scenario)


def test_a_fault_in_one_callback_stops_no_other() -> None:
    """The timer is set for the rest."""

    async def scenario() -> None:
        clock, ran = FakeClock(), []
        deadlines = Deadlines(clock)
        deadlines.add(10, [].pop)
        deadlines.add(10, ran.append, "the other")
        with pytest.raises(IndexError):
            await clock.advance(10)
        await clock.advance(0)
        assert ran == ["the other"]

    run(scenario)


def test_after_the_end_none_runs() -> None:
    """Neither an old one nor a new one."""

    async def scenario() -> None:
        clock, ran = FakeClock(), []
        deadlines = Deadlines(clock)
        deadlines.add(10, ran.append, "old")
        deadlines.stop()
        deadlines.add(10, ran.append, "new")
        await clock.advance(20)
        assert ran == []

    run(scenario)
