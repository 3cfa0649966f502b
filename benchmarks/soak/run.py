"""State shared by all clients of a soak."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from benchmarks.soak.delivery_ledger import DeliveryLedger
from benchmarks.soak.options import SoakOptions
from benchmarks.soak.rate import Latencies, TurnRate
from benchmarks.soak.rooms import Identity

AT_ONCE: Final = 64
"""Clients that may come or leave for good at a time."""
PROBLEMS_MAX: Final = 100
"""Problems after which the run ends: there is nothing more to learn."""


class SoakRun:
    """Shared state of one server's clients."""

    def __init__(self, port: int, options: SoakOptions) -> None:
        self.port = port
        self.options = options
        self.ledger = DeliveryLedger(min(options.stream_grace_s, options.idle_grace_s))
        self.rate = TurnRate(options.people, options.busy, options.min_think_s)
        self.latencies = Latencies()
        self.is_open = True
        self.gate = asyncio.Semaphore(AT_ONCE)
        self.slowness = asyncio.Lock()
        """Held by a slow reader, one at a time: each costs as much as a hundred acts."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def counts(self) -> Counter[str]:
        """The number of events of each kind."""
        return self.ledger.counts

    def fail(self, error: Exception, who: Identity) -> None:
        """Record an error that no client may see, and end the run."""
        if not self.failed.done():  # later errors follow from the first
            self.ledger.problem(f"{who.name}: {type(error).__name__}: {error}", who)
            self.failed.set_result(None)
