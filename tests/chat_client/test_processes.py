"""`chat-broker chat` as people start it: in a terminal, in a pipe, and at a broker of another process."""

from __future__ import annotations

import asyncio
import re
import shlex
import signal
from pathlib import Path

import pytest

from tests.chat_client.shell import CHAT, on_terminal, piped
from tests.support.process import free_port, killed, ready, serving, started

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_plain_talks_with_a_screen() -> None:
    """Both are found and both hear, in a terminal and in a pipe; the end of the pipe's input leaves."""
    async with (
        serving() as broker,
        on_terminal(f"localhost:{broker.port}", "--name", "Ann") as ann,
        piped(broker.url, "--name", "Bob") as bob,
    ):
        await ann.sees("chatting with Bob")
        await bob.sees("You are chatting with Ann.")
        bob.types("hello there\n")
        await ann.sees("hello there")
        ann.types("\x1b[O")  # the terminal lost the focus
        bob.types("look here\n")
        await ann.sees("\x1b]2;(1) chat\x07", raw=True)
        assert "\x07" in ann.raw
        ann.types("\x1b[I" + "good day\r")
        await bob.sees("Ann: good day")
        bob.end_input()
        assert await bob.ends() == 0
        await ann.sees("Bob has left.")
        ann.types("\x03")
        assert await ann.ends() == 0
        assert "Traceback" not in ann.text + bob.text


async def test_two_screens_talk() -> None:
    """Two terminals talk, one small and without colours; Esc Esc in one ends the other's conversation."""
    async with (
        serving() as broker,
        on_terminal(broker.url, "--name", "Ann", size=(40, 12), NO_COLOR="1") as ann,
        on_terminal(broker.url, "--name", "Bob") as bob,
    ):
        await ann.sees("chatting with Bob")
        await bob.sees("chatting with Ann")
        ann.types("hi\r")
        await bob.sees("hi")
        bob.types("\x1b")
        await bob.sees("again to leave")
        bob.types("\x1b")
        await ann.sees("Bob has left.")
        assert _is_grey(ann.raw)
        assert not _is_grey(bob.raw)
        for shell in (ann, bob):
            shell.types("\x03")
            assert await shell.ends() == 0


def _is_grey(raw: str) -> bool:
    """Tell if every colour in `raw` is a shade of grey."""
    return all(red == green == blue for red, green, blue in re.findall(r"[34]8;2;(\d+);(\d+);(\d+)", raw))


async def test_a_screen_outlasts_a_restart_of_the_broker(tmp_path: Path) -> None:
    """The broker is killed in mid-chat and started again; a message from the outage is sent then."""
    port, log = free_port(), f"sqlite:{tmp_path / 'chat.db'}"
    process = await ready(port, "--log", log)
    async with on_terminal(f"localhost:{port}", "--name", "Ann") as ann, piped(f"localhost:{port}") as bob:
        await ann.sees("chatting with")
        await bob.sees("with Ann")
        await killed(process)
        await ann.sees("Connection lost")
        await bob.sees("Connection lost")
        ann.types("still there?\r")
        process = await ready(port, "--log", log)
        await bob.sees("Ann: still there?")
        await ann.sees("and is back")
        bob.types("yes\n")
        await ann.sees("yes")
        ann.types("\x03")
        assert await ann.ends() == 0
        await bob.sees("Ann has left.")
    await killed(process)


async def test_a_signal_leaves_politely() -> None:
    """After a termination or a closed terminal, the stranger is notified, and not left with a ghost."""
    async with (
        serving() as broker,
        on_terminal(broker.url, "--name", "Ann") as ann,
        piped(broker.url, "--name", "Bob") as bob,
    ):
        await bob.sees("with Ann")
        await ann.sees("with Bob")
        bob.signals(signal.SIGTERM)
        assert await bob.ends() == 0
        await ann.sees("Bob has left.")
        ann.signals(signal.SIGHUP)
        assert await ann.ends() == 0


async def test_ctrl_c_in_plain_lines_leaves_politely() -> None:
    """In a terminal, too, the status is 0, and there is no traceback."""
    async with (
        serving() as broker,
        on_terminal(broker.url, "--plain", "--name", "Ann") as ann,
        piped(broker.url) as bob,
    ):
        await ann.sees("You are chatting with Anonymous.")
        ann.types("hello\n")
        await bob.sees("Ann: hello")
        ann.types("\x03")
        assert await ann.ends() == 0
        await bob.sees("Ann has left.")
        bob.signals(signal.SIGINT)
        assert await bob.ends() == 0
        assert "Traceback" not in ann.text + bob.text


async def test_the_reader_of_a_pipe_may_have_enough() -> None:
    """The command leaves without an error when `head -1` has its line."""
    async with serving() as broker:
        process = await asyncio.create_subprocess_shell(
            f"({shlex.join([*CHAT, broker.url])}; echo status $? >&2) | head -1",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        assert await process.stderr.readline() == b"status 0\n"  # with its input still open
        out, err = await process.communicate()
        assert len(out.splitlines()) == 1
        assert err == b""


async def test_a_closed_input_is_an_ended_one() -> None:
    """The command enters and leaves without an error."""
    async with serving() as broker:
        process = await asyncio.create_subprocess_shell(
            f"{shlex.join([*CHAT, broker.url])} <&-",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert b"Waiting for a stranger" in out


async def test_a_closed_output_is_no_error() -> None:
    """A script may only want to send a message."""
    async with serving() as broker, piped(broker.url) as bob:
        await bob.sees("Waiting")
        process = await asyncio.create_subprocess_shell(
            f"echo hello | {shlex.join([*CHAT, broker.url])} >&-", stderr=asyncio.subprocess.PIPE
        )
        _, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        await bob.sees("hello")
        await bob.sees("has left")


async def test_an_output_that_takes_nothing_is_one_line_and_status_1() -> None:
    """The error on a full disk is one line."""
    async with serving() as broker:
        process = await asyncio.create_subprocess_shell(
            f"{shlex.join([*CHAT, broker.url])} >/dev/full", stderr=asyncio.subprocess.PIPE
        )
        _, err = await process.communicate()
        assert (process.returncode, err) == (1, b"chat-broker: the output failed: No space left on device\n")


async def test_no_broker_is_one_line_and_status_1() -> None:
    """In lines and on a screen, the error says what to do, without a traceback."""
    address = f"localhost:{free_port()}"
    for shell in (piped(address), on_terminal(address)):
        async with shell as ann:
            await ann.sees(f"chat-broker: no broker answers at http://{address}/mcp")
            assert await ann.ends() == 1
            assert "chat-broker serve" in ann.text
            assert "Traceback" not in ann.text


async def test_the_broker_of_this_machine_is_the_default() -> None:
    """Its port is 8000, or the port in the setting of a local broker."""
    port = free_port()
    async with piped(CHAT_BROKER_PORT=str(port)) as ann:
        await ann.sees(f"no broker answers at http://127.0.0.1:{port}/mcp")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("ftp://example.com",), "begins with http:// or https://"),
        (("localhost:eight",), "its host or its port is wrong"),
        (("--interest",), "expected one argument"),
        (("--colour",), "unrecognized arguments"),
        (tuple("--interest=x" for _ in range(11)), "at most 10 interests"),
    ],
)
async def test_wrong_arguments_are_status_2(arguments: tuple[str, ...], error: str) -> None:
    """The error is one line about the wrong argument, with the way to the help."""
    process = await started("chat", *arguments)
    _, told = await process.communicate()
    assert process.returncode == 2
    (line,) = told.decode().splitlines()
    assert line.startswith("chat-broker: ")
    assert error in line
    assert line.endswith("(chat-broker chat --help lists what there is)")


async def test_the_help_tells_the_exit_statuses() -> None:
    """The help lists the arguments, and the statuses for a script."""
    process = await started("chat", "--help")
    told, _ = await process.communicate()
    for expected in (b"--name", b"--interest", b"--plain", b"Exit status: 0 when you have left"):
        assert expected in told
