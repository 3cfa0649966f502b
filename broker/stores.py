"""The stores of a log, by the scheme of its URL. A shared store's module and its library are loaded on demand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Literal, NamedTuple, Protocol
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from events.log import EventLog, StateCodec, UnusableLogError
from events.memory import MemoryLog
from events.store_loader import StoreLoader
from events.store_reader import StoreReader
from events.store_url import has_cut_password

Synchronous = Literal["full", "normal"]

DISTRIBUTION = "mcp-chat-broker"
MEMORY_URL = "memory:"
SQLITE_SCHEME = "sqlite:"
DEFAULT_NAME = "chat"
"""The name of a log in a shared store, if its URL has none."""

_PASSWORD = re.compile(r"((?:^|&)\w*password=)[^&]*", re.IGNORECASE)

LOG_URLS = "memory:, sqlite:PATH, redis://HOST, postgresql://HOST/DATABASE or nats://HOST"


class SharedStore(NamedTuple):
    """A store that several brokers can share: its module, and the extra that installs its library."""

    module: str
    extra: str
    is_in_memory: bool
    """True if the log has to be bounded, since all of it is in the store's memory."""


_REDIS = SharedStore("events.redis.open", "redis", is_in_memory=True)
_POSTGRESQL = SharedStore("events.postgresql.open", "postgresql", is_in_memory=False)
_NATS = SharedStore("events.nats.open", "nats", is_in_memory=False)

SHARED_SCHEMES: Mapping[str, SharedStore] = {
    "redis": _REDIS,
    "rediss": _REDIS,
    "unix": _REDIS,
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
    "nats": _NATS,
    "tls": _NATS,
}


class StoreModule(Protocol):
    """What the module of a shared store offers."""

    async def open_log(self, url: str, codec: StateCodec, *, synchronous: Synchronous) -> EventLog:
        """Open the log at `url` for a broker; make an empty one where there is none.

        Raises:
            UnusableLogError: it can't be used, and why, in one line without a password.
            LogUnavailableError: the store can't be reached now; it may be later.
        """
        ...

    async def open_reader(self, url: str) -> StoreReader:
        """Open the log at `url` for reading, beside the brokers that write it.

        Raises:
            UnusableLogError: there is none, or it can't be used; one line says why, without a password.
            LogUnavailableError: the store can't be reached now.
        """
        ...

    async def open_loading(self, url: str, codec: StateCodec) -> StoreLoader:
        """Make a log at `url`, where there is none or an empty one, that is usable once it was loaded to its end.

        Raises:
            UnusableLogError: the log there is not empty, or it can't be used; one line says why, without a password.
            LogUnavailableError: the store can't be reached now.
        """
        ...


def scheme_of(url: str) -> str:
    """Return the scheme of `url`, as `redis`; empty if it has none."""
    scheme, separator, _ = url.partition("://")
    return scheme if separator else ""


def without_password(url: str) -> str:
    """Return `url` as it may be shown: a password or a token in it is `***`."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return f"{scheme_of(url)}://"
    query = _PASSWORD.sub(r"\1***", parts.query)
    if parts.scheme in SHARED_SCHEMES and has_cut_password(parts):
        return f"{parts.scheme}://"
    user, _, host = parts.netloc.rpartition("@")
    netloc = parts.netloc
    if password is not None:
        netloc = f"{user.partition(':')[0]}:***@{host}"
    elif user and SHARED_SCHEMES.get(parts.scheme) is _NATS:
        netloc = f"***@{host}"  # a user without a password is a token
    if netloc == parts.netloc and query == parts.query:
        return url
    return urlunsplit(parts._replace(netloc=netloc, query=query))


def name_of(url: str) -> str:
    """Return the name of the log at the URL of a shared store, as in `?name=chat`."""
    return dict(parse_qsl(urlsplit(url).query)).get("name", DEFAULT_NAME)


def store_module(url: str) -> StoreModule:
    """Return the module of the shared store of `url`.

    Raises:
        UnusableLogError: its library is not installed; the text says how to install it.
    """
    store = SHARED_SCHEMES[scheme_of(url)]
    try:
        module: StoreModule = import_module(store.module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("broker", "events", "projections"):
            raise
        raise UnusableLogError(
            f"{scheme_of(url)}:// needs a library that is not installed: install {DISTRIBUTION} with its extra"
            f" {store.extra!r}, as docs/installing.md says"
        ) from None
    return module


async def open_log(url: str, synchronous: Synchronous = "full") -> EventLog:
    """Open the log at `url`, already checked; make what is missing.

    Raises:
        UnusableLogError: the log can't be used, and is unchanged.
        LogUnavailableError: a shared store can't be reached now.
    """
    if url == MEMORY_URL:
        return MemoryLog()
    from projections.snapshots import STATE_CODEC

    if url.startswith(SQLITE_SCHEME):
        from events.sqlite.log import SqliteLog

        mode: Literal["FULL", "NORMAL"] = "FULL" if synchronous == "full" else "NORMAL"
        return SqliteLog(url.removeprefix(SQLITE_SCHEME), STATE_CODEC, synchronous=mode)
    return await store_module(url).open_log(url, STATE_CODEC, synchronous=synchronous)
