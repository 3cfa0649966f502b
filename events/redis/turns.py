"""Turns to write: a list with one element at most, the number of the next turn. Redis serves the longest wait first.

A holder passes the turn on with its append, in the same script. The one that dies, or is slow, loses it to the first
that has waited for `TURN_MS`: the number moves on, and a late return of the old one counts for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError

from events.commit import Commit
from events.ids import Position
from events.known_commits import KnownCommits
from events.log import MISSED_COMMITS_MAX, TURN_MS, LogUnavailableError, UnusableLogError
from events.redis.address import Address
from events.redis.client import (
    ANSWER_SECONDS,
    ERRORS,
    Client,
    ask,
    connect,
    connect_again,
    disconnect,
    eval_again,
    evalsha,
    finish,
)
from events.redis.entries import commits_known, position_of
from events.redis.scripts import GIVE_TURN, READ, TAKE_TURN

Missed = tuple[bytes, Sequence[Any], Sequence[Any]]
"""The number of a turn, and the entries and texts that came with it."""

ANSWER_MS = 400
"""The time that is left to the engine, after a wait of `TURN_MS`, to say who has the turn."""


class Turns:
    """The turns of one broker. They have a connection of their own, since a wait blocks it."""

    def __init__(self, address: Address, client: Client, known: KnownCommits) -> None:
        """`client`: for what must not wait."""
        self._address = address
        self._client = client
        self._known = known
        keys = address.keys
        self._keys = (keys.pen, keys.turn)
        self._read_keys = (keys.log, keys.texts, keys.meta)
        self._connection: AbstractConnection | None = None
        self._line = asyncio.Lock()  # one wait at a time
        self._tasks: set[asyncio.Task[Any]] = set()
        self._held: bytes | None = None

    async def connect(self) -> None:
        """Connect, so that the first wait need not; raises as `events.redis.client.connect`."""
        self._connection = await connect(self._address)

    def pass_on(self) -> bytes:
        """Return the number of the turn that is held, for the append that passes it on; empty if none is."""
        number, self._held = self._held, None
        return number if number is not None else b""

    @asynccontextmanager
    async def turn(self, after: Position) -> AsyncIterator[Sequence[Commit]]:
        """Wait in line; see `EventLog.turn`."""
        waiting = self._in_background(self._wait(after))
        try:
            await asyncio.wait({waiting}, timeout=(TURN_MS + ANSWER_MS) / 1_000)
        finally:
            if not waiting.done():
                waiting.add_done_callback(self._give_back)
        missed = waiting.result() if waiting.done() and not waiting.cancelled() else None
        if missed is None:
            yield ()
            return
        self._held = number = missed[0]
        try:
            yield self._commits(missed, after)
        finally:
            if self._held is number:
                self._held = None
                self._give(number)

    def _commits(self, missed: Missed, after: Position) -> Sequence[Commit]:
        _, entries, texts = missed
        if not entries or position_of(entries[0]) != after + 1:
            return ()
        with suppress(UnusableLogError):
            return commits_known(self._known, entries, texts)
        return ()

    async def _wait(self, after: Position) -> Missed | None:
        """Wait for the turn, and read what came after `after`; `None` if no turn came."""
        async with self._line:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._ask(after)
            except ERRORS:
                await self._disconnect()
                return None

    async def _ask(self, after: Position) -> Missed | None:
        connection = self._connection = await connect_again(self._address, self._connection)
        read = evalsha(READ, self._read_keys, after, MISSED_COMMITS_MAX)
        # All at once: the engine reads when the wait is over, without another round trip.
        await ask(connection, [(b"GET", self._keys[1]), (b"BLPOP", self._keys[0], str(TURN_MS / 1_000)), read])
        seen = await connection.read_response()
        popped = await connection.read_response()
        try:
            found = await connection.read_response()
        except NoScriptError:
            await ask(connection, [eval_again(READ, read)])
            found = await connection.read_response()
        number = popped[1] if popped is not None else await self._client.run(TAKE_TURN, self._keys, seen or b"")
        return (number, found[2], found[3]) if number is not None and len(found) > 1 else None

    def _give_back(self, waited: asyncio.Task[Missed | None]) -> None:
        """Pass on a turn that came too late."""
        if not waited.cancelled() and waited.exception() is None and (missed := waited.result()) is not None:
            self._give(missed[0])

    def _give(self, number: bytes) -> None:
        self._in_background(self._pass(number))

    async def _pass(self, number: bytes) -> None:
        with suppress(LogUnavailableError):
            await self._client.run(GIVE_TURN, self._keys, number)

    def _in_background(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await disconnect(self._connection)
            self._connection = None

    async def close(self) -> None:
        """Pass on what is held, and disconnect; before the client is closed."""
        while self._tasks:
            await finish(set(self._tasks))
        await self._disconnect()
