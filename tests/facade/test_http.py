"""The HTTP around the protocol: access, limits, and the operator's view."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import structlog.testing
from mcp.server.connection import Connection

from broker.line_limit import LINES_EVERY_MS
from mcp_facade.http import connection as protocol
from mcp_facade.http.connection import HEAD_BYTES_MAX, HttpConnection
from tests.facade.people import ACCEPT, Crowd, Era, InSession, crowd, events_of, last_answer, opening, texts
from tests.support.fake_clock import FakeClock, settle
from tests.support.lane import FAST_LANE
from tests.support.server import Running, eventually, serving

pytestmark = pytest.mark.anyio


async def attempt(person: Any, method: str, headers: dict[str, str]) -> httpx.Response:
    """Send a request of that HTTP method; return the head of its response. A stream is hung up."""
    content = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": person.params({})}).encode()
    given = {"accept": ACCEPT, "content-type": "application/json"} | person.headers("tools/list", None) | headers
    request = person.http.build_request(
        method, person.running.url, headers=given, content=content if method == "POST" else None
    )
    response: httpx.Response = await person.http.send(request, stream=True)
    await response.aclose()
    return response


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_another_host_is_turned_away(there: Crowd, method: str) -> None:
    """A page whose name was bound to this machine's address can't reach the broker, by any method."""
    ann = await there.session()
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example:8000", ""):
        assert (await attempt(ann, method, {"host": host})).status_code == 421, host
    assert (await attempt(ann, method, {"host": f"localhost:{there.running.port}"})).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_another_origin_is_turned_away(there: Crowd, method: str) -> None:
    """A browser's page from elsewhere is refused, by any method; one from here is not."""
    ann = await there.session()
    for origin in ("https://evil.example", "http://localhost.evil.example", "null", "http://127.0.0.1.evil.example:1"):
        assert (await attempt(ann, method, {"origin": origin})).status_code == 403, origin
    assert (await attempt(ann, method, {"origin": "http://localhost:5173"})).status_code == 200


async def test_another_host_and_origin_are_turned_away_from_the_stateless_side(there: Crowd) -> None:
    """2026-07-28 has the same checks."""
    ann = await there.modern()
    assert (await attempt(ann, "POST", {"host": "evil.example"})).status_code == 421
    assert (await attempt(ann, "POST", {"origin": "https://evil.example"})).status_code == 403
    assert (await attempt(ann, "POST", {})).status_code == 200


async def test_a_host_that_was_allowed_comes_in() -> None:
    """`--allow-host` works with and without a port."""
    async with serving(allow_hosts=("chat.example",)) as running, crowd(running) as there:
        ann = await there.session()
        for host in ("chat.example", "chat.example:8443", "localhost"):
            assert (await attempt(ann, "POST", {"host": host})).status_code == 200
        assert (await attempt(ann, "POST", {"host": "other.example"})).status_code == 421


@pytest.mark.parametrize(
    ("header", "status", "event", "flag"),
    [
        ("host", 421, "host_refused", "--allow-host"),
        ("origin", 403, "origin_refused", "--allow-origin"),
    ],
)
async def test_whoever_is_turned_away_learns_which_setting_lets_them_in(
    header: str, status: int, event: str, flag: str
) -> None:
    """The answer names the flag, and so does a log line, at most once a minute and without the header."""
    clock = FakeClock()
    async with serving(clock=clock) as running, crowd(running) as there:
        ann = await there.session()
        with structlog.testing.capture_logs() as logged:
            for _ in range(3):
                refused = await ann.http.post(running.url, json={}, headers={header: "https://evil.example"})
                assert refused.status_code == status
                assert flag in refused.text
                assert "evil" not in refused.text
            await clock.advance(LINES_EVERY_MS)
            await ann.http.post(running.url, json={}, headers={header: "https://evil.example"})
        told = [line for line in logged if line["event"] == event]
        assert [line["log_level"] for line in told] == ["warning", "warning"]
        assert all(flag in line["hint"] for line in told)
        assert "evil" not in str(logged)


async def test_a_body_that_is_too_large_is_refused(era: Era) -> None:
    """Beyond `body_bytes_max` the status is 413, with or without a length; just below it is served."""
    async with serving(body_bytes_max=10_000) as running, crowd(running) as there:
        ann, _ = await there.pair(era, era)
        headers = ann.headers("tools/list", None)
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": ann.params({})}).encode()
        fits = body + b" " * (10_000 - len(body))
        assert (await ann.post(fits, headers)).status_code == 200
        assert (await ann.post(fits + b" ", headers)).status_code == 413

        async def chunks() -> Any:
            for _ in range(3):
                yield b" " * 5_000

        given = {"content-type": "application/json", "accept": ACCEPT} | headers
        response = await ann.http.post(running.url, content=chunks(), headers=given)
        assert response.status_code == 413
        await ann.say("still here")


async def test_streams_have_a_limit() -> None:
    """Beyond `streams_max` a stream is refused with an alternative, and a free place is given again."""
    async with serving(streams_max=1) as running, crowd(running) as there:
        ann, bob = await there.pair("2025", "2026")
        assert isinstance(ann, InSession)
        async with bob.stream():
            async with ann.stream() as refused:
                assert refused.response.status_code == 503
            answer = await ann.call("get_status")
            assert answer["status"] == "chatting"
        await eventually(lambda: running.metric('chat_broker_streams{kind="listen"}') == 0)
        async with ann.stream() as frames:
            answer = await bob.request("subscriptions/listen", {"notifications": events_of(bob.handle)})
            assert answer["error"]["code"] == -32603
            assert "wait_for_events" in answer["error"]["message"]
            await bob.say("hello")
            assert texts([await frames.next()]) == ["hello"]


async def opened(running: Running) -> httpx.Response:
    """Send an `initialize`; return the response."""
    person = InSession(running)
    try:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        return await person.exchange("initialize", params)
    finally:
        await person.close()


async def test_a_session_needs_no_memory_to_be_known() -> None:
    """Beyond `sessions_max` the longest inactive are dropped from memory; none is refused, and none is lost."""
    async with serving(sessions_max=2) as running, crowd(running) as there:
        people = [await there.session() for _ in range(4)]
        other = await there.modern()
        await other.enter("Other")
        await people[0].call("get_status", handle=other.handle)
        for person in (*people, *people):
            assert (await person.exchange("tools/list", {})).status_code == 200
            assert running.metric("chat_broker_sessions") <= 2
        assert (await people[0].call("get_status"))["connection_id"] == other.connection_id
        assert (await opened(running)).status_code == 200


async def test_a_session_in_use_is_not_dropped_from_memory() -> None:
    """Sessions with an open stream or a call in flight stay, even more of them than `sessions_max`."""
    async with serving(sessions_max=1) as running, crowd(running) as there:
        ann, bob = await there.session(), await there.session()
        async with ann.stream() as frames, bob.stream():
            assert running.metric("chat_broker_sessions") == 2
            await ann.enter()
            await (await there.modern()).enter()
            assert (await frames.next()).method == "chatroom.found"


async def test_an_initialize_leaves_no_memory_behind() -> None:
    """Many from one peer leave none, either, since the session's id has all there is to know."""
    async with serving() as running:
        for _ in range(20):
            assert (await opened(running)).status_code == 200
        assert running.metric("chat_broker_sessions") == 0


async def test_a_session_that_is_not_used_is_forgotten_but_not_refused() -> None:
    """After `session_idle_ms` only its own handle is known; a call or an open stream is use."""
    clock = FakeClock()
    graces = {"idle_grace_queue_ms": 10_000_000, "idle_grace_room_ms": 10_000_000}
    async with serving(clock=clock, session_idle_ms=100_000, **graces) as running, crowd(running) as there:
        other = await there.modern()
        await other.enter("Other")
        idle, calling, listening = [await there.session() for _ in range(3)]
        for session in (idle, calling, listening):
            await session.call("get_status", handle=other.handle)
        async with listening.stream():
            for _ in range(5):
                await clock.advance(60_000)
                await calling.request("tools/list")
            await eventually(lambda: running.metric("chat_broker_sessions") == 2)
            assert "connection_id" not in await idle.call("get_status")
            for session in (calling, listening):
                assert (await session.call("get_status"))["connection_id"] == other.connection_id


@pytest.mark.slow
async def test_a_session_is_valid_for_a_day() -> None:
    """After it, even a session in use is unknown, and its stream ends."""
    clock = FakeClock()
    async with serving(clock=clock) as running, crowd(running) as there:
        ann = await there.session()
        async with ann.stream() as frames:
            await clock.advance(86_400_000 - 30_000)
            assert (await ann.exchange("tools/list", {})).status_code == 200
            await clock.advance(30_000)
            refused = await ann.exchange("tools/list", {})
            assert refused.status_code == 404
            await clock.advance(30_000)
            assert await frames.rest() == []


async def test_an_initialize_that_is_refused_opens_no_session(there: Crowd) -> None:
    """A request that is no handshake leaves nothing behind."""
    person = InSession(there.running)
    for method in ("tools/list", "ping", "nonsense"):
        assert (await person.exchange(method, {})).status_code == 400
    await person.close()
    assert there.running.metric("chat_broker_sessions") == 0


async def test_an_operator_sees_whether_a_task_is_left_over(there: Crowd) -> None:
    """The number of tasks is higher during a stream, and as before after it."""
    ann = await there.person("2026")
    await ann.enter()
    before = there.running.metric("chat_broker_tasks")
    async with ann.stream():
        assert there.running.metric("chat_broker_tasks") > before > 0
    await eventually(lambda: there.running.metric("chat_broker_tasks") == before)
    assert there.running.metric("process_open_fds") > 0


async def test_an_operator_sees_health_readiness_and_numbers(there: Crowd) -> None:
    """`/healthz` reports life, `/readyz` readiness for calls, `/metrics` the numbers."""
    ann, bob = await there.pair("2025", "2026")
    assert isinstance(ann, InSession)
    base = f"http://127.0.0.1:{there.running.port}"
    assert (await ann.http.get(f"{base}/healthz")).json() == {"status": "ok"}
    assert (await ann.http.get(f"{base}/readyz")).json() == {"ready": True}
    async with ann.stream() as frames, bob.stream():
        await bob.say("hello")
        await frames.next()
        metrics = await ann.http.get(f"{base}/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = metrics.text.splitlines()
    for sample in (
        "chat_broker_rooms_open 1.0",
        "chat_broker_waiting 0.0",
        "chat_broker_connections 2.0",
        "chat_broker_position 4.0",
        "chat_broker_commits_total 4.0",
        "chat_broker_sessions 1.0",
        'chat_broker_streams{kind="get"} 1.0',
        'chat_broker_streams{kind="listen"} 1.0',
        "chat_broker_deliveries_total 1.0",
        "chat_broker_delivery_seconds_count 1.0",
    ):
        assert sample in lines
    there.running.app.drain()
    unready = await ann.http.get(f"{base}/readyz")
    assert (unready.status_code, unready.json()) == (503, {"ready": False, "reason": "ending"})


async def test_a_connection_is_kept_or_closed_and_not_both(there: Crowd, era: Era) -> None:
    """A client that asks for the connection's end does not get `keep-alive`, by a stream or by an answer."""
    ann, _ = await there.pair(era, era)
    for request in (opening(ann), b"GET /mcp HTTP/1.1\r\nhost: localhost\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
        writer.write(request.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.count(b"connection:") == 1
        assert b"connection: close" in head
        writer.close()


async def test_a_request_in_line_hides_no_hang_up(there: Crowd, era: Era) -> None:
    """A stream ends with its connection, even with a second request after it on the connection."""
    ann, _ = await there.pair(era, era)
    metric = 'chat_broker_streams{kind="%s"}' % ("get" if era == "2025" else "listen")
    connections = there.running.connections
    _, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    writer.write(opening(ann) + b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await eventually(lambda: there.running.metric(metric) == 1)
    writer.transport.abort()
    await eventually(lambda: there.running.connections == connections)
    await eventually(lambda: there.running.metric(metric) == 0)


BEHIND = {
    "a request": b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "half a request": b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
    "much": b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 60000\r\n\r\n" + b" " * 60_000,
}


@pytest.mark.parametrize("behind", BEHIND)
async def test_a_request_that_comes_during_a_stream_hides_no_hang_up(there: Crowd, era: Era, behind: str) -> None:
    """The stream ends with its connection at once, though a later request is still to be answered."""
    ann, _ = await there.pair(era, era)
    metric = 'chat_broker_streams{kind="%s"}' % ("get" if era == "2025" else "listen")
    reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    writer.write(opening(ann))
    await reader.readuntil(b"\r\n\r\n")
    writer.write(BEHIND[behind])
    await settle()
    assert there.running.metric(metric) == 1
    writer.close()
    await eventually(lambda: there.running.metric(metric) == 0)


async def test_who_sends_too_much_behind_a_stream_is_cut(
    there: Crowd, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not all of it can be kept, and unread data may hide a hang-up; earlier data is read."""
    monkeypatch.setattr(protocol, "STALLED_SECONDS_MAX", 0.05)
    ann, _ = await there.pair(era, era)
    metric = 'chat_broker_streams{kind="%s"}' % ("get" if era == "2025" else "listen")
    reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    writer.write(opening(ann))
    await reader.readuntil(b"\r\n\r\n")
    writer.write(BEHIND["a request"])
    await settle()
    with contextlib.suppress(ConnectionError):
        writer.write(BEHIND["a request"] * (10_000_000 // len(BEHIND["a request"])))
        await writer.drain()
        await reader.read()
    await eventually(lambda: there.running.metric(metric) == 0)
    writer.close()


async def test_requests_that_are_sent_ahead_of_their_answers_are_all_answered(there: Crowd) -> None:
    """Requests in excess of the buffer wait, and no client with an answer in progress is cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: %b\r\n\r\n" % (b"x" * 2_000)
    count = 20 * protocol.PIPELINED_BYTES_MAX // len(request)
    writer.write(request * count)
    for _ in range(count):
        assert (await reader.readuntil(b'{"status":"ok"}')).count(b"HTTP/1.1 200 OK") == 1
    writer.close()


async def test_a_connection_that_was_reset_leaves_nothing(there: Crowd) -> None:
    """Its memory is free at once, not only after the time for keeping it."""
    gc.collect()
    before = sum(isinstance(one, HttpConnection) for one in gc.get_objects())
    connections = there.running.connections
    reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await reader.readuntil(b"ok")
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not closed
    writer.transport.abort()
    await eventually(lambda: there.running.connections == connections)
    gc.collect()
    assert sum(isinstance(one, HttpConnection) for one in gc.get_objects()) == before


async def test_a_session_that_has_ended_leaves_nothing_for_garbage_collection_to_find(there: Crowd) -> None:
    """Objects as old as a session are found by a full collection alone, which comes once in many minutes."""
    gc.collect()
    before = sum(isinstance(one, Connection) for one in gc.get_objects())
    ann = await there.session()
    await ann.enter("Ann")
    gc.collect()  # its requests' garbage is found soon
    gc.disable()
    try:
        await ann.delete()
        await settle()
        assert sum(isinstance(one, Connection) for one in gc.get_objects()) == before
    finally:
        gc.enable()


async def test_an_upgrade_that_is_asked_for_is_not_made_and_costs_nothing(there: Crowd, era: Era) -> None:
    """A request with an offer of HTTP/2, as from Java's client, is served as it is."""
    ann, bob = await there.pair(era, era)
    upgrade = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAAQ"}
    params = ann.params(
        {"name": "send_message", "arguments": {"room_id": ann.room_id, "message": "hello", "handle": ann.handle}}
    )
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    response = await ann.post(body, ann.headers("tools/call", "send_message") | upgrade)
    assert last_answer(response)["result"]["structuredContent"]["success"] is True
    assert texts(await bob.hear()) == ["hello"]
    assert (await ann.http.request("CONNECT", ann.running.url, headers=upgrade)).status_code == 400


@pytest.mark.parametrize("start", ["GET /", "GET /healthz HTTP/1.1\r\nx: ", "GET /healthz HTTP/1.1\r\n"])
async def test_a_head_that_does_not_end_is_refused(there: Crowd, start: str) -> None:
    """Neither a path, nor a header, nor many headers are read without end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    more = b"x: x\r\n" if start.endswith("1.1\r\n") else b"x"
    writer.write(start.encode() + more * (HEAD_BYTES_MAX // len(more)))
    assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
    writer.close()


async def test_a_trailer_that_does_not_end_is_refused(there: Crowd) -> None:
    """Data after a body is not read without end, either."""
    ann = await there.session()
    head = "".join(f"{name}: {value}\r\n" for name, value in ann.headers("tools/list", None).items())
    connections = there.running.connections
    _, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    writer.write(f"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{head}".encode())
    writer.write(b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ")
    await eventually(lambda: there.running.connections == connections + 1)
    with contextlib.suppress(ConnectionError):
        for _ in range(2 * HEAD_BYTES_MAX // 1_000):
            writer.write(b"x" * 1_000)
            await writer.drain()
    await eventually(lambda: there.running.connections == connections)
    writer.close()


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET", b"POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"])
async def test_who_does_not_finish_a_request_is_not_waited_for(
    there: Crowd, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A connection without a whole request in time is closed; one with a lasting answer is not."""
    monkeypatch.setattr(protocol, "REQUEST_SECONDS_MAX", 0.1)
    ann = await there.modern()
    await ann.enter()
    async with ann.stream():
        connections = there.running.connections
        reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
        writer.write(sent)
        assert not (await reader.read()).startswith(b"HTTP/1.1 2")
        await eventually(lambda: there.running.connections == connections)
        writer.close()


async def test_other_paths_and_methods_are_not_served(there: Crowd, era: Era) -> None:
    """They get 404 and 405, and never an error of ours."""
    ann = await there.person(era)
    base = f"http://127.0.0.1:{there.running.port}"
    for path in ("/sse", "/mcp/x", "/mcp/../admin", "/%00", "/.env"):
        assert (await ann.http.get(base + path)).status_code == 404
    for method in ("PUT", "PATCH", "TRACE", "HEAD"):
        response = await ann.http.request(method, there.running.url, headers=ann.headers("", None))
        assert response.status_code == 405, method


async def test_the_two_eras_are_told_apart_by_the_version_header(there: Crowd) -> None:
    """An unknown version is refused with a list of the known ones."""
    ann = await there.modern()
    headers = ann.headers("tools/list", None) | {"mcp-protocol-version": "2031-01-01"}
    params = ann.params({"_meta": {"io.modelcontextprotocol/protocolVersion": "2031-01-01"}})
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}
    response = await ann.post(json.dumps(body).encode(), headers)
    assert response.status_code == 400
    assert "2026-07-28" in str(last_answer(response)["error"]["data"])


@contextlib.asynccontextmanager
async def nothing_held() -> AsyncIterator[None]:
    """Check that calls made meanwhile leave nothing that only a garbage collection would free."""
    gc.collect()
    gc.disable()
    try:
        before = _held_for_calls()
        yield
        await settle()
        assert _held_for_calls() <= before + 1  # the last call's is the connection's until the next
    finally:
        gc.enable()


@pytest.mark.skipif(not FAST_LANE, reason="the SDK leaves some cycles of its own")
async def test_a_call_leaves_no_garbage_to_be_looked_for(there: Crowd, era: Era) -> None:
    """Its memory is free after the answer: otherwise each full collection would stop all clients for seconds."""
    ann = await there.person(era)
    await ann.enter("Ann")
    async with nothing_held():
        for _ in range(20):
            await ann.call("get_status", handle=ann.handle)


@pytest.mark.skipif(not FAST_LANE, reason="the SDK leaves some cycles of its own")
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("leave_queue", {"handle": "cb_" + "x" * 32}),
        ("send_message", {"message": "hello"}),
        ("send_message", {"room_id": f"r_{'0' * 32}", "message": "hello"}),
    ],
)
async def test_a_refused_call_leaves_no_garbage_to_be_looked_for(
    there: Crowd, era: Era, tool: str, arguments: dict[str, str]
) -> None:
    """An exception that is kept holds its frames, which hold the exception."""
    ann = await there.person(era)
    await ann.enter("Ann")
    async with nothing_held():
        for _ in range(20):
            await ann.refused(tool, **{"handle": ann.handle, **arguments})


@pytest.mark.skipif(not FAST_LANE, reason="the SDK leaves some cycles of its own")
async def test_a_stream_and_its_connection_leave_no_garbage_to_be_looked_for(there: Crowd, era: Era) -> None:
    """Clients drop and come back all day long: their memory is free when they go."""
    ann = await there.person(era)
    await ann.enter("Ann")
    connections = there.running.connections
    gc.collect()
    gc.disable()
    try:
        before = _held_for_calls()
        for _ in range(5):
            async with ann.stream():
                pass
        await eventually(lambda: there.running.connections <= connections + 1)
        await settle()
        assert _held_for_calls() <= before + 4  # of the kept-alive connections
    finally:
        gc.enable()


def _held_for_calls() -> int:
    kinds = ("HttpExchange", "RequestResponseCycle", "HttpConnection", "Stream", "GetStream", "SubscriptionStream")
    return sum(type(thing).__name__ in kinds for thing in gc.get_objects())
