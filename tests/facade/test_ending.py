"""The end of a broker that is in the middle of things."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from typing import Any

import httpx
import pytest

from benchmarks.server import cpu_seconds_of, cpu_seconds_of_the_ended
from events.memory import MemoryLog
from mcp_facade.http.openings import SESSIONS_OPENED_AT_ONCE, EndingError, Opening, Openings
from mcp_facade.serve import UNREAD_SECONDS
from tests.facade.people import crowd
from tests.support import process
from tests.support.fake_clock import settle
from tests.support.server import Running, eventually, serving

pytestmark = pytest.mark.anyio

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]

SESSIONS = 300
MANY = 6 * SESSIONS_OPENED_AT_ONCE


class ClosableLog(MemoryLog):
    """A log that knows whether it was closed."""

    is_closed = False

    async def close(self) -> None:
        """Let go of it."""
        await super().close()
        self.is_closed = True


def initialize(padding: int = 0) -> bytes:
    """The request that opens a session; `padding` makes it longer."""
    client = {"name": "in a rush", "version": "1" + " " * padding}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    body = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).encode()
    head = (
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json, text/event-stream\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def rush(running: Running) -> list[Line]:
    """Many who ask for a session in the same moment; their requests have come, and none is answered."""
    lines = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(MANY)]
    await eventually(lambda: running.connections == MANY)
    for _, writer in lines:
        writer.write(initialize())
    await eventually(lambda: len(running.uvicorn.server_state.tasks) == MANY)
    return lines


async def status_of(line: Line) -> int:
    """The status that the request on `line` is answered with."""
    reader, writer = line
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


async def test_a_rush_is_let_in_a_few_at_a_time_and_everyone_gets_in() -> None:
    """Each of many who come at once has a session in the end."""
    async with serving() as running:
        lines = await rush(running)
        assert Counter([await status_of(line) for line in lines]) == {200: MANY}
        assert running.metric("chat_broker_sessions") == MANY


async def test_an_end_in_the_middle_of_a_rush_is_no_work_for_those_in_line() -> None:
    """Those whose session is being opened get it; the others are told to come again, and nobody a fault."""
    async with serving() as running:
        lines = await rush(running)
        running.stop()
        statuses = Counter([await status_of(line) for line in lines])
        await eventually(lambda: running.ended)
    assert statuses == {200: SESSIONS_OPENED_AT_ONCE, 503: MANY - SESSIONS_OPENED_AT_ONCE}


async def test_a_session_that_is_asked_for_while_the_broker_ends_is_refused() -> None:
    """With 503, which says when to come again; nothing is opened that would have to be closed."""
    async with serving() as running, httpx.AsyncClient(trust_env=False) as client:
        running.app.drain()
        head, _, body = initialize().partition(b"\r\n\r\n")
        headers = dict(line.split(": ") for line in head.decode().splitlines()[1:])
        response = await client.post(running.url, content=body, headers=headers)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "again" in response.json()["error"]["message"]
        assert running.metric("chat_broker_sessions") == 0


@pytest.mark.parametrize("turns", range(5))
async def test_who_connects_in_the_moment_of_the_end_does_not_hold_it(turns: int) -> None:
    """However far the connection is made by then, it is closed with the others."""
    async with serving() as running:
        with socket.create_connection(("127.0.0.1", running.port)):
            await settle(turns)
            running.stop()
            await eventually(lambda: running.ended, UNREAD_SECONDS)


async def test_who_is_slow_to_ask_keeps_nobody_from_a_session() -> None:
    """Requests of which the end does not come have no turn."""
    async with serving() as running, crowd(running) as there:
        lines = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(SESSIONS_OPENED_AT_ONCE)]
        for _, writer in lines:
            writer.write(initialize(padding=200_000)[:-1])
        await eventually(lambda: len(running.uvicorn.server_state.tasks) == len(lines))
        ann = await there.session()
        await ann.enter()
        for line in lines:
            line[1].write(b"}")
            assert await status_of(line) == 200


async def test_who_does_not_read_keeps_nobody_from_a_session() -> None:
    """A turn is over with the first byte of the answer, whether that can be written or not."""
    openings = Openings()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        await asyncio.Event().wait()

    async def ask() -> None:
        opening = Opening(openings, receive, send)
        await opening.receive()
        await opening.send({"type": "http.response.start", "status": 200, "headers": []})

    deaf = [asyncio.create_task(ask()) for _ in range(SESSIONS_OPENED_AT_ONCE)]
    await settle(1)
    async with asyncio.timeout(1):
        await Opening(openings, receive, send).receive()
    for task in deaf:
        task.cancel()
    await asyncio.gather(*deaf, return_exceptions=True)


async def test_who_gives_up_in_line_takes_no_turn_along() -> None:
    """The next in line has it."""
    openings = Openings()
    for _ in range(SESSIONS_OPENED_AT_ONCE):
        await openings.turn()
    given_up, waits = asyncio.create_task(openings.turn()), asyncio.create_task(openings.turn())
    await settle(1)
    given_up.cancel()
    openings.given_back()
    async with asyncio.timeout(1):
        await waits
    openings.end()
    with pytest.raises(EndingError):
        await openings.turn()


async def test_what_has_to_be_kept_is_kept_before_sessions_are_taken_apart() -> None:
    """A process may leave then: the log is closed, and the SDK has all of its sessions yet."""
    log, standing = ClosableLog(), list[int]()
    async with serving(log=log) as running:
        for line in await rush(running):
            assert await status_of(line) == 200
        running.app.on_closed = lambda: standing.append(len(asyncio.all_tasks()) if log.is_closed else 0)
        running.stop()
        await eventually(lambda: running.ended)
        assert standing[0] >= len(asyncio.all_tasks()) + MANY


async def test_to_leave_is_little_work_however_many_sessions_there_are() -> None:
    """The process takes less CPU to end than a twentieth of what it took to open them."""
    before_s = cpu_seconds_of_the_ended()
    async with process.serving() as broker:
        opening_s = -cpu_seconds_of(broker.process.pid)
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        for _ in range(SESSIONS):
            writer.write(initialize())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await reader.readuntil(b"\r\n0\r\n\r\n")
        at_the_end_s = cpu_seconds_of(broker.process.pid)
        opening_s += at_the_end_s
        status, _, logged = await broker.terminate()
        writer.close()
    ending_s = cpu_seconds_of_the_ended() - before_s - at_the_end_s
    assert status == 0
    assert ending_s < opening_s / 20
    assert logged.splitlines()[-1].endswith("event='ended'")


async def test_a_second_signal_waits_for_no_connection() -> None:
    """A request that never comes whole would hold the end for three seconds; what has to be finished is finished."""
    async with process.serving() as broker:
        _, writer = await asyncio.open_connection("127.0.0.1", broker.port)
        writer.write(initialize()[:-1])
        async with httpx.AsyncClient(trust_env=False) as client:  # answered once that request is heard of
            await client.get(f"http://127.0.0.1:{broker.port}/healthz")
        broker.process.terminate()
        assert broker.process.stderr is not None
        while b"shutting_down" not in await broker.process.stderr.readline():
            assert broker.process.returncode is None
        status, _, logged = await broker.terminate()
        writer.close()
    assert status == 0
    assert [line.split()[-1] for line in logged.splitlines()] == ["event='ended'"]
