"""A server's listening sockets, and their addresses for its log."""

from __future__ import annotations

import os
import socket

import structlog

from broker.addresses import host_of, parse_address
from broker.config import Settings
from broker.errors import UsageError
from broker.networks import NetworkSet

logger = structlog.get_logger(__name__)

BACKLOG = 2_048

LOCAL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on
"""By an address for all of this machine's, one for a client on it."""

ADMIN_FLAGS = "--admin-host and --admin-port"

OTHER_NAMES = "clients elsewhere use a name or an address of this machine: allow each with --allow-host NAME"

ONE_PEER = "name the proxy with --trust-proxy, or else all callers share the limits of one: --peer-exempt lifts them"


def listen(host: str, port: int, flags: str = "--host and --port") -> socket.socket:
    """Return a socket that listens on `host` and `port`; `flags` name what an operator can change.

    Raises:
        UsageError: it can't; the text is one line and says why.
    """
    return _bound(host, port, flags, shared=False, listening=True)


def reserve(host: str, port: int, flags: str = "--host and --port", *, shared: bool = False) -> socket.socket:
    """Return a socket bound as by `listen`, out of reach of clients; `shared`, others may be bound too.

    Raises:
        UsageError: as `listen`.
    """
    return _bound(host, port, flags, shared=shared, listening=False)


def _bound(host: str, port: int, flags: str, *, shared: bool, listening: bool) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            _prepare(bound, is_every_address=address[0] == "::", shared=shared)
            bound.bind(address[:2])
            if listening:
                bound.listen(BACKLOG)
        except BaseException:
            bound.close()
            raise
    except socket.gaierror:
        raise UsageError(
            f"can't listen on {host}: there is no such address ({flags.split()[0]} names another)"
        ) from None
    except (OSError, UnicodeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no such address"
        raise UsageError(f"can't listen on {host}, port {port}: {reason} ({flags} name another)") from None
    return bound


def _prepare(bound: socket.socket, *, is_every_address: bool, shared: bool) -> None:
    if os.name == "posix":
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if bound.family == socket.AF_INET6 and socket.has_ipv6:
        is_single = not (is_every_address and socket.has_dualstack_ipv6())
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_single)


def log_serving(listening: socket.socket, *, has_page: bool, **fields: int) -> None:
    """Log the address at which clients reach `listening`."""
    address, port = listening.getsockname()[:2]
    local = LOCAL_ADDRESSES.get(address)
    origin = f"http://{host_of(local or address)}:{port}"
    page = {"page": f"{origin}/"} if has_page else {}
    hint = {} if local is None else {"hint": OTHER_NAMES}
    logger.info("serving", url=f"{origin}/mcp", **page, **hint, **fields)


def warn_of_shared_address(settings: Settings, address: str) -> None:
    """Log a warning if all callers of a broker at `address` count as one peer."""
    if _share_an_address(settings, address):
        logger.warning("peers_share_an_address", hint=ONE_PEER)


def _share_an_address(settings: Settings, address: str) -> bool:
    """Return whether all callers of a broker at `address` count as one peer, this machine."""
    listening = parse_address(address)
    if listening is None or not listening.is_loopback or settings.trust_proxies:
        return False
    return listening not in NetworkSet.of(settings.exempt_peers)
