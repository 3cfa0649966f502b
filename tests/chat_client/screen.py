"""The terminal's screen in a test: a real broker, a pilot at the keys, and screens compared with golden files.

`GOLDEN=write pytest tests/chat_client` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from textual.pilot import Pilot
from textual.widgets import Static

from chat_client.calls import Sleep
from chat_client.terminal.app import ChatApp
from chat_client.terminal.footer import Footer
from chat_client.terminal.transcript import Line
from tests.support.server import eventually

GOLDEN = Path(__file__).parent / "golden"
SIZES = ((80, 24), (40, 12))


class Desk:
    """A user at a screen."""

    def __init__(self, app: ChatApp, pilot: Pilot[int], size: tuple[int, int]) -> None:
        self.app = app
        self.pilot = pilot
        self.size = size

    async def press(self, *keys: str) -> None:
        """Press keys; one in quotes is typed."""
        for key in keys:
            await self.pilot.press(*(key[1:-1] if key.startswith("'") else [key]))
        await self.pilot.pause()

    async def is_at(self, place: str) -> None:
        """Wait until the user is at `place`."""
        await eventually(lambda: self.app._place == place)
        await self.pilot.pause()

    async def sees(self, text: str) -> None:
        """Wait until `text` is on the screen."""
        await eventually(lambda: any(text in line for line in self.screen()))
        await self.pilot.pause()

    def transcript(self) -> list[str]:
        """Return the lines of the transcript, also those out of view."""
        return [str(line.content) for line in self.app._transcript.query(Line)]

    def footer(self) -> str:
        """Return the footer, with its keys."""
        return str(self.app.screen_stack[0].query_one(Footer).content)

    def head(self) -> str:
        """Return the headline."""
        return str(self.app._static("#who").content)

    def clock(self) -> str:
        """Return the duration of the conversation."""
        return str(self.app.query_one("#clock", Static).content)

    def screen(self) -> list[str]:
        """Return the characters on the screen, line by line."""
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip).rstrip() for strip in strips]

    def matches(self, name: str) -> None:
        """Compare the screen with the golden file of that name and of this size."""
        width, height = self.size
        path = GOLDEN / f"{name}-{width}x{height}.txt"
        text = "".join(f"{line}\n" for line in self.screen())
        if os.environ.get("GOLDEN") == "write":
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")


@asynccontextmanager
async def sitting(
    url: str,
    name: str = "Ann",
    interests: Sequence[str] = (),
    *,
    size: tuple[int, int] = SIZES[0],
    sleep: Sleep = anyio.sleep,
    clock: Sequence[float] = (0.0,),
) -> AsyncIterator[Desk]:
    """Start the command for a user; the last value of `clock` is the time in seconds."""
    app = ChatApp(url, name, interests, sleep=sleep, now=lambda: clock[-1])
    async with app.run_test(size=size) as pilot:
        yield Desk(app, pilot, size)
        app._over.set()
        await eventually(lambda: app._exit)
