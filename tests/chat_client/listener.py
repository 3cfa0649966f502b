"""A collector of a client's events, so that a test can wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from chat_client import ConnectionLost, ConnectionRestored, Event, MessageReceived, Stranger
from tests.support.server import eventually

E = TypeVar("E")


class Listener:
    """All events of a client so far.

    Attributes:
        events: the events.
        position: the place in the queue from the entry.
        failure: the exception at their end, if any.
    """

    def __init__(self, chat: Stranger) -> None:
        self.chat = chat
        self.events: list[Event] = []
        self.position: int | None = None
        self.failure: Exception | None = None
        self.has_ended = False

    async def listen(self) -> None:
        """Take events until the loop over them ends."""
        try:
            async for event in self.chat.events():
                self.events.append(event)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.failure = error
        self.has_ended = True

    def texts(self) -> list[str]:
        """Return the texts of all messages to the client."""
        return [event.text for event in self.events if isinstance(event, MessageReceived)]

    def kinds(self) -> list[str]:
        """Return the names of the events, without those of the connection."""
        told = [event for event in self.events if not isinstance(event, ConnectionLost | ConnectionRestored)]
        return [type(event).__name__ for event in told]

    async def hears(self, kind: type[E], count: int = 1) -> E:
        """Wait for the event number `count` of a kind."""
        await eventually(lambda: sum(isinstance(event, kind) for event in self.events) >= count)
        return [event for event in self.events if isinstance(event, kind)][count - 1]


@asynccontextmanager
async def listening(chat: Stranger) -> AsyncIterator[Listener]:
    """Let `chat` enter, and listen to it."""
    listener = Listener(chat)
    listener.position = await chat.enter()
    task = asyncio.create_task(listener.listen())
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
