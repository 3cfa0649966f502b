"""Sessions are opened a few at a time, since each costs the SDK milliseconds of work; the others stand in line.

Were a thousand begun at once (everyone comes back after a restart, say), none would be open for seconds, nobody else
would be answered meanwhile, and an end that comes then could wait for none of them. Of those in line nothing has
begun: when the broker ends they are sent away at once.
"""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Send

SESSIONS_OPENED_AT_ONCE = 16


class EndingError(Exception):
    """The broker is about to end, and opens no more sessions."""


class Openings:
    """Whose turn it is."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(SESSIONS_OPENED_AT_ONCE)
        self._in_line = 0
        self._ended = False

    async def turn(self) -> None:
        """Return when there is a turn, in the order in which they came; it lasts until it is `given_back`.

        Raises:
            EndingError: there will be none.
        """
        if not self._ended:
            self._in_line += 1
            try:
                await self._turns.acquire()
            finally:
                self._in_line -= 1
        if self._ended:
            raise EndingError

    def given_back(self) -> None:
        """A turn is over."""
        self._turns.release()

    def end(self) -> None:
        """Whoever has a turn keeps it; nobody has one after them."""
        self._ended = True
        for _ in range(self._in_line):
            self._turns.release()


class Opening:
    """A request that opens a session: it has a turn from the last byte of it to the first of its answer.

    So no turn lasts longer because a client is slow to ask, or to read what stood before the answer.
    """

    def __init__(self, openings: Openings, receive: Receive, send: Send) -> None:
        self._openings = openings
        self._receive = receive
        self._send = send
        self._has_turn = False

    async def receive(self) -> Message:
        """The server's `receive`.

        Raises:
            EndingError: see `Openings.turn`.
        """
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            await self._openings.turn()
            self._has_turn = True
        return message

    async def send(self, message: Message) -> None:
        """The server's `send`."""
        self.over()
        await self._send(message)

    def over(self) -> None:
        """Nothing of it is left to be done."""
        if self._has_turn:
            self._has_turn = False
            self._openings.given_back()
