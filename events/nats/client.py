"""One connection to the servers, made anew by the next call when it broke.

The library's own reconnecting is off: it would hide missed messages. Subscriptions end with their connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from nats.aio.client import Client as Nats
from nats.errors import ConnectionClosedError, SecureConnWantedError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from events.log import LogUnavailableError
from events.nats.address import Address
from events.nats.credentials import Credentials, read_credentials
from events.nats.errors import ERRORS, INBOX, at_start, is_cut_off, rights_of, unavailable

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 4.0
"""The longest wait for an answer; shorter than a broker's for a probe of its log, so that readiness has the reason."""

CLOSE_SECONDS = 1.0
"""The longest wait for an orderly end when a log is closed."""

REACH_SECONDS = 2.0
"""The longest wait for a sign that a server of several reaches the log."""

WATCH_SECONDS = 5.0
"""The time between two looks if a server of several still reaches the log."""

PING_SECONDS = 5
"""After so long, each connection asks if its server is there."""

T = TypeVar("T")


class Connection:
    """A connection and its end."""

    def __init__(self) -> None:
        self.nats = Nats()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is closed, by either side."""
        self._is_connecting = True
        self.refusal: str | None = None
        """The last thing that the server did not permit. It does not say to which call that belongs."""
        self.refusals = 0
        """The number of such things."""
        self._ending: asyncio.Future[None] | None = None

    async def connect(self, address: Address, server: str) -> None:
        """Connect to `server`. Raises `ERRORS`."""

        def password() -> str:
            self._check_tls(address)  # before it is sent
            return address.password or address.token or ""

        def credentials() -> Credentials:
            assert address.credentials is not None
            self._check_tls(address)
            try:
                return read_credentials(address.credentials)
            except (OSError, ValueError):
                raise LogUnavailableError("the file of creds= can't be read now; put it back") from None

        has_file = address.credentials is not None
        await self.nats.connect(
            [server],
            allow_reconnect=False,
            connect_timeout=int(CONNECT_SECONDS),
            ping_interval=PING_SECONDS,
            max_outstanding_pings=1,
            name=f"chat-broker {address.name}",
            inbox_prefix=f"{INBOX}{address.name}",
            error_cb=self._on_error,
            closed_cb=self._on_closed,
            user=address.user,
            password=password if address.user is not None else None,
            token=password if address.token is not None else None,
            user_jwt_cb=(lambda: credentials().jwt) if has_file else None,
            signature_cb=(lambda challenge: credentials().signature(challenge)) if has_file else None,
            tls=address.tls,
        )
        self._check_tls(address)
        if not self.nats.is_connected:  # the server said something else before its greeting; the library goes on
            raise ConnectionClosedError
        self._is_connecting = False
        reading = self.nats._reading_task  # noqa: SLF001  # a server's end at a bad moment ends it without `closed_cb`
        assert reading is not None
        reading.add_done_callback(self._on_read_to_the_end)

    @property
    def is_closed(self) -> bool:
        """True once no call can be made. The library may wait long for a dead server before it says `closed`."""
        return self.closed.done() or self.nats.is_closed

    async def reaches_log(self, address: Address) -> bool:
        """Return whether the server reaches the log, or the place for one; cut off from its cluster, it does not."""
        try:
            async with asyncio.timeout(REACH_SECONDS):
                js = self.nats.jetstream(timeout=REACH_SECONDS)
                info = await alone(js.stream_info(address.layout.log_stream), until=self.closed)
        except NotFoundError:
            return True
        except ERRORS:
            return False
        return info.cluster is None or info.cluster.leader is not None

    async def watch(self, address: Address) -> None:
        """Close this connection once its server does not reach the log any more. A single server is not watched."""
        while len(address.servers) > 1:
            await asyncio.sleep(WATCH_SECONDS)
            if not await self.reaches_log(address):
                await self.close()
                return

    async def _on_error(self, error: Exception) -> None:
        """Raise the first connection's error; the library would try for ever.

        Calls raise later errors themselves; the library would print their tracebacks.
        """
        if self._is_connecting:
            raise error
        text = str(error).lower()  # the library has put the subject in lower case, in which it is another one
        if "permissions violation" not in text:
            return
        may_not_publish = "violation for publish" in text
        self.refusal = f"a right to {'publish' if may_not_publish else 'subscribe'} is missing"
        self.refusals += 1
        if not may_not_publish:
            # The server has dropped a subscription, and does not take it back with the right.
            self._ending = asyncio.ensure_future(self.close())

    def _check_tls(self, address: Address) -> None:
        info = self.nats._server_info  # noqa: SLF001  # nothing public says if the server asked for TLS
        if address.tls is not None and not info.get("tls_required"):
            raise SecureConnWantedError

    async def _on_closed(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _on_read_to_the_end(self, reading: asyncio.Task[None]) -> None:
        retrieve(reading)
        if not self.closed.done():
            self.closed.set_result(None)

    async def close(self) -> None:
        """Disconnect; return once it is closed, or soon."""
        self._is_connecting = False
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await alone(self.nats.close())
        except ERRORS:
            pass
        self._abort()
        await self._on_closed()

    def _abort(self) -> None:
        """Finish what the library began. With bytes left for a dead server, it waits long, or gives up halfway."""
        for subscription in tuple(self.nats._subs.values()):  # noqa: SLF001  # nothing public does it
            subscription._stop_processing()  # noqa: SLF001
        writer = getattr(self.nats._transport, "_io_writer", None)  # noqa: SLF001
        if writer is not None:
            writer.transport.abort()


async def connect(address: Address) -> Connection:
    """Return a new connection to the first server with room for one, and with a way to the log if there are several.

    If no server reaches the log, return a connection nevertheless: the next call says why.

    Raises:
        ERRORS: no server has room; the error is the last one's.
    """
    last: BaseException = ConnectionClosedError()
    found: list[Connection] = []
    try:
        for server in address.servers:
            try:
                found.append(await _connected_to(address, server))
            except ERRORS as error:
                last = error
                continue
            if len(address.servers) == 1 or await found[-1].reaches_log(address):
                return found.pop()
        if not found:
            raise last
        return found.pop(0)
    finally:
        del last  # an error holds its frames, and this frame would hold the error
        for connection in found:
            await connection.close()


async def _connected_to(address: Address, server: str) -> Connection:
    connection = Connection()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await alone(connection.connect(address, server))
    except BaseException:
        await connection.close()
        raise
    return connection


class Client:
    """Calls over one connection, several at a time."""

    def __init__(self, address: Address, on_open: Callable[[Nats], Awaitable[None]] | None = None) -> None:
        """`on_open` is called with each new connection, before it is used."""
        self._address = address
        self._on_open = on_open
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._is_closed = False

    async def open(self) -> Connection:
        """Return the first connection.

        Raises:
            UnusableLogError: the server refuses it for a lasting reason.
            LogUnavailableError: there is none now.
        """
        try:
            return await self._connected()
        except ERRORS as error:
            raise at_start(error) from error

    async def connection(self) -> Connection:
        """Return the connection, a new one if it broke.

        Raises:
            LogUnavailableError: there is none.
        """
        try:
            return await self._connected()
        except ERRORS as error:
            raise unavailable(error) from error

    async def run(self, call: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        """Return the result of `call`, with the library's requests to JetStream; see `ask`."""
        return await self.ask(lambda nats: call(nats.jetstream(timeout=ANSWER_SECONDS)))

    async def ask(self, call: Callable[[Nats], Awaitable[T]]) -> T:
        """Return the result of `call`. It catches the errors that it expects, such as a missing key.

        Raises:
            LogUnavailableError: it raised another error, or took too long, or the connection broke meanwhile. The
                server may have carried it out.
        """
        connection = await self.connection()
        refusals = connection.refusals if not connection.is_closed else 0
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await alone(call(connection.nats), until=connection.closed)
        except ERRORS as error:
            if len(self._address.servers) > 1 and is_cut_off(error):
                await connection.close()  # the next call looks for another server
            is_refused = connection.refusals != refusals
            raise failed(connection if is_refused else None, error, self._address) from error

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._is_closed:
                raise LogUnavailableError("the log is closed")
            if self._connection is None or self._connection.is_closed:
                if self._connection is not None:
                    await self._connection.close()
                connection = await connect(self._address)
                if self._on_open is not None:
                    await self._on_open(connection.nats)
                self._connection = connection
            return self._connection

    async def close(self) -> None:
        """Disconnect."""
        self._is_closed = True
        if self._connection is not None:
            await self._connection.close()


def failed(connection: Connection | None, error: BaseException, address: Address) -> LogUnavailableError:
    """Return the error for a failed call; with a broker's rights, if `connection` misses one of them."""
    if connection is None or connection.refusal is None:
        return unavailable(error)
    return LogUnavailableError(f"NATS refuses: {connection.refusal}; {rights_of(address.name)}")


async def alone(work: Awaitable[T], *, until: asyncio.Future[None] | None = None) -> T:
    """Return the result of `work` in a task of its own: parts of the library swallow the cancellation of their caller.

    Raises:
        ConnectionClosedError: `until` was done before.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(retrieve)
    ends: set[asyncio.Future[Any]] = {task} if until is None else {task, until}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ConnectionClosedError
        return task.result()
    finally:
        task.cancel()


def retrieve(task: asyncio.Future[Any]) -> None:
    """Take note of a result without a caller, or asyncio prints its error with a traceback."""
    if not task.cancelled():
        task.exception()
