"""Opening a log in NATS: its URL, the server and its streams, and the values of a new one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from nats.aio.client import Client as Nats
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from events.commit import Tip
from events.log import StateCodec, UnusableLogError
from events.nats import meta
from events.nats.address import Address, parse
from events.nats.client import ANSWER_SECONDS, CONNECT_SECONDS, Connection, alone, connect
from events.nats.coordination import new_epoch
from events.nats.entries import last_position
from events.nats.errors import ERRORS, NO_JETSTREAM, at_start, damaged, reader_rights_of, rights_of
from events.nats.layout import Layout
from events.nats.loader import NatsLoader
from events.nats.log import NatsLog, Opened
from events.nats.reader import NatsReader
from events.nats.redaction import trim
from events.nats.requests import api
from events.nats.settings import Synchronous, check_server, check_sync, survives
from events.nats.streams import delete_streams, make_streams
from events.nats.turns import prepare
from events.session_records import SECRET_BYTES

logger = structlog.get_logger(__name__)

FORMAT = b"1"

T = TypeVar("T")


async def open_log(url: str, codec: StateCodec, *, synchronous: Synchronous = "full") -> NatsLog:
    """Open the log at `url` for a broker; make an empty one where there is none.

    Raises:
        UnusableLogError: it can't be used, and why, in one line without a password.
        LogUnavailableError: the server can't be reached now; it may be later.
    """
    address = parse(url)
    opened = await at_first(address, lambda nats: _open(nats, address, synchronous))
    log = NatsLog(address, codec, opened)
    try:
        await log.begin()
    except BaseException:
        await log.close()
        raise
    if not address.is_synced:
        logger.warning("durability_reduced", survives=log.survives)
    return log


async def _open(nats: Nats, address: Address, synchronous: Synchronous) -> Opened:
    """Check the server, and make the missing parts of the log."""
    layout = address.layout
    check_server(nats)
    check_sync(is_synced=address.is_synced, synchronous=synchronous)
    if await _is_loading(nats, layout):
        raise _not_loaded(address)
    replicas = await make_streams(nats, layout, address.replicas)
    await _make_values(nats, layout)
    await check_format(nats, address)
    await prepare(nats, layout)
    await trim(nats, layout)  # the rest of an interrupted trim
    return await _opened(nats, layout, survives(replicas, is_synced=address.is_synced))


async def open_reader(url: str) -> NatsReader:
    """Open the log at `url` for reading; it needs no more than the rights that docs/operating.md gives a reader.

    Raises:
        UnusableLogError: there is none, or it can't be used; one line gives the cause and the remedy.
        LogUnavailableError: the server can't be reached now.
    """
    address = parse(url)
    rights = reader_rights_of(address.name)
    reader = NatsReader(address, await at_first(address, lambda nats: _found(nats, address), rights))
    try:
        await reader.see_recorded_after()
    except BaseException:
        await reader.close()
        raise
    return reader


async def _found(nats: Nats, address: Address) -> Tip:
    """Return the base of a log that is there, and whole."""
    check_server(nats)
    try:
        has_log = await meta.get(nats, address.layout, meta.FORMAT) is not None
    except NotFoundError:
        has_log = False
    if not has_log:
        raise UnusableLogError(f"NATS has no log {address.name!r}; a broker makes one, and ?name= names another")
    await check_format(nats, address)
    return await meta.base(nats, address.layout)


async def open_loading(url: str, codec: StateCodec) -> NatsLoader:
    """Make a log at `url`, where there is none or an empty one, that can be used once it was loaded to its end.

    A load that was not finished is thrown away.

    Raises:
        UnusableLogError: the log there is not empty, or the server can't be used; nothing was changed.
        LogUnavailableError: the server can't be reached now.
    """
    address, token = parse(url), secrets.token_hex(8).encode()
    await at_first(address, lambda nats: _emptied(nats, address, token))
    return NatsLoader(address, codec, token)


async def _emptied(nats: Nats, address: Address, token: bytes) -> None:
    """Make the streams of a log, and mark it with the load's token."""
    layout = address.layout
    check_server(nats)
    if await _is_loading(nats, layout):
        await delete_streams(nats, layout)
    await make_streams(nats, layout, address.replicas)
    if await last_position(nats, layout) > 0:
        raise UnusableLogError(f"the log {address.name!r} is not empty; load into another name: ?name=")
    await meta.put(nats, layout, meta.LOADING, token)
    await meta.put(nats, layout, meta.EPOCH, new_epoch().encode())
    await _make_values(nats, layout)


async def at_first(address: Address, work: Callable[[Nats], Awaitable[T]], rights: str | None = None) -> T:
    """Return the result of `work` over a connection of its own, with errors as `at_start` tells them.

    `rights`: those that it needs; a broker's by default.
    """
    connection: Connection | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
            connection = await connect(address)
            await alone(_check_jetstream(connection.nats), until=connection.closed)
            return await alone(work(connection.nats), until=connection.closed)
    except ERRORS as error:
        if connection is not None and connection.refusal is not None:
            needed = rights if rights is not None else rights_of(address.name)
            raise UnusableLogError(f"NATS refuses: {connection.refusal}; {needed}") from error
        raise at_start(error) from error
    finally:
        if connection is not None:
            await connection.close()


async def _check_jetstream(nats: Nats) -> None:
    try:
        await api(nats, "INFO")
    except NoRespondersError:
        raise UnusableLogError(NO_JETSTREAM) from None


async def check_format(nats: Nats, address: Address) -> None:
    """Check that there is a log of a known format, and all of it.

    Raises:
        UnusableLogError: there is none, or not such a one.
    """
    form = await meta.get(nats, address.layout, meta.FORMAT)
    if form != FORMAT:
        raise UnusableLogError(
            f"the log {address.name!r} has format {(form or b'?').decode(errors='replace')}, and this program knows"
            f" {FORMAT.decode()}; use a newer version"
        )
    if await _is_loading(nats, address.layout):
        raise _not_loaded(address)


async def _is_loading(nats: Nats, layout: Layout) -> bool:
    """Return whether there is a log that was not loaded to its end, also if it lacks streams."""
    try:
        return bool(await meta.get(nats, layout, meta.LOADING))
    except NotFoundError:
        return False


def _not_loaded(address: Address) -> UnusableLogError:
    return UnusableLogError(
        f"the log {address.name!r} was not loaded to its end; load it again, or name another: ?name="
    )


async def _make_values(nats: Nats, layout: Layout) -> None:
    """Give a new log its epoch, its secret and, last of all, its format. The first value of each holds."""
    # Asked for before the format: another broker may make that, and its first commit, in between.
    last = await last_position(nats, layout)
    if await meta.get(nats, layout, meta.FORMAT) is not None:
        return
    if last > 0:
        raise damaged(f"the bucket {layout.meta_bucket} is empty, and the stream {layout.log_stream} is not")
    await meta.create(nats, layout, meta.EPOCH, new_epoch().encode())
    await meta.create(nats, layout, meta.SECRET, secrets.token_hex(SECRET_BYTES).encode())
    await meta.create(nats, layout, meta.FORMAT, FORMAT)


async def _opened(nats: Nats, layout: Layout, promise: str) -> Opened:
    """Return the log's values.

    Raises:
        UnusableLogError: they are damaged.
    """
    epoch, secret = [await meta.get(nats, layout, key) or b"" for key in (meta.EPOCH, meta.SECRET)]
    try:
        return Opened(
            epoch=epoch.decode(),
            secret=bytes.fromhex(secret.decode()),
            base=await meta.base(nats, layout),
            redacted_to=await meta.position(nats, layout, meta.REDACTED_TO),
            survives=promise,
            values=await meta.values(nats, layout),
        )
    except ValueError as error:
        raise damaged(f"the bucket {layout.meta_bucket} can't be read ({error})") from error
