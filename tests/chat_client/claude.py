"""A fake Claude Code: the SDK's client on the pipes of `chat-broker channel`, with the channel's pushes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcp.client.client import Client
from mcp.client.extension import ClientExtension, NotificationBinding
from mcp.client.stdio import StdioServerParameters
from mcp_types import TextContent
from pydantic import BaseModel, ConfigDict

from tests.support.limits import HUNG_SECONDS

CHANNEL = ("-m", "mcp_facade.main", "channel")


class Pushed(BaseModel):
    """The params of a push, all of them strings, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)

    content: str
    meta: dict[str, str]


class _Channel(ClientExtension):
    identifier = "test.claude/channel"

    def __init__(self, heard: asyncio.Queue[Pushed]) -> None:
        self._heard = heard

    def notifications(self) -> Sequence[NotificationBinding[Any]]:
        async def hear(pushed: Pushed) -> None:
            self._heard.put_nowait(pushed)

        return [NotificationBinding(method="notifications/claude/channel", params_type=Pushed, handler=hear)]


class Claude:
    """A host with one channel.

    Attributes:
        client: its client.
        heard: the pushes not yet looked at.
    """

    def __init__(self, mode: str, *arguments: str) -> None:
        self.heard: asyncio.Queue[Pushed] = asyncio.Queue()
        server = StdioServerParameters(command=sys.executable, args=[*CHANNEL, *arguments], env=environment())
        self.client = Client(server, mode=mode, extensions=[_Channel(self.heard)])

    async def call(self, tool: str, **arguments: Any) -> str:
        """Call a tool, which must succeed; return its text."""
        text, is_error = await self.tries(tool, **arguments)
        assert not is_error, text
        return text

    async def tries(self, tool: str, **arguments: Any) -> tuple[str, bool]:
        """Call a tool; return its text, and true if it failed."""
        result = await self.client.call_tool(tool, arguments)
        (content,) = result.content
        assert isinstance(content, TextContent)
        return content.text, result.is_error

    async def hears(self, event: str) -> Pushed:
        """Wait for the next push, which must be of that kind."""
        async with asyncio.timeout(HUNG_SECONDS):
            pushed = await self.heard.get()
        assert pushed.meta["event"] == event, pushed
        return pushed


def environment() -> dict[str, str]:
    """Return the environment of the command; it runs the code of this directory."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHAT_BROKER_")}
    return inherited | {"PYTHONPATH": os.getcwd(), "PYTHONUTF8": "1"}


@asynccontextmanager
async def claude(*arguments: str, mode: str = "legacy") -> AsyncIterator[Claude]:
    """Start the channel from a fake Claude Code."""
    host = Claude(mode, *arguments)
    async with host.client:
        yield host
