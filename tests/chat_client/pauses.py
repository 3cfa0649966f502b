"""Pauses of a client; the test ends them."""

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
        """End every pause in progress."""
        self._over.set()
        self._over = asyncio.Event()
