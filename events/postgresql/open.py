"""Opening a log in PostgreSQL: for a broker, for tools that read, and for an operator who prepares it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import structlog

from events.log import StateCodec, UnusableLogError
from events.postgresql import layout
from events.postgresql.address import Address, address_of
from events.postgresql.link import NO_LIMIT, SOON, Connection, Link
from events.postgresql.loader import PostgresqlLoader
from events.postgresql.log import PostgresqlLog
from events.postgresql.reader import PostgresqlReader
from events.postgresql.server_checks import Synchronous, check_server, wait_for_disk
from events.store_reader import StoreReader

logger = structlog.get_logger(__name__)


async def open_log(url: str, codec: StateCodec, *, synchronous: Synchronous) -> PostgresqlLog:
    """Open the log at `url` for a broker; make an empty one where there is none and the role may.

    With `full`, each append waits for the disk, whatever the defaults of the server are.

    Raises:
        UnusableLogError: it can't be used, and why, in one line without a password.
        LogUnavailableError: the server can't be reached now; it may be later.
    """
    address = address_of(url)
    writer = Link(address, on_open=wait_for_disk if synchronous == "full" else None)
    with _named(address):
        try:
            verdict = await writer.run(lambda connection: check_server(connection, synchronous))
            await writer.run(lambda connection: _make_if_missing(connection, address))
            epoch, secret = await writer.row(
                f'SELECT epoch, value FROM "{address.schema}".meta, "{address.schema}".secret'  # noqa: S608
            )
            log = PostgresqlLog(writer, codec, epoch=epoch, secret=secret, survives=verdict.survives)
        except BaseException:
            await writer.close()
            raise
        try:
            await log.open()
        except BaseException:
            await log.close()
            raise
    if verdict.is_reduced:
        logger.warning("durability_reduced", survives=verdict.survives)
    return log


async def open_reader(url: str) -> StoreReader:
    """Open the log at `url` for tools that read; it needs no right but to read.

    Raises:
        UnusableLogError: there is no log, or it can't be used.
        LogUnavailableError: the server can't be reached now.
    """
    address = address_of(url)
    link = Link(address, {**SOON, "default_transaction_read_only": "on"})
    with _named(address):
        try:
            if not await link.run(lambda connection: layout.check(connection, address)):
                raise UnusableLogError("there is no such log; check the URL and ?name=")
            reader = PostgresqlReader(link)
            await reader.look()
        except BaseException:
            await link.close()
            raise
    return reader


async def open_loading(url: str, codec: StateCodec) -> PostgresqlLoader:
    """Open the empty log at `url` to load a dump into it; make one where there is none.

    Raises:
        UnusableLogError: it is not empty, or can't be used.
        LogUnavailableError: the server can't be reached now.
    """
    address = address_of(url)
    link = Link(address, NO_LIMIT)
    with _named(address):
        try:
            await link.run(lambda connection: check_server(connection, "normal"))
            await link.run(lambda connection: _make_if_missing(connection, address))
            loader = PostgresqlLoader(link, codec)
            await loader.begin()
        except BaseException:
            await link.close()
            raise
    return loader


async def init_log(url: str, *, brokers: str | None = None, readers: str | None = None) -> None:
    """Make the log at `url`, or bring its functions and views up to date, and give the roles their rights.

    Raises:
        UnusableLogError: it can't be made, and why.
        LogUnavailableError: the server can't be reached now.
    """
    address = address_of(url)
    link = Link(address, NO_LIMIT)

    async def make(connection: Connection) -> None:
        await layout.make(connection, address)
        if statements := _grants(address, brokers, readers):
            await connection.execute(statements)

    with _named(address):
        try:
            await link.run(lambda connection: check_server(connection, "normal"))
            await link.run(make, is_limited=False)
        finally:
            await link.close()


def init_statements(url: str, *, brokers: str | None = None, readers: str | None = None) -> str:
    """Return the statements of `init_log`.

    Raises:
        UnusableLogError: the URL is malformed.
    """
    address = address_of(url)
    return f"BEGIN;\n{layout.statements(address)}\n{_grants(address, brokers, readers)}COMMIT;\n"


@contextmanager
def _named(address: Address) -> Iterator[None]:
    """Add the log to the texts of errors, for an operator: the log itself leaves it out of its own."""
    try:
        yield
    except UnusableLogError as error:
        raise UnusableLogError(f"{address.label}: {error}") from error.__cause__


def _grants(address: Address, brokers: str | None, readers: str | None) -> str:
    to_brokers = layout.grants(address, brokers, may_write=True) if brokers is not None else ""
    to_readers = layout.grants(address, readers, may_write=False) if readers is not None else ""
    return to_brokers + to_readers


async def _make_if_missing(connection: Connection, address: Address) -> None:
    if await layout.check(connection, address):
        return
    try:
        await layout.make(connection, address)
    except asyncpg.InsufficientPrivilegeError:
        raise UnusableLogError(
            "there is no such log, and the role may not make one;"
            " run `chat-broker log init URL` once as a role that may, with --brokers ROLE"
        ) from None
