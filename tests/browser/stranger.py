"""A stranger that is a program, and knows tools alone: the page's other side."""

from __future__ import annotations

from itertools import count
from types import TracebackType
from typing import Any

import httpx
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from tests.facade.people import ACCEPT, CLIENT_INFO, MODERN

WAIT_SECONDS = 10
META = {PROTOCOL_VERSION_META_KEY: MODERN, CLIENT_INFO_META_KEY: CLIENT_INFO, CLIENT_CAPABILITIES_META_KEY: {}}


class Stranger:
    """A caller of the tools of the broker at `url`, a page's address."""

    def __init__(self, url: str, name: str = "Sam") -> None:
        self.name = name
        self.handle = ""
        self.room_id = ""
        self.cursor = 0
        self._ids = count(1)
        self._heard: list[dict[str, Any]] = []
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=WAIT_SECONDS + 10)

    def __enter__(self) -> Stranger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool; return the structured content of its result."""
        params = {"name": name, "arguments": arguments, "_meta": META}
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": "tools/call", "params": params}
        headers = {
            "accept": ACCEPT,
            "mcp-protocol-version": MODERN,
            "mcp-method": "tools/call",
            "mcp-name": name,
        }
        content: dict[str, Any] = self._client.post("mcp", json=body, headers=headers).json()["result"][
            "structuredContent"
        ]
        return content

    def enter(self, *interests: str) -> dict[str, Any]:
        """Enter the queue."""
        entered = self.call("enter_queue", display_name=self.name, interests=list(interests))
        self.handle, self.cursor, self.room_id = entered["handle"], entered["cursor"], entered.get("room_id", "")
        return entered

    def hear(self, method: str) -> dict[str, Any]:
        """Return the params of the next event of that method; earlier ones are skipped."""
        while True:
            while self._heard:
                event = self._heard.pop(0)
                if event["method"] == method:
                    params: dict[str, Any] = event["params"]
                    return params
            page = self.call("wait_for_events", handle=self.handle, cursor=self.cursor, wait_seconds=WAIT_SECONDS)
            assert page["events"], f"no {method} came"
            self.cursor = page["cursor"]
            self._heard += page["events"]

    def find(self) -> str:
        """Wait for a partner; return the partner's name."""
        found = self.hear("chatroom.found")
        self.room_id = found["room_id"]
        partner: str = found["partner"]
        return partner

    def hear_texts(self, count: int) -> list[str]:
        """Return the next `count` messages."""
        return [self.hear("message.received")["message"] for _ in range(count)]

    def hear_leaving(self) -> str:
        """Wait for the partner's departure; return its reason."""
        reason: str = self.hear("partner.disconnected")["reason"]
        return reason

    def say(self, text: str) -> None:
        """Send a message."""
        said = self.call("send_message", handle=self.handle, room_id=self.room_id, message=text)
        assert said.get("success"), said

    def leave(self) -> None:
        """Leave the room, or the queue."""
        if self.room_id:
            self.call("leave_chat", handle=self.handle, room_id=self.room_id)
        else:
            self.call("leave_queue", handle=self.handle)
