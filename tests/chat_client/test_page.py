"""The page about writing a client: its programs run, and its tables are complete."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import get_args

import pytest

import chat_client
from chat_client import ChatError, Event, RefusedError, Stranger
from chat_client.stranger import CATEGORIES
from tests.facade.people import Crowd, Modern, texts

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "writing-a-client.md").read_text(encoding="utf-8")
BOT = ROOT / "examples" / "bot.py"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def running(program: str, there: Crowd) -> asyncio.subprocess.Process:
    """Start a program of the page, at the broker of the test."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        there.running.url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )


async def ended(process: asyncio.subprocess.Process) -> str:
    """Return its output, after a good end."""
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    return out.decode()


def table(title: str) -> dict[str, set[str]]:
    """Return the first name in each row of a section's table, with the names in its second cell."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {re.findall(r"`(\w+)", row[0])[0]: set(re.findall(r"`(\w+)`", row[1])) for row in rows}


async def next_words(person: Modern) -> list[str]:
    """Return the next words for `person`."""
    while not (words := texts(await person.hear())):
        pass
    return words


def test_the_example_is_on_the_page() -> None:
    """The page has the example, word for word."""
    assert PROGRAMS[0] == BOT.read_text(encoding="utf-8")


def test_every_event_is_on_the_page() -> None:
    """The page has every event, with all its fields."""
    fields = {event.__name__: {field.name for field in dataclasses.fields(event)} for event in get_args(Event)}
    assert table("Events") == fields


def test_every_call_is_on_the_page() -> None:
    """The page has the public calls and no other, and the categories of a report."""
    public = {name for name, value in inspect.getmembers(Stranger, inspect.isfunction) if not name.startswith("_")}
    assert set(table("Calls")) == public
    assert all(f"`{category}`" in PAGE for category in CATEGORIES)


def test_every_error_is_on_the_page() -> None:
    """The page has every error except the two base classes."""
    public = {name for name in chat_client.__all__ if name.endswith("Error")}
    assert set(table("Errors")) == public - {ChatError.__name__, RefusedError.__name__}


@pytest.mark.slow
async def test_the_bot_answers_and_stops(there: Crowd) -> None:
    """It greets, answers ten messages, and leaves."""
    bob = await there.modern()
    await bob.enter("Bob")
    bot = await running(PROGRAMS[0], there)
    heard = await next_words(bob)
    for number in range(10):
        await bob.say(str(number))
        heard += await next_words(bob)
    await bob.say("enough?")
    assert (await bob.hear())[-1]["params"]["reason"] == "left"
    assert heard == ["Hello! I am a program that repeats what you say.", *(f"You said: {n}" for n in range(10))]
    assert await ended(bot) == ""


@pytest.mark.slow
async def test_the_bot_that_counts_meets_three(there: Crowd) -> None:
    """It meets the three one after the other."""
    bot = await running(PROGRAMS[1], there)
    for words in (["one"], ["one", "two"], []):
        bob = await there.modern()
        await bob.enter("Bob")
        await next_words(bob)
        for word in words:
            await bob.say(word)
        await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
    assert await ended(bot) == "[0, 1, 2]\n"


@pytest.mark.slow
async def test_the_bot_with_patience_is_heard(there: Crowd) -> None:
    """It is heard at the first attempt."""
    bob = await there.modern()
    await bob.enter("Bob")
    bot = await running(PROGRAMS[2], there)
    assert (await next_words(bob))[0] == "I say this once."
    assert await ended(bot) == ""
