"""`chat-broker chat --plain`: one line an event, and lines from the input, for pipes, screen readers and scripts.

A stranger's words begin with their name, and the program's own lines with `*`. A line of the input is a message,
or a command if it begins with `/`; `//` begins a message with a `/`.

Lines of a pipe or a file are carried out one after the other, and messages wait for a stranger. The end of
the input leaves.
"""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

import anyio
from anyio.abc import TaskGroup

from chat_client.errors import ChatError, UnknownHandleError
from chat_client.events import Event, MessageReceived, PartnerLeft, StrangerFound, TimedOut
from chat_client.stranger import CATEGORIES, Stranger
from chat_client.terminal import lines
from chat_client.terminal.command import EXIT_OK, EXIT_UNREACHABLE, Streams, is_terminal

READ_BYTES = 65_536
LINES_AHEAD = 100

HELP = (
    "/next      leave, and wait for another stranger",
    "/leave     leave, and end the program",
    "/block     leave, and never meet this stranger again",
    f"/report CATEGORY [NOTE]  tell the operator, and block; CATEGORY is one of {', '.join(CATEGORIES)}",
    "/help      list the commands",
    "//...      say something that begins with a /",
)
WHAT_NOW = "/next finds another stranger, /leave ends."


def chat_in_lines(url: str, name: str, interests: Sequence[str], terminal: Streams) -> int:
    """Hold conversations until the input ends, or the user leaves; return the exit status.

    Raises:
        OSError: the output takes no more; the stranger has been left by then.
    """

    async def chat() -> int:
        talk = asyncio.current_task()
        assert talk is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            with suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, cancel_once, talk)
        lines_in = read_lines(0 if sys.stdin is not None else None)
        async with Stranger(url, name=name, interests=interests) as stranger:
            return await PlainChat(stranger, terminal, lines_in.get, holds_lines=not is_terminal(sys.stdin)).run()

    try:
        return asyncio.run(chat())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_OK


def cancel_once(task: asyncio.Task[Any]) -> None:
    """Cancel a task, but not while it is ending: a closed terminal may send two signals."""
    if not task.cancelling():
        task.cancel()


def read_lines(descriptor: int | None) -> asyncio.Queue[str | None]:
    """Read lines in a thread, a few ahead of their use; return them without their ends, with `None` after the last.

    It reads the descriptor, because a thread waiting in `sys.stdin` holds its lock when the interpreter ends. Without
    one, there are no lines.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue(LINES_AHEAD)
    if descriptor is None:
        queue.put_nowait(None)
        return queue

    def put(line: str | None) -> None:
        putting = queue.put(line)
        try:
            asyncio.run_coroutine_threadsafe(putting, loop).result()
        except RuntimeError:  # the event loop has ended
            putting.close()
            raise

    def read() -> None:
        decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
        with suppress(RuntimeError, CancelledError):
            with suppress(OSError):  # the terminal has gone
                while data := os.read(descriptor, READ_BYTES):
                    *whole, rest = (rest + decoder.decode(data)).split("\n")
                    for line in whole:
                        put(line.rstrip("\r"))
                if rest:
                    put(rest)
            put(None)

    threading.Thread(target=read, daemon=True).start()
    return queue


class PlainChat:
    """One run of the command: tells events as lines, and carries out lines."""

    def __init__(
        self,
        chat: Stranger,
        terminal: Streams,
        next_line: Callable[[], Awaitable[str | None]],
        *,
        holds_lines: bool,
    ) -> None:
        """Take an open client.

        Args:
            chat: the client.
            terminal: the output.
            next_line: gives the next line of the input, and `None` at its end.
            holds_lines: messages wait for a stranger, instead of being refused while there is none.
        """
        self._chat = chat
        self._out: TextIO = terminal.out
        self._err: TextIO = terminal.err
        self._next_line = next_line
        self._holds_lines = holds_lines
        self._partner = ""
        self._found = anyio.Event()
        self._again = anyio.Event()
        self._run: TaskGroup | None = None
        self._failure: OSError | None = None  # of the output
        self._commands = {
            "next": self._next,
            "block": self._block,
            "report": self._report,
            "help": self._help,
        }

    async def run(self) -> int:
        """Hold conversations until the input ends, or says `/leave`; return the exit status.

        Raises:
            OSError: the output takes no more.
        """
        try:
            lobby = await self._chat.lobby()
            for line in lines.introduction(lobby, self._chat.interests):
                self._tell(line)
            position = await self._chat.enter()
        except ChatError as error:
            self._err.write(f"chat-broker: {lines.one_line(str(error))}\n")
            return EXIT_UNREACHABLE
        async with anyio.create_task_group() as self._run:
            self._run.start_soon(self._tell_events)
            await self._tell_queue(position)
            await self._take_lines()
            self._run.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure
        return EXIT_OK

    async def _take_lines(self) -> None:
        """Carry out the lines: of a pipe one after the other, of a person at once, as something may hold one up."""
        async with anyio.create_task_group() as doing:
            while (line := await self._next_line()) is not None:
                command, _, rest = line[1:].partition(" ")
                if not line.startswith("/") or line.startswith("//"):
                    action = partial(self._say, line.removeprefix("/") if line.startswith("//") else line)
                elif command in ("leave", "quit"):
                    doing.cancel_scope.cancel()
                    return
                elif command in self._commands:
                    action = partial(self._do, self._commands[command], rest.strip())
                else:
                    self._tell("There is no such command: /help lists them. To say it, begin with //.")
                    continue
                if self._holds_lines:
                    await action()
                else:
                    doing.start_soon(action)

    async def _say(self, text: str) -> None:
        if not text.strip():
            return
        if self._holds_lines:
            await self._found.wait()
        try:
            await self._chat.say(text)
        except ChatError as error:
            self._tell(f"Not sent: {lines.refused(error)}")

    async def _do(self, command: Callable[[str], Awaitable[None]], rest: str) -> None:
        try:
            await command(rest)
        except ChatError as error:
            self._tell(lines.refused(error))

    async def _next(self, _: str) -> None:
        found, self._found = self._found, anyio.Event()
        try:
            position = await self._chat.next()
        except ChatError:
            self._found = found
            raise
        self._again.set()
        await self._tell_queue(position)

    async def _tell_queue(self, position: int | None) -> None:
        if position is None:
            return
        people = (await self._chat.lobby()).waiting
        if not self._found.is_set():  # else a stranger was found meanwhile
            self._tell(lines.waiting(people))

    async def _block(self, _: str) -> None:
        await self._chat.block()
        self._tell(f"Blocked: you never meet again. {WHAT_NOW}")

    async def _report(self, rest: str) -> None:
        category, _, text = rest.partition(" ")
        known = next((one for one in CATEGORIES if one == category), None)
        if known is None:
            self._tell(f"Write /report CATEGORY NOTE, with a category of {', '.join(CATEGORIES)}.")
            return
        await self._chat.report(known, text.strip())
        self._tell(f"Reported, and blocked. {WHAT_NOW}")

    async def _help(self, _: str) -> None:
        for line in HELP:
            self._tell(line)

    async def _tell_events(self) -> None:
        """Tell the events of this stay, and of those after it."""
        while True:
            try:
                async for event in self._chat.events():
                    self._tell_event(event)
            except UnknownHandleError:
                self._tell(f"{lines.FORGOTTEN} {WHAT_NOW}")
            self._again = anyio.Event()  # only now: a `next` before the end of the events has begun nothing after it
            await self._again.wait()

    def _tell_event(self, event: Event) -> None:
        if isinstance(event, StrangerFound):
            self._partner = lines.shown_name(event.partner)
            self._found.set()
        if isinstance(event, PartnerLeft) and event.requeued:
            self._found = anyio.Event()
        if isinstance(event, MessageReceived):
            self._write(f"{self._partner}: {lines.one_line(event.text)}")
            return
        is_over = isinstance(event, TimedOut) or (isinstance(event, PartnerLeft) and not event.requeued)
        self._tell(lines.note(event, self._partner) + (f" {WHAT_NOW}" if is_over else ""))

    def _tell(self, text: str) -> None:
        self._write(f"* {text}")

    def _write(self, line: str) -> None:
        try:
            self._out.write(f"{line}\n")
            self._out.flush()
        except OSError as failure:  # the reader has gone, or the disk is full: leave
            if self._run is None:
                raise
            self._failure = failure
            self._run.cancel_scope.cancel()
