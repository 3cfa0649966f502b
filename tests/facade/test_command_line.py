"""`chat-broker serve` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any

import pytest

from mcp_facade.main import main
from tests.facade.people import InSession, Modern, texts
from tests.support.limits import HUNG_SECONDS
from tests.support.process import serving, started

pytestmark = pytest.mark.anyio


async def failed(*arguments: str, **environment: str) -> str:
    """Return the one line that refuses a command line."""
    process = await started(*arguments, **environment)
    out, err = await asyncio.wait_for(process.communicate(), HUNG_SECONDS)
    assert process.returncode == 2, err.decode()
    assert out == b""
    (line,) = err.decode().splitlines()
    assert line.startswith("chat-broker: ")
    return line


async def test_serve_serves_and_stops_with_everything_answered() -> None:
    """SIGTERM with streams and waits open: each gets its end, and the process exits 0 within five seconds."""
    async with serving("--log-format", "json") as broker:
        there = broker.people()
        ann, bob = await there.pair("2025", "2026")
        assert isinstance(ann, InSession)
        assert isinstance(bob, Modern)
        async with ann.stream() as anns, bob.stream() as bobs:
            await bob.say("hello")
            assert texts([await anns.next()]) == ["hello"]
            assert texts(await ann.hear()) == ["hello"]
            waits = [
                person.calling("wait_for_events", handle=person.handle, cursor=person.cursor, wait_seconds=300)
                for person in (ann, bob)
            ]
            # A call of each, answered after the beginning of the waits.
            for person in (ann, bob):
                await person.call("get_status", handle=person.handle)
                await person.call("get_status", handle=person.handle)
            status, seconds, logged = await broker.terminate()
            assert [given["timed_out"] for given in await asyncio.gather(*waits)] == [True, True]
            assert await anns.rest() == []
            (result,) = await bobs.rest()
            assert "result" in result.data
        await there.close()
    assert status == 0
    assert seconds < 5
    assert "Traceback" not in logged
    assert '"level":"error"' not in logged


async def test_serve_stops_although_nobody_reads_and_nobody_closes() -> None:
    """Deaf clients and half requests do not hold the process beyond five seconds."""
    async with serving() as broker:
        address = ("127.0.0.1", broker.port)
        with socket.create_connection(address), socket.create_connection(address) as half:
            half.sendall(b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{")
            there = broker.people()
            ann = await there.session()
            async with ann.stream():
                status, seconds, _ = await broker.terminate()
            await there.close()
    assert status == 0
    assert seconds < 5


async def test_an_idle_broker_stops_at_sigint_too() -> None:
    """SIGINT is a shell's signal at control-C."""
    async with serving() as broker:
        broker.process.send_signal(signal.SIGINT)
        await asyncio.wait_for(broker.process.communicate(), HUNG_SECONDS)
        assert broker.process.returncode == 0


async def test_flags_and_variables_set_limits_and_the_flag_wins() -> None:
    """Both `--messages-per-10s-max` and `CHAT_BROKER_MESSAGES_PER_10S_MAX` are given."""
    variables: dict[str, Any] = {"CHAT_BROKER_MESSAGES_PER_10S_MAX": "1", "CHAT_BROKER_MESSAGE_BYTES_MAX": "5"}
    async with serving("--messages-per-10s-max", "2", **variables) as broker:
        there = broker.people()
        ann, _ = await there.pair()
        await ann.say("one")
        await ann.say("two")
        room = {"room_id": ann.room_id, "handle": ann.handle}
        assert (await ann.refused("send_message", message="three", **room))["code"] == "rate_limited"
        assert (await ann.refused("send_message", message="longer", **room))["code"] == "message_too_large"
        await there.close()


async def test_a_port_that_is_taken_is_one_line() -> None:
    """The status is 2, and the line says what to do about the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = await failed("serve", "--port", str(port))
    assert str(port) in line
    assert "--port" in line


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("serve", "--nonsense"), "--nonsense"),
        (("serve", "--log", "nonsense:"), "--log"),
        (("serve", "--host", "no.such.host.invalid"), "--host"),
    ],
)
async def test_a_command_line_that_makes_no_sense_is_one_line(arguments: tuple[str, ...], names: str) -> None:
    """The status is 2, standard output is empty, and the line names the wrong part."""
    assert names in await failed(*arguments)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("serve", "--port", "eighty"), "--port"),
        (("serve", "--port", "70000"), "--port"),
        (("serve", "--port", "-1"), "--port"),
        (("serve", "--log-format", "xml"), "--log-format"),
        (("serve", "--log-level", "loud"), "--log-level"),
        (("serve", "--message-bytes-max", "0"), "--message-bytes-max"),
        (("serve", "--message-bytes-max", "1.5"), "--message-bytes-max"),
        (("serve", "--streams-max"), "--streams-max"),
        (("frobnicate",), "frobnicate"),
        ((), "--help"),
    ],
)
def test_errors_of_use_name_the_flag(
    arguments: tuple[str, ...], names: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2 and one line also come without a process of its own."""
    for name in os.environ:
        if name.startswith("CHAT_BROKER_"):
            monkeypatch.delenv(name)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert names in line


def test_a_variable_that_makes_no_sense_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value from the environment is checked like a flag's."""
    monkeypatch.setenv("CHAT_BROKER_STREAMS_MAX", "many")
    assert main(["serve"]) == 2
    assert "CHAT_BROKER_STREAMS_MAX" in capsys.readouterr().err


def test_help_and_version_are_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """Both go to standard output, with status 0; the help names every limit."""
    for arguments in (["--version"], ["serve", "--help"]):
        with pytest.raises(SystemExit) as done:
            main(arguments)
        assert done.value.code == 0
    out, err = capsys.readouterr()
    assert "--stream-backlog-max" in out
    assert err == ""
