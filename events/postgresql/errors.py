"""Errors of the server and the connection as those of a log, in one line and without a password."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import asyncpg
from asyncpg import exceptions

from events.log import LogUnavailableError, UnusableLogError
from events.postgresql.address import Address

RESTORE = "restore it from a backup"

_REMEDIES: Mapping[type[asyncpg.PostgresError], str] = {
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
}
"""Errors that do not go away by themselves, with the remedy."""

POOLER = "brokers need a direct connection; name the server itself in the URL, not a pooler such as PgBouncer"


@contextmanager
def translate_errors(address: Address) -> Iterator[None]:
    """Raise the errors of a log in place of the client library's.

    Raises:
        LogUnavailableError: the server did not answer, or not now.
        UnusableLogError: the log can't be used until an operator has changed something.
    """
    try:
        yield
    except exceptions.ProtocolViolationError as error:
        if "startup parameter" in str(error):  # PgBouncer
            raise UnusableLogError(f"{address.label}: {POOLER}") from None
        raise LogUnavailableError(one_line(error, address)) from error
    except tuple(_REMEDIES) as error:
        remedy = next(remedy for kind, remedy in _REMEDIES.items() if isinstance(error, kind))
        raise UnusableLogError(f"{address.label}: {one_line(error, address)}; {remedy}") from None
    except exceptions.ClientConfigurationError as error:
        raise UnusableLogError(f"{address.label}: {one_line(error, address)}; check the URL") from None
    except ssl.SSLCertVerificationError as error:
        raise UnusableLogError(
            f"{address.label}: its certificate is not accepted: {one_line(error, address)};"
            " check sslrootcert and the host"
        ) from None
    except ConnectionError as error:
        if "rejected SSL" in str(error):
            raise UnusableLogError(f"{address.label}: the server offers no TLS; set it up, or change sslmode") from None
        raise LogUnavailableError(one_line(error, address)) from error
    except (OSError, asyncpg.PostgresError, exceptions.InterfaceError, exceptions.InternalClientError) as error:
        raise LogUnavailableError(one_line(error, address)) from error


def one_line(error: BaseException, address: Address) -> str:
    """Return the text of `error` in one line, without the password."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.replace(address.password, "***") if address.password else text


def damaged(address: Address, fault: str) -> UnusableLogError:
    """Return the error for a log with rows that no broker has written."""
    return UnusableLogError(f"{address.label} is damaged: {fault}; {RESTORE}")
