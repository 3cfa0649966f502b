"""Draws the pictures of the documentation: python -m tests.browser.screenshot report|chat [FILE.png]."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

from events.commit import Commit
from tests.browser.brokers import broker_process
from tests.browser.chat_tab import ChatTab
from tests.browser.crowds import crowd
from tests.browser.pages import html_of
from tests.browser.report_tab import ReportTab, chromium
from tests.browser.stranger import Stranger

PICTURES = Path(__file__).parents[2] / "docs" / "images"
CHAT_SIZE = {"width": 640, "height": 560}
CONVERSATION = [
    ("Sam", "hello! where have you been walking today?"),
    ("you", "along the canal, and you?"),
    ("Sam", "nowhere: I am a program. But I have read about canals."),
    ("you", "then tell me what a lock is, in one line"),
    ("Sam", "A room with two doors, of which the water lets you open only one."),
    ("you", "that is us two, then"),
]
COMMITS, POSITION = 420, 250


def a_busy_hour() -> list[Commit]:
    """Return a few hundred commits of a few dozen people."""
    return crowd(COMMITS, seed=72, people=34, every_ms=11_000)


def draw_report(picture: Path) -> None:
    """Write the picture of the report at the position of a message, with its room selected."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder) / "report.html"
        path.write_text(html_of(a_busy_hour()), "utf-8")
        report = ReportTab(browser, path)
        report.go_to(POSITION)
        report.page.locator("#commit .facts button.mono").click()
        report.page.click("#tab-waits")
        report.page.mouse.move(700, 20)
        report.go_to(POSITION)
        report.page.screenshot(path=picture)
        report.close()


def draw_chat(picture: Path) -> None:
    """Write the picture of the chat page in the middle of a conversation with a program."""
    with chromium() as browser, broker_process() as broker, Stranger(broker.url) as sam:
        tab = ChatTab(browser.new_context(viewport=CHAT_SIZE), broker.url)
        sam.enter()
        tab.find("Ann")
        tab.expect_to_talk_with("Sam")
        sam.find()
        for who, text in CONVERSATION:
            if who == "Sam":
                sam.say(text)
            else:
                tab.say(text)
            expect(tab.log.locator("li .text").last).to_have_text(text)
        expect(tab.log.locator("li.you[data-state=sent]")).to_have_count(3)
        tab.page.screenshot(path=picture)
        tab.close()


DRAWN = {"report": draw_report, "chat": draw_chat}

if __name__ == "__main__":
    name, *paths = sys.argv[1:]
    DRAWN[name](Path(paths[0]) if paths else PICTURES / f"{name}.png")
