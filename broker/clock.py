"""Clocks as values: code is given its clock, so tests move time instead of sleeping."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Protocol


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


class CommitClock:
    """The clock of commit timestamps: the wall clock, except that it never goes back and never stops.

    While the wall clock is behind the last commit, because it was set back, this clock runs at half speed. So rate
    limits and match timeouts run on, and the two clocks agree again after twice the time of the setback.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._behind_since: tuple[float, int] | None = None  # `now_ms`, and the time of commits at that moment

    def at_ms(self, last_ms: int) -> int:
        """Return the present Unix time, for a commit after one of `last_ms`."""
        wall_ms = self._clock.wall_ms()
        if wall_ms >= last_ms and self._behind_since is None:
            return wall_ms
        now_ms = self._clock.now_ms()
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
"""Returns the given number of bytes, impossible to guess."""

SYSTEM_ENTROPY: RandomBytes = secrets.token_bytes
"""The random bytes of the operating system."""
