"""The channel of a log's brokers for their notes, over one connection.

Notes are sent over the connection that listens. So a broker hears all that it says after it has begun to listen.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator

from events.coordination import NOTE_BYTES_MAX
from events.log import LogUnavailableError, UnusableLogError
from events.postgresql.address import Address
from events.postgresql.link import SOON, Connection, Link

PING_SECONDS = 4.0
"""The time between two looks at the connection: a dead server's says nothing, as an idle one's."""

QUEUED_NOTES_MAX = 10_000
"""A subscriber that is so many notes behind has lost its connection."""

_LOST = None


class PostgresqlCoordination:
    """`Coordination` over `LISTEN` and `NOTIFY`."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._link = Link(address, SOON, self._listen)
        self._subscribers: set[asyncio.Queue[bytes | None]] = set()
        self._pinging: asyncio.Task[None] | None = None
        self._is_closed = False

    async def publish(self, note: bytes) -> None:
        """See `Coordination.publish`."""
        assert len(note) <= NOTE_BYTES_MAX
        await self._link.execute(
            "SELECT pg_notify($1, $2)", self._address.note_channel, base64.b64encode(note).decode()
        )

    async def subscribe(self) -> AsyncIterator[bytes]:
        """See `Coordination.subscribe`."""
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUED_NOTES_MAX)
        self._subscribers.add(queue)
        try:
            await self.listen()
            while (note := await queue.get()) is not _LOST:
                yield note
        except (LogUnavailableError, UnusableLogError):
            if not self._is_closed:
                raise
        finally:
            self._subscribers.discard(queue)
        if not self._is_closed:
            raise LogUnavailableError("the connection for notes is broken")

    async def time_ms(self) -> int:
        """See `Coordination.time_ms`."""
        (answer,) = await self._link.row("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        return int(answer)

    async def renew_epoch(self, was: str) -> None:
        """See `Coordination.renew_epoch`."""
        sql = f'UPDATE "{self._address.schema}".meta SET epoch = $2 WHERE epoch = $1'  # noqa: S608
        await self._link.execute(sql, was, secrets.token_hex(8))

    async def listen(self) -> None:
        """Return once notes are heard.

        Raises:
            LogUnavailableError: the server does not answer.
        """
        await self._link.open()
        if self._pinging is None or self._pinging.done():
            self._pinging = asyncio.get_running_loop().create_task(self._ping())

    async def close(self) -> None:
        """End the subscribers, and release the connection."""
        self._is_closed = True
        self._lose()
        if self._pinging is not None:
            self._pinging.cancel()
        await self._link.close()

    async def _listen(self, connection: Connection) -> None:
        await connection.add_listener(self._address.note_channel, self._hear_note)
        connection.add_termination_listener(lambda _: self._lose())

    async def _ping(self) -> None:
        """Look at the connection, until it is lost."""
        while self._link.is_open:
            await asyncio.sleep(PING_SECONDS)
            try:
                await self._link.execute("SELECT 1")
            except (LogUnavailableError, UnusableLogError):
                self._lose()
                return

    def _hear_note(self, connection: Connection, pid: int, channel: str, payload: str) -> None:
        try:
            note = base64.b64decode(payload, validate=True)
        except ValueError:
            return  # another program's
        for queue in self._subscribers:
            _put(queue, note)

    def _lose(self) -> None:
        for queue in self._subscribers:
            _put(queue, _LOST)


def _put(queue: asyncio.Queue[bytes | None], note: bytes | None) -> None:
    """Put `note` into `queue`. A full one loses all, and its subscriber has to begin anew."""
    if queue.full():
        while not queue.empty():
            queue.get_nowait()
        note = _LOST
    queue.put_nowait(note)
