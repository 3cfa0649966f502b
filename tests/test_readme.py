"""The README is the front door: what it says of tools, notifications, settings and promises is what the code says."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp_types import Tool
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from broker.config import DEFAULTS
from broker.flags import FLAGS, LISTS, PREFIX, SWITCHES
from broker.metrics import Metrics
from broker.retention import SWEEP_MS
from broker.verification.checking import PROMISES
from events.policy import Policy
from mcp_facade.cli import COMMANDS, LOG_COMMANDS
from mcp_facade.resources import INBOX_TEMPLATE, LOBBY_URI
from mcp_facade.streams.frames import CONNECTION_META_KEY, EXTENSION
from mcp_facade.texts import REFUSALS
from mcp_facade.tools.catalogue import TOOLS
from projections import event_checks, invariants
from projections.notifications import METHODS
from projections.state import INITIAL_STATE
from tests.support.process import Process, killed, serving

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

OTHER_WORDS = {"no_handle", "too_many_waits", "too_many_reports", "no_such_partner", "note_too_large", "unknown_window"}
"""Keys of texts that come with the code of another."""

REFUSAL_FIELDS = {"error", "code", "retry_after_ms"}
"""What a refusal gives in the place of a result; the README describes it once, for all tools."""


def section(title: str) -> str:
    """What stands under the heading `title`, up to the next one of its rank."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"README.md has no section {title!r}"
    return found[1]


def tables(title: str) -> list[list[list[str]]]:
    """The tables of a section: of each its rows, of each row its cells, without the two rows of the heading."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", section(title), re.MULTILINE)
    return [[[cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines()[2:]] for block in blocks]


def names(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def arguments_of(tool: Tool) -> Iterator[str]:
    """The arguments of `tool` as the README writes them."""
    for name, schema in tool.input_schema["properties"].items():
        if name in tool.input_schema["required"]:
            yield name
        elif "default" in schema:
            yield f"{name}={json.dumps(schema['default'])}"
        else:
            yield f"{name}?"


def result_fields(tool: Tool) -> set[str]:
    """What a result of `tool` may hold."""
    assert tool.output_schema is not None
    return set(tool.output_schema["properties"]) - REFUSAL_FIELDS


def test_the_tools_are_those_that_are_published() -> None:
    """Names and arguments, in their order, with their defaults."""
    written = {names(tool)[0]: names(arguments) for tool, arguments, _ in tables("Tools")[0]}
    published = {tool.name: list(arguments_of(tool)) for tool in TOOLS}
    assert written == published
    assert list(written) == list(published)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_field_of_a_result_is_named(tool: Tool) -> None:
    """No result holds what its row doesn't name, and no row names a result's field that there isn't."""
    rows = {names(name)[0]: result for name, _, result in tables("Tools")[0]}
    described = rows[tool.name]
    if described.startswith("as "):
        (other,) = (one for one in TOOLS if one.name == names(described)[0])
        assert tool.output_schema == other.output_schema
        return
    assert result_fields(tool) <= set(names(described))
    values = {"waiting", "matched", "idle", "chatting", "method", "params"}
    assert set(names(described)) <= result_fields(tool) | values


def test_the_longest_wait_is_the_schemas() -> None:
    """`wait_seconds` is at most what the schema allows."""
    schemas = {tool.name: tool.input_schema["properties"] for tool in TOOLS}
    maximum = schemas["wait_for_events"]["wait_seconds"]["maximum"]
    assert f"`wait_seconds` is at most {maximum:g}." in section("Tools")
    assert f"the longest wait, {maximum:g} seconds" in section("Operating it")


def test_every_refusal_has_a_row() -> None:
    """The codes are those that a tool can give."""
    written = [names(code)[0] for code, _ in tables("Tools")[1]]
    assert sorted(written) == sorted((set(REFUSALS) | {"invalid_arguments"}) - OTHER_WORDS)


def test_the_notifications_are_those_of_the_wire() -> None:
    """Methods and params, in their order."""
    reasons = {"left", "next", "disconnected", "timeout", "stranger"}
    written = {
        names(method)[0]: [name for name in names(params) if name not in reasons]
        for method, params in tables("Notifications")[0]
    }
    assert written == {method: list(params.__struct_fields__) for params, method in METHODS.items()}
    assert CONNECTION_META_KEY in section("Notifications")


def test_the_resources_are_those_that_are_listed() -> None:
    """The lobby and the template of the inbox."""
    assert [names(uri)[0] for uri, _ in tables("Resources and the prompt")[0]] == [LOBBY_URI, INBOX_TEMPLATE]


def test_the_protocol_eras_are_those_of_the_sdk() -> None:
    """Every version that is served, and the extension's name."""
    versions = {row[0]: row[1:] for row in tables("Two protocol eras")[0]}["versions"]
    assert versions == [", ".join(HANDSHAKE_PROTOCOL_VERSIONS), ", ".join(MODERN_PROTOCOL_VERSIONS)]
    assert f"`{EXTENSION}`" in section("Two protocol eras")


def test_the_settings_are_those_of_the_command_line() -> None:
    """Flags, variables and defaults, in the order of `--help`."""
    defaults: Mapping[str, str] = (
        {flag: f"`{default}`" for flag, (default, _) in FLAGS.items()}
        | dict.fromkeys(SWITCHES, "`0`")
        | dict.fromkeys(LISTS, "none")
        | {name.replace("_", "-"): f"`{default}`" for name, default in DEFAULTS.items()}
    )
    expected = [
        [f"`--{flag}`", f"`{PREFIX}{flag.replace('-', '_').upper()}`", default] for flag, default in defaults.items()
    ]
    assert [row[:3] for row in tables("Settings")[0]] == expected


def test_the_commands_are_those_of_the_command_line() -> None:
    """Every command that looks into a log has its row."""
    written = {names(command)[0].split()[1] for command, _ in tables("Debugging")[0]}
    assert written == set(COMMANDS)
    for command in LOG_COMMANDS:
        assert f"chat-broker log {command} " in section("A log that lasts") + section("Several workers")


def test_the_graces_are_the_defaults() -> None:
    """The prose gives the three graces in words."""
    policy = Policy()
    graces = (policy.stream_grace_ms, policy.idle_grace_queue_ms, policy.idle_grace_room_ms)
    assert graces == (30_000, 90_000, 5 * 60_000)
    for words in ("30 seconds from a closed stream", "90 seconds in the queue", "five minutes in a room"):
        assert words in section("Presence")


def test_how_often_texts_are_looked_for_is_said() -> None:
    """Once a minute."""
    assert SWEEP_MS == 60_000
    assert "looks once a minute" in section("A log that lasts")


def test_the_inspector_is_the_one_that_is_tested() -> None:
    """Wherever it is named to be run, by its major version: with an older Node, npm takes one that is years older."""
    lock = json.loads((ROOT / "tests" / "clients" / "package-lock.json").read_text("utf-8"))
    inspector = lock["packages"]["node_modules/@modelcontextprotocol/inspector"]
    major = inspector["version"].partition(".")[0]
    assert set(re.findall(r"@modelcontextprotocol/inspector(\S*)", README)) == {f"@{major}"}
    minimum = inspector["engines"]["node"].removeprefix(">=").removesuffix(".0")
    assert f"Node {minimum} or later" in README


def test_the_commands_are_written_as_the_shell_finds_them() -> None:
    """Once it has been said how it does."""
    assert README.index("source .venv/bin/activate") < README.index("chat-broker serve")
    assert ".venv/bin/chat-broker" not in README


def test_the_promises_are_numbered_as_the_checks_number_them() -> None:
    """Nine of them; a check never names one that the README doesn't have."""
    numbered = [int(number) for number in re.findall(r"^(\d+)\. ", section("Promises"), re.MULTILINE)]
    assert numbered == list(range(1, 10))
    sources = inspect.getsource(invariants) + inspect.getsource(event_checks)
    checked = {int(number) for number in re.findall(r"(?:yield |[\[(]\()(\d+),", sources)}
    assert checked >= {1, 2, 3, 9}
    assert checked | set(PROMISES) <= set(numbered)


def test_the_metrics_are_those_that_are_rendered() -> None:
    """Every metric is named, and no other."""
    rendered = Metrics(lambda: INITIAL_STATE, lambda: 0).render().decode()
    families = {name for name in re.findall(r"^# TYPE (\S+)", rendered, re.MULTILINE) if not name.endswith("_created")}
    (row,) = (cells for cells in tables("Operating it")[0] if names(cells[0]) == ["/metrics"])
    assert set(names(row[1])) == families


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file or a folder that is there, an anchor a heading of the page that it leads to."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE) if anchor else ()
        assert not anchor or anchor in map(_anchor, headings), target


def block_of(kind: str) -> str:
    """The one block that is marked as `kind`."""
    (block,) = re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(block)


ENDPOINT = "http://127.0.0.1:8000/mcp"


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
def test_the_program_hears_what_the_page_says(mode: str, tmp_path: Path) -> None:
    """As it stands there, at a real server; in a session, without the four lines that it does not need there."""
    program = block_of("python")
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
                await is_listening(broker, "get" if mode == "legacy" else "listen")
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

    entered, *told = asyncio.run(asyncio.wait_for(heard(), 60))
    assert "'status': 'waiting'" in entered
    assert [line.split()[0] for line in told] == ["chatroom.found", "message.received", "partner.disconnected"]
    params = [json.loads(line.partition(" ")[2]) for line in told]
    assert (params[0]["partner"], params[1]["message"], params[2]["reason"]) == ("Bob", "Hello, stranger.", "left")


async def is_listening(broker: Process, kind: str) -> None:
    """Return once somebody has a stream of that kind open."""
    wanted, metrics = f'chat_broker_streams{{kind="{kind}"}} 1.0', ""
    async with httpx.AsyncClient(trust_env=False) as client:
        while wanted not in metrics:
            await asyncio.sleep(0.02)  # another process's stream has no event to wait for
            metrics = (await client.get(f"http://127.0.0.1:{broker.port}/metrics")).text


def test_the_request_for_a_stream_is_answered_with_one() -> None:
    """As it stands there, but for the handle: an acknowledgement, and what happens."""
    head, _, body = block_of("http").partition("\n\n")
    request_line, *fields = head.splitlines()
    headers = dict(field.split(": ", 1) for field in fields)
    assert (request_line, headers.pop("Host")) == ("POST /mcp HTTP/1.1", "127.0.0.1:8000")
    (example,) = re.findall(r"cb_[A-Za-z0-9_-]+", body)

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

    acknowledged, found = asyncio.run(asyncio.wait_for(heard(), 60))
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert (found["method"], found["params"]["partner"]) == ("chatroom.found", "Bob")


def test_every_configuration_in_json_is_json() -> None:
    """What is there to be copied can be read by the client that it is for, and names this server."""
    blocks: list[Any] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL)]
    assert blocks
    for block in blocks:
        assert "http://127.0.0.1:8000/mcp" in json.dumps(block)


def _anchor(heading: str) -> str:
    """The anchor that is made of a heading, where it holds words alone."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
