"""One connection to the engine, and the commands that go over it in order.

A caller may be cancelled; its command is not. A task of the client sends commands and reads their answers, so that no
answer is left unread for a later command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError

from events.log import LogUnavailableError
from events.redis.address import CONNECT_SECONDS, Address
from events.redis.errors import unavailable
from events.redis.scripts import Script

ANSWER_SECONDS = 5.0
"""The longest wait for the answers to what was sent together."""

CLOSE_SECONDS = 1.0
"""The longest wait for what is under way when a log is closed."""

Argument = bytes | str | int
Command = Sequence[Argument]

ERRORS = (RedisError, OSError, EOFError, TimeoutError)
"""Errors of a connection, and answers that are errors."""


def evalsha(script: Script, keys: Sequence[str], *arguments: Argument) -> Command:
    """Return the command for a script that the engine has cached."""
    return (b"EVALSHA", script.sha1, len(keys), *keys, *arguments)


def eval_again(script: Script, command: Command) -> Command:
    """Return the command for a script that the engine has forgotten; `command` is the one of `evalsha`."""
    return (b"EVAL", script.text, *command[2:])


async def connect(address: Address) -> AbstractConnection:
    """Return a new connection, authenticated.

    Raises:
        RedisError, OSError, TimeoutError: there is none.
    """
    connection = address.connection()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]
    except BaseException:
        await disconnect(connection)
        raise
    return connection


async def disconnect(connection: AbstractConnection) -> None:
    """Close `connection`; return once it is closed, or soon."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.disconnect()
    except ERRORS:
        await connection.disconnect(nowait=True)


async def connect_again(address: Address, connection: AbstractConnection | None) -> AbstractConnection:
    """Return `connection` if it can be used, else a new one; raises as `connect`."""
    if connection is not None and connection.is_connected:
        if not await connection.can_read():  # closed by the engine meanwhile, or with an answer too many
            return connection
        await disconnect(connection)
    return await connect(address)


async def ask(connection: AbstractConnection, commands: Sequence[Command]) -> None:
    """Send `commands` at once; their answers come in order."""
    await connection.send_packed_command(b"".join(map(pack, commands)), check_health=False)


def pack(command: Command) -> bytes:
    """Return the bytes of a command."""
    packed: bytes = pack_command(tuple(command))  # type: ignore[arg-type]  # it says a tuple of one
    return packed


class Client:
    """Commands over one connection, one after the other, in the order of the calls.

    Commands that come during a round trip go together with the next one. A connection that broke is made anew by the
    next command.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._waiting: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._working: asyncio.Task[None] | None = None
        self._connection: AbstractConnection | None = None
        self._is_closed = False

    async def call(self, *command: Argument) -> Any:
        """Return the engine's answer to `command`.

        Raises:
            LogUnavailableError: it is an error, or there was none; then the command may have been carried out.
        """
        return (await self.call_all([command]))[0]

    async def call_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to `commands`, which are sent together. Raises as `call`, for the first that failed."""
        try:
            return await asyncio.gather(*[self._put(command) for command in commands])
        except ResponseError as error:
            raise unavailable(error) from error

    async def run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        """Return the answer of a script.

        Raises:
            LogUnavailableError: it was not run, or there was no answer.
        """
        command = evalsha(script, keys, *arguments)
        try:
            try:
                return await self._put(command)
            except NoScriptError:
                return await self._put(eval_again(script, command))
        except ResponseError as error:
            raise unavailable(error) from error

    def _put(self, command: Command) -> asyncio.Future[Any]:
        """Put `command` in line; it is sent though nobody waits for the answer."""
        answer = asyncio.get_running_loop().create_future()
        if self._is_closed:
            answer.set_exception(LogUnavailableError("the log is closed"))
            return answer
        self._waiting.append((pack(command), answer))
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())
        return answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                try:
                    await self._ask(asked)
                except ERRORS as error:
                    _fail(asked, unavailable(error))
                    await self._disconnect()
                except BaseException:
                    _fail(asked, LogUnavailableError("the log is closed"))
                    raise
        finally:
            self._working = None

    async def _ask(self, asked: Sequence[tuple[bytes, asyncio.Future[Any]]]) -> None:
        connection = self._connection = await connect_again(self._address, self._connection)
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.send_packed_command(b"".join([packed for packed, _ in asked]), check_health=False)
            for _, answer in asked:
                try:
                    found = await connection.read_response()
                except ResponseError as error:
                    if not answer.done():
                        answer.set_exception(error)
                else:
                    if not answer.done():
                        answer.set_result(found)

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await disconnect(self._connection)
            self._connection = None

    async def close(self) -> None:
        """Finish the commands that were put in line, if the engine answers soon, and disconnect."""
        self._is_closed = True
        if self._working is not None:
            await finish({self._working})
        await self._disconnect()


async def finish(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait for `tasks`, and cancel those that take longer than `CLOSE_SECONDS`."""
    _, late = await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)


def _fail(asked: Sequence[tuple[bytes, asyncio.Future[Any]]], error: Exception) -> None:
    for _, answer in asked:
        if not answer.done():
            answer.set_exception(error)
