"""Work that begins at once, and only becomes a task if it has to wait.

Most commands wait for nothing: a task for each would take two more turns of the event loop. (From Python 3.12 on,
asyncio has such tasks itself.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


def eagerly(work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run `work` up to where it first waits: the task of what is left of it, or `None` if it has ended.

    Up to there it is run by whoever calls, who gets what it raises.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return asyncio.get_running_loop().create_task(_Begun(work, awaited))


class _Begun(Coroutine[Any, Any, None]):
    """`work`, which waits for `awaited` already: whoever takes the first step is told so."""

    def __init__(self, work: Coroutine[Any, Any, None], awaited: Any) -> None:
        self._work = work
        self._ahead = [awaited]

    def send(self, value: Any) -> Any:
        """See `Coroutine`."""
        return self._ahead.pop() if self._ahead else self._work.send(value)

    def throw(self, *thrown: Any) -> Any:
        """See `Coroutine`."""
        self._ahead.clear()
        return self._work.throw(*thrown)

    def close(self) -> None:
        """See `Coroutine`."""
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise NotImplementedError("only a task goes on with it")
