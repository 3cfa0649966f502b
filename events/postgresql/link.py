"""One connection to the server: opened when needed, opened again after a loss, one operation at a time.

An operation runs in a task of its own, and a caller that is cancelled does not cancel it: that would leave the
connection in the middle of an answer. One that takes too long is abandoned together with its connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

from events.log import LogUnavailableError
from events.postgresql.address import Address
from events.postgresql.errors import SLOW, refused_connection, translated

T = TypeVar("T")

Connection = Any
"""An `asyncpg.Connection`; the library has no types."""

CONNECT_SECONDS = 4.0
CALL_SECONDS = 5.0
"""The longest operation as the client counts it. The server gives up a statement before that."""

CLOSE_SECONDS = 2.0

ABANDON_SECONDS = 0.5
"""The time for an operation to fail once its connection is ended. The client library may not notice that."""

NO_LIMIT: Mapping[str, str] = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}
"""For long work that nothing else waits for."""

SOON: Mapping[str, str] = {"synchronous_commit": "off"}
"""For what may be lost: it need not wait for the disk."""

_SESSION: Mapping[str, str] = {
    "application_name": "chat-broker",
    "client_min_messages": "warning",
    # A statement sees what the one before it waited for.
    "default_transaction_isolation": "read committed",
    "jit": "off",
    "statement_timeout": "4000",
    "idle_in_transaction_session_timeout": "5000",
    "idle_session_timeout": "0",
    "lock_timeout": "0",
    # The server notices a dead client, whose locks it holds, in some 10 s.
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


class Link:
    """A connection with `settings`; `on_open` prepares each new one."""

    def __init__(
        self,
        address: Address,
        settings: Mapping[str, str] | None = None,
        on_open: Callable[[Connection], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self.address = address
        self._settings = {**_SESSION, **(settings or {})}
        self._on_open = [on_open] if on_open is not None else []
        self._connection: Connection = None
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._is_closed = False
        self._current: asyncio.Task[Any] | None = None
        self._is_late = False

    @property
    def is_open(self) -> bool:
        """True if there is a connection, as far as is known."""
        return self._connection is not None and not self._connection.is_closed()

    @property
    def server_pid(self) -> int:
        """The id of the server's process for this connection; 0 if there is none."""
        pid: int = self._connection.get_server_pid() if self.is_open else 0
        return pid

    async def run(self, work: Callable[[Connection], Coroutine[Any, Any, T]], *, is_limited: bool = True) -> T:
        """Return the result of `work` for the connection. Calls are carried out in order, also cancelled ones.

        Raises:
            LogUnavailableError: the server did not answer, if it `is_limited` within `CALL_SECONDS`; it may have done
                the work.
            UnusableLogError: an operator has to change something.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()  # cheaper than `asyncio.shield`
        task = loop.create_task(self._answer(answer, work, is_limited=is_limited))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await answer

    async def prepare(self, on_open: Callable[[Connection], Coroutine[Any, Any, None]]) -> None:
        """Prepare this connection with `on_open`, and each later one; see `run`."""
        await self.run(on_open)
        self._on_open.append(on_open)

    async def open(self) -> None:
        """Return once there is a connection, as far as is known; see `run`."""
        if not self.is_open:
            await self.execute("SELECT 1")

    async def rows(self, sql: str, *values: object) -> Sequence[Any]:
        """Return the rows of a statement; see `run`."""
        rows: Sequence[Any] = await self.run(lambda connection: connection.fetch(sql, *values))
        return rows

    async def row(self, sql: str, *values: object) -> Any:
        """Return the first row of a statement, `None` if there is none; see `run`."""
        return await self.run(lambda connection: connection.fetchrow(sql, *values))

    async def execute(self, sql: str, *values: object) -> int:
        """Run a statement, and return the number of rows that it changed; see `run`."""
        status: str = await self.run(lambda connection: connection.execute(sql, *values))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def close(self) -> None:
        """Finish the operation under way, refuse those that wait, and close the connection.

        An operation that takes longer than `CLOSE_SECONDS` is given up.
        """
        self._is_closed = True
        deadline = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._give_up)
        async with self._lock:
            deadline.cancel()
            if self._connection is not None:
                with suppress(Exception):
                    await self._connection.close(timeout=CLOSE_SECONDS)
                self._connection.terminate()

    def _give_up(self) -> None:
        """End the operation under way: with its connection, and by itself if it does not notice that."""
        self._is_late = True
        if self._connection is not None:
            self._connection.terminate()
        if self._current is not None:
            asyncio.get_running_loop().call_later(ABANDON_SECONDS, self._current.cancel)

    async def _answer(
        self, answer: asyncio.Future[T], work: Callable[[Connection], Coroutine[Any, Any, T]], *, is_limited: bool
    ) -> None:
        try:
            result = await self._run(work, is_limited=is_limited)
        except Exception as error:  # noqa: BLE001 - all of it is the caller's, if that has not gone
            if not answer.done():
                answer.set_exception(translated(error, self.address))
        else:
            if not answer.done():
                answer.set_result(result)

    async def _run(self, work: Callable[[Connection], Coroutine[Any, Any, T]], *, is_limited: bool) -> T:
        async with self._lock:
            if self._is_closed:
                raise LogUnavailableError("the log is closed")
            self._current, self._is_late = asyncio.current_task(), False
            watchdog: asyncio.TimerHandle | None = None
            try:
                if not self.is_open:
                    self._connection = await self._opened()
                if is_limited:
                    watchdog = asyncio.get_running_loop().call_later(CALL_SECONDS, self._give_up)
                return await work(self._connection)
            except BaseException as error:
                if self._is_late:
                    raise LogUnavailableError(SLOW) from error
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    self._connection.terminate()  # it is a standby by now; the next connection looks for the primary
                raise
            finally:
                self._current = None
                if watchdog is not None:
                    watchdog.cancel()

    async def _opened(self) -> Connection:
        try:
            connection = await asyncpg.connect(
                self.address.dsn, server_settings=self._settings, timeout=CONNECT_SECONDS
            )
        except (ValueError, IndexError, asyncpg.InterfaceError, ssl.SSLError) as error:
            raise refused_connection(error, self.address) from error
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                for prepare in self._on_open:
                    await prepare(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection
