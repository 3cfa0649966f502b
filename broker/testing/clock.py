"""A clock that tests move, for everything that takes a `broker.clock.Clock`. No test sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush
from itertools import count


class FakeTimer:
    """A pending callback. A cancelled one stays in the clock's heap and does nothing."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Cancel the callback."""
        self.callback = None


class FakeClock:
    """A clock that moves only by `advance`. Its timers fire in order, each at its own time."""

    def __init__(self, wall_ms: int = 1_790_000_000_000) -> None:
        self._now_ms = 0.0
        self._wall_offset_ms = wall_ms
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._serial = count()

    def wall_ms(self) -> int:
        """Return the wall time (Unix ms)."""
        return self._wall_offset_ms + int(self._now_ms)

    def now_ms(self) -> float:
        """Return the ms since the clock was made."""
        return self._now_ms

    def call_at(self, at_ms: float, callback: Callable[[], None]) -> FakeTimer:
        """See `broker.clock.Clock.call_at`."""
        timer = FakeTimer(callback)
        heappush(self._timers, (at_ms, next(self._serial), timer))
        return timer

    def jump_wall(self, by_ms: int) -> None:
        """Change the wall time alone, as an operator may set a machine's clock."""
        self._wall_offset_ms += by_ms

    async def advance(self, by_ms: float, quiet: Callable[[], Awaitable[None]] | None = None) -> None:
        """Let `by_ms` pass. All effects of a timer are done before the next one fires.

        `quiet` waits for the effects; the default, `settle`, is enough where no other thread takes part.
        """
        quiet = quiet if quiet is not None else settle
        end_ms = self._now_ms + by_ms
        await quiet()
        while self._timers and self._timers[0][0] <= end_ms:
            at_ms, _, timer = heappop(self._timers)
            self._now_ms = max(self._now_ms, at_ms)
            if timer.callback is not None:
                timer.callback()
                await quiet()
        self._now_ms = end_ms
        await quiet()


async def settle(turns: int = 25) -> None:
    """Run the event loop for `turns` turns, so that every ready task goes on."""
    for _ in range(turns):
        await asyncio.sleep(0)  # one turn of the event loop
