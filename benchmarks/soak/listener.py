"""A person's open stream: it may be refused, ended by the server, or dropped; each is for the person to judge."""

import asyncio
from collections.abc import Callable
from typing import Final

from benchmarks.connections import HTTP_OK, StreamConnection, WrongAnswer, dial
from benchmarks.wire import StreamFrame, frame

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
OPENED_WITHIN_S: Final = 30.0


class Listener(StreamConnection):
    """One stream; `on_frame` gets what it carries, until it is dropped or the server ends it."""

    def __init__(self, on_failure: Callable[[Exception], None], on_frame: Callable[[StreamFrame], object]) -> None:
        super().__init__(on_failure, self._data)
        self.on_frame = on_frame
        self.status = 0
        self.result_id: int | str | None = None
        """The id of the answer that ended it, if one did."""
        self.over = asyncio.Event()
        """The server has ended it, gracefully or not."""

    async def open(self, port: int, request: bytes, *, event_id: bytes = b"", narrow: bool = False) -> int:
        """Ask for the stream; the HTTP status once it is open, which is once its first event is here, or refused.

        Raises:
            WrongAnswer: nothing came.
        """
        self.event_id = self._next_event_id = event_id
        await dial(port, self, narrow=narrow)
        self.write(request)
        try:
            async with asyncio.timeout(OPENED_WITHIN_S):
                await self.opened.wait()
        except TimeoutError:
            raise WrongAnswer(f"a stream was not opened in {OPENED_WITHIN_S:.0f} s") from None
        return self.status

    def deafen(self) -> None:
        """Whatever still arrives is not heard any more."""
        self.on_frame = lambda _: None

    def on_headers_complete(self) -> None:
        """The server took the stream, or not."""
        self.status = self._parser.get_status_code()
        if self.status != HTTP_OK:
            self.opened.set()

    def on_body(self, body: bytes) -> None:
        """The first event says that the stream stands."""
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
