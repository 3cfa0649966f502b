"""A channel between the brokers of one log, in memory: each note reaches every subscriber at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from events.log import LogUnavailableError


class MemoryChannel:
    """The channel of one log, for any number of brokers."""

    def __init__(self, wall_ms: Callable[[], int] = lambda: 0) -> None:
        self.epoch = ""
        self.fault: Exception | None = None
        """The answer to everything, instead of an answer."""
        self.is_lossy = False
        """Notes are lost on the way, and no sender hears of it."""
        self.notes: list[bytes] = []
        """All notes ever published."""
        self._wall_ms = wall_ms
        self._subscribers: list[asyncio.Queue[bytes | None]] = []

    async def publish(self, note: bytes) -> None:
        """See `Coordination.publish`."""
        self._answer()
        self.notes.append(note)
        if self.is_lossy:
            return
        for subscriber in self._subscribers:
            subscriber.put_nowait(note)

    async def subscribe(self) -> AsyncIterator[bytes]:
        """See `Coordination.subscribe`."""
        self._answer()
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._subscribers.append(queue)
        try:
            while True:
                note = await queue.get()
                if note is None:
                    raise LogUnavailableError("the channel broke")
                yield note
        finally:
            self._subscribers.remove(queue)

    async def time_ms(self) -> int:
        """See `Coordination.time_ms`."""
        self._answer()
        return self._wall_ms()

    async def renew_epoch(self, was: str) -> None:
        """See `Coordination.renew_epoch`."""
        self._answer()
        if self.epoch in ("", was):
            self.epoch = f"{was}+"

    def break_it(self, fault: Exception | None = None) -> None:
        """End all subscriptions, and fail every call with `fault` until `mend`."""
        self.fault = fault or LogUnavailableError("the channel is broken")
        for subscriber in self._subscribers:
            subscriber.put_nowait(None)

    def mend(self) -> None:
        """Let notes pass again."""
        self.fault = None

    def _answer(self) -> None:
        if self.fault is not None:
            raise self.fault
