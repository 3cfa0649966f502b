"""Errors of the server and the connection as those of a log, in one line, without a password and without a host."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Mapping

import asyncpg
from asyncpg import exceptions

from events.log import LogUnavailableError, UnusableLogError
from events.postgresql.address import Address

RESTORE = "restore it from a backup"

_REMEDIES: Mapping[type[Exception], str] = {
    exceptions.InvalidAuthorizationSpecificationError: "check user and password in the URL, and pg_hba.conf",
    exceptions.InvalidCatalogNameError: "create the database, or name another in the URL",
    exceptions.InsufficientPrivilegeError: "grant it: see `chat-broker log init URL --brokers ROLE --print`",
    exceptions.UndefinedObjectError: "check the parameters of the URL",
    exceptions.InvalidParameterValueError: "check the parameters of the URL",
    exceptions.UndefinedTableError: "is it a log? Run `chat-broker log init URL`, or choose another ?name=",
    exceptions.UndefinedColumnError: "is it a log? Choose another ?name=",
    exceptions.UndefinedFunctionError: "is it a log? Run `chat-broker log init URL`, or choose another ?name=",
    exceptions.InvalidSchemaNameError: "run `chat-broker log init URL`",
    exceptions.DataCorruptedError: RESTORE,
    exceptions.IndexCorruptedError: "run REINDEX, or restore it from a backup",
    exceptions.DataError: "it can't be stored",
    exceptions.ClientConfigurationError: "check the URL",
    ssl.SSLCertVerificationError: "its certificate is not accepted; check sslrootcert and the host",
}
"""Errors that do not go away by themselves, with the remedy."""

POOLER = "brokers need a direct connection; name the server itself in the URL, not a pooler such as PgBouncer"


SLOW = "the server does not answer in time"
LOST = "the connection to the server was lost"

_CLOSED = "connection is clos"
"""It is in the client library's texts for a connection that broke."""

_CLIENTS_HOST = re.compile(r'host "[^"]*", ')

_AS_THEY_ARE = (
    ssl.SSLCertVerificationError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    exceptions.ClientConfigurationError,
)


def translated(error: Exception, address: Address) -> Exception:
    """Return the log's error for one of the client library, of the connection or of the server; others as they are.

    No text names the log or a host, since `/readyz` shows it. An operator's tools add the log.
    """
    text = _CLIENTS_HOST.sub("", one_line(error, address))
    if isinstance(error, exceptions.ProtocolViolationError) and "startup parameter" in text:  # PgBouncer
        return UnusableLogError(POOLER)
    if isinstance(error, ConnectionError) and "rejected SSL" in text:
        return UnusableLogError("the server offers no TLS; set it up, or change sslmode")
    remedy = next((remedy for kind, remedy in _REMEDIES.items() if isinstance(error, kind)), None)
    if remedy is not None:
        return UnusableLogError(f"{text}; {remedy}")
    if isinstance(error, OSError):
        return LogUnavailableError(_unreachable(error))
    if isinstance(error, asyncpg.PostgresError | exceptions.InterfaceError | exceptions.InternalClientError):
        return LogUnavailableError(LOST if _CLOSED in text else text)
    return error


def refused_connection(error: Exception, address: Address) -> Exception:
    """Return the log's error for one of the connection's begin, where the client library refuses its parameters."""
    text = one_line(error, address)
    if isinstance(error, _AS_THEY_ARE) or _CLOSED in text:
        return error  # see `translated`
    if isinstance(error, ssl.SSLError):
        return UnusableLogError(f"TLS fails: {_tls_reason(error)}; check sslmode and the certificates")
    return UnusableLogError(f"{text}; check the URL")


def _unreachable(error: OSError) -> str:
    """Return the reason without the server's address, since `/readyz` shows it."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return SLOW
    return f"the server can't be reached: {_reason(error)}"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return _tls_reason(error)
    if isinstance(error, socket.gaierror):
        return error.strerror or "its name is unknown"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else type(error).__name__


def _tls_reason(error: ssl.SSLError) -> str:
    reason: str | None = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if reason else "broken TLS"


def one_line(error: BaseException, address: Address) -> str:
    """Return the text of `error` in one line, without the password."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.replace(address.password, "***") if address.password else text


def damaged(fault: str) -> UnusableLogError:
    """Return the error for a log with rows that no broker has written."""
    return UnusableLogError(f"the log is damaged: {fault}; {RESTORE}")
