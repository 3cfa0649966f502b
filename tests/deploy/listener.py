"""People listening and speaking through a proxy, also while a worker behind it ends."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx

from tests.facade.people import Event, Frames, InSession, Json, Modern, Person, RefusedError, texts


class Listener:
    """A person listening through a proxy: a new stream continues where the last one was cut.

    Where no stream can continue, a read by cursor fetches the gap.
    """

    def __init__(self, person: InSession | Modern) -> None:
        self.person = person
        self.heard: list[str] = []
        self._frames: Frames | None = None
        self._seen = 0
        self._last_id: str | None = None
        self._open = AsyncExitStack()

    async def listen(self) -> None:
        """Open a stream; try again while the proxy has none to offer."""
        while not await self._try_to_listen():
            await self._open.aclose()

    async def _try_to_listen(self) -> bool:
        is_session = isinstance(self.person, InSession)
        opening = self.person.stream(self._last_id) if is_session else self.person.stream()
        try:
            self._frames = await self._open.enter_async_context(opening)
        except (AssertionError, KeyError, httpx.TransportError):  # no stream, or none that acknowledges
            return False
        self._seen = 0
        if not is_session:  # no event ids in this era, and the first frame is the acknowledgement
            self._seen = 1
            self.heard += texts(await self._missed())
        return self._frames.response.status_code == 200

    async def _missed(self) -> list[Json]:
        while True:
            try:
                return await self.person.hear(0)
            except (LookupError, ValueError, RefusedError, httpx.TransportError):
                await asyncio.sleep(0)  # the worker ended during the call

    async def until_heard(self, number: int) -> None:
        """Return after `number` messages were heard; open a new stream when one ends."""
        while len(self.heard) < number:
            frames = await self._changed()
            for event in frames.events[self._seen :]:
                self._hear(event)
            self._seen = len(frames.events)
            if frames.ended and len(self.heard) < number:
                await self._open.aclose()
                await self.listen()

    async def _changed(self) -> Frames:
        """Return the stream after it has brought an event or has ended."""
        frames = self._frames
        assert frames is not None
        await frames.until(lambda: len(frames.events) > self._seen or frames.ended)
        return frames

    def _hear(self, event: Event) -> None:
        """Take an event, unless a read by cursor had it already."""
        if event.params["cursor"] > self.person.cursor:
            self.heard += texts([event])
            self.person.cursor = event.params["cursor"]
        self._last_id = event.id

    async def close(self) -> None:
        """Hang up."""
        await self._open.aclose()


async def insist(person: Person, text: str, number: int) -> None:
    """Send `text` until it is acknowledged, always with the same message id, so that it is said once."""
    while True:
        try:
            await person.say(text, message_id=f"m{number}")
        except (
            LookupError,
            ValueError,
            RefusedError,
            httpx.TransportError,
        ):  # an error page, or no answer
            await asyncio.sleep(0)
        else:
            return
