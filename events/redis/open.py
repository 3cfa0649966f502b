"""Opening a log in Redis or Valkey: its URL, the engine's settings, and the keys of a new one."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Literal

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError, ResponseError

from events.commit import Tip
from events.ids import CommitId
from events.log import StateCodec, UnusableLogError
from events.redis.address import Address, parse
from events.redis.client import ERRORS, Command, ask, connect
from events.redis.coordination import new_epoch
from events.redis.errors import at_start
from events.redis.log import Opened, RedisLog
from events.redis.scripts import CREATE
from events.redis.settings import Fields, Verdict, judge, parse_info
from events.session_records import SECRET_BYTES

logger = structlog.get_logger(__name__)

FORMAT = 1
SETTINGS = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "auto-aof-rewrite-percentage")


async def open_log(url: str, codec: StateCodec, *, synchronous: Literal["full", "normal"] = "full") -> RedisLog:
    """Open the log at `url` for a broker; make an empty one where there is none.

    Raises:
        UnusableLogError: it can't be used, and why, in one line without a password.
        LogUnavailableError: the engine can't be reached now; it may be later.
    """
    address = parse(url)
    try:
        connection = await connect(address)
        try:
            verdict = judge(await _info(connection), await _config(connection), synchronous)
            meta = await meta_of(connection, address, may_make=True)
        finally:
            await connection.disconnect(nowait=True)
    except ERRORS as error:
        raise at_start(error) from error
    if b"loading" in meta:
        raise UnusableLogError(f"the log {address.name!r} was not loaded to its end; load it again, or name another")
    for warning in verdict.warnings:
        logger.warning("log_settings", reason=warning)
    return RedisLog(address, codec, opened_from(meta, verdict))


async def meta_of(
    connection: AbstractConnection, address: Address, *, may_make: bool, loading: str = ""
) -> dict[bytes, bytes]:
    """Return the fields of the log's `meta`; of a new one, if there is none and it `may_make` it. Empty if not.

    Raises:
        UnusableLogError: a key of the name is no log's, or the log's format is not known.
        RedisError: the engine refuses.
    """
    keys = address.keys.fixed
    arguments = (FORMAT, new_epoch(), secrets.token_hex(SECRET_BYTES), loading, int(may_make))
    found = await _answer(connection, (b"EVAL", CREATE.text, len(keys), *keys, *arguments))
    if isinstance(found, bytes):
        raise UnusableLogError(
            f"Redis has a key {found.decode(errors='replace')} that is no log of this program; name another: ?name="
        )
    meta: dict[bytes, bytes] = dict(zip(found[::2], found[1::2], strict=True))
    if meta:
        _check_format(meta, address.name)
    return meta


def _check_format(meta: dict[bytes, bytes], name: str) -> None:
    form = meta.get(b"format", b"").decode(errors="replace")
    if not form.isdigit():
        raise UnusableLogError(f"Redis has a key {{{name}}}:meta that is no log of this program; name another: ?name=")
    if int(form) != FORMAT:
        raise UnusableLogError(
            f"the log {name!r} has format {form}, and this program knows {FORMAT}; use a newer version"
        )


def opened_from(meta: dict[bytes, bytes], verdict: Verdict) -> Opened:
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


async def _answer(connection: AbstractConnection, command: Command) -> Any:
    await ask(connection, [command])
    return await connection.read_response()
