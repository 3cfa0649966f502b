"""The look and readability of the chat page: no width is too small, and axe finds nothing in any state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from mcp_facade.web.page import chat_page
from tests.browser.brokers import BrokerProcess, broker_process
from tests.browser.chat_tab import ChatTab
from tests.browser.looks import findings, load_axe, too_wide
from tests.browser.stranger import Stranger

PAGE_BYTES_MAX = 60_000
SIZES = {"phone": {"width": 360, "height": 640}, "desk": {"width": 1_280, "height": 800}}
RULES = "https://chat.example.com/rules"


@pytest.fixture(scope="module")
def interests_broker() -> Iterator[BrokerProcess]:
    """Run a broker with a matching by interests, rules, and a contact of its operator."""
    operator = ("--rules-url", RULES, "--operator-contact", "abuse@example.com")
    with broker_process("--matching", "interests", *operator) as broker:
        yield broker


class Watched:
    """A tab with a check of its every state."""

    def __init__(self, tab: ChatTab, folder: Path) -> None:
        self.tab = tab
        self._folder = folder
        self._count = 0

    def look(self, state: str) -> None:
        """Take a picture; nothing is too wide, and axe finds nothing."""
        self._count += 1
        self.tab.page.screenshot(path=self._folder / f"{self._count}-{state}.png")
        assert too_wide(self.tab.page) == [], state
        assert findings(self.tab.page) == [], state


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_state_fits_and_can_be_read(
    browser: Browser, interests_broker: BrokerProcess, tmp_path: Path, size: str, scheme: str
) -> None:
    """On a phone and on a desk, in light and in dark: no scrolling sideways, no finding of axe."""
    context = browser.new_context(viewport=SIZES[size], color_scheme=scheme)
    with Stranger(interests_broker.url, name="Sam the very long named " + "W" * 16) as stranger:
        tab = ChatTab(context, interests_broker.url)
        load_axe(tab.page)
        watched = Watched(tab, tmp_path)
        expect(tab.page.get_by_role("link", name="Rules of this server")).to_have_attribute("href", RULES)
        contact = tab.page.get_by_role("link", name="Contact the operator")
        expect(contact).to_have_attribute("href", "mailto:abuse@example.com")
        interests = tab.page.get_by_role("textbox", name="Interests (optional)")
        for interest in ("tea", "C++", "w" * 40):
            interests.fill(interest)
            interests.press("Enter")
        expect(tab.page.get_by_role("button", name="Remove")).to_have_count(3)
        tab.button("Remove C++").click()
        expect(tab.page.get_by_role("button", name="Remove")).to_have_count(2)
        watched.look("start")
        tab.find("Ann")
        expect(tab.status).to_contain_text("You are the next.")
        watched.look("waiting")
        stranger.enter("tea")
        tab.expect_to_talk_with(stranger.name)
        for text in ("hello", "W" * 300, "\n".join("abc")):
            stranger.say(text)
        tab.say("hi", "long " * 2_000)
        expect(tab.log.locator("li.you").last).to_contain_text("not sent")
        tab.button("Next").click()
        watched.look("talking")
        tab.button("Report").click()
        watched.look("report")
        tab.page.keyboard.press("Escape")
        tab.button("Block").click()
        watched.look("block")
        tab.page.keyboard.press("Escape")
        tab.context.set_offline(True)
        expect(tab.status).to_contain_text("Reconnecting", timeout=15_000)
        watched.look("reconnecting")
        tab.context.set_offline(False)
        stranger.leave()
        expect(tab.button("Find another stranger")).to_be_visible(timeout=20_000)
        watched.look("over")
    tab.close()


def test_the_page_is_small() -> None:
    """The page is one file, small enough for a slow network."""
    assert len(chat_page().html.encode()) <= PAGE_BYTES_MAX
