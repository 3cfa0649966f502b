"""The line in which the brokers of a log wait for their turn to write: an advisory lock, first come, first served.

A turn is held by a connection of its own. So the server ends it at once if the holder's process dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from events.ids import Position
from events.log import MISSED_COMMITS_MAX, TURN_MS, LogUnavailableError, UnusableLogError
from events.postgresql.address import Address
from events.postgresql.link import Link

_SETTINGS = {
    "lock_timeout": f"{TURN_MS}",
    # A process that is paused in the middle of its turn loses it. A broker alone needs no such connection for long.
    "idle_session_timeout": "5000",
}


class Turn:
    """A turn that came; `lines` are the next commits."""

    def __init__(self, line: TurnLine, link: Link, lines: Sequence[str]) -> None:
        self.lines = lines
        self._line, self._link = line, link
        self._timer = asyncio.get_running_loop().call_later(TURN_MS / 1_000, self.end)
        self._is_over = False

    def end(self) -> None:
        """Pass the turn on; again does no harm."""
        if not self._is_over:
            self._is_over = True
            self._timer.cancel()
            self._line.pass_on(self, self._link)


class TurnLine:
    """The connections of one broker for its turns; one is enough, as long as it asks for one turn at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._links: set[Link] = set()
        self._idle: list[Link] = []
        self._held: set[Turn] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False
        self._turn_sql = f'SELECT lines FROM "{address.schema}".turn($1, $2) AS lines'  # noqa: S608
        self._unlock_sql = "SELECT pg_advisory_unlock_all()"

    async def prepare(self) -> None:
        """Open a connection, so that the first turn does not have to wait for one.

        Raises:
            LogUnavailableError: the server does not answer.
        """
        link = self._new_link()
        await link.open()
        self._idle.append(link)

    async def take(self, after: Position) -> Turn | None:
        """Wait for a turn; `None` if it does not come in time. Never raise but for a cancellation."""
        if self._is_closed:
            return None
        taking = asyncio.get_running_loop().create_task(self._take(after))
        self._tasks.add(taking)
        taking.add_done_callback(self._tasks.discard)
        try:
            done, _ = await asyncio.wait({taking}, timeout=2 * TURN_MS / 1_000)
        except asyncio.CancelledError:
            taking.add_done_callback(_end_at_once)
            raise
        if not done:
            taking.add_done_callback(_end_at_once)
            return None
        return taking.result()

    @property
    def has_one(self) -> bool:
        """Return whether this broker has a turn."""
        return bool(self._held)

    def end_all(self) -> None:
        """Pass the turns on that this broker has."""
        for turn in tuple(self._held):
            turn.end()

    def pass_on(self, turn: Turn, link: Link) -> None:
        """Give the turn of `link` back to the line; nothing waits for that."""
        self._held.discard(turn)
        task = asyncio.get_running_loop().create_task(self._unlock(link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End the turns, and release the connections."""
        self._is_closed = True
        self.end_all()
        await asyncio.gather(*(link.close() for link in self._links))
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _new_link(self) -> Link:
        link = Link(self._address, _SETTINGS)
        self._links.add(link)
        return link

    async def _take(self, after: Position) -> Turn | None:
        link = self._idle.pop() if self._idle else self._new_link()
        try:
            (lines,) = await link.row(self._turn_sql, after, MISSED_COMMITS_MAX)
        except (LogUnavailableError, UnusableLogError):
            # A lock that came at the moment of the time-out is the session's nevertheless.
            await self._unlock(link)
            return None
        turn = Turn(self, link, lines)
        self._held.add(turn)
        return turn

    async def _unlock(self, link: Link) -> None:
        try:
            await link.execute(self._unlock_sql)
        except (LogUnavailableError, UnusableLogError):
            await self._drop(link)  # which gives the turn back as well
        else:
            if self._idle:
                await self._drop(link)
            else:
                self._idle.append(link)

    async def _drop(self, link: Link) -> None:
        self._links.discard(link)
        await link.close()


def _end_at_once(taking: asyncio.Task[Turn | None]) -> None:
    """Pass on a turn that came too late."""
    if not taking.cancelled() and (turn := taking.result()) is not None:
        turn.end()
