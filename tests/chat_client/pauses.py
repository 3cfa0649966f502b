"""Pauses of a client that end when the test says so."""

from __future__ import annotations

import asyncio


class Pauses:
    """Stands in for `anyio.sleep`.

    Attributes:
        asked: the lengths of all pauses so far, in seconds.
    """

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._over = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        """Pause until `end`."""
        self.asked.append(seconds)
        await self._over.wait()

    def end(self) -> None:
        """End every pause that goes on."""
        self._over.set()
        self._over = asyncio.Event()
