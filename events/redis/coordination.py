"""What the brokers of a log in Redis have in common: a channel, the engine's clock and the epoch."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

from redis.asyncio.connection import AbstractConnection

from events.coordination import NOTE_BYTES_MAX
from events.log import LogUnavailableError
from events.redis.address import Address
from events.redis.client import ANSWER_SECONDS, ERRORS, Client, ask, connect, disconnect
from events.redis.errors import unavailable
from events.redis.scripts import RENEW_EPOCH

SILENT_SECONDS = 5.0
"""After so long without a note, a subscriber asks if the engine is there."""


def new_epoch() -> str:
    """Return a fresh epoch."""
    return secrets.token_hex(8)


class RedisCoordination:
    """See `events.coordination.Coordination`. Notes are at-most-once: Redis keeps none."""

    def __init__(self, address: Address, client: Client) -> None:
        self._address = address
        self._client = client
        self._channel = address.keys.channel
        self._connections: set[AbstractConnection] = set()
        self._beginning: set[asyncio.Future[None]] = set()
        self._is_closed = False

    async def publish(self, note: bytes) -> None:
        """Send `note` to all subscribers; see `Coordination.publish`."""
        assert len(note) <= NOTE_BYTES_MAX
        if self._beginning:
            await asyncio.wait(set(self._beginning))  # subscribers of this broker hear what it says from now on
        await self._client.call(b"PUBLISH", self._channel, note)

    async def subscribe(self) -> AsyncIterator[bytes]:
        """Yield the notes of all brokers; see `Coordination.subscribe`."""
        if self._is_closed:
            return
        connection, begun = None, asyncio.get_running_loop().create_future()
        self._beginning.add(begun)
        try:
            try:
                connection = await connect(self._address)
                self._connections.add(connection)
                await ask(connection, [(b"SUBSCRIBE", self._channel)])
                async with asyncio.timeout(ANSWER_SECONDS):
                    await connection.read_response()
                self._begin(begun)
                while True:
                    yield await _next_note(connection)
            except ERRORS as error:
                if self._is_closed:
                    return
                raise unavailable(error) from error
        finally:
            self._begin(begun)
            if connection is not None:
                self._connections.discard(connection)
                await disconnect(connection)

    def _begin(self, begun: asyncio.Future[None]) -> None:
        self._beginning.discard(begun)
        if not begun.done():
            begun.set_result(None)

    async def time_ms(self) -> int:
        """Return the engine's Unix time."""
        seconds, microseconds = await self._client.call(b"TIME")
        return int(seconds) * 1_000 + int(microseconds) // 1_000

    async def renew_epoch(self, was: str) -> None:
        """Give the log a new epoch; see `Coordination.renew_epoch`."""
        await self._client.run(RENEW_EPOCH, (self._address.keys.meta,), was, new_epoch())

    async def close(self) -> None:
        """End the subscribers."""
        self._is_closed = True
        for connection in tuple(self._connections):
            await disconnect(connection)


async def _next_note(connection: AbstractConnection) -> bytes:
    """Return the next note, and see to it that a silent engine is noticed."""
    while True:
        answer = await connection.read_response(timeout=SILENT_SECONDS)
        if answer is None:
            await ask(connection, [(b"PING",)])
            answer = await connection.read_response(timeout=ANSWER_SECONDS)
        if answer is None:
            raise LogUnavailableError("Redis does not answer in time")
        if answer[0] == b"message":
            note: bytes = answer[2]
            return note
