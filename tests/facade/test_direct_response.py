"""A connection with direct writes: for clients it is HTTP all the same."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mcp_facade import server
from mcp_facade.http.direct_response import NO_DIRECT_RESPONSE, direct_response_of
from tests.facade.people import Crowd, Era, InSession, Modern, crowd, head_of, last_answer, posted
from tests.support.fake_clock import settle
from tests.support.lane import FAST_LANE
from tests.support.server import Running, eventually, serving

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(not FAST_LANE, reason="only the lane writes at once")]


def status_request(person: Modern | InSession, request_id: int = 1, **more: str) -> tuple[bytes, bytes]:
    """Return head and body of a call of `get_status`."""
    params = {"name": "get_status", "arguments": {"handle": person.handle}}
    headers, body = posted(person, "tools/call", params, "get_status", request_id)
    return head_of("POST", headers | {"content-length": str(len(body))} | more), body


def taken(running: Running) -> int:
    """Return the number of requests answered by the lane."""
    lane = running.app.endpoint.fast_lane
    assert lane is not None
    return lane.taken


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, Any]:
    """Return the head of the next response, and its JSON, cut by the head's length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:] if line)
    body = await reader.readexactly(int(lines[b"content-length"]))
    return head, json.loads(body[body.index(b"{") :])


async def test_answers_come_one_by_one_on_one_connection(there: Crowd, era: Era) -> None:
    """Each has its length, in the order of the requests, in any segments."""
    ann = await there.person(era)
    await ann.enter("Ann")
    await ann.call("get_status", handle=ann.handle)
    before = taken(there.running)
    reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    stream = b"".join(b"".join(status_request(ann, number)) for number in range(1, 4))
    for piece in (stream[:100], stream[100:-200], stream[-200:]):
        writer.write(piece)
        await settle()  # each is a segment of its own
    for number in range(1, 4):
        head, body = await answer(reader)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body["id"] == number
        assert body["result"]["structuredContent"]["status"] == "waiting"
    assert taken(there.running) == before + 3
    writer.close()


async def test_a_client_that_goes_in_the_middle_of_a_body_is_no_request(there: Crowd, era: Era) -> None:
    """Nothing is served, and nothing is left of it."""
    ann = await there.person(era)
    await ann.enter("Ann")
    connections = there.running.connections
    head, body = status_request(ann)
    _, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    writer.write(head + body[:-1])
    await eventually(lambda: there.running.connections == connections + 1)
    writer.close()
    await eventually(lambda: there.running.connections == connections)
    assert (await ann.call("get_status", handle=ann.handle))["status"] == "waiting"


async def test_a_connection_that_is_to_be_closed_is(there: Crowd, era: Era) -> None:
    """With `Connection: close` or HTTP/1.0, the answer comes, and then the end."""
    ann = await there.person(era)
    await ann.enter("Ann")
    head, body = status_request(ann, connection="close")
    for request in (head + body, (head + body).replace(b"HTTP/1.1", b"HTTP/1.0", 1)):
        reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
        writer.write(request)
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'\\"status\\":\\"waiting\\"' in response
        writer.close()


async def test_a_client_that_asks_first_whether_to_send_is_told(there: Crowd) -> None:
    """The client sends `Expect: 100-continue`, and gets `100 Continue`."""
    ann = await there.modern()
    await ann.enter("Ann")
    head, body = status_request(ann, expect="100-continue")
    reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    writer.write(head)
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await answer(reader))[1]["id"] == 1
    writer.close()


async def test_a_page_may_read_what_the_lane_answers(era: Era) -> None:
    """Every answer to a page has the headers for its browser, and no other answer has them."""
    origin = "https://app.example"
    async with serving(allow_origins=(origin,)) as running, crowd(running) as there:
        ann = await there.person(era)
        await ann.enter("Ann")
        await ann.call("get_status", handle=ann.handle)
        before = taken(running)
        for shown in ({"origin": origin}, {}):
            head, body = status_request(ann)
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
            response = await ann.http.post(running.url, content=body, headers=headers | shown)
            assert last_answer(response)["result"]["structuredContent"]["status"] == "waiting"
            assert response.headers.get("access-control-allow-origin") == shown.get("origin")
        assert taken(running) == before + 2


async def test_a_connection_that_is_idle_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed after its last answer; during a stream it is not idle."""
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 1)
    async with serving() as running, crowd(running) as there:
        ann = await there.modern()
        await ann.enter("Ann")
        async with ann.stream() as frames:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            for _ in range(2):
                writer.write(b"".join(status_request(ann)))
                await answer(reader)
            assert await reader.read() == b""
            writer.close()
            bob = await there.modern()
            await bob.enter("Bob")
            assert (await frames.next()).method == "chatroom.found"


def test_a_server_may_offer_no_link() -> None:
    """An object that writes nothing takes its place."""
    direct = direct_response_of({"type": "http"})
    assert direct is NO_DIRECT_RESPONSE
    assert direct.body() is None
    assert not direct.respond([], b"")
    assert not direct.is_writable()
    assert direct.is_open()
    assert not direct.write(b"x")
    direct.abort()
