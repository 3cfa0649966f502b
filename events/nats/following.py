"""Followers of the log's stream. Each has a connection of its own, and a consumer. The server forgets it by itself.

The server sends new messages. Older ones are read in pages, and so are those before a gap: lost on the way, erased or
trimmed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError

from events.commit import Commit
from events.ids import Position
from events.known_commits import KnownCommits
from events.log import LogRolledBackError
from events.nats.address import Address
from events.nats.client import Connection, alone, connect, failed
from events.nats.entries import Entry, commits_known, entry_of, last_position, read_page
from events.nats.errors import ERRORS, LogGoneError
from events.nats.layout import Layout
from events.nats.requests import api

FOLLOWED_PAGE = 500
HEARTBEAT_SECONDS = 1.0
"""After so long without a commit, a server says so."""

SILENT_SECONDS = 5.0
"""After so long without a word, a follower gives up."""

FORGOTTEN_SECONDS = 10.0
"""After so long without its connection, a server forgets a consumer."""


class Followers:
    """The followers of one broker; they end when it is closed."""

    def __init__(self, address: Address, known: KnownCommits) -> None:
        self._address = address
        self._known = known
        self._connections: set[Connection] = set()
        self._is_closed = False

    async def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Follow the commits after `after`; see `EventLog.follow`.

        Raises:
            LogUnavailableError: the server can't be reached, or does not answer.
            LogRolledBackError: there is no log any more, or it ends before `after`.
            UnusableLogError: a commit is missing, or can't be read.
        """
        if self._is_closed:
            return
        connection = None
        try:
            try:
                connection = await connect(self._address)
                self._connections.add(connection)
                hearing = _Hearing(connection, self._address.layout)
                await hearing.begin(after)
                while not self._is_closed:
                    entries, after = await hearing.next(after)
                    for commit in commits_known(self._known, entries):
                        yield commit
            except LogGoneError as error:
                raise LogRolledBackError(str(error)) from error
            except ERRORS as error:
                if self._is_closed:
                    return
                raise failed(connection, error, self._address) from error
        finally:
            if connection is not None:
                self._connections.discard(connection)
                await connection.close()

    async def close(self) -> None:
        """End the followers."""
        self._is_closed = True
        for connection in tuple(self._connections):
            await connection.close()


class _Hearing:
    """A consumer of the stream over one connection."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._nats: Nats = connection.nats
        self._layout = layout
        self._reached: Position = 0
        self._heard: asyncio.Queue[Msg | None] = asyncio.Queue()
        connection.closed.add_done_callback(lambda _: self._heard.put_nowait(None))

    async def begin(self, after: Position) -> None:
        """Begin to hear new messages.

        Raises:
            LogGoneError: there is no log.
            LogRolledBackError: the log ends before `after`.
        """
        async with asyncio.timeout(SILENT_SECONDS):
            await alone(self._begin(after))

    async def _begin(self, after: Position) -> None:
        self._reached = await last_position(self._nats, self._layout)
        if self._reached < after:
            raise LogRolledBackError(
                f"the log was rolled back: it ends at position {self._reached}, and had a commit at {after}"
            )
        inbox, name = self._nats.new_inbox(), f"follower-{secrets.token_hex(8)}"
        await self._nats.subscribe(inbox, cb=self._hear)
        await api(
            self._nats,
            f"CONSUMER.CREATE.{self._layout.log_stream}.{name}",
            {"stream_name": self._layout.log_stream, "config": _consumer(name, inbox, self._reached + 1)},
        )

    async def _hear(self, message: Msg) -> None:
        self._heard.put_nowait(message)

    async def next(self, after: Position) -> tuple[Sequence[Entry], Position]:
        """Return the next entries after `after`, and the position of the last one, or of the base.

        Without new ones, return none after a while. Raises as `read_page`.
        """
        if after < self._reached:
            async with asyncio.timeout(SILENT_SECONDS):
                entries, _, base = await alone(read_page(self._nats, self._layout, after, FOLLOWED_PAGE))
            return entries, max(after, base.position if base else 0, *(entry.position for entry in entries[-1:]))
        entry = await self._next_entry()
        if entry is None or entry.position != after + 1:
            return (), after
        return (entry,), entry.position

    async def _next_entry(self) -> Entry | None:
        """Return the next entry from the server; `None` after another message."""
        async with asyncio.timeout(SILENT_SECONDS):
            message = await self._heard.get()
        if message is None:
            raise ConnectionClosedError
        headers: Mapping[str, str] = message.headers or {}
        if "Status" not in headers:
            position = message.metadata.sequence.stream
            self._reached = max(self._reached, position)
            return entry_of(position, headers, message.data)
        if reply := message.reply or headers.get("Nats-Consumer-Stalled"):
            await alone(self._nats.publish(reply))  # flow control: all before is received
        self._reached = max(self._reached, int(headers.get("Nats-Last-Stream") or 0))
        return None


def _consumer(name: str, inbox: str, start: Position) -> Mapping[str, object]:
    return {
        "name": name,
        "deliver_subject": inbox,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": start,
        "ack_policy": "none",
        "max_deliver": 1,
        "flow_control": True,
        "idle_heartbeat": round(HEARTBEAT_SECONDS * 1e9),
        "inactive_threshold": round(FORGOTTEN_SECONDS * 1e9),
        "num_replicas": 1,
        "mem_storage": True,
    }
