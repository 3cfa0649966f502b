"""Many tabs of one browser, with its six connections to a server of HTTP/1.1."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.brokers import BrokerProcess, broker_process
from tests.browser.chat_tab import ChatTab

TABS = 20
STREAMS = 3
WITHIN_MS = 30_000
HIDE = """() => {
  Object.defineProperty(document, "hidden", { get: () => true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture
def own_broker() -> Iterator[BrokerProcess]:
    """Run a broker for these tabs alone, so that its streams can be counted."""
    with broker_process() as broker:
        yield broker


def streams(broker: BrokerProcess) -> int:
    """Return the number of open streams."""
    metrics = httpx.get(f"{broker.url}metrics", trust_env=False).text
    found = re.search(r'^chat_broker_streams\{kind="listen"\} (\d+)', metrics, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_no_tab_of_many_hangs(browser: Browser, own_broker: BrokerProcess) -> None:
    """Three tabs hold a stream, the others poll, hidden ones in turns; each talks and hears.

    A freed stream is taken.
    """
    context = browser.new_context()
    tabs = [ChatTab(context, own_broker.url) for _ in range(TABS)]
    for number, tab in enumerate(tabs):
        tab.find(f"Tab{number}")
        if number % 2:
            tab.expect_to_talk_with(f"Tab{number - 1}")
    for tab in tabs[0::2]:
        expect(tab.button("Next")).to_be_visible(timeout=WITHIN_MS)
    assert streams(own_broker) == STREAMS
    for tab in tabs[TABS // 2 :]:
        tab.page.evaluate(HIDE)
    for number, tab in enumerate(tabs):
        tab.say(f"from {number}")
    for number, tab in enumerate(tabs):
        expect(tab.lines()).to_have_text([f"from {number ^ 1}"], timeout=WITHIN_MS)
    for tab in tabs[:4]:
        tab.page.close()
    expect(tabs[-1].status).to_have_text("")
    tabs[5].page.wait_for_function(
        "async (url) => /^chat_broker_streams.*listen.* 3/m.test(await (await fetch(url)).text())",
        arg="/metrics",
        timeout=WITHIN_MS,
    )
    assert [tab.complaints for tab in tabs if tab.complaints] == []
    context.close()
