"""The end of a broker under load."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter

import httpx
import pytest

from benchmarks.server import cpu_seconds_of, cpu_seconds_of_the_ended
from mcp_facade.server import UNREAD_SECONDS
from tests.facade.people import crowd
from tests.support import process
from tests.support.fake_clock import settle
from tests.support.server import Running, eventually, serving

pytestmark = pytest.mark.anyio

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]

SESSIONS = 900
MANY = 96


def initialize(padding: int = 0) -> bytes:
    """Return the request to open a session; `padding` makes it longer."""
    client = {"name": "in a rush", "version": "1" + " " * padding}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    body = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).encode()
    head = (
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json, text/event-stream\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def rush(running: Running) -> list[Line]:
    """Return many connections with a request for a session each: all have arrived, and none is answered."""
    lines = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(MANY)]
    await eventually(lambda: running.connections == MANY)
    for _, writer in lines:
        writer.write(initialize())
    await eventually(lambda: len(running.uvicorn.server_state.tasks) == MANY)
    return lines


async def status_of(line: Line) -> int:
    """Return the status of the answer on `line`."""
    reader, writer = line
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


async def test_a_rush_of_newcomers_is_let_in() -> None:
    """Each of many simultaneous clients has a session in the end."""
    async with serving() as running:
        lines = await rush(running)
        assert Counter([await status_of(line) for line in lines]) == {200: MANY}


async def test_an_end_in_the_middle_of_a_rush_is_no_fault() -> None:
    """Requests from before the end get their session: its id is good at the next start, if the log is."""
    async with serving() as running:
        lines = await rush(running)
        running.stop()
        statuses = Counter([await status_of(line) for line in lines])
        await eventually(lambda: running.ended)
    assert statuses == {200: MANY}


@pytest.mark.parametrize("turns", range(5))
async def test_who_connects_in_the_moment_of_the_end_does_not_hold_it(turns: int) -> None:
    """The connection is closed with the others, however far it is established."""
    async with serving() as running:
        with socket.create_connection(("127.0.0.1", running.port)):
            await settle(turns)
            running.stop()
            await eventually(lambda: running.ended, UNREAD_SECONDS)


async def test_who_is_slow_to_ask_keeps_nobody_from_a_session() -> None:
    """Incomplete requests hold up no other client."""
    async with serving() as running, crowd(running) as there:
        lines = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(16)]
        for _, writer in lines:
            writer.write(initialize(padding=200_000)[:-1])
        await eventually(lambda: len(running.uvicorn.server_state.tasks) == len(lines))
        ann = await there.session()
        await ann.enter()
        for line in lines:
            line[1].write(b"}")
            assert await status_of(line) == 200


async def test_to_leave_is_little_work_however_many_sessions_there_are() -> None:
    """The process takes less CPU to end than a quarter of the CPU for opening them."""
    before_s = cpu_seconds_of_the_ended()
    async with process.serving() as broker:
        opening_s = -cpu_seconds_of(broker.process.pid)
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        for _ in range(SESSIONS):
            writer.write(initialize())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        at_the_end_s = cpu_seconds_of(broker.process.pid)
        opening_s += at_the_end_s
        status, _, logged = await broker.terminate()
        writer.close()
    ending_s = cpu_seconds_of_the_ended() - before_s - at_the_end_s
    assert status == 0
    assert ending_s < opening_s / 4
    assert logged.splitlines()[-1].endswith("event='ended'")


async def test_a_second_signal_waits_for_no_connection() -> None:
    """An incomplete request would hold the end for three seconds; necessary work is still finished."""
    async with process.serving() as broker:
        _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(initialize()[:-1])
        async with httpx.AsyncClient(trust_env=False) as client:  # answered once the server reads that request
            await client.get(f"http://127.0.0.1:{broker.port}/healthz")
        broker.process.terminate()
        assert broker.process.stderr is not None
        while b"shutting_down" not in await broker.process.stderr.readline():
            assert broker.process.returncode is None
        status, _, logged = await broker.terminate()
        writer.close()
    assert status == 0
    assert [line.split()[-1] for line in logged.splitlines()] == ["event='ended'"]
