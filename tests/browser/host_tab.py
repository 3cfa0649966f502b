"""A host of MCP Apps in a browser tab: a page of ours; it passes the window's calls on to a real broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, FrameLocator, Locator, expect

from tests.browser.stranger import Stranger

Json = dict[str, Any]

HOST = Path(__file__).with_name("host.html")
ABLE: Json = {"serverTools": {}, "serverResources": {}, "openLinks": {}, "message": {"text": {}}}
"""The capabilities of a host without limits."""

LIGHT: Json = {"theme": "light", "displayMode": "inline", "availableDisplayModes": ["inline", "fullscreen"]}
DARK: Json = LIGHT | {
    "theme": "dark",
    "styles": {
        "variables": {
            "--color-background-primary": "#1b1f2a",
            "--color-text-primary": "#f2f3f5",
            "--color-text-secondary": "#b3bac8",
            "--color-border-primary": "#6b7690",
        }
    },
}

BROWSERS_OWN = ("net::ERR_", "can escape its sandboxing")
"""A browser's own words, about an ended broker and about a host with storage for its windows."""


class HostTab:
    """A host of one window at a time, the last."""

    def __init__(self, browser: Browser, url: str, *, width: int = 700) -> None:
        """Serve the host's page from the origin of the broker at `url`, so that its calls need no other."""
        self.context = browser.new_context(viewport={"width": width, "height": 900})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self._complain(message.text))
        self.page.on("pageerror", lambda error: self._complain(f"{error}\n{error.stack}"))
        self.page.route(f"{url}host.html", lambda route: route.fulfill(path=HOST, content_type="text/html"))
        self.page.goto(f"{url}host.html")
        self._is_open = False

    def _complain(self, text: str) -> None:
        if not any(words in text for words in BROWSERS_OWN):
            self.complaints.append(text)

    def open(self, *, context: Json = LIGHT, capabilities: Json = ABLE, width: int | None = None, **more: Json) -> None:
        """Open a window, and wait until it can be used; `more` are `toolInput` and `faults`."""
        options = {"context": context, "capabilities": capabilities, "width": width, **more}
        self.page.evaluate("(options) => host.open(options)", options)
        expect(self.window.locator("html[data-ready]")).to_be_attached()
        self._is_open = True

    @property
    def window(self) -> FrameLocator:
        """The frame of the window opened last."""
        return self.page.frame_locator("iframe").last

    def button(self, name: str) -> Locator:
        """Return a button of the window, by its whole name."""
        return self.window.get_by_role("button", name=name, exact=True)

    @property
    def field(self) -> Locator:
        """The field for messages."""
        return self.window.get_by_label("Message", exact=True)

    @property
    def status(self) -> Locator:
        """The status line."""
        return self.window.get_by_role("status")

    def lines(self, who: str = "stranger") -> Locator:
        """Return the texts of the lines of `stranger`, `you` or `note`."""
        return self.window.locator(f"li.{who} .text")

    def find(self) -> None:
        """Look for a stranger, and wait for a place in the queue."""
        self.button("Find a stranger").click()
        expect(self.status).to_contain_text("You are the next.")

    def expect_to_talk_with(self, name: str) -> None:
        """Wait for a conversation with `name`."""
        expect(self.window.get_by_placeholder(f"Say something to {name}")).to_be_visible()

    def meet(self, stranger: Stranger) -> None:
        """Find `stranger`, after their entry now."""
        self.find()
        stranger.enter()
        self.expect_to_talk_with(stranger.name)

    def say(self, *texts: str) -> None:
        """Say something with the keyboard."""
        for text in texts:
            self.field.fill(text)
            self.field.press("Enter")

    def fault(self, **faults: Any) -> None:
        """Change the host's faults."""
        self.page.evaluate("(faults) => Object.assign(host.faults, faults)", faults)

    def change_context(self, changed: Json) -> None:
        """Tell the window of a change of the host's context."""
        self.page.evaluate("(changed) => host.changeContext(changed)", changed)

    def look_again(self) -> None:
        """Turn away from the window and back to it."""
        self.page.evaluate("() => window.focus()")
        self.page.locator("iframe").focus()

    def teardown(self) -> Json:
        """Tell the window of its end; return its answer, after which it is gone."""
        self._is_open = False
        answer: Json = self.page.evaluate("() => host.teardown()")
        return answer

    def ask(self, method: str, params: Json) -> Json:
        """Send the window a request; return its answer."""
        answer: Json = self.page.evaluate("([method, params]) => host.ask(method, params)", [method, params])
        return answer

    def remove(self) -> None:
        """Drop the window without a notice."""
        self._is_open = False
        self.page.evaluate("() => host.remove()")

    def noted(self, name: str) -> Any:
        """Return a record of the host: `sent`, `calls`, `links`, `told`, `tools`, `contents`, `waitsAtOnce`."""
        return self.page.evaluate("(name) => host[name]", name)

    def expect_noted(self, condition: str) -> None:
        """Wait until `condition`, an expression about `host`, holds."""
        self.page.wait_for_function(f"() => {condition}")

    def close(self) -> None:
        """Close the window and the tab, and check that there were no complaints."""
        if self._is_open:
            self.fault(refuse=False, deny=[], cutAfterMs=None, instead={})
            self.teardown()
        self.context.close()
        assert self.complaints == []
