"""Asynchronous search for a commit in either direction, one block at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from events.ids import Position
from log_debugger.reading.filters import CommitFilter
from log_debugger.reading.history_cache import HistoryCache


class SearchProgress(NamedTuple):
    """The position reached by a search, and the hit, if any."""

    passed: Position
    hit: Position | None


async def search(
    cache: HistoryCache, commit_filter: CommitFilter, position: Position, direction: int
) -> AsyncIterator[SearchProgress]:
    """Search after `position`, or before it if `direction` is -1; end at the first hit or the end of the log."""
    ahead = position + direction
    while cache.has(ahead):
        for passed in cache.seek(ahead):
            yield SearchProgress(passed, None)
            await asyncio.sleep(0)  # let the screen update, and a cancellation through
        clamped = cache.clamp(ahead)
        if clamped != ahead:  # a fault was found before it
            return
        start, steps = cache.block_of(ahead)
        index = ahead - start - 1
        towards = steps[index:] if direction > 0 else steps[index::-1]
        hit = next((step.commit.position for step in towards if commit_filter.matches(step)), None)
        passed = start + len(steps) if direction > 0 else start
        yield SearchProgress(passed, hit)
        if hit is not None:
            return
        await asyncio.sleep(0)  # let the screen update, and a cancellation through
        ahead = passed + (1 if direction > 0 else 0)
