"""Followers of the log's stream. Each has a connection of its own, since its wait blocks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError

from events.commit import Commit
from events.ids import Position
from events.known_commits import KnownCommits
from events.redis.address import Address
from events.redis.client import ANSWER_SECONDS, ERRORS, ask, connect, disconnect, eval_again, evalsha
from events.redis.entries import check_folded, commits_known
from events.redis.errors import unavailable
from events.redis.scripts import READ

FOLLOWED_PAGE = 500
BLOCK_MS = 1_000


class Followers:
    """The followers of one broker; they end when it is closed."""

    def __init__(self, address: Address, known: KnownCommits) -> None:
        self._address = address
        self._known = known
        keys = address.keys
        self._keys = (keys.log, keys.texts, keys.meta)
        self._connections: set[AbstractConnection] = set()
        self._is_closed = False

    async def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Follow the commits after `after`; see `EventLog.follow`.

        Raises:
            LogUnavailableError: the engine can't be reached, or does not answer.
            LogRolledBackError: there is no log any more.
            UnusableLogError: a commit can't be read.
        """
        if self._is_closed:
            return
        connection = None
        try:
            try:
                connection = await connect(self._address)
                self._connections.add(connection)
                while not self._is_closed:
                    for commit in await self._next(connection, after):
                        yield commit
                        after = commit.position
            except ERRORS as error:
                if self._is_closed:
                    return
                raise unavailable(error) from error
        finally:
            if connection is not None:
                self._connections.discard(connection)
                await disconnect(connection)

    async def _next(self, connection: AbstractConnection, after: Position) -> list[Commit]:
        """Return the next commits; none if there are none for a while."""
        read = evalsha(READ, self._keys, after, FOLLOWED_PAGE)
        wait = (b"XREAD", b"COUNT", 1, b"BLOCK", BLOCK_MS, b"STREAMS", self._keys[0], f"{after}-0")
        # Both at once: the engine reads when the wait is over, without another round trip.
        await ask(connection, [wait, read])
        async with asyncio.timeout(BLOCK_MS / 1_000 + ANSWER_SECONDS):
            await connection.read_response()
            try:
                found = await connection.read_response()
            except NoScriptError:
                await ask(connection, [eval_again(READ, read)])
                found = await connection.read_response()
        _, _, entries, texts = check_folded(found)
        return commits_known(self._known, entries, texts)

    async def close(self) -> None:
        """End the followers."""
        self._is_closed = True
        for connection in tuple(self._connections):
            await disconnect(connection)
