"""The page of the protocol agrees with the code, and its programs run."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp_types import Tool
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from broker.config import DEFAULTS
from mcp_facade.resources import INBOX_TEMPLATE, LOBBY_URI
from mcp_facade.streams.frames import CONNECTION_META_KEY, EXTENSION
from mcp_facade.texts import REFUSALS
from mcp_facade.tools.catalogue import TOOLS
from projections.notifications import METHODS
from tests.support.limits import HUNG_SECONDS
from tests.support.pages import ROOT, Page, names
from tests.support.process import inherited_environment, killed, serving

PAGE = Page("docs/protocol.md")
ENDPOINT = "http://127.0.0.1:8000/mcp"
TOOLS_OF_THE_SHELL = ("bash", "curl", "jq")

OTHER_WORDS = {"no_handle", "too_many_waits", "too_many_reports", "no_such_partner", "note_too_large", "unknown_window"}
"""Keys of texts that come with the code of another."""

REFUSAL_FIELDS = {"error", "code", "retry_after_ms"}
"""What a refusal gives in the place of a result; the page describes it once, for all tools."""


def arguments_of(tool: Tool) -> Iterator[str]:
    """Yield the arguments of `tool` as written on the page."""
    for name, schema in tool.input_schema["properties"].items():
        if name in tool.input_schema["required"]:
            yield name
        elif "default" in schema:
            yield f"{name}={json.dumps(schema['default'])}"
        else:
            yield f"{name}?"


def result_fields(tool: Tool) -> set[str]:
    """Return the fields of a result of `tool`, without those of a refusal."""
    assert tool.output_schema is not None
    return set(tool.output_schema["properties"]) - REFUSAL_FIELDS


def test_the_tools_are_those_that_are_published() -> None:
    """The page has their names and arguments, in their order, with their defaults."""
    written = {names(tool)[0]: names(arguments) for tool, arguments, _ in PAGE.tables("Tools")[0]}
    published = {tool.name: list(arguments_of(tool)) for tool in TOOLS}
    assert written == published
    assert list(written) == list(published)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_field_of_a_result_is_named(tool: Tool) -> None:
    """A result and its row on the page have the same fields."""
    rows = {names(name)[0]: result for name, _, result in PAGE.tables("Tools")[0]}
    described = rows[tool.name]
    if described.startswith("as "):
        (other,) = (one for one in TOOLS if one.name == names(described)[0])
        assert tool.output_schema == other.output_schema
        return
    assert result_fields(tool) <= set(names(described))
    values = {"waiting", "matched", "idle", "chatting", "method", "params"}
    assert set(names(described)) <= result_fields(tool) | values


def test_the_longest_wait_is_the_schemas() -> None:
    """The maximum of `wait_seconds` on the page is the schema's."""
    schemas = {tool.name: tool.input_schema["properties"] for tool in TOOLS}
    maximum = schemas["wait_for_events"]["wait_seconds"]["maximum"]
    assert f"`wait_seconds` is at most {maximum:g}." in PAGE.section("Tools")


def test_every_refusal_has_a_row() -> None:
    """The page lists exactly the codes of refusals by tools."""
    written = [names(code)[0] for code, _ in PAGE.tables("Refusals")[0]]
    assert sorted(written) == sorted((set(REFUSALS) | {"invalid_arguments"}) - OTHER_WORDS)


def test_the_notifications_are_those_of_the_wire() -> None:
    """The page has their methods and params, in their order."""
    reasons = {"left", "next", "disconnected", "timeout", "stranger"}
    written = {
        names(method)[0]: [name for name in names(params) if name not in reasons]
        for method, params in PAGE.tables("Notifications")[0]
    }
    assert written == {method: list(params.__struct_fields__) for params, method in METHODS.items()}
    assert CONNECTION_META_KEY in PAGE.section("Notifications")


def test_the_resources_are_those_that_are_listed() -> None:
    """The page has the lobby and the template of the inbox."""
    assert [names(uri)[0] for uri, _ in PAGE.tables("Resources and the prompt")[0]] == [LOBBY_URI, INBOX_TEMPLATE]


def test_the_protocol_eras_are_those_of_the_sdk() -> None:
    """The page has every served version, and the extension's name."""
    versions = {row[0]: row[1:] for row in PAGE.tables("Two protocol eras")[0]}["versions"]
    assert versions == [", ".join(HANDSHAKE_PROTOCOL_VERSIONS), ", ".join(MODERN_PROTOCOL_VERSIONS)]
    assert f"`{EXTENSION}`" in PAGE.section("Two protocol eras")


def test_the_limits_are_the_defaults() -> None:
    """Each setting on the page has the value of a served broker."""
    written = {names(name)[0]: int(default) for name, default, *_ in PAGE.tables("Limits")[0]}
    assert written == {name: DEFAULTS.get(name) for name in written}


def test_the_call_by_hand_is_answered() -> None:
    """The endpoint accepts the headers and the body of the command."""
    command, _ = PAGE.blocks("sh")
    assert ENDPOINT in command
    flags, _, body = command.partition("-d '")

    async def answered() -> Any:
        async with serving() as broker, httpx.AsyncClient(trust_env=False) as client:
            fields = [part.partition("'")[0].split(": ", 1) for part in flags.split("-H '")[1:]]
            content = body.rstrip().removesuffix("'")
            return (await client.post(broker.url, headers=dict(fields), content=content)).json()

    answer = asyncio.run(asyncio.wait_for(answered(), HUNG_SECONDS))
    assert answer["result"]["structuredContent"]["status"] == "waiting"


@pytest.mark.skipif(not all(map(shutil.which, TOOLS_OF_THE_SHELL)), reason=f"it needs {', '.join(TOOLS_OF_THE_SHELL)}")
def test_the_session_by_hand_hears_and_resumes() -> None:
    """The commands, pasted into a shell, print the stream; it resumes with the header that the page names."""
    _, program = PAGE.blocks("sh")
    assert ENDPOINT in program
    before, listen = program.rstrip().rsplit("\n", 1)
    resume = '-H "Last-Event-ID: ..."'
    assert resume in PAGE.section("A session, by hand")

    async def heard() -> list[str]:
        async with serving() as broker:
            pipe = asyncio.subprocess.PIPE
            shell = await asyncio.create_subprocess_exec(
                "bash", stdin=pipe, stdout=pipe, env=inherited_environment() | {"no_proxy": "127.0.0.1"}
            )
            assert shell.stdin is not None
            assert shell.stdout is not None
            try:
                shell.stdin.write(f"{before}\n{listen} & stream=$!\n".replace(ENDPOINT, broker.url).encode())
                lines = [await line_with(shell.stdout, '"handle"')]
                await broker.until_metric('chat_broker_streams{kind="get"} 1.0')
                there = broker.people()
                bob = await there.modern()
                await bob.enter("Bob")
                await line_with(shell.stdout, "retry: ")
                event_id = (await line_with(shell.stdout, "id: ")).split()[1]
                lines.append(await line_with(shell.stdout, '"method"'))
                shell.stdin.write(b"kill $stream\n")
                await broker.until_metric('chat_broker_streams{kind="get"} 0.0')
                await bob.say("Are you there?")
                shell.stdin.write(f"exec {listen} {resume.replace('...', event_id)}\n".encode())
                lines.append(await line_with(shell.stdout, '"method"'))
                await there.close()
            finally:
                await killed(shell)
            return lines

    entered, found, said = asyncio.run(asyncio.wait_for(heard(), HUNG_SECONDS))
    assert json.loads(entered)["status"] == "waiting"
    told = [json.loads(line.removeprefix("data: ")) for line in (found, said)]
    assert [frame["method"] for frame in told] == ["chatroom.found", "message.received"]
    assert told[1]["params"]["message"] == "Are you there?"


async def line_with(stream: asyncio.StreamReader, part: str) -> str:
    """Return the next line of `stream` with `part` in it."""
    while line := await stream.readline():
        if part in line.decode():
            return line.decode()
    raise AssertionError(f"the stream ended before a line with {part!r}")


def test_the_example_is_on_the_page() -> None:
    """The page has `examples/listen.py` word for word."""
    assert PAGE.block("python") == (ROOT / "examples" / "listen.py").read_text("utf-8")


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
def test_the_program_hears_what_the_page_says(mode: str, tmp_path: Path) -> None:
    """The program runs unchanged at a real server; in a session, without four lines that only streams need."""
    program = PAGE.block("python")
    assert ENDPOINT in program
    if mode == "legacy":
        begin, end = program.index("        handles ="), program.index("        await client.session.send_request")
        program = program[:begin] + "        await asyncio.Event().wait()" + program[program.index("\n", end) :]
        program = program.replace('mode="2026-07-28"', 'mode="legacy"')

    async def heard() -> list[str]:
        async with serving() as broker:
            path = tmp_path / "hear.py"
            path.write_text(program.replace(ENDPOINT, broker.url), "utf-8")
            pipe = asyncio.subprocess.PIPE
            running = await asyncio.create_subprocess_exec(sys.executable, str(path), stdout=pipe, stderr=pipe)
            try:
                assert running.stdout is not None
                lines = [await running.stdout.readline()]
                kind = "get" if mode == "legacy" else "listen"
                await broker.until_metric(f'chat_broker_streams{{kind="{kind}"}} 1.0')
                there = broker.people()
                bob = await there.modern()
                await bob.enter("Bob")
                await bob.say("Hello, stranger.")
                await bob.call("leave_chat", room_id=bob.room_id, handle=bob.handle)
                lines += [await running.stdout.readline() for _ in METHODS]
                await there.close()
            finally:
                await killed(running)
            return [line.decode() for line in lines]

    entered, *told = asyncio.run(asyncio.wait_for(heard(), HUNG_SECONDS))
    assert "'status': 'waiting'" in entered
    assert [line.split()[0] for line in told] == ["chatroom.found", "message.received", "partner.disconnected"]
    params = [json.loads(line.partition(" ")[2]) for line in told]
    assert (params[0]["partner"], params[1]["message"], params[2]["reason"]) == ("Bob", "Hello, stranger.", "left")


def test_the_request_for_a_stream_is_answered_with_one() -> None:
    """The request, with a real handle, is answered by an acknowledgement and the events."""
    head, _, body = PAGE.block("http").partition("\n\n")
    request_line, *fields = head.splitlines()
    headers = dict(field.split(": ", 1) for field in fields)
    assert (request_line, headers.pop("Host")) == ("POST /mcp HTTP/1.1", "127.0.0.1:8000")
    (example,) = (word for word in body.split('"') if word.startswith("cb_"))

    async def heard() -> list[Any]:
        async with serving() as broker, httpx.AsyncClient(trust_env=False) as client:
            there = broker.people()
            ann, bob = await there.modern(), await there.modern()
            await ann.enter("Ann")
            content, frames = body.replace(example, ann.handle), []
            async with client.stream("POST", broker.url, headers=headers, content=content) as answer:
                assert answer.status_code == 200
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        frames.append(json.loads(line.removeprefix("data:")))
                        if len(frames) == 2:
                            break
                        await bob.enter("Bob")
            await there.close()
            return frames

    acknowledged, found = asyncio.run(asyncio.wait_for(heard(), HUNG_SECONDS))
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert (found["method"], found["params"]["partner"]) == ("chatroom.found", "Bob")


def test_the_errors_are_those_of_the_table() -> None:
    """The page lists every status and code that a single request can cause."""
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    json_type = {"content-type": "application/json"}
    session = json_type | {"mcp-session-id": "cs_unknown"}
    requests: list[tuple[str, dict[str, str], str | bytes]] = [
        ("POST", json_type, "{"),
        ("POST", json_type, f"[{call}]"),
        ("POST", {"content-type": "text/plain"}, call),
        ("POST", json_type, call),
        ("POST", json_type | {"origin": "https://elsewhere.example"}, call),
        ("POST", session, call),
        ("GET", session | {"accept": "text/event-stream"}, ""),
        ("PUT", {}, ""),
        ("POST", json_type | {"accept": "text/html"}, call),
        ("POST", json_type, b"[" * (DEFAULTS["body_bytes_max"] + 1)),
        ("GET", {"x-long": "a" * 1_000_000}, ""),
        ("POST", json_type | {"host": "elsewhere.example"}, call),
    ]

    async def answered() -> list[tuple[int, int | None]]:
        async with serving() as broker, httpx.AsyncClient(trust_env=False) as client:
            answers = [
                await client.request(method, broker.url, headers=headers, content=content)
                for method, headers, content in requests
            ]
            return [(answer.status_code, code_in(answer)) for answer in answers]

    answers = asyncio.run(asyncio.wait_for(answered(), HUNG_SECONDS))
    statuses = [status for status, _ in answers]
    assert statuses == [400, 400, 400, 400, 403, 404, 404, 405, 406, 413, 431, 421]
    assert {code for status, code in answers if status == 404} == {-32001}
    rows = " ".join(answer for answer, *_ in PAGE.tables("Errors of HTTP and JSON-RPC")[0])
    assert [status for status in statuses if str(status) not in rows] == []


STATELESS = {
    ("tools/list", None, ""): (200, None),
    ("resources/read", "chat://lobby", '"uri": "chat://lobby"'): (200, None),
    ("prompts/get", "chat", '"name": "chat"'): (200, None),
    ("resources/read", None, '"uri": "chat://lobby"'): (400, -32020),
    ("ping", None, ""): (404, -32601),
    ("enter_queue", None, ""): (404, -32601),
    ("tools/call", "enter", '"name": "enter"'): (400, -32602),
}
"""Requests of 2026-07-28 (the method, `Mcp-Name` and the params), and the status and code of each answer."""


def test_a_stateless_request_has_the_headers_of_its_method() -> None:
    """`Mcp-Name` is for three methods alone, and the codes have the statuses of the page."""
    meta = PAGE.blocks("sh")[0].partition('"_meta": ')[2].partition("}}}}")[0] + "}}"

    async def answered() -> list[tuple[int, int | None]]:
        answers = []
        async with serving() as broker, httpx.AsyncClient(trust_env=False) as client:
            for method, name, params in STATELESS:
                headers = {
                    "MCP-Protocol-Version": "2026-07-28",
                    "Mcp-Method": method,
                    "Content-Type": "application/json",
                }
                headers |= {"Mcp-Name": name} if name else {}
                inner = f"{params}, " if params else ""
                content = f'{{"jsonrpc": "2.0", "id": 1, "method": "{method}", "params": {{{inner}"_meta": {meta}}}}}'
                answer = await client.post(broker.url, headers=headers, content=content)
                answers.append((answer.status_code, answer.json().get("error", {}).get("code")))
        return answers

    answers = asyncio.run(asyncio.wait_for(answered(), HUNG_SECONDS))
    assert answers == list(STATELESS.values())
    rows = " ".join(answer for answer, *_ in PAGE.tables("Errors of HTTP and JSON-RPC")[0])
    assert [code for _, code in answers if code and str(code) not in rows] == []


def code_in(answer: httpx.Response) -> int | None:
    """Return the code of a JSON-RPC error; `None` if the answer is no error."""
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return None
    code: int = answer.json()["error"]["code"]
    return code
