"""`chat-broker chat --plain`: lines in, lines out."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from chat_client import Stranger
from chat_client.calls import Sleep
from chat_client.errors import refusal
from chat_client.terminal.plain import HELP, PlainChat, cancel_once, read_lines
from log_debugger.terminal import Terminal
from tests.chat_client.pauses import Pauses
from tests.chat_client.relay import relaying
from tests.facade.people import Crowd, crowd, texts
from tests.support.fake_clock import FakeClock
from tests.support.process import free_port
from tests.support.server import eventually, serving

pytestmark = pytest.mark.anyio


class Typist:
    """A user of lines, in and out."""

    def __init__(self) -> None:
        self.out = io.StringIO()
        self.err = io.StringIO()
        self.lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.status: int | None = None
        self.chat: Stranger | None = None

    def types(self, *lines: str | None) -> None:
        """Write lines; `None` is the end of the input."""
        for line in lines:
            self.lines.put_nowait(line)

    def shown(self) -> list[str]:
        """Return the lines so far."""
        return self.out.getvalue().splitlines()

    async def sees(self, text: str) -> None:
        """Wait for a line with `text` in it."""
        await eventually(lambda: any(text in line for line in self.shown()))


@asynccontextmanager
async def typing(
    url: str, *interests: str, holds_lines: bool = False, sleep: Sleep = asyncio.sleep
) -> AsyncIterator[Typist]:
    """Run the command for a user; the input ends with the context."""
    typist = Typist()

    async def run() -> None:
        async with Stranger(url, name="Ann", interests=interests, sleep=sleep) as chat:
            typist.chat = chat
            terminal = Terminal(typist.out, typist.err)
            typist.status = await PlainChat(chat, terminal, typist.lines.get, holds_lines=holds_lines).run()

    task = asyncio.create_task(run())
    try:
        yield typist
        typist.types(None)
        await task
    finally:
        task.cancel()


async def test_a_conversation_in_lines(there: Crowd) -> None:
    """Each event is a line, each line a message; the end of the input leaves, with status 0."""
    bob = await there.modern()
    async with typing(there.running.url) as ann:
        await ann.sees("Waiting for a stranger")
        await bob.enter("Bob")
        await ann.sees("You are chatting with Bob.")
        ann.types("hello", "  ", "//not a command")
        await bob.hear()
        await bob.say("two\nlines, [bold]x[/bold] \u202e")
        await ann.sees("Bob: two / lines, [bold]x[/bold]")
    assert ann.status == 0
    heard = await there.running.broker.log.read(0, 100)
    said = [event.text for commit in heard for event in commit.events if hasattr(event, "text")]
    assert [text for text in said if "lines" not in text] == ["hello", "/not a command"]
    assert (await bob.hear())[-1]["params"]["reason"] == "left"
    assert "\u202e" not in ann.out.getvalue()


async def test_commands(there: Crowd) -> None:
    """Next, block, report and help work; an unknown command is explained, and not sent."""
    bob, cat, dan = await there.modern(), await there.modern(), await there.modern()
    async with typing(there.running.url) as ann:
        await ann.sees("Waiting")
        ann.types("too early", "/block")
        await ann.sees("Not sent: Nobody is here yet.")
        await ann.sees("* Nobody is here yet.")
        await bob.enter("Bob")
        await ann.sees("with Bob")
        ann.types("/nonsense", "/help", "/report rudeness", "/next")
        await ann.sees("There is no such command")
        await ann.sees(HELP[0])
        await ann.sees("Write /report CATEGORY NOTE, with a category of spam")
        assert (await bob.hear())[-1]["params"]["reason"] == "next"
        await cat.enter("Cat")
        await ann.sees("with Cat")
        ann.types("/block")
        await ann.sees("Blocked")
        ann.types("nobody hears this", "/next")
        await ann.sees("Not sent: The conversation is over.")
        await eventually(lambda: len(there.running.broker.replica.state.queue) == 1)
        await dan.enter("Dan")
        await ann.sees("with Dan")
        ann.types("/report spam it sells things")
        await ann.sees("Reported, and blocked. /next finds another stranger")
        ann.types("/leave")
        await eventually(lambda: ann.status == 0)


async def test_lines_of_a_pipe_wait_for_a_stranger(there: Crowd) -> None:
    """They are carried out one after the other, so a script can write to one stranger after another."""
    bob, cat = await there.modern(), await there.modern()
    async with typing(there.running.url, holds_lines=True) as ann:
        ann.types("hello", "/next", "hello again", None)
        await ann.sees("Waiting")
        await bob.enter("Bob")
        assert texts(await bob.hear()) == ["hello"]
        await eventually(lambda: len(there.running.broker.replica.state.queue) == 1)
        await cat.enter("Cat")
        await eventually(lambda: ann.status == 0)
    assert texts(await cat.hear()) == ["hello again"]


async def test_lines_of_a_pipe_wait_for_the_stranger_after_one_who_never_came() -> None:
    """Lines are not lost while the queue goes on."""
    clock = FakeClock()
    limits = {"confirm_grace_ms": 25_000, "requeue_on_missed_match": 1}
    async with serving(clock=clock, **limits) as running, crowd(running) as there:
        bob, cat = await there.modern(), await there.modern()
        await bob.enter("Bob")
        async with typing(running.url, holds_lines=True) as ann:
            await ann.sees("with Bob")
            await clock.advance(26_000)
            await ann.sees("Bob never came")
            ann.types("hello", None)
            await cat.enter("Cat")
            assert texts(await cat.hear()) == ["hello"]


async def test_a_refused_next_holds_up_no_line_of_a_pipe(there: Crowd) -> None:
    """The conversation goes on after the refusal, and so do the lines."""
    bob = await there.modern()
    await bob.enter("Bob")
    async with typing(there.running.url, holds_lines=True) as ann:
        await ann.sees("with Bob")

        async def refused() -> int | None:
            raise refusal({"code": "queue_full"})

        assert ann.chat is not None
        ann.chat.next = refused
        ann.types("/next", "still here", None)
        await ann.sees("The queue is full")
        await eventually(lambda: ann.status == 0)
        assert texts(await bob.hear()) == ["still here"]


async def test_the_stranger_leaves_and_what_now(there: Crowd) -> None:
    """The line says how to go on; unused interests are told once, with the rules."""
    bob = await there.modern()
    async with typing(there.running.url, "tea") as ann:
        await ann.sees("Interests are not used here")
        await bob.enter("Bob")
        await ann.sees("with Bob")
        await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
        await ann.sees("Bob has left. /next finds another stranger, /leave ends.")
        ann.types("/next")
        await eventually(lambda: len(there.running.broker.replica.state.queue) == 1)


async def test_a_broker_that_forgets(there: Crowd) -> None:
    """The line says that it was restarted; `/next` begins again at the new one, also after an earlier `/next`."""
    pauses = Pauses()
    bob = await there.modern()
    async with relaying(there.running.port) as relay, typing(relay.url, sleep=pauses) as ann:
        await ann.sees("Waiting")
        await bob.enter("Bob")
        await ann.sees("with Bob")
        ann.types("/next")
        await eventually(lambda: ann.out.getvalue().count("Waiting") == 2)
        relay.cut()
        await ann.sees("* Connection lost")
        async with serving() as other:
            relay.behind = other.port
            relay.mend()
            pauses.end()
            await ann.sees("The broker was restarted and knows nobody any more. /next finds")
            ann.types("/next")
            await eventually(lambda: len(other.broker.replica.state.queue) == 1)
            ann.types("/leave")
            await eventually(lambda: ann.status == 0)


async def test_no_broker_is_one_line() -> None:
    """The error is one line, and the status 1."""
    async with typing(f"127.0.0.1:{free_port()}") as ann:
        await eventually(lambda: ann.status is not None)
    assert ann.status == 1
    (line,) = ann.err.getvalue().splitlines()
    assert line.startswith("chat-broker: no broker answers at http://127.0.0.1:")


async def test_a_second_signal_does_not_cut_the_goodbye_short() -> None:
    """A closing terminal sends one signal, and its shell another."""
    said, is_leaving = [], asyncio.Event()

    async def talk() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_leaving.set()
            await asyncio.sleep(0)
            said.append("goodbye")

    task = asyncio.create_task(talk())
    await asyncio.sleep(0)
    cancel_once(task)
    await is_leaving.wait()
    cancel_once(task)
    await asyncio.wait([task])
    assert said == ["goodbye"]


async def test_a_long_input_is_read_as_it_is_needed() -> None:
    """Only some lines of a long pipe are kept in memory."""
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    lines = read_lines(source)
    written = 0
    with suppress(BlockingIOError):
        for _ in range(100):
            written += os.write(sink, b"line\n" * 1_000)
    await eventually(lines.full)
    os.close(sink)
    count = 0
    while await lines.get() is not None:
        count += 1
    os.close(source)
    assert count == -(-written // 5)
