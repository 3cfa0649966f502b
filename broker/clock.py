"""Time as a value: whoever needs it is given a clock, so that tests move it instead of sleeping."""

from __future__ import annotations

import asyncio
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


async def sleep_until(clock: Clock, at_ms: float) -> None:
    """Return once `clock.now_ms()` is at least `at_ms`."""
    reached = asyncio.Event()
    timer = clock.call_at(at_ms, reached.set)
    try:
        await reached.wait()
    finally:
        timer.cancel()
