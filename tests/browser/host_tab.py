"""A host of MCP Apps in a browser tab: a page of ours that passes the window's calls on to a real broker."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, FrameLocator, Locator, expect

Json = dict[str, Any]

HOST = Path(__file__).with_name("host.html")
ABLE: Json = {"serverTools": {}, "serverResources": {}, "openLinks": {}, "message": {"text": {}}}
"""The capabilities of a host that can do everything."""

INLINE: Json = {"theme": "light", "displayMode": "inline", "availableDisplayModes": ["inline", "fullscreen"]}
DARK: Json = {
    "theme": "dark",
    "styles": {
        "variables": {
            "--color-background-primary": "#1b1f2a",
            "--color-text-primary": "#f2f3f5",
            "--color-text-secondary": "#b3bac8",
            "--color-border-primary": "#3a4152",
        }
    },
}

_COMPLAINTS_EXPECTED = ("Failed to load resource",)  # the browser reports a broker that has gone


class HostTab:
    """A host with one window."""

    def __init__(self, browser: Browser, url: str, html: str, *, width: int = 700) -> None:
        """Serve the host's page from the broker's origin, so that its calls need no other; `html` is the window's."""
        self.context = browser.new_context(viewport={"width": width, "height": 900})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        origin = url.removesuffix("/mcp")
        self.page.route(f"{origin}/host.html", lambda route: route.fulfill(path=HOST, content_type="text/html"))
        self.page.goto(f"{origin}/host.html")
        self._html = html

    @property
    def window(self) -> FrameLocator:
        """The window's frame."""
        return self.page.frame_locator("iframe")

    def open(
        self,
        *,
        context: Json = INLINE,
        capabilities: Json = ABLE,
        tool_input: Json | None = None,
        width: int | None = None,
        faults: Json | None = None,
    ) -> FrameLocator:
        """Open the window; wait until it can be used."""
        options = {
            "context": context,
            "capabilities": capabilities,
            "toolInput": tool_input,
            "width": width,
            "faults": faults or {},
        }
        self.page.evaluate("([html, options]) => host.open(html, options)", [self._html, options])
        expect(self.button("Find a stranger")).to_be_visible()
        return self.window

    def button(self, name: str) -> Locator:
        """A button of the window, by its whole name."""
        return self.window.get_by_role("button", name=name, exact=True)

    def fault(self, **faults: Any) -> None:
        """Change the host's faults."""
        self.page.evaluate("(faults) => Object.assign(host.faults, faults)", faults)

    def change_context(self, changed: Json) -> None:
        """Tell the window of a change of the host's context."""
        self.page.evaluate("(changed) => host.changeContext(changed)", changed)

    def teardown(self) -> Json:
        """Tell the window that it will go; its answer, after which it is gone."""
        answer: Json = self.page.evaluate("() => host.teardown()")
        return answer

    def ask(self, method: str, params: Json) -> Json:
        """Send the window a request; its answer."""
        answer: Json = self.page.evaluate("([method, params]) => host.ask(method, params)", [method, params])
        return answer

    def remove(self) -> None:
        """Drop the window without a word."""
        self.page.evaluate("() => host.remove()")

    def noted(self, name: str) -> Any:
        """What the host has noted: sent, calls, links, told, waits, waitsAtOnce."""
        return self.page.evaluate("(name) => host[name]", name)

    def close(self) -> None:
        """Close the tab; the page has had nothing to complain of."""
        self.context.close()
        assert [text for text in self.complaints if not text.startswith(_COMPLAINTS_EXPECTED)] == []


VERSION = "2026-07-28"


class Stranger:
    """A client that knows tools alone, as a model's host does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.handle = ""
        self.room_id = ""
        self.cursor = 0

    def request(self, method: str, params: Json, name: str | None = None) -> Json:
        """Make a request of 2026-07-28; its result."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientInfo": {"name": "stranger", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": VERSION,
            "Mcp-Method": method,
        }
        if name is not None:
            headers["Mcp-Name"] = name
        asked = urllib.request.Request(self._url, json.dumps(body).encode(), headers)  # noqa: S310 - to loopback
        with urllib.request.urlopen(asked, timeout=30) as response:  # noqa: S310
            text = response.read().decode()
        data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
        result: Json = json.loads(data[-1] if data else text)["result"]
        return result

    def call(self, tool: str, **arguments: Any) -> Json:
        """Call a tool that will not refuse; what it gives."""
        if self.handle:
            arguments = {"handle": self.handle, **arguments}
        result = self.request("tools/call", {"name": tool, "arguments": arguments}, tool)
        assert not result.get("isError"), result
        given: Json = result["structuredContent"]
        for key in ("handle", "room_id", "cursor"):
            if key in given:
                setattr(self, key, given[key])
        return given

    def enter(self, name: str, **arguments: Any) -> Json:
        """Enter the queue."""
        return self.call("enter_queue", display_name=name, **arguments)

    def say(self, message: str) -> None:
        """Say something in the room."""
        self.call("send_message", room_id=self.room_id, message=message)

    def hear(self, wait_seconds: float = 20) -> list[Json]:
        """Wait for what came after the newest cursor."""
        events: list[Json] = self.call("wait_for_events", cursor=self.cursor, wait_seconds=wait_seconds)["events"]
        for event in events:
            if event["method"] == "chatroom.found":
                self.room_id = event["params"]["room_id"]
        return events

    def page(self) -> str:
        """The window's page, as the list of tools names it."""
        tools = self.request("tools/list", {})["tools"]
        (uri,) = (tool["_meta"]["ui"]["resourceUri"] for tool in tools if tool["name"] == "open_chat")
        contents: Json
        (contents,) = self.request("resources/read", {"uri": uri}, uri)["contents"]
        text: str = contents["text"]
        return text
