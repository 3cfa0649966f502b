"""The machine's clock, and the one that tests move."""

from __future__ import annotations

import asyncio
import time

import pytest

from broker.clock import CommitClock, SystemClock, sleep_until
from tests.support.fake_clock import FakeClock, settle


def test_the_system_clock_reads_unix_time() -> None:
    """In milliseconds."""
    assert abs(SystemClock().wall_ms() - time.time() * 1_000) < 1_000


def test_the_system_clock_never_goes_back() -> None:
    """Whatever the wall clock does."""
    clock = SystemClock()
    readings = [clock.now_ms() for _ in range(100)]
    assert readings == sorted(readings)


@pytest.mark.parametrize("after_ms", [-5, 0, 3])
def test_a_system_timer_is_never_early(after_ms: int) -> None:
    """Also one whose time has come already."""

    async def scenario() -> None:
        clock = SystemClock()
        at_ms = clock.now_ms() + after_ms
        await sleep_until(clock, at_ms)
        assert clock.now_ms() >= at_ms

    asyncio.run(scenario())


def test_a_system_timer_can_be_called_off() -> None:
    """Then nothing happens."""

    async def scenario() -> None:
        clock, rung = SystemClock(), []
        clock.call_at(clock.now_ms(), lambda: rung.append(1)).cancel()
        await sleep_until(clock, clock.now_ms() + 3)
        assert rung == []

    asyncio.run(scenario())


def test_a_sleep_that_breaks_off_leaves_no_timer() -> None:
    """Nobody is woken later."""

    async def scenario() -> None:
        clock = FakeClock()
        sleeping = asyncio.ensure_future(sleep_until(clock, 10))
        await settle()
        sleeping.cancel()
        await settle()
        assert all(timer.callback is None for _, _, timer in clock._timers)

    asyncio.run(scenario())


def test_timers_of_a_fake_clock_ring_in_order_at_their_own_moments() -> None:
    """What follows from one happens before the next."""

    async def scenario() -> None:
        clock, rung = FakeClock(), list[tuple[str, float]]()

        def one_more() -> None:
            clock.call_at(12, lambda: rung.append(("then", clock.now_ms())))

        for name, at_ms in (("b", 20), ("a", 10), ("c", 20), ("late", 31)):
            clock.call_at(at_ms, lambda name=name: rung.append((name, clock.now_ms())))
        clock.call_at(15, lambda: rung.append(("never", 0))).cancel()
        clock.call_at(10, one_more)
        await clock.advance(30)
        assert rung == [("a", 10), ("then", 12), ("b", 20), ("c", 20)]
        assert clock.now_ms() == 30

    asyncio.run(scenario())


def test_a_fake_wall_clock_jumps_alone() -> None:
    """Time itself goes on."""
    clock = FakeClock(wall_ms=1_000)
    clock.jump_wall(-400)
    assert (clock.wall_ms(), clock.now_ms()) == (600, 0)


def test_commits_are_stamped_by_the_wall_clock() -> None:
    """As long as it is not behind the last one."""
    clock = FakeClock(wall_ms=1_000)
    stamps = CommitClock(clock)
    assert stamps.at_ms(0) == 1_000
    clock.jump_wall(500)
    assert stamps.at_ms(1_000) == 1_500


def test_time_goes_on_at_half_speed_while_the_wall_clock_is_behind() -> None:
    """It neither goes back nor stands still, and the wall clock is met again after twice as long."""

    async def scenario() -> None:
        clock = FakeClock(wall_ms=10_000)
        stamps, read = CommitClock(clock), [10_000]
        clock.jump_wall(-1_000)
        for _ in range(5):
            read.append(stamps.at_ms(read[-1]))
            await clock.advance(500)
        assert read[1:] == [10_000, 10_250, 10_500, 10_750, 11_000]
        assert stamps.at_ms(read[-1]) == clock.wall_ms() == 11_500

    asyncio.run(scenario())


def test_a_commit_of_another_whose_clock_is_ahead_is_not_gone_behind() -> None:
    """Nor does time stand still then."""

    async def scenario() -> None:
        clock = FakeClock(wall_ms=1_000)
        stamps = CommitClock(clock)
        assert stamps.at_ms(5_000) == 5_000
        assert stamps.at_ms(9_000) == 9_000
        for _ in range(100):
            await clock.advance(1)
            read = stamps.at_ms(9_000)
        assert read == 9_050

    asyncio.run(scenario())
