"""The address of a log in JetStream: the parts of its URL."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, unquote

from events.log import UnusableLogError
from events.nats.credentials import read_credentials
from events.nats.layout import Layout
from events.store_url import split_url

DEFAULT_NAME = "chat"
DEFAULT_PORT = 4222

_NAME = re.compile(r"[a-z0-9-]{1,32}")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/]+)(?::(?P<port>[0-9]{1,5}))?")
_OPTIONS = frozenset({"name", "synced", "replicas", "creds"})
_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
EXPECTED = (
    "nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT][,HOST...]/[?name=NAME&synced=always&replicas=1|3&creds=FILE], or tls://"
    " with ssl_ca_certs=FILE"
)


class Address(NamedTuple):
    """The place of a log, and the ways to reach it."""

    name: str
    servers: tuple[str, ...]
    """The servers of one cluster, as `nats://HOST:PORT`; none has a password in it."""
    user: str | None
    password: str | None
    token: str | None
    credentials: str | None
    """The path of a `.creds` file, in the place of the others. It is read for each connection: it may be renewed."""
    tls: ssl.SSLContext | None
    """`None` for `nats://`."""
    is_synced: bool
    """The operator's statement that the servers run with `sync_interval: always`, which no client can read."""
    replicas: int

    @property
    def layout(self) -> Layout:
        """The names of the log's streams, subjects and buckets."""
        return Layout(self.name)


def parse(url: str) -> Address:
    """Return the parts of `url`.

    Raises:
        UnusableLogError: it is malformed; the text says how it should look, without its password.
    """
    parts = split_url(url)
    is_tls = parts.scheme == "tls"
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    known = _OPTIONS | _TLS_OPTIONS if is_tls else _OPTIONS
    unknown = sorted(query.keys() - known)
    if unknown:
        raise _malformed(f"has the unknown setting {unknown[0]!r} (known: {', '.join(sorted(known))})")
    if parts.path not in ("", "/") or parts.fragment:
        raise _malformed("has a path, and a log in NATS has none")
    name = query.get("name", DEFAULT_NAME)
    if not _NAME.fullmatch(name):
        raise _malformed(f"has the name {name!r}; a name is 1 to 32 of a-z, 0-9 and '-'")
    credentials, _, hosts = parts.netloc.rpartition("@")
    if "," in credentials.partition("@")[2]:
        raise _malformed("has a user at several hosts; write it once, before the first host")
    user, password, token = _credentials(credentials)
    return Address(
        name,
        tuple(_server(host) for host in (hosts or "localhost").split(",")),
        user,
        password,
        token,
        _credentials_file(query, has_user=bool(credentials)),
        _tls(query) if is_tls else None,
        _choice(query, "synced", ("always",), "") == "always",
        int(_choice(query, "replicas", ("1", "3"), "1")),
    )


def _credentials(text: str) -> tuple[str | None, str | None, str | None]:
    """Return user, password and token; a user without a password is a token."""
    user, colon, password = text.partition(":")
    if colon and not (user and password):
        raise _malformed("has a user without a password, or a password without a user")
    if colon:
        return unquote(user), unquote(password), None
    return None, None, unquote(user) or None


def _credentials_file(query: Mapping[str, str], *, has_user: bool) -> str | None:
    path = query.get("creds")
    if path is None:
        return None
    if has_user:
        raise _malformed("has a user or a token, and creds= too")
    if not os.path.isfile(path):
        raise _malformed(f"names no file {path!r} with creds=")
    try:
        read_credentials(path)
    except (OSError, ValueError):
        raise _malformed(f"names a file without readable credentials of NATS with creds={path}") from None
    return path


def _server(text: str) -> str:
    found = _HOST.fullmatch(text)
    port = int((found and found["port"]) or DEFAULT_PORT)
    if found is None or not 0 < port < 65_536:
        raise _malformed("has a host or a port that is none")
    try:
        found["host"].encode("idna")
    except UnicodeError:
        raise _malformed(f"has the host {found['host']!r}, which is none") from None
    return f"nats://{found['host']}:{port}"


def _choice(query: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    value = query.get(name, default)
    if value != default and value not in choices:
        raise _malformed(f"has {name}={value!r}, which may be {' or '.join(choices)}")
    return value


def _tls(query: Mapping[str, str]) -> ssl.SSLContext:
    for name in sorted(_TLS_OPTIONS & query.keys()):
        if not os.path.isfile(query[name]):
            raise _malformed(f"names no file {query[name]!r} with {name}=")
    if "ssl_keyfile" in query and "ssl_certfile" not in query:
        raise _malformed("has ssl_keyfile= without ssl_certfile=")
    try:
        context = ssl.create_default_context(cafile=query.get("ssl_ca_certs"))
        if "ssl_certfile" in query:
            # An empty password: a protected key is refused, instead of asking at a terminal.
            context.load_cert_chain(query["ssl_certfile"], query.get("ssl_keyfile"), password="")
    except (OSError, ValueError):
        raise _malformed("names a certificate or a key that can't be read with ssl_...=") from None
    return context


def _malformed(fault: str) -> UnusableLogError:
    return UnusableLogError(f"the URL of the log {fault}; write {EXPECTED}")
