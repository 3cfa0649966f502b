"""`chat-broker chat` as a process, behind pipes or a pseudo-terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.limits import HUNG_SECONDS

CHAT = (sys.executable, "-m", "mcp_facade.main", "chat")
ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[@-Z\\-_]|\x1bP[^\x1b]*\x1b\\")


class Shell:
    """A running command, and all of its output."""

    def __init__(self, process: asyncio.subprocess.Process, write_to: int | None = None) -> None:
        self.process = process
        self.raw = ""
        self._write_to = write_to
        self._news = asyncio.Event()

    @property
    def text(self) -> str:
        """The output, without escape sequences."""
        return ESCAPES.sub("", self.raw)

    def took(self, data: bytes) -> None:
        """Add output."""
        self.raw += data.decode(errors="replace")
        self._news.set()

    async def sees(self, text: str, *, raw: bool = False) -> None:
        """Wait until it has written `text`."""
        async with asyncio.timeout(HUNG_SECONDS):
            while text not in (self.raw if raw else self.text):
                self._news.clear()
                await self._news.wait()

    def types(self, keys: str) -> None:
        """Write to its input."""
        if self._write_to is not None:
            os.write(self._write_to, keys.encode())
        else:
            assert self.process.stdin is not None
            self.process.stdin.write(keys.encode())

    def end_input(self) -> None:
        """Close its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def signals(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ends(self) -> int:
        """Wait for its end; return its exit status."""
        async with asyncio.timeout(HUNG_SECONDS):
            return await self.process.wait()


def _environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHAT_BROKER_")}
    return (
        inherited
        | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": os.getcwd(), "PYTHONUTF8": "1"}
        | more
    )


@asynccontextmanager
async def piped(*arguments: str, **environment: str) -> AsyncIterator[Shell]:
    """Run the command with pipes for its input and for its outputs, joined to one."""
    process = await asyncio.create_subprocess_exec(
        *CHAT,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=_environment(**environment),
    )
    shell = Shell(process)

    async def read() -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(65_536):
            shell.took(data)

    reading = asyncio.create_task(read())
    try:
        yield shell
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


@asynccontextmanager
async def on_terminal(*arguments: str, size: tuple[int, int] = (80, 24), **environment: str) -> AsyncIterator[Shell]:
    """Run the command on a pseudo-terminal of its own."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    process = await asyncio.create_subprocess_exec(
        *CHAT,
        *arguments,
        stdin=its,
        stdout=its,
        stderr=its,
        env=_environment(**environment),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that ^C is a signal
    )
    os.close(its)
    shell = Shell(process, mine)
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            data = os.read(mine, 65_536)
        except OSError:  # it has closed its side
            data = b""
        if data:
            shell.took(data)
        else:
            loop.remove_reader(mine)

    loop.add_reader(mine, read)
    try:
        yield shell
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        loop.remove_reader(mine)
        os.close(mine)
