"""An open chat page in a browser, and the acts of its person."""

from __future__ import annotations

import json

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.stranger import Stranger

ALLOWED = (
    "net::ERR_CONNECTION_REFUSED",
    "net::ERR_CONNECTION_RESET",
    "net::ERR_INTERNET_DISCONNECTED",
    "net::ERR_INCOMPLETE_CHUNKED_ENCODING",
    "net::ERR_EMPTY_RESPONSE",
    "net::ERR_FAILED",
    "net::ERR_NETWORK_CHANGED",
)
"""Errors of the network; a browser writes them on its console itself."""

SCROLL_UP = """(list) => {
  const scrolled = new Promise((done) => list.addEventListener("scroll", done, { once: true }));
  list.scrollTop = 0;
  return scrolled.then(() => {});
}"""
"""Scrolls a list to its beginning; it is done after the page's own scroll event."""


class ChatTab:
    """A tab with the page."""

    def __init__(self, context: BrowserContext, url: str, page: Page | None = None) -> None:
        self.url = url
        self.context = context
        self.complaints: list[str] = []
        self.page = page if page is not None else context.new_page()
        self.page.on("console", lambda message: self._complain(message.text))
        self.page.on("pageerror", lambda error: self._complain(f"{error}\n{error.stack}"))
        if page is None:
            self.page.goto(url)
        self.page.wait_for_selector("html[data-ready]")

    def _complain(self, text: str) -> None:
        if not any(error in text for error in ALLOWED):
            self.complaints.append(text)

    @property
    def log(self) -> Locator:
        """The transcript."""
        return self.page.get_by_role("log")

    @property
    def field(self) -> Locator:
        """The field at the bottom."""
        return self.page.get_by_label("Message", exact=True)

    @property
    def status(self) -> Locator:
        """The status line."""
        return self.page.get_by_role("status")

    def button(self, name: str) -> Locator:
        """Return a button in sight, by its exact name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def find(self, name: str = "") -> None:
        """Look for a stranger."""
        self.page.get_by_label("Your name").fill(name)
        self.button("Find a stranger").click()

    def say(self, *texts: str) -> None:
        """Say something with the keyboard."""
        for text in texts:
            self.field.fill(text)
            self.field.press("Enter")

    def lines(self, who: str = "stranger") -> Locator:
        """Return the texts of the lines of `stranger`, `you` or `note`."""
        return self.log.locator(f"li.{who} .text")

    def expect_lines(self, who: str, *texts: str) -> None:
        """Wait until the lines of `who` are these."""
        expect(self.lines(who)).to_have_text(list(texts))

    def expect_to_talk_with(self, name: str) -> None:
        """Wait for a conversation with `name`."""
        expect(self.page.get_by_role("heading", name=name, exact=True)).to_be_visible()
        expect(self.button("Next")).to_be_visible()

    def look_again(self) -> None:
        """Come back to the tab; it repeats its pending attempts at once."""
        self.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def handle(self) -> str | None:
        """Return the tab's stored handle."""
        saved = self.page.evaluate("sessionStorage.getItem('chat-broker')")
        return json.loads(saved)["handle"] if saved else None

    def close(self) -> None:
        """Close it, take its person out of the broker, and check that there were no complaints."""
        handle = self.handle() if not self.page.is_closed() else None
        self.context.close()
        if handle is not None:
            take_out(self.url, handle)
        assert self.complaints == []


def take_out(url: str, handle: str) -> None:
    """Have the person of `handle` leave, as far as the broker at `url` answers and knows it."""
    with Stranger(url) as person:
        person.handle = handle
        status = person.call("get_status", handle=handle)
        person.room_id = status.get("room_id", "")
        if status.get("status") in ("waiting", "chatting"):
            person.leave()
