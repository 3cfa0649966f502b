"""Traces in words, for the study of a failed seed."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.simulation.loop import World

NOTES_SHOWN = 40
STEPS_SHOWN = 25
WIDTH = 200


def print_trace(world: World, *, steps_too: bool) -> None:
    """Print every note as it is made, and on request every step."""
    world.on_note = lambda step, now_ms, who, what: print(_line(step, now_ms, who, what))
    if steps_too:
        world.on_step = lambda step, now_ms, who, callback: print(_line(step, now_ms, who, f"   {name_of(callback)}"))


def last_lines(world: World) -> str:
    """Return the last notes and the last steps."""
    notes = [_line(*note) for note in list(world.notes)[-NOTES_SHOWN:]]
    steps = [
        _line(step, now_ms, who, name_of(callback)) for step, now_ms, who, callback in list(world.last)[-STEPS_SHOWN:]
    ]
    return "\n".join(["last notes: step, ms, who, what", *notes, "last steps: step, ms, process, callback", *steps])


def name_of(callback: Any) -> str:
    """Return the name of a step's coroutine or function."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return getattr(owner.get_coro(), "__qualname__", str(owner))
    return getattr(callback, "__qualname__", type(callback).__name__)


def _line(step: int, now_ms: float, who: str, what: str) -> str:
    return f"{step:>7} {now_ms:>10.1f}  {who:<20} {what}"[:WIDTH]
