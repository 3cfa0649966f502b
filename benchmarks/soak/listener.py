"""A client's open stream: it may be refused, ended by the server, or dropped, and the client judges each."""

import asyncio
from collections.abc import Callable
from typing import Final

from benchmarks.connections import HTTP_OK, StreamConnection, WrongAnswer, dial
from benchmarks.wire import StreamFrame, frame

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
OPENED_WITHIN_S: Final = 30.0


class Listener(StreamConnection):
    """One stream; `on_frame` gets its frames, until it is dropped or the server ends it."""

    def __init__(self, on_failure: Callable[[Exception], None], on_frame: Callable[[StreamFrame], object]) -> None:
        super().__init__(on_failure, self._data)
        self.on_frame = on_frame
        self.status = 0
        self.result_id: int | str | None = None
        """The id of the answer that ended it, if there was one."""
        self.over = asyncio.Event()
        """Set when the server has ended it, gracefully or not."""

    async def open(self, port: int, request: bytes, *, event_id: bytes = b"", narrow: bool = False) -> int:
        """Request the stream; return the HTTP status on its first event, or once it is refused.

        Raises:
            WrongAnswer: nothing came.
        """
        self.resume(event_id)
        await dial(port, self, narrow=narrow)
        self.write(request)
        try:
            async with asyncio.timeout(OPENED_WITHIN_S):
                await self.opened.wait()
        except TimeoutError:
            raise WrongAnswer(f"a stream was not opened in {OPENED_WITHIN_S:.0f} s") from None
        return self.status

    def deafen(self) -> None:
        """Ignore all further frames."""
        self.on_frame = lambda _: None

    def on_headers_complete(self) -> None:
        """Note the status; a refusal is an end of the wait for the stream."""
        self.status = self._parser.get_status_code()
        if self.status != HTTP_OK:
            self.opened.set()

    def on_body(self, body: bytes) -> None:
        """Handle a part of the stream; the first one shows that it is open."""
        super().on_body(body)
        if self.status == HTTP_OK:
            self.opened.set()

    def on_message_complete(self) -> None:
        """The server ended it gracefully."""
        self.over.set()

    def ended(self, error: Exception | None) -> None:
        """The server closed the connection."""
        self.over.set()
        self.opened.set()

    def _data(self, data: bytes) -> None:
        told = frame(data)
        if not told.method:
            self.result_id = told.id
        elif told.method != ACKNOWLEDGED:
            self.on_frame(told)
