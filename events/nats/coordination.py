"""The common ground of a log's brokers in NATS: a subject for notes, the server's clock and the epoch."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import datetime

from nats.aio.client import Client as Nats
from nats.errors import ConnectionClosedError
from nats.js import JetStreamContext

from events.coordination import NOTE_BYTES_MAX
from events.log import LogUnavailableError
from events.nats import meta
from events.nats.address import Address
from events.nats.client import ANSWER_SECONDS, Client, Connection, alone, connect, failed
from events.nats.errors import ERRORS, unavailable


def new_epoch() -> str:
    """Return a fresh epoch."""
    return secrets.token_hex(8)


class NatsCoordination:
    """See `events.coordination.Coordination`. Notes are at-most-once: no stream keeps them."""

    def __init__(self, address: Address, client: Client) -> None:
        self._address = address
        self._client = client
        self._connections: set[Connection] = set()
        self._beginning: set[asyncio.Future[None]] = set()
        self._is_closed = False

    async def publish(self, note: bytes) -> None:
        """Send `note` to all subscribers; see `Coordination.publish`."""
        assert len(note) <= NOTE_BYTES_MAX
        if self._beginning:
            await asyncio.wait(set(self._beginning))  # subscribers of this broker hear it from now on
        connection = await self._client.connection()
        try:
            await connection.nats.publish(self._address.layout.roster_subject, note)
        except ERRORS as error:
            raise unavailable(error) from error

    async def subscribe(self) -> AsyncIterator[bytes]:
        """Yield the notes of all brokers; see `Coordination.subscribe`. A connection of its own ends with it."""
        if self._is_closed:
            return
        connection, watching, begun = None, None, asyncio.get_running_loop().create_future()
        self._beginning.add(begun)
        try:
            try:
                connection = await connect(self._address)
                self._connections.add(connection)
                subscription = await connection.nats.subscribe(self._address.layout.roster_subject)
                await alone(connection.nats.flush(timeout=int(ANSWER_SECONDS)))  # the server has the subscription now
                self._begin(begun)
                watching = asyncio.ensure_future(connection.watch(self._address))
                async for message in subscription.messages:
                    yield message.data
                raise ConnectionClosedError
            except ERRORS as error:
                if self._is_closed:
                    return
                raise failed(connection, error, self._address) from error
        finally:
            self._begin(begun)
            if watching is not None:
                watching.cancel()
            if connection is not None:
                self._connections.discard(connection)
                await connection.close()

    def _begin(self, begun: asyncio.Future[None]) -> None:
        self._beginning.discard(begun)
        if not begun.done():
            begun.set_result(None)

    async def time_ms(self) -> int:
        """Return the Unix time of the leader of the bucket `META`: every stream's state has it."""

        async def ask(js: JetStreamContext) -> int:
            answer = await js._api_request(f"$JS.API.STREAM.INFO.KV_{self._address.layout.meta_bucket}")  # noqa: SLF001  # the public call drops the time
            return int(datetime.fromisoformat(answer["ts"]).timestamp() * 1_000)

        try:
            return await self._client.run(ask)
        except (KeyError, ValueError) as error:
            raise LogUnavailableError("NATS does not say its time") from error

    async def renew_epoch(self, was: str) -> None:
        """Give the log a new epoch; see `Coordination.renew_epoch`."""

        async def renew(nats: Nats) -> None:
            new = new_epoch().encode()  # unless another broker was first
            await meta.change(nats, self._address.layout, meta.EPOCH, lambda old: new if old == was.encode() else None)

        await self._client.ask(renew)

    async def close(self) -> None:
        """End the subscribers."""
        self._is_closed = True
        for connection in tuple(self._connections):
            await connection.close()
