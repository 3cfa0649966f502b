"""What brokers of a shared log have in common, for tests: a clock that is off, and an epoch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from events.log import LogUnavailableError


class FakeCoordination:
    """A store's clock and its epoch; no note reaches anyone. While it `is_away`, it does not answer."""

    def __init__(self, time_ms: Callable[[], int] = lambda: 0) -> None:
        self.is_away = False
        self.renewed: list[str] = []
        """The epochs that were replaced."""
        self._time_ms = time_ms

    async def publish(self, note: bytes) -> None:
        """Lose the note."""

    async def subscribe(self) -> AsyncIterator[bytes]:
        """Yield nothing."""
        for note in ():
            yield note

    async def time_ms(self) -> int:
        """Return the store's time."""
        self._answer()
        return self._time_ms()

    async def renew_epoch(self, was: str) -> None:
        """Note it."""
        self._answer()
        self.renewed.append(was)

    def _answer(self) -> None:
        if self.is_away:
            raise LogUnavailableError("the store is away")
