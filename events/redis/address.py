"""The address of a log in Redis: the parts of its URL, its keys, and new connections."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection

from events.log import UnusableLogError
from events.store_url import split_url

DEFAULT_NAME = "chat"
DEFAULT_PORT = 6379
CONNECT_SECONDS = 5.0

_NAME = re.compile(r"[a-z0-9-]{1,32}")
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_OPTIONS: Mapping[str, frozenset[str]] = {
    "redis": frozenset({"name"}),
    "rediss": frozenset({"name"}) | _TLS_OPTIONS,
    "unix": frozenset({"name", "db"}),
}
EXPECTED = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB][?name=NAME], rediss:// with ssl_ca_certs=FILE, or unix://PATH[?db=DB]"
)


class Keys(NamedTuple):
    """The keys of one log. They share a hash tag, so that a cluster could hold them."""

    meta: str
    log: str
    texts: str
    snapshots: str
    pen: str
    turn: str
    deliveries: str
    session_times: str
    operations: str
    refusals: str
    running: str
    snapshot: str  # the beginning of each snapshot's key
    session: str  # the beginning of each session record's key
    channel: str

    @property
    def fixed(self) -> tuple[str, ...]:
        """Return the keys that are whole names."""
        return self[:11]


class Address(NamedTuple):
    """Where a log is, and how its engine is reached."""

    name: str
    connection_type: type[AbstractConnection]
    options: Mapping[str, Any]

    @property
    def keys(self) -> Keys:
        """Return the names of the log's keys."""
        whole = "meta", "log", "texts", "snapshots", "pen", "turn", "handings", "sessions"
        parts = *whole, "operations", "refusals", "running", "snapshot:", "session:", "roster"
        return Keys(*(f"{{{self.name}}}:{part}" for part in parts))

    def connection(self) -> AbstractConnection:
        """Return a new connection, not connected yet."""
        return self.connection_type(
            protocol=2, driver_info=None, socket_timeout=None, socket_connect_timeout=CONNECT_SECONDS, **self.options
        )


def parse(url: str) -> Address:
    """Return the parts of `url`.

    Raises:
        UnusableLogError: it is malformed; the text says how it should look, without its password.
    """
    parts = split_url(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError:  # its text has the port in it, which may be a password
        raise _malformed("has a port that is none") from None
    unknown = sorted(query.keys() - _OPTIONS[parts.scheme])
    if unknown:
        known = ", ".join(sorted(_OPTIONS[parts.scheme]))
        raise _malformed(f"has the unknown setting {unknown[0]!r} (known: {known})")
    name = query.pop("name", DEFAULT_NAME)
    if not _NAME.fullmatch(name):
        raise _malformed(f"has the name {name!r}; a name is 1 to 32 of a-z, 0-9 and '-'")
    options: dict[str, Any] = {"username": unquote(parts.username or "") or None}
    options["password"] = unquote(parts.password or "") or None
    if parts.scheme == "unix":
        if not parts.path:
            raise _malformed("has no path")
        return Address(
            name,
            UnixDomainSocketConnection,
            options | {"path": unquote(parts.path), "db": _database(query.get("db", ""))},
        )
    for name, path in query.items():
        if not os.path.isfile(path):
            raise _malformed(f"names no file {path!r} with {name}=")
    try:
        (parts.hostname or "").encode("idna")
    except UnicodeError:
        raise _malformed(f"has the host {parts.hostname!r}, which is none") from None
    options |= {"host": parts.hostname or "localhost", "port": port, "db": _database(parts.path.removeprefix("/"))}
    options["socket_keepalive"] = True
    return Address(name, SSLConnection if parts.scheme == "rediss" else Connection, options | query)


def _database(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 6):
        raise _malformed(f"has the database {text!r}, which is no number")
    return int(text or "0")


def _malformed(fault: str) -> UnusableLogError:
    return UnusableLogError(f"the URL of the log {fault}; write {EXPECTED}")
