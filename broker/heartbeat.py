"""A sign of life every fifteen seconds for everything that lasts, with one timer for all."""

from __future__ import annotations

from typing import Protocol

from broker.clock import Clock, Timer

SLOTS = 15
SLOT_MS = 1_000


class Pinged(Protocol):
    """What is written to for so long that its silence could be taken for its end."""

    def ping(self) -> None:
        """Ask for a sign of life; must not raise."""
        ...


class Heartbeat:
    """Everything stands in the slot in which it was added, which comes round every fifteenth time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: list[dict[Pinged, None]] = [{} for _ in range(SLOTS)]
        self._slot = 0
        self._timer: Timer | None = None

    def add(self, pinged: Pinged) -> None:
        """From now on, ping it."""
        self._slots[self._slot][pinged] = None
        self._go_on()

    def discard(self, pinged: Pinged) -> None:
        """Do not ping it any more, if it was."""
        for slot in self._slots:
            slot.pop(pinged, None)

    def stop(self) -> None:
        """Ping nothing, until something is added."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_at(self._clock.now_ms() + SLOT_MS, self._next_slot)

    def _next_slot(self) -> None:
        self._slot = (self._slot + 1) % SLOTS
        for pinged in self._slots[self._slot]:
            pinged.ping()
        self._timer = None
        if any(self._slots):
            self._go_on()
