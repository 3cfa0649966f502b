"""The machine's clock, and the fake one of the tests."""

from __future__ import annotations

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from broker.clock import DOUBT_MS, CommitClock, SystemClock, WatchedClock, sleep_until
from tests.support.fake_clock import FakeClock, settle

DAY_MS = 86_400_000


def test_the_system_clock_reads_unix_time() -> None:
    """In milliseconds."""
    assert abs(SystemClock().wall_ms() - time.time() * 1_000) < 1_000


def test_the_system_clock_never_goes_back() -> None:
    """The wall clock has no influence on it."""
    clock = SystemClock()
    readings = [clock.now_ms() for _ in range(100)]
    assert readings == sorted(readings)


@pytest.mark.parametrize("after_ms", [-5, 0, 3])
def test_a_system_timer_is_never_early(after_ms: int) -> None:
    """This holds for a timer that is due already, too."""

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
    """No callback runs later."""

    async def scenario() -> None:
        clock = FakeClock()
        sleeping = asyncio.ensure_future(sleep_until(clock, 10))
        await settle()
        sleeping.cancel()
        await settle()
        assert all(timer.callback is None for _, _, timer in clock._timers)

    asyncio.run(scenario())


def test_timers_of_a_fake_clock_ring_in_order_at_their_own_moments() -> None:
    """The effects of one come before the next."""

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
    """A commit has the wall clock's time unless that is before the last commit."""
    clock = FakeClock(wall_ms=1_000)
    stamps = CommitClock(clock)
    assert stamps.at_ms(0) == 1_000
    clock.jump_wall(500)
    assert stamps.at_ms(1_000) == 1_500


def test_time_goes_on_while_the_wall_clock_is_behind() -> None:
    """Time goes on at normal speed, neither back nor still, until a corrected wall clock counts again."""

    async def scenario() -> None:
        clock = FakeClock(wall_ms=10_000)
        stamps, read = CommitClock(clock), [10_000]
        assert stamps.stamp_ms(0) == 10_000
        clock.jump_wall(-1_000)
        for _ in range(5):
            await clock.advance(500)
            read.append(stamps.stamp_ms(read[-1]))
        assert read[1:] == [10_500, 11_000, 11_500, 12_000, 12_500]
        clock.jump_wall(5_000)
        assert stamps.stamp_ms(read[-1]) == clock.wall_ms() == 16_500

    asyncio.run(scenario())


def test_time_since_the_last_commit_counts_although_the_clock_was_set_back_in_it() -> None:
    """It is counted from that commit, not from the first reading after it."""

    async def scenario() -> None:
        clock = FakeClock(wall_ms=10_000)
        stamps = CommitClock(clock)
        last_ms = stamps.stamp_ms(0)
        await clock.advance(4_000)
        clock.jump_wall(-86_400_000)
        assert stamps.at_ms(last_ms) == 14_000

    asyncio.run(scenario())


def test_many_commits_within_a_millisecond_do_not_slow_time_down() -> None:
    """No fraction of a millisecond is lost from one to the next."""

    async def scenario() -> None:
        clock = FakeClock(wall_ms=10_000)
        stamps = CommitClock(clock)
        last_ms = stamps.stamp_ms(0)
        clock.jump_wall(-5_000)
        for _ in range(1_000):
            await clock.advance(0.75)
            last_ms = stamps.stamp_ms(last_ms)
        assert last_ms == 10_750

    asyncio.run(scenario())


def test_a_reading_during_a_jump_moves_no_commit() -> None:
    """Only a stored time is a bound for later commits."""
    clock = FakeClock(wall_ms=10_000)
    stamps = CommitClock(clock)
    last_ms = stamps.stamp_ms(0)
    clock.jump_wall(86_400_000)
    assert stamps.at_ms(last_ms) == 86_410_000
    clock.jump_wall(-86_400_000)
    assert stamps.stamp_ms(last_ms) == 10_000


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
        assert read == 9_100

    asyncio.run(scenario())


def test_a_jump_of_the_wall_clock_is_logged_once_each_way() -> None:
    """The line has the size; a small step or the passage of time is no jump."""

    async def scenario() -> None:
        clock = FakeClock()
        stamps = CommitClock(clock)
        with capture_logs() as logged:
            last_ms = stamps.stamp_ms(0)
            await clock.advance(7_200_000)
            clock.jump_wall(30_000)
            last_ms = stamps.stamp_ms(last_ms)
            clock.jump_wall(DAY_MS)
            for _ in range(2):
                last_ms = stamps.stamp_ms(last_ms)
            clock.jump_wall(-DAY_MS)
            for _ in range(2):
                last_ms = stamps.stamp_ms(last_ms)
                await clock.advance(1_000)
            clock.jump_wall(2 * DAY_MS)
            stamps.stamp_ms(last_ms)
        assert [(line["event"], line.get("seconds")) for line in logged] == [
            ("clock_jumped_ahead", 86_400),
            ("clock_set_back", 86_400),
            ("log_ahead_of_clock", 86_400),
            ("clock_jumped_ahead", 172_800),
            ("log_met_by_clock", None),
        ]

    asyncio.run(scenario())


def test_a_deletion_doubts_a_clock_that_jumped_ahead() -> None:
    """The doubt lasts an hour: after a correction within it, nothing has been deleted too early."""

    async def scenario() -> None:
        clock = FakeClock()
        watched = WatchedClock(clock)
        clock.jump_wall(DAY_MS)
        assert watched.cautious_ms() == clock.wall_ms() - DAY_MS
        await clock.advance(DOUBT_MS - 1)
        assert watched.cautious_ms() == clock.wall_ms() - DAY_MS
        clock.jump_wall(-DAY_MS)
        assert watched.cautious_ms() == clock.wall_ms()
        clock.jump_wall(DAY_MS)
        assert watched.cautious_ms() == clock.wall_ms() - DAY_MS
        await clock.advance(DOUBT_MS)
        assert watched.cautious_ms() == clock.wall_ms()
        assert watched.cautious_ms() == clock.wall_ms()

    asyncio.run(scenario())


def test_a_deletion_follows_a_clock_that_was_set_back() -> None:
    """It follows at once: the deletion is late, never early."""
    clock = FakeClock()
    watched = WatchedClock(clock)
    clock.jump_wall(-DAY_MS)
    assert watched.cautious_ms() == clock.wall_ms()
