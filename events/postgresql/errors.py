"""Errors of the server and the connection as those of a log, in one line and without a password."""

from __future__ import annotations

import os
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


def translated(error: Exception, address: Address) -> Exception:
    """Return the log's error for one of the client library, of the connection or of the server; others as they are."""
    text = one_line(error, address)
    if isinstance(error, exceptions.ProtocolViolationError) and "startup parameter" in text:  # PgBouncer
        return UnusableLogError(f"{address.label}: {POOLER}")
    if isinstance(error, ConnectionError) and "rejected SSL" in text:
        return UnusableLogError(f"{address.label}: the server offers no TLS; set it up, or change sslmode")
    remedy = next((remedy for kind, remedy in _REMEDIES.items() if isinstance(error, kind)), None)
    if remedy is not None:
        return UnusableLogError(f"{address.label}: {text}; {remedy}")
    if isinstance(error, OSError):
        return LogUnavailableError(_unreachable(error))
    if isinstance(error, asyncpg.PostgresError | exceptions.InterfaceError | exceptions.InternalClientError):
        return LogUnavailableError(text)
    return error


def _unreachable(error: OSError) -> str:
    """Return the reason without the server's address, since `/readyz` shows it."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "the server does not answer in time"
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else type(error).__name__
    return f"the server can't be reached: {reason}"


def one_line(error: BaseException, address: Address) -> str:
    """Return the text of `error` in one line, without the password."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.replace(address.password, "***") if address.password else text


def damaged(address: Address, fault: str) -> UnusableLogError:
    """Return the error for a log with rows that no broker has written."""
    return UnusableLogError(f"{address.label} is damaged: {fault}; {RESTORE}")
