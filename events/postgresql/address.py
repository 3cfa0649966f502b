"""The URL of a log in PostgreSQL: that of the server and the database, and the log's name."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlunsplit

from events.log import UnusableLogError
from events.postgresql.url_checks import check_files, check_places, check_target, parameters_of
from events.store_url import split_url

DEFAULT_NAME = "chat"

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class Address(NamedTuple):
    """The place of a log."""

    dsn: str
    """The URL for the client library. It may hold a password."""
    schema: str
    label: str
    """The log in words for an operator, without user and password."""
    password: str | None

    @property
    def log_channel(self) -> str:
        """The channel of new tips."""
        return f"{self.schema}.log"

    @property
    def note_channel(self) -> str:
        """The channel of the brokers' notes."""
        return f"{self.schema}.notes"


def address_of(url: str) -> Address:
    """Return the parts of `url`: `postgresql://user:password@host/database?name=chat`.

    Other parameters are the client library's, such as `sslmode`, `sslrootcert` and `target_session_attrs`.

    Raises:
        UnusableLogError: the URL or the name is malformed, or a file that it names can't be used.
    """
    parts = split_url(url)
    try:
        _check(parts)
    except ValueError as error:
        raise UnusableLogError(f"the URL of the log can't be used: {error}") from None
    name, others = DEFAULT_NAME, []
    for pair in filter(None, parts.query.split("&")):
        key, _, value = pair.partition("=")
        if key == "name":
            name = unquote(value)
        else:
            others.append(pair)
    hosts = parts.netloc.rpartition("@")[2]
    label = f"log {name} in {parts.scheme}://{hosts}{parts.path}"
    if not _NAME.fullmatch(name) or name.startswith("pg_"):
        raise UnusableLogError(
            f"{label}: a log's name has 1 to 32 of a-z, 0-9, - and _, and begins with a letter, but not with pg_;"
            " change ?name="
        )
    dsn = urlunsplit(parts._replace(query="&".join(others), fragment=""))
    password = unquote(parts.password) if parts.password else parameters_of(parts.query).get("password")
    return Address(dsn, name, label, password)


def _check(parts: SplitResult) -> None:
    if "\0" in unquote(parts.geturl()):
        raise ValueError("it holds the character %00")
    parameters = parameters_of(parts.query)
    check_places(parts.netloc, parameters)
    check_target(parameters)
    check_files(parameters)
