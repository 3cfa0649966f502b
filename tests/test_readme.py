"""The README is the front door: what it says of tools, notifications, settings and promises is what the code says."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mcp_types import Tool
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from broker.command_line import COMMANDS, LOG_COMMANDS
from broker.metrics import Metrics
from broker.settings import FLAGS, LISTS, PREFIX
from events.policy import LIMITS, Policy
from mcp_facade.resources import INBOX_TEMPLATE, LOBBY_URI
from mcp_facade.texts import REFUSALS
from mcp_facade.tool_list import TOOLS
from mcp_facade.wire import CONNECTION_META_KEY, EXTENSION
from projections import invariants
from projections.deliveries import METHODS
from projections.state import INITIAL_STATE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

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
    assert sorted(written) == sorted((set(REFUSALS) | {"invalid_arguments"}) - {"no_handle", "too_many_waits"})


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
        | dict.fromkeys(LISTS, "none")
        | {name.replace("_", "-"): f"`{getattr(Policy(), name)}`" for name in LIMITS}
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
        assert f"chat-broker log {command} " in section("A log that lasts")


def test_the_graces_are_the_defaults() -> None:
    """The prose gives the three graces in words."""
    policy = Policy()
    graces = (policy.stream_grace_ms, policy.idle_grace_queue_ms, policy.idle_grace_room_ms)
    assert graces == (30_000, 90_000, 5 * 60_000)
    for words in ("30 seconds from a closed stream", "90 seconds in the queue", "five minutes in a room"):
        assert words in section("Presence")


def test_the_promises_are_numbered_as_the_checks_number_them() -> None:
    """Eight of them; a check never names one that the README doesn't have."""
    numbered = [int(number) for number in re.findall(r"^(\d+)\. ", section("Promises"), re.MULTILINE)]
    assert numbered == list(range(1, 9))
    checked = {int(number) for number in re.findall(r"yield (\d+),", inspect.getsource(invariants))}
    assert checked
    assert checked <= set(numbered)


def test_the_metrics_are_those_that_are_rendered() -> None:
    """Every metric is named, and no other."""
    rendered = Metrics(lambda: INITIAL_STATE, lambda: 0).render().decode()
    families = {name for name in re.findall(r"^# TYPE (\S+)", rendered, re.MULTILINE) if not name.endswith("_created")}
    (row,) = (cells for cells in tables("Operating it")[0] if names(cells[0]) == ["/metrics"])
    assert set(names(row[1])) == families


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file or a folder that is there, an anchor a heading of the same page."""
    text = page.read_text(encoding="utf-8")
    anchors = {_anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_configuration_in_json_is_json() -> None:
    """What is there to be copied can be read by the client that it is for, and names this server."""
    blocks: list[Any] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL)]
    assert blocks
    for block in blocks:
        assert "http://127.0.0.1:8000/mcp" in json.dumps(block)


def _anchor(heading: str) -> str:
    """The anchor that is made of a heading, where it holds words alone."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
