"""The search for a commit that is wanted, forwards or backwards, a block at a time so that others get their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from events.ids import Position
from log_debugger.reading.filters import Wanted
from log_debugger.reading.history_cache import Tape


class Looked(NamedTuple):
    """How far a search has come, and what it has found."""

    passed: Position
    hit: Position | None


async def seek(tape: Tape, wanted: Wanted, position: Position, direction: int) -> AsyncIterator[Looked]:
    """Look for a wanted commit behind `position`, or before it; ends with the hit, or at the end of the log."""
    ahead = position + direction
    while tape.has(ahead):
        for passed in tape.wind(ahead):
            yield Looked(passed, None)
            await asyncio.sleep(0)  # whoever shows it, or stops it, has a turn
        settled = tape.settle(ahead)
        if settled != ahead:  # the log turned out to be broken before it
            return
        start, steps = tape.block_of(ahead)
        index = ahead - start - 1
        towards = steps[index:] if direction > 0 else steps[index::-1]
        hit = next((step.commit.position for step in towards if wanted.has(step)), None)
        passed = start + len(steps) if direction > 0 else start
        yield Looked(passed, hit)
        if hit is not None:
            return
        await asyncio.sleep(0)  # whoever shows it, or stops it, has a turn
        ahead = passed + (1 if direction > 0 else 0)
