"""The command line of `chat-broker chat`, without a process of its own."""

from __future__ import annotations

import argparse
import io
import os

import pytest

from chat_client.terminal.command import add_arguments, local_url, run
from chat_client.terminal.plain import read_lines
from log_debugger.terminal import Terminal
from tests.support.process import free_port

pytestmark = pytest.mark.anyio


def ran(*arguments: str) -> tuple[int, str]:
    """Return the exit status, and the text on standard error."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    err = io.StringIO()
    return run(parser.parse_args(arguments), Terminal(io.StringIO(), err)), err.getvalue()


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (("ftp://x",), 2, "begins with http:// or https://"),
        (tuple("--interest=x" for _ in range(11)), 2, "at most 10 interests"),
        ((f"127.0.0.1:{free_port()}",), 1, "no broker answers"),
    ],
)
def test_errors_are_one_line_and_a_status(arguments: tuple[str, ...], status: int, error: str) -> None:
    """The status is 2 for wrong arguments, 1 for a broker out of reach."""
    ended, told = ran(*arguments)
    assert ended == status
    assert error in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:8000/mcp"),
        ({"CHAT_BROKER_PORT": "8140"}, "127.0.0.1:8140"),
        ({"CHAT_BROKER_PORT": "0"}, "http://127.0.0.1:8000/mcp"),
        ({"CHAT_BROKER_PORT": "x"}, "http://127.0.0.1:8000/mcp"),
    ],
)
def test_the_default_is_the_broker_of_this_environment(environment: dict[str, str], url: str) -> None:
    """The port of this environment is used, unless no broker can listen at it."""
    assert local_url(environment) == url


async def test_lines_are_read_as_they_come() -> None:
    """Input comes in pieces of any size; a last line needs no end, and a letter cut in two stays whole."""
    mine, its = os.pipe()
    lines = read_lines(mine)
    umlaut = "ü".encode()
    os.write(its, b"one\r\ntw" + umlaut[:1])
    assert await lines.get() == "one"
    os.write(its, umlaut[1:] + b"\n\xff\nrest")
    os.close(its)
    assert [await lines.get() for _ in range(4)] == ["twü", "\ufffd", "rest", None]
    os.close(mine)
