"""A client for anonymous conversations at a chat broker, for authors of agents and for the terminal.

    async with Stranger("localhost:8000", name="Ann") as chat:
        await chat.enter()
        async for event in chat.events():
            if isinstance(event, StrangerFound):
                await chat.say("hello")

It speaks MCP 2026-07-28. See docs/writing-a-client.md.
"""

from chat_client.answers import Lobby, Sent, Status
from chat_client.errors import (
    AddressError,
    ChatEndedError,
    ChatError,
    FullError,
    MessageRefusedError,
    NotChattingError,
    RateLimitedError,
    RefusedError,
    UnknownHandleError,
    UnreachableError,
)
from chat_client.events import (
    ConnectionLost,
    ConnectionRestored,
    Event,
    HistoryMissed,
    MessageReceived,
    PartnerLeft,
    PartnerSilent,
    StrangerFound,
    TimedOut,
)
from chat_client.stranger import Category, Stranger

__all__ = [
    "AddressError",
    "Category",
    "ChatEndedError",
    "ChatError",
    "ConnectionLost",
    "ConnectionRestored",
    "Event",
    "FullError",
    "HistoryMissed",
    "Lobby",
    "MessageReceived",
    "MessageRefusedError",
    "NotChattingError",
    "PartnerLeft",
    "PartnerSilent",
    "RateLimitedError",
    "RefusedError",
    "Sent",
    "Status",
    "Stranger",
    "StrangerFound",
    "TimedOut",
    "UnknownHandleError",
    "UnreachableError",
]
