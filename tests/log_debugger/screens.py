"""Commands with a screen, in a real terminal; and `top` in one that is simulated."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from types import TracebackType
from unittest import mock

from textual.pilot import Pilot
from textual.widgets import Log

from log_debugger.commands import top
from log_debugger.commands.top import LogWatch, traced
from log_debugger.reading.sources import open_source
from log_debugger.telling.top_screen import TopScreen
from tests.log_debugger.logs import START_MS, run_ok

SECONDS_MAX = 30


class RunningScreen:
    """A command of `chat-broker` in a terminal of its own; it is killed in the end if it still runs."""

    def __init__(self, *arguments: str) -> None:
        self._ours, its = pty.openpty()
        command = [sys.executable, "-m", "mcp_facade.main", *arguments]
        environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        self._process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment)
        os.close(its)

    def __enter__(self) -> RunningScreen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def press(self, keys: bytes) -> None:
        """Type `keys`."""
        os.write(self._ours, keys)

    def interrupt(self) -> None:
        """Send SIGINT, as `kill` does; a terminal in this mode makes a key of Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def read_until(self, text: bytes) -> None:
        """Read the output until it has `text` in it."""
        shown, is_found = self._read(text)
        assert is_found, shown[-2_000:]

    def end(self) -> tuple[int, bytes]:
        """Wait for its end; return the exit status, and what it has shown last."""
        shown = self._read(None)[0]
        return self._process.wait(SECONDS_MAX), shown

    def _read(self, text: bytes | None) -> tuple[bytes, bool]:
        """Read the output until it has `text` in it, or until it ends; return it, and whether it has."""
        shown, deadline = b"", time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            if not select.select([self._ours], [], [], 1)[0]:
                continue
            try:
                more = os.read(self._ours, 65_536)
            except OSError:  # the other end is closed
                more = b""
            if not more:
                return shown, False
            shown += more
            if text is not None and text in shown:
                return shown, True
        raise AssertionError(shown[-2_000:])


class Clock:
    """A clock for a test to move; times are ms after the start of the log."""

    def __init__(self, since_ms: int) -> None:
        self.since_ms = since_ms

    def __call__(self) -> int:
        """Return the time, in Unix ms."""
        return START_MS + self.since_ms


def printed(log: str, since_ms: int) -> list[str]:
    """Return the lines of `top --once`, asked so many ms after the start of the log."""
    with mock.patch.object(top, "_now_ms", Clock(since_ms)):
        return run_ok("top", log, "--once").lines


def squeezed(text: str) -> str:
    """Return `text` without white space, since that depends on the width of the screen."""
    return "".join(text.split())


class Shows:
    """A screen of 80 columns and 24 lines over a log."""

    def __init__(self, app: TopScreen, pilot: Pilot[Exception]) -> None:
        self.app, self._pilot = app, pilot

    async def press(self, *keys: str) -> list[str]:
        """Press `keys`, and wait for all that they led to; return the lines of the screen."""
        await self._pilot.press(*keys)
        await self.app.workers.wait_for_complete()
        await self._pilot.pause()
        return [strip.text.strip() for strip in self.app.screen._compositor.render_strips()]

    async def trace(self) -> str:
        """Press Enter; return the trace, also what is beyond the screen, as `squeezed` does."""
        await self.press("enter")
        return squeezed("".join(self.app.query_one("#trace", Log).lines))


def on_screen(log: str, work: Callable[[Shows], Awaitable[None]], clock: Clock | None = None) -> Exception | None:
    """Do something with the screen over `log`; return the error that ended it, if one did."""
    with closing(open_source(log)) as source:
        app = TopScreen(LogWatch(source, clock or Clock(50_000)).look, partial(traced, log))

        async def worked() -> None:
            async with app.run_test(size=(80, 24)) as pilot:
                shows = Shows(app, pilot)
                await shows.press()  # the first look is over
                await work(shows)

        asyncio.run(worked())
        return app.return_value
