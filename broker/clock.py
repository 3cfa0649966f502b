"""Time as a value: whoever needs it is given a clock, so that tests move it instead of sleeping."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A callback that has been asked for, and can be called off."""

    def cancel(self) -> None:
        """Call it off; once it has run, nothing happens."""
        ...


class Clock(Protocol):
    """Two readings and one alarm, all in milliseconds."""

    def wall_ms(self) -> int:
        """Unix time; may jump."""
        ...

    def now_ms(self) -> float:
        """Time since some moment; never goes back."""
        ...

    def call_at(self, at_ms: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` on the event loop once `now_ms` is at least `at_ms`."""
        ...


class SystemClock:
    """The machine's clocks and the running event loop's timers."""

    def wall_ms(self) -> int:
        """Unix time."""
        return time.time_ns() // 1_000_000

    def now_ms(self) -> float:
        """Time since boot."""
        return time.monotonic_ns() / 1_000_000

    def call_at(self, at_ms: float, callback: Callable[[], None]) -> Timer:
        """See `Clock.call_at`; the millisecond on top makes sure that a timer is never early."""
        delay_ms = max(0, at_ms - self.now_ms() + 1)
        return asyncio.get_running_loop().call_later(delay_ms / 1_000, callback)


class CommitClock:
    """The time that commits are stamped with: the wall clock's, and yet it never goes back and never stands still.

    While the wall clock is behind the last commit, since somebody has set it back, time goes on at half its speed.
    So rate limits and patience run on, and the wall clock is met again after twice as long as it was set back by.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._behind_since: tuple[float, int] | None = None  # `now_ms`, and the time of commits at that moment

    def at_ms(self, last_ms: int) -> int:
        """Unix time by now, for what comes after a commit of `last_ms`."""
        wall_ms, now_ms = self._clock.wall_ms(), self._clock.now_ms()
        since_ms, then_ms = self._behind_since or (now_ms, last_ms)
        at_ms = then_ms + int(now_ms - since_ms) // 2
        if at_ms < last_ms:  # another broker has stamped that one
            since_ms, then_ms, at_ms = now_ms, last_ms, last_ms
        if wall_ms >= at_ms:
            self._behind_since = None
            return wall_ms
        self._behind_since = since_ms, then_ms
        return at_ms


async def sleep_until(clock: Clock, at_ms: float) -> None:
    """Return once `clock.now_ms()` is at least `at_ms`."""
    reached = asyncio.Event()
    timer = clock.call_at(at_ms, reached.set)
    try:
        await reached.wait()
    finally:
        timer.cancel()


RandomBytes = Callable[[int], bytes]
"""So many bytes that nobody can guess."""

SYSTEM_ENTROPY: RandomBytes = secrets.token_bytes
"""The machine's own."""
