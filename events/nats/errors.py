"""The errors of NATS as a log's: it does not answer for now, or the log can't be used."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

from nats import errors
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from events.log import LogUnavailableError, UnusableLogError

ERRORS = (errors.Error, OSError, EOFError, TimeoutError, asyncio.InvalidStateError)
"""Errors of a connection, and errors as answers."""

GONE = "the log is gone from NATS; restore it, or start again"
RESTORE = "restore it from a backup"
MISSING = "a stream of the log is missing in NATS; a broker makes it anew, unless it is that of the commits"
NO_JETSTREAM = "JetStream is not enabled in NATS, or not for this account; enable it there"

NO_STREAM = 10059
"""The server's code for a stream that is missing."""

NO_LEADER = 10008
"""The server's code for a cluster without a leader, as far as it knows."""

_CREDENTIALS = ("authorization violation", "authentication expired", "authentication revoked")
"""Refusals of a user, in a server's words. It also refuses a slow one, or one too many, for now."""


INBOX = "_INBOX_"
"""The subjects of answers begin with this and the log's name, so that no other user of the account hears them."""


def rights_of(name: str) -> str:
    """Return the rights of a broker's user for the log `name`, in words for an operator."""
    buckets = ", ".join(f"$KV.{name}_{bucket}.>" for bucket in ("META", "REDACTED", "SESSIONS"))
    return (
        f"give the log's user the rights to publish to {name}.>, $JS.API.>, $JS.ACK.>, $JS.FC.>, {buckets} and"
        f" $O.{name}_SNAPSHOTS.>, and to subscribe to {name}.> and {INBOX}{name}.>"
    )


def reader_rights_of(name: str) -> str:
    """Return the rights of a user that only reads the log `name`, in words for an operator."""
    apis = ", ".join(f"$JS.API.{api}" for api in ("INFO", "STREAM.INFO.>", "STREAM.MSG.GET.>", "DIRECT.GET.>"))
    return f"give the user the rights to publish to {apis}, and to subscribe to {INBOX}{name}.>"


class LogGoneError(LogUnavailableError):
    """The stream of commits is missing. A broker has to start again after it had folded some."""

    def __init__(self) -> None:
        super().__init__(GONE)


def damaged(fault: str) -> UnusableLogError:
    """Return the error for an unreadable log."""
    return UnusableLogError(f"{fault}; {RESTORE}, or use a newer version of this program")


def unavailable(error: BaseException) -> LogUnavailableError:
    """Return the error for a request without success. The next one may have it."""
    return LogUnavailableError(reason_of(error))


def not_stored(error: LogUnavailableError) -> LogUnavailableError:
    """Return the error for a failed append.

    A server is silent about a batch beyond a quota, and about a stream that it could not write to; it does not write
    to such a stream again before its next start.
    """
    if not isinstance(error.__cause__, TimeoutError):
        return error
    return LogUnavailableError(
        f"{error}; if its disk or a quota of the account is full, make room, and restart NATS after a full disk"
    )


def at_start(error: BaseException) -> LogUnavailableError | UnusableLogError:
    """Return the error for a refusal of the first requests: unusable, if waiting does not help."""
    if _refuses_credentials(error):
        return UnusableLogError(
            "NATS refuses the user, the password, the token or the file of creds= in the log's URL; check them"
        )
    if isinstance(error, ssl.SSLError):
        return UnusableLogError(
            f"no TLS with NATS ({_tls_fault(error)}); check the certificates; with an authority of your own, write tls://"
            " and ssl_ca_certs=FILE in the log's URL"
        )
    if isinstance(error, errors.SecureConnWantedError):
        return UnusableLogError("NATS here does not speak TLS; write nats:// in the log's URL, or turn TLS on there")
    if isinstance(error, APIError) and error.err_code in (10039, 10076):
        return UnusableLogError(NO_JETSTREAM)
    return unavailable(error)


def reason_of(error: BaseException) -> str:
    """Return why a request had no success, without the name of the server's host."""
    if isinstance(error, ServiceUnavailableError | NoStreamResponseError | errors.NoRespondersError):
        return "JetStream does not answer: it has no leader now, or is not enabled, or the stream is missing"
    if isinstance(error, APIError):
        return MISSING if error.err_code == NO_STREAM else f"NATS refuses: {_short(error.description or error)}"
    if isinstance(error, errors.TimeoutError | TimeoutError):
        return "NATS does not answer in time"
    if _refuses_credentials(error):
        return "NATS refuses the user, the password or the token"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with NATS ({_tls_fault(error)})"
    if isinstance(error, OSError):
        return f"NATS can't be reached: {_network_fault(error)}"
    if isinstance(error, errors.MaxPayloadError):
        return "NATS refuses: a message is larger than its max_payload"
    if type(error) is errors.Error:  # in the server's own words
        return f"NATS refuses: {_short(error).removeprefix('nats: ').strip(chr(39)).lower()}"
    return "NATS can't be reached: no connection"


def is_cut_off(error: BaseException) -> bool:
    """Return whether a request may have failed since its server does not reach the others of its cluster."""
    if isinstance(error, APIError):
        return error.err_code == NO_LEADER
    return isinstance(error, TimeoutError | errors.NoRespondersError | NoStreamResponseError)


def _refuses_credentials(error: BaseException) -> bool:
    return isinstance(error, errors.AuthorizationError | errors.InvalidUserCredentialsError) or (
        type(error) is errors.Error and any(text in str(error).lower() for text in _CREDENTIALS)
    )


def _network_fault(error: OSError) -> str:
    """Return why there is no connection; asyncio's own text has the host in it."""
    if isinstance(error, socket.gaierror) and error.strerror:
        return error.strerror
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    if isinstance(error, ConnectionResetError):
        return "it ends the connection; there may be too many (max_connections)"
    return "no connection"


def _tls_fault(error: ssl.SSLError) -> str:
    """Return why there is no TLS; the whole text has the name of the host in it."""
    return (error.reason or type(error).__name__).replace("_", " ").lower()


def _short(error: object) -> str:
    return " ".join(str(error).split())[:200]
