"""Opening a log in Redis or Valkey: its URL, the engine's settings, and the keys of a new one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError, ResponseError

from events.commit import Tip
from events.ids import CommitId
from events.log import StateCodec, UnusableLogError
from events.redis.address import CONNECT_SECONDS, Address, parse
from events.redis.client import ANSWER_SECONDS, ERRORS, Argument, Command, ask, connect, disconnect
from events.redis.coordination import new_epoch
from events.redis.errors import READING_RIGHTS, RIGHTS, at_start
from events.redis.loader import RedisLoader
from events.redis.log import Opened, RedisLog
from events.redis.reader import RedisReader
from events.redis.scripts import BEGIN_LOADING, CREATE, Script
from events.redis.settings import Fields, Verdict, judge, parse_info
from events.session_records import SECRET_BYTES

logger = structlog.get_logger(__name__)

FORMAT = 1
SETTINGS = (
    "maxmemory",
    "maxmemory-policy",
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "auto-aof-rewrite-percentage",
)


async def open_log(url: str, codec: StateCodec, *, synchronous: Literal["full", "normal"] = "full") -> RedisLog:
    """Open the log at `url` for a broker; make an empty one where there is none.

    Raises:
        UnusableLogError: it can't be used, and why, in one line without a password.
        LogUnavailableError: the engine can't be reached now; it may be later.
    """
    address = parse(url)
    async with _connected(address) as connection:
        verdict = judge(await _info(connection), await _config(connection), synchronous)
        meta = await _meta(connection, address)
        log = RedisLog(address, codec, _opened(meta, verdict))
        await log.connect()
    if verdict.is_reduced:
        logger.warning("durability_reduced", survives=verdict.survives)
    for warning in verdict.warnings:
        logger.warning("log_settings", reason=warning)
    return log


async def open_reader(url: str) -> RedisReader:
    """Open the log at `url` for reading; it needs no more than the rights `READING_RIGHTS`.

    Raises:
        UnusableLogError: there is none, or it can't be used; one line gives the cause and the remedy.
        LogUnavailableError: the engine can't be reached now.
    """
    address = parse(url)
    async with _connected(address, READING_RIGHTS) as connection:
        try:
            meta = _fields(await _answer(connection, (b"HGETALL", address.keys.meta)))
        except ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                raise _foreign(address.keys.meta) from error
            raise
    if not meta:
        raise UnusableLogError(f"Redis has no log {address.name!r}; a broker makes one, and ?name= names another")
    _check_meta(meta, address)
    reader = RedisReader(address, _opened(meta, Verdict("")).base)
    try:
        await reader.see_recorded_after()
    except BaseException:
        await reader.close()
        raise
    return reader


async def open_loading(url: str, codec: StateCodec) -> RedisLoader:
    """Make a log at `url`, where there is none or an empty one, that can be used once it was loaded to its end.

    A load that was not finished is thrown away.

    Raises:
        UnusableLogError: the log there is not empty, or the engine can't be used; nothing was changed.
        LogUnavailableError: the engine can't be reached now.
    """
    address, token = parse(url), secrets.token_hex(8)
    async with _connected(address) as connection:
        judge(await _info(connection), await _config(connection), "normal")
        found = await _run(connection, BEGIN_LOADING, address, *_fresh(), token)
    if isinstance(found, bytes):
        raise _foreign(found.decode(errors="replace"))
    if not found:
        raise UnusableLogError(f"the log {address.name!r} is not empty; load into another name: ?name=")
    return RedisLoader(address, codec, token)


@asynccontextmanager
async def _connected(address: Address, rights: str = RIGHTS) -> AsyncIterator[AbstractConnection]:
    """Open a connection for the first commands, whose errors are told as `at_start`."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
            connection = await connect(address)
            try:
                yield connection
            finally:
                await disconnect(connection)
    except ERRORS as error:
        raise at_start(error, rights) from error


async def _meta(connection: AbstractConnection, address: Address) -> dict[bytes, bytes]:
    """Return the fields of the log's `meta`; of a new log, if there was none."""
    found = await _run(connection, CREATE, address, *_fresh())
    if isinstance(found, bytes):
        raise _foreign(found.decode(errors="replace"))
    meta = _fields(found)
    _check_meta(meta, address)
    return meta


def _fresh() -> tuple[int, str, str]:
    """Return format, epoch and secret of a new log."""
    return FORMAT, new_epoch(), secrets.token_hex(SECRET_BYTES)


def _fields(found: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(found[::2], found[1::2], strict=True))


def _foreign(key: str) -> UnusableLogError:
    return UnusableLogError(f"Redis has a key {key} that is no log of this program; name another log: ?name=")


def _check_meta(meta: dict[bytes, bytes], address: Address) -> None:
    form = meta.get(b"format", b"").decode(errors="replace")
    if not form.isdigit():
        raise _foreign(address.keys.meta)
    if int(form) != FORMAT:
        raise UnusableLogError(
            f"the log {address.name!r} has format {form}, and this program knows {FORMAT}; use a newer version"
        )
    if b"loading" in meta:
        raise UnusableLogError(
            f"the log {address.name!r} was not loaded to its end; load it again, or name another: ?name="
        )


def _opened(meta: dict[bytes, bytes], verdict: Verdict) -> Opened:
    """Return what the fields of a log's `meta` say.

    Raises:
        UnusableLogError: they are damaged.
    """
    try:
        return Opened(
            epoch=meta[b"epoch"].decode(),
            secret=bytes.fromhex(meta[b"secret"].decode()),
            base=Tip(int(meta[b"base_position"]), CommitId(meta[b"base_id"].decode())),
            redacted_to=int(meta[b"redacted_to"]),
            survives=verdict.survives,
            has_file=verdict.has_file,
        )
    except (LookupError, ValueError) as error:
        raise UnusableLogError(f"the log's key meta is damaged ({error!r}); restore it from a backup") from error


async def _info(connection: AbstractConnection) -> Fields:
    sections = [await _answer(connection, (b"INFO", section)) for section in (b"server", b"replication", b"cluster")]
    return parse_info("\n".join(section.decode(errors="replace") for section in sections))


async def _config(connection: AbstractConnection) -> Fields | None:
    try:
        found: Sequence[Any] = await _answer(connection, (b"CONFIG", b"GET", *SETTINGS))
    except NoPermissionError:
        return None
    except ResponseError as error:
        if "unknown command" in str(error).lower():  # a managed service
            return None
        raise
    decoded = [part.decode(errors="replace") for part in found]
    return dict(zip(decoded[::2], decoded[1::2], strict=True))


async def _run(connection: AbstractConnection, script: Script, address: Address, *arguments: Argument) -> Any:
    keys = address.keys.fixed
    return await _answer(connection, (b"EVAL", script.text, len(keys), *keys, *arguments))


async def _answer(connection: AbstractConnection, command: Command) -> Any:
    await ask(connection, [command])
    return await connection.read_response()
