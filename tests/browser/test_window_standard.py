"""The window, its tool and its page against the official schemas of MCP Apps."""

from __future__ import annotations

import jsonschema
import pytest
from playwright.sync_api import expect

from tests.browser.app_schemas import SCHEMA_OF, check, check_message
from tests.browser.brokers import broker_process
from tests.browser.conftest import OpenHost
from tests.browser.host_tab import ABLE, HostTab
from tests.browser.stranger import Stranger


def do_everything(host: HostTab, stranger: Stranger) -> None:
    """Let the window send every kind of message except its answer to the teardown."""
    host.button("Rules of this server").click()
    host.meet(stranger)
    host.say(*(f"line {number}" for number in range(9)))
    expect(host.lines("you")).to_have_count(9)
    host.button("Show all").click()
    host.button("Show less").click()
    host.button("Ask my assistant about this").click()
    host.expect_noted("host.told.length === 1")


def test_every_message_of_the_window_is_one_of_the_standard(open_host: OpenHost) -> None:
    """Each kind is sent, and its schema names every key of it."""
    with broker_process("--rules-url", "https://example.org/rules") as broker, Stranger(broker.url) as stranger:
        host = open_host(broker.url)
        sent = []
        for told in ({"message": {}}, {"updateModelContext": {}}):
            host.open(capabilities={**{name: can for name, can in ABLE.items() if name != "message"}, **told})
            do_everything(host, stranger)
            host.teardown()
            stranger.hear_leaving()
            sent += host.noted("sent")
    methods = {check_message(message) for message in sent}
    assert methods == {*SCHEMA_OF, "tools/call", ""}


def test_tools_and_page_carry_the_metadata_of_the_standard(host: HostTab) -> None:
    """Checked are the tool of the window, the tool for windows alone, and the page's policy."""
    host.open()
    meta = {tool["name"]: tool["_meta"]["ui"] for tool in host.noted("tools") if "ui" in tool.get("_meta", {})}
    assert meta.keys() == {"open_chat", "chat_enter"}
    for described in meta.values():
        check(described, "McpUiToolMeta")
    assert meta["chat_enter"]["visibility"] == ["app"]
    assert "visibility" not in meta["open_chat"]  # the default: the model and the window
    check(host.noted("contents")["_meta"]["ui"], "McpUiResourceMeta")


def test_the_schemas_find_what_is_wrong() -> None:
    """A key unknown to the standard is an error."""
    with pytest.raises(jsonschema.ValidationError):
        check({"resourceUri": "ui://x", "made_up": 1}, "McpUiToolMeta")
