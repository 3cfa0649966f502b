"""The deadlines of one broker: a heap with one timer. Presence, match timeouts and the heartbeat share it.

A deadline can't be taken back. When it is due, its callback checks whether it still applies; so an owner that
postpones a deadline pays nothing until the old one comes up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from broker.clock import Clock, Timer

AGAIN_MS = 1_000

OnDue = Callable[..., bool | None]
"""Called when a deadline is due. `True` says that it is not settled: it is called again by each later run."""


class Deadlines:
    """Callbacks by the time at which they are due, in that order; of two at the same time, the earlier added first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, OnDue, tuple[Any, ...]]] = []
        self._numbers = count()
        self._unsettled: list[tuple[OnDue, tuple[Any, ...]]] = []
        self._again_at_ms = 0.0
        self._timer: Timer | None = None
        self._timer_at_ms = 0.0
        self._stopped = False

    def add(self, at_ms: float, on_due: OnDue, *arguments: Any) -> None:
        """Call `on_due(*arguments)` once the broker's clock (`Clock.now_ms`) is at `at_ms`; never inside this call."""
        if self._stopped:
            return
        heappush(self._heap, (at_ms, next(self._numbers), on_due, arguments))
        self._set_timer()

    def run_due(self) -> None:
        """Run the callbacks that are due by now or unsettled; the timer does so too, at the latest after `AGAIN_MS`."""
        heap = self._heap
        if not self._unsettled and (not heap or heap[0][0] > self._clock.now_ms()):
            return
        now_ms = self._clock.now_ms()
        unsettled, self._unsettled = self._unsettled, []
        try:
            while unsettled:
                self._run(*unsettled.pop(0))
            while heap and heap[0][0] <= now_ms:
                self._run(*heappop(heap)[2:])
        finally:
            self._unsettled = unsettled + self._unsettled  # after a fault, those that had no turn
            self._again_at_ms = now_ms + AGAIN_MS
            self._set_timer()

    def stop(self) -> None:
        """Run no callback any more."""
        self._stopped = True
        self._heap.clear()
        self._unsettled.clear()
        self._cancel_timer()

    def _run(self, on_due: OnDue, arguments: tuple[Any, ...]) -> None:
        if on_due(*arguments) and not self._stopped:
            self._unsettled.append((on_due, arguments))

    def _set_timer(self) -> None:
        """Have the timer fire at the earliest deadline, or soon for an unsettled one."""
        at_ms = self._heap[0][0] if self._heap else math.inf
        if self._unsettled:
            at_ms = min(at_ms, self._again_at_ms)
        if self._timer is not None and at_ms == self._timer_at_ms:
            return
        self._cancel_timer()
        if at_ms < math.inf:
            self._timer_at_ms = at_ms
            self._timer = self._clock.call_at(at_ms, self._on_timer)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self.run_due()
        self._set_timer()  # the clock may be a little behind the timer
