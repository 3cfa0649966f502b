"""The search for a commit that is wanted, forwards or backwards, a block at a time so that others get their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from events.ids import Position
from log_debugger.reading.filters import CommitFilter
from log_debugger.reading.history_cache import HistoryCache


class SearchProgress(NamedTuple):
    """How far a search has come, and what it has found."""

    passed: Position
    hit: Position | None


async def search(
    cache: HistoryCache, commit_filter: CommitFilter, position: Position, direction: int
) -> AsyncIterator[SearchProgress]:
    """Look for a wanted commit behind `position`, or before it; ends with the hit, or at the end of the log."""
    ahead = position + direction
    while cache.has(ahead):
        for passed in cache.seek(ahead):
            yield SearchProgress(passed, None)
            await asyncio.sleep(0)  # whoever shows it, or stops it, has a turn
        clamped = cache.clamp(ahead)
        if clamped != ahead:  # the log turned out to be broken before it
            return
        start, steps = cache.block_of(ahead)
        index = ahead - start - 1
        towards = steps[index:] if direction > 0 else steps[index::-1]
        hit = next((step.commit.position for step in towards if commit_filter.matches(step)), None)
        passed = start + len(steps) if direction > 0 else start
        yield SearchProgress(passed, hit)
        if hit is not None:
            return
        await asyncio.sleep(0)  # whoever shows it, or stops it, has a turn
        ahead = passed + (1 if direction > 0 else 0)
