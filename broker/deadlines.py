"""The deadlines of one broker: a heap with one timer. Presence, match timeouts and the heartbeat share it.

A deadline can't be taken back. When it is due, its callback checks whether it still applies; so an owner that
postpones a deadline pays nothing until the old one comes up.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from broker.clock import Clock, Timer


class Deadlines:
    """Callbacks in the order of their due times; of two at the same time, the earlier added first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()
        self._timer: Timer | None = None
        self._timer_at_ms = 0.0
        self._stopped = False

    def add(self, at_ms: float, on_due: Callable[..., None], *arguments: Any) -> None:
        """Call `on_due(*arguments)` once the broker's clock (`Clock.now_ms`) is at `at_ms`; never inside this call."""
        if not self._stopped:
            heappush(self._heap, (at_ms, next(self._numbers), on_due, arguments))
            self._set_timer()

    def run_due(self) -> None:
        """Run the callbacks that are due by now, although the timer has not fired yet."""
        heap = self._heap
        if not heap or heap[0][0] > self._clock.now_ms():
            return
        now_ms = self._clock.now_ms()
        try:
            while heap and heap[0][0] <= now_ms:
                _, _, on_due, arguments = heappop(heap)
                on_due(*arguments)
        finally:
            self._set_timer()

    def stop(self) -> None:
        """Run no callback any more."""
        self._stopped = True
        self._heap.clear()
        self._set_timer()

    def _set_timer(self) -> None:
        """Have the timer fire at the earliest deadline."""
        if self._timer is not None and self._heap and self._heap[0][0] == self._timer_at_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._timer_at_ms = self._heap[0][0]
            self._timer = self._clock.call_at(self._timer_at_ms, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.run_due()
        self._set_timer()  # the clock may be a little behind the timer
