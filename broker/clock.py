"""Clocks as values: code is given its clock, so tests move time instead of sleeping."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Protocol

import structlog

logger = structlog.get_logger(__name__)


class Timer(Protocol):
    """A scheduled callback; it can be cancelled."""

    def cancel(self) -> None:
        """Cancel the callback; no effect once it has run."""
        ...


class Clock(Protocol):
    """Two readings and one alarm, all in milliseconds."""

    def wall_ms(self) -> int:
        """Return Unix time; may jump."""
        ...

    def now_ms(self) -> float:
        """Return the time since a fixed moment; never goes back."""
        ...

    def call_at(self, at_ms: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` on the event loop once `now_ms` is at least `at_ms`."""
        ...


class SystemClock:
    """The machine's clocks and the running event loop's timers."""

    def wall_ms(self) -> int:
        """Return Unix time."""
        return time.time_ns() // 1_000_000

    def now_ms(self) -> float:
        """Return the time since boot."""
        return time.monotonic_ns() / 1_000_000

    def call_at(self, at_ms: float, callback: Callable[[], None]) -> Timer:
        """Schedule `callback` (see `Clock.call_at`). One millisecond is added, so a timer is never early."""
        delay_ms = max(0, at_ms - self.now_ms() + 1)
        return asyncio.get_running_loop().call_later(delay_ms / 1_000, callback)


JUMP_MS = 60_000
"""The wall clock has jumped if it moved by so much more than the time that passed, or by so much less."""

DOUBT_MS = 3_600_000
"""A jump ahead is believed by `WatchedClock.cautious_ms` after so long."""


class WatchedClock:
    """A wall clock held against the monotonic one: a jump of it is logged once, as is the jump back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = self._believed_ms = clock.wall_ms() - clock.now_ms()  # from the monotonic to the wall clock
        self._doubted_since_ms: float | None = None

    def read(self) -> tuple[int, float]:
        """Return `wall_ms` and `now_ms`."""
        wall_ms, now_ms = self._clock.wall_ms(), self._clock.now_ms()
        offset_ms = wall_ms - now_ms
        if not -JUMP_MS <= offset_ms - self._offset_ms <= JUMP_MS:
            _log_jump(offset_ms - self._offset_ms)
        self._offset_ms = offset_ms
        return wall_ms, now_ms

    def cautious_ms(self) -> int:
        """Return Unix time for a deletion: it follows a jump ahead only after `DOUBT_MS`.

        A sleep of the machine looks the same as a jump of the clock, so a deletion may be late by that much. It is
        never early because of a jump corrected sooner. A jump back is followed at once.
        """
        wall_ms, now_ms = self.read()
        if self._offset_ms - self._believed_ms > JUMP_MS:
            if self._doubted_since_ms is None:
                self._doubted_since_ms = now_ms
            if now_ms - self._doubted_since_ms < DOUBT_MS:
                return int(now_ms + self._believed_ms)
        self._believed_ms, self._doubted_since_ms = self._offset_ms, None
        return wall_ms


def _log_jump(by_ms: float) -> None:
    event = "clock_jumped_ahead" if by_ms > 0 else "clock_set_back"
    logger.warning(event, seconds=round(abs(by_ms) / 1_000))


class CommitClock:
    """The clock of commit timestamps: the wall clock, except that it never goes back and never stops.

    While the wall clock is behind the last commit, this clock goes on from there at the speed of the monotonic clock.
    So rate limits and match timeouts run as usual after a wall clock has jumped ahead and was set back.
    """

    def __init__(self, clock: Clock) -> None:
        self.watched = WatchedClock(clock)
        self._last_ms, self._since_ms = -1, 0.0  # the last commit's time, and the `now_ms` at which it was reached
        self._stamp_ms, self._stamp_since_ms = -1, 0.0  # the same of the last stamp, which may not be stored yet
        self._is_ahead = False  # of the wall clock by more than `JUMP_MS`, and that was logged

    def at_ms(self, last_ms: int) -> int:
        """Return the present Unix time by this clock; `last_ms` is the last commit's."""
        return self._read(last_ms)[0]

    def stamp_ms(self, last_ms: int) -> int:
        """Return the time for the next commits, after one of `last_ms`."""
        self._stamp_ms, self._stamp_since_ms = self._read(last_ms)
        return self._stamp_ms

    def _read(self, last_ms: int) -> tuple[int, float]:
        """Return the present time, and the `now_ms` at which it was reached."""
        wall_ms, now_ms = self.watched.read()
        if last_ms != self._last_ms:
            # A commit of another broker, or of before the start, was reached when it was first seen.
            self._since_ms = self._stamp_since_ms if last_ms == self._stamp_ms else now_ms
            self._last_ms = last_ms
        passed_ms = int(now_ms - self._since_ms)
        lead_ms = last_ms + passed_ms - wall_ms
        if self._is_ahead is not (lead_ms > JUMP_MS):
            self._log_lead(lead_ms)
        if lead_ms <= 0:
            return wall_ms, now_ms
        return last_ms + passed_ms, self._since_ms + passed_ms

    def _log_lead(self, lead_ms: int) -> None:
        self._is_ahead = not self._is_ahead
        if self._is_ahead:
            logger.warning("log_ahead_of_clock", seconds=round(lead_ms / 1_000))
        else:
            logger.warning("log_met_by_clock")


async def sleep_until(clock: Clock, at_ms: float) -> None:
    """Return once `clock.now_ms()` is at least `at_ms`."""
    reached = asyncio.Event()
    timer = clock.call_at(at_ms, reached.set)
    try:
        await reached.wait()
    finally:
        timer.cancel()


RandomBytes = Callable[[int], bytes]
"""Returns the given number of bytes, impossible to guess."""

SYSTEM_ENTROPY: RandomBytes = secrets.token_bytes
"""The random bytes of the operating system."""
