"""A response without end: server-sent events, until the client leaves or the stream ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from starlette.types import Receive, Send

from mcp_facade.http.direct_response import DirectResponse, Header

STREAM_HEADERS: Sequence[Header] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]

PING = b": ping\r\n\r\n"


class EventStreamResponse:
    """The response of one stream: the `StreamTransport` of its bytes.

    A frame is written at once where the server offers that and the client reads fast enough, else by ASGI's `send`.
    """

    def __init__(self, direct: DirectResponse, receive: Receive, send: Send) -> None:
        self.is_writable = direct.is_writable
        self.is_open = direct.is_open
        self.write_now = direct.write
        self.abort = direct.abort
        self._receive = receive
        self._send = send

    async def start(self, headers: Sequence[Header]) -> None:
        """Begin the response, with status 200."""
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(self, frames: Sequence[bytes]) -> None:
        """See `StreamTransport`; nothing is written for no frames."""
        body = b"".join(frames)
        if body:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def ping(self) -> None:
        """See `StreamTransport`: a comment, which clients ignore."""
        await self.write([PING])

    async def finish(self, last: bytes = b"") -> None:
        """Write `last`, and end the response."""
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    @contextlib.asynccontextmanager
    async def watched(self, on_gone: Callable[[], None]) -> AsyncIterator[None]:
        """Call `on_gone` if the client leaves while the context is open."""
        watching = asyncio.ensure_future(self._watch(on_gone))
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _watch(self, on_gone: Callable[[], None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        on_gone()
