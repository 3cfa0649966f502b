"""Opening a log in NATS: its URL, the server and its streams, and the values of a new one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from nats.aio.client import Client as Nats
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from events.log import StateCodec, UnusableLogError
from events.nats import meta
from events.nats.address import Address, parse
from events.nats.client import ANSWER_SECONDS, CONNECT_SECONDS, Connection, connect
from events.nats.coordination import EPOCH_KEY, new_epoch
from events.nats.entries import last_position
from events.nats.errors import ERRORS, NO_JETSTREAM, at_start, damaged, rights_of
from events.nats.layout import Layout
from events.nats.loader import NatsLoader
from events.nats.log import NatsLog, Opened
from events.nats.reader import NatsReader
from events.nats.redaction import trim
from events.nats.requests import api
from events.nats.settings import Synchronous, check_replicas, check_server, check_sync, judge
from events.nats.streams import delete_streams, make_streams
from events.nats.turns import prepare
from events.session_records import SECRET_BYTES

logger = structlog.get_logger(__name__)

FORMAT = b"1"


async def open_log(url: str, codec: StateCodec, *, synchronous: Synchronous = "full") -> NatsLog:
    """Open the log at `url` for a broker; make an empty one where there is none.

    Raises:
        UnusableLogError: it can't be used, and why, in one line without a password.
        LogUnavailableError: the server can't be reached now; it may be later.
    """
    address = parse(url)
    async with connected(address) as nats:
        check_server(nats)
        check_sync(is_synced=address.is_synced, synchronous=synchronous)
        replicas = await make_streams(nats, address.layout, address.replicas)
        check_replicas(address.layout.log_stream, replicas, address.replicas)
        verdict = judge(replicas, is_synced=address.is_synced)
        await _make_values(nats, address.layout)
        await check_format(nats, address)
        await prepare(nats, address.layout)
        await trim(nats, address.layout)  # what a trim that was cut short has left
        opened = await _opened(nats, address.layout, verdict.survives)
    log = NatsLog(address, codec, opened)
    try:
        await log.connect()
    except BaseException:
        await log.close()
        raise
    if verdict.is_reduced:
        logger.warning("durability_reduced", survives=verdict.survives)
    return log


async def open_reader(url: str) -> NatsReader:
    """Open the log at `url` for reading; it needs no more than the rights that docs/operating.md gives a reader.

    Raises:
        UnusableLogError: there is none, or it can't be used; one line gives the cause and the remedy.
        LogUnavailableError: the server can't be reached now.
    """
    address = parse(url)
    async with connected(address) as nats:
        check_server(nats)
        try:
            has_log = await meta.get(nats, address.layout, meta.FORMAT) is not None
        except NotFoundError:
            has_log = False
        if not has_log:
            raise UnusableLogError(f"NATS has no log {address.name!r}; a broker makes one, and ?name= names another")
        await check_format(nats, address)
        base = await meta.base(nats, address.layout)
    reader = NatsReader(address, base)
    try:
        await reader.see_recorded_after()
    except BaseException:
        await reader.close()
        raise
    return reader


async def open_loading(url: str, codec: StateCodec) -> NatsLoader:
    """Make a log at `url`, where there is none or an empty one, that can be used once it was loaded to its end.

    A load that was not finished is thrown away.

    Raises:
        UnusableLogError: the log there is not empty, or the server can't be used; nothing was changed.
        LogUnavailableError: the server can't be reached now.
    """
    address, token = parse(url), secrets.token_hex(8).encode()
    layout = address.layout
    async with connected(address) as nats:
        check_server(nats)
        await make_streams(nats, layout, address.replicas)
        if await meta.get(nats, layout, meta.LOADING):
            await delete_streams(nats, layout)
            await make_streams(nats, layout, address.replicas)
        if await last_position(nats, layout) > 0:
            raise UnusableLogError(f"the log {address.name!r} is not empty; load into another name: ?name=")
        await meta.put(nats, layout, meta.LOADING, token)
        await meta.put(nats, layout, EPOCH_KEY, new_epoch().encode())
        await _make_values(nats, layout)
    return NatsLoader(address, codec, token)


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator[Nats]:
    """Open a connection for the first requests, whose errors are told as `at_start`."""
    connection: Connection | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
            connection = await connect(address)
            await _check_jetstream(connection.nats)
            yield connection.nats
    except ERRORS as error:
        if connection is not None and connection.refusal is not None:
            raise UnusableLogError(f"NATS refuses: {connection.refusal}; {rights_of(address.name)}") from error
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
    """Check that there is a log that this program knows, and that it is whole.

    Raises:
        UnusableLogError: there is none, or not such a one.
    """
    form = await meta.get(nats, address.layout, meta.FORMAT)
    if form != FORMAT:
        raise UnusableLogError(
            f"the log {address.name!r} has format {(form or b'?').decode(errors='replace')}, and this program knows"
            f" {FORMAT.decode()}; use a newer version"
        )
    if await meta.get(nats, address.layout, meta.LOADING):
        raise UnusableLogError(
            f"the log {address.name!r} was not loaded to its end; load it again, or name another: ?name="
        )


async def _make_values(nats: Nats, layout: Layout) -> None:
    """Give a new log its epoch, its secret and, last of all, its format. Of two brokers that do, each value has one."""
    if await meta.get(nats, layout, meta.FORMAT) is not None:
        return
    state = (await api(nats, f"STREAM.INFO.{layout.log_stream}"))["state"]
    if state["last_seq"]:
        raise damaged(f"the bucket {layout.meta_bucket} is empty, and the stream {layout.log_stream} is not")
    await meta.create(nats, layout, EPOCH_KEY, new_epoch().encode())
    await meta.create(nats, layout, meta.SECRET, secrets.token_hex(SECRET_BYTES).encode())
    await meta.create(nats, layout, meta.FORMAT, FORMAT)


async def _opened(nats: Nats, layout: Layout, survives: str) -> Opened:
    """Return what the log's values say.

    Raises:
        UnusableLogError: they are damaged.
    """
    epoch, secret = [await meta.get(nats, layout, key) or b"" for key in (EPOCH_KEY, meta.SECRET)]
    try:
        return Opened(
            epoch=epoch.decode(),
            secret=bytes.fromhex(secret.decode()),
            base=await meta.base(nats, layout),
            redacted_to=await meta.position(nats, layout, meta.REDACTED_TO),
            survives=survives,
        )
    except ValueError as error:
        raise damaged(f"the bucket {layout.meta_bucket} can't be read ({error})") from error
