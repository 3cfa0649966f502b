"""A question that many callers ask a store at once: one is under way at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Questions(Generic[T]):
    """Asks a store the same question again and again. Callers that come during one share the next."""

    __slots__ = ("_ask", "_asking", "_next")

    def __init__(self, ask: Callable[[], Coroutine[None, None, T]]) -> None:
        """`ask` asks once; it gives up in time."""
        self._ask = ask
        self._asking: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def ask(self) -> T:
        """Return the answer to a question that was asked after this call; a caller that is cancelled changes nothing.

        Raises:
            LogUnavailableError: the store does not answer.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._ask_after(self._asking))
            self._next.add_done_callback(retrieve)
        return await asyncio.shield(self._next)

    async def stop(self) -> None:
        """Ask no more; cancel the callers waiting for an answer."""
        tasks = [task for task in (self._asking, self._next) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_after(self, asking: asyncio.Task[T] | None) -> T:
        if asking is not None:
            await asyncio.wait({asking})
        self._asking, self._next = self._next, None
        return await self._ask()


def retrieve(asked: asyncio.Future[Any]) -> None:
    """Retrieve the error of work after its callers have gone."""
    if not asked.cancelled():
        asked.exception()
