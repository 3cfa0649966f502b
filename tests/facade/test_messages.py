"""JSON-RPC messages with the usual mistakes and habits of hosts: the same answer in both eras."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from mcp_facade.http.messages import NO_BATCH, NO_ID, NO_MESSAGE
from tests.facade.people import SESSIONS, Crowd, Era, crowd, last_answer
from tests.support.server import serving

pytestmark = pytest.mark.anyio


async def posted(person: object, body: bytes, method: str = "tools/list") -> httpx.Response:
    """Return the response to a raw body."""
    response: httpx.Response = await person.post(body, person.headers(method, None))  # type: ignore[attr-defined]  # of either era
    return response


@pytest.mark.parametrize("request_id", ["1.0", "null", "1.5", "true", "{}", "[]", "1e3"])
async def test_an_id_that_is_none_is_refused_with_a_reason(there: Crowd, era: Era, request_id: str) -> None:
    """It is never taken for a notification, which would be accepted and not answered."""
    person = await there.person(era)
    params = json.dumps(person.params({}))
    for method in ("tools/list", "tools/call", "initialize", "ping"):
        body = f'{{"jsonrpc":"2.0","id":{request_id},"method":"{method}","params":{params}}}'.encode()
        response = await posted(person, body, method)
        assert response.status_code == 400
        assert response.json()["error"] == {"code": -32600, "message": NO_ID}
        assert "mcp-session-id" not in response.headers


@pytest.mark.parametrize("body", [b"7", b'"x"', b"true", b"null"])
async def test_what_is_no_object_gets_one_line(there: Crowd, era: Era, body: bytes) -> None:
    """Both eras refuse it alike."""
    response = await posted(await there.person(era), body)
    assert response.status_code == 400
    assert response.json()["error"] == {"code": -32600, "message": NO_MESSAGE}


async def test_a_body_that_only_the_sdk_reads_is_checked_too(there: Crowd) -> None:
    """The body has a byte order mark or is in UTF-16, which the SDK takes in 2026-07-28."""
    person = await there.modern()
    for encoding in ("utf-8-sig", "utf-16"):
        response = await posted(person, '[{"jsonrpc":"2.0"}]'.encode(encoding))
        assert response.json()["error"] == {"code": -32600, "message": NO_BATCH}


@pytest.mark.parametrize(("body", "reason"), [(b"[]", NO_BATCH), (b'[{"jsonrpc":"2.0","id":1}]', NO_BATCH)])
async def test_a_batch_gets_one_clear_line(there: Crowd, era: Era, body: bytes, reason: str) -> None:
    """None of it is carried out."""
    response = await posted(await there.person(era), body)
    assert response.status_code == 400
    assert response.json()["error"] == {"code": -32600, "message": reason}
    assert "\n" not in reason


@pytest.mark.parametrize("body", [b"7", b'"x"', b"true", b'{"jsonrpc":"2.0","id":1}', b'{"id":1,"method":"ping"}'])
async def test_what_is_no_message_gets_one_line_in_a_session(there: Crowd, body: bytes) -> None:
    """The SDK would print its models."""
    response = await posted(await there.session(), body)
    assert response.status_code == 400
    assert response.json()["error"] == {"code": -32600, "message": NO_MESSAGE}


async def test_a_progress_token_of_null_is_none(there: Crowd, era: Era) -> None:
    """The call is answered, without progress."""
    person = await there.person(era)
    params = person.params({"name": "enter_queue", "arguments": {}})
    params["_meta"] = params.get("_meta", {}) | {"progressToken": None}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    response = await person.post(body, person.headers("tools/call", "enter_queue"))
    assert last_answer(response)["result"]["structuredContent"]["status"] == "waiting"


async def test_a_ping_is_answered_where_there_is_one(there: Crowd) -> None:
    """2026-07-28 has no ping, and its conformance suite expects that answer."""
    assert (await (await there.session()).request("ping"))["result"] == {}
    response = await (await there.modern()).exchange("ping", {})
    assert (response.status_code, response.json()["error"]["code"]) == (404, -32601)


async def test_a_missing_accept_is_served(there: Crowd, era: Era) -> None:
    """It means any type (RFC 9110, 12.5.1); an Accept without either form is still refused."""
    person = await there.person(era)
    params = person.params({"name": "get_status", "arguments": {}})
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body))}
    headers |= person.headers("tools/call", "get_status")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
    writer.write(f"POST /mcp HTTP/1.1\r\n{lines}connection: close\r\n\r\n".encode() + body)
    response = await reader.read()
    writer.close()
    assert response.startswith(b"HTTP/1.1 200")
    assert b'"status":"idle"' in response
    assert (await person.post(body, headers | {"accept": ""})).status_code == 200
    refused = await person.post(body, headers | {"accept": "text/html"})
    assert refused.status_code == 406
    assert "text/event-stream" in refused.json()["error"]["message"]


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


@pytest.mark.parametrize("old", ["", "gone", "cs_" + "A" * 54, "0" * 32])
async def test_a_client_may_open_a_session_and_name_an_old_one(there: Crowd, old: str) -> None:
    """Clients send their last id; the answer has a new one, which works."""
    person = await there.session()
    opened = await person.http.post(there.running.url, json=INITIALIZE, headers={"mcp-session-id": old})
    assert opened.status_code == 200
    session_id = opened.headers["mcp-session-id"]
    assert session_id not in (old, person.session_id)
    listed = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    headers = {"mcp-session-id": session_id, "mcp-protocol-version": SESSIONS}
    assert (await person.http.post(there.running.url, json=listed, headers=headers)).status_code == 200


async def test_a_session_that_was_ended_is_opened_anew() -> None:
    """Only `initialize` does so: every other request gets 404, with the code that makes clients begin again."""
    async with serving() as running, crowd(running) as there:
        person = await there.session()
        headers = {"mcp-session-id": person.session_id, "mcp-protocol-version": SESSIONS}
        assert (await person.http.delete(running.url, headers=headers)).status_code == 200
        for method in ("tools/list", "ping", "notifications/initialized"):
            body = {"jsonrpc": "2.0", "id": 1, "method": method}
            refused = await person.http.post(running.url, json=body, headers=headers)
            assert refused.status_code == 404
            assert refused.json()["error"]["code"] == -32001
            assert "mcp-session-id" not in refused.headers
        opened = await person.http.post(running.url, json=INITIALIZE, headers=headers)
        assert opened.status_code == 200
        assert opened.headers["mcp-session-id"] != person.session_id


async def test_no_error_names_a_session(there: Crowd) -> None:
    """Checked are a refusal, an error in a session, and a failed handshake."""
    person = await there.session()
    headers = {"mcp-session-id": person.session_id, "mcp-protocol-version": SESSIONS}
    broken = {**INITIALIZE, "params": {"protocolVersion": 7}}
    for body, named in (
        (broken, {}),
        (broken, headers),
        ({"jsonrpc": "2.0", "id": 1, "method": "nothing"}, headers),
        ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "nothing"}}, headers),
        ([], headers),
    ):
        response = await person.http.post(there.running.url, json=body, headers=named)
        assert '"error"' in response.text
        assert "mcp-session-id" not in response.headers
