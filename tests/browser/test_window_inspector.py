"""The window in the MCP Inspector, in both eras of the protocol."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.brokers import BrokerProcess
from tests.browser.inspector import inspector, open_app
from tests.browser.stranger import Stranger


@pytest.mark.slow
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_conversation_is_held_in_the_inspector(
    browser: Browser, broker: BrokerProcess, stranger: Stranger, tmp_path: Path, era: str
) -> None:
    """It opens the window with the arguments of the tool, passes calls on, and takes its size and theme."""
    url = f"{broker.url}mcp"
    with inspector(tmp_path, url, era) as address:
        page, window = open_app(browser, address, url, "open_chat", {"display_name": "Ann"})
        expect(window.get_by_label("Your name")).to_have_value("Ann", timeout=20_000)
        expect(page.get_by_text(re.compile("^modern$", re.IGNORECASE))).to_have_count(1 if era == "modern" else 0)
        window.get_by_role("button", name="Find a stranger").click()
        expect(window.get_by_role("status")).to_contain_text("You are the next.")
        assert stranger.enter()["partner"] == "Ann"
        field = window.get_by_placeholder("Say something to Sam")
        field.fill("hello from the Inspector")
        field.press("Enter")
        assert stranger.hear_texts(1) == ["hello from the Inspector"]
        stranger.say("hello to it")
        expect(window.locator("li.stranger .text")).to_have_text(["hello to it"])
        expect(window.get_by_role("button", name="Ask my assistant about this")).to_be_hidden()  # it has no model
        page.screenshot(path=tmp_path / f"{era}.png")
        window.get_by_role("button", name="Leave").click()
        assert stranger.hear_leaving() == "left"
        page.close()
