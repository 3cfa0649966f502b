"""The engine's errors as a log's: it does not answer for now, or the log can't be used."""

from __future__ import annotations

import os
import socket
import ssl

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import TimeoutError as NoAnswerError

from events.log import LogUnavailableError, UnusableLogError

RIGHTS = (
    "~{NAME}:* &{NAME}:* -@all +@read +@write +@stream +@hash +@list +@sortedset +@scripting +@pubsub +@connection"
    " +@transaction +time -@dangerous +info +config|get +bgrewriteaof"
)
"""The rights of a broker's user, as `ACL SETUSER` takes them; NAME is the log's. The order matters."""

READING_RIGHTS = "~{NAME}:* +@read +@connection"
"""The rights of a reader's user."""

_REFUSED = (AuthenticationError, AuthorizationError)


def unavailable(error: Exception) -> LogUnavailableError:
    """Return the error for an engine that did not do what it was asked for. It may the next time."""
    return LogUnavailableError(reason_of(error))


def at_start(error: Exception, rights: str = RIGHTS) -> LogUnavailableError | UnusableLogError:
    """Return the error for an engine that refused the first commands: unusable, if waiting does not help."""
    if isinstance(error, NoPermissionError):
        return UnusableLogError(f"the user of the log's URL lacks rights; give it {rights}")
    if isinstance(error, _REFUSED) or _code_of(error) in ("WRONGPASS", "NOAUTH"):
        return UnusableLogError("Redis refuses the user or the password of the log's URL; check both")
    if isinstance(error, ReadOnlyError):
        return LogUnavailableError(READ_ONLY)
    if isinstance(_cause_of(error), ssl.SSLError):
        return UnusableLogError(
            f"no TLS with Redis ({_short(_cause_of(error))}); check the certificates, and ssl_ca_certs="
        )
    if (isinstance(error, NoConnectionError) and str(error) == "Invalid Database") or "DB index" in str(error):
        return UnusableLogError("Redis has no database of the number in the log's URL; name another")
    return unavailable(error)


READ_ONLY = "Redis here is a read-only replica; name the primary in the log's URL"


def reason_of(error: Exception) -> str:
    """Return why the engine did not do what it was asked for, without the name of its host."""
    if isinstance(error, BusyLoadingError):
        return "Redis is loading its data"
    if isinstance(error, NoAnswerError | TimeoutError):
        return "Redis does not answer in time"
    if isinstance(error, _REFUSED):
        return "Redis refuses the user or the password"
    if isinstance(error, ResponseError):
        return f"Redis refuses: {_short(error)}"
    cause = _cause_of(error)
    if isinstance(cause, socket.gaierror) and cause.strerror:
        return f"Redis can't be reached: {cause.strerror}"
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return f"Redis can't be reached: {os.strerror(cause.errno)}"  # asyncio's own text has the host in it
    return "Redis can't be reached: no connection"


def _code_of(error: Exception) -> str:
    return str(error).partition(" ")[0]


def _cause_of(error: Exception) -> BaseException:
    return error.__cause__ or error.__context__ or error


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
