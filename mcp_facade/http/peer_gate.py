"""The gate of `--deny-peers`: it refuses requests of denied peers, and cuts those in progress when the list changes.

It exists only where a list is configured; without one, no request has anything to do with it.
"""

from __future__ import annotations

import asyncio
import functools

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.addresses import IPAddress, parse_address
from broker.broker import Broker
from broker.line_limit import LineLimit
from mcp_facade.http.deny_file import DenyFile, DenyFileError
from mcp_facade.http.direct_response import DirectResponse, direct_response_of
from mcp_facade.http.proxies import TrustedProxies
from mcp_facade.http.refusals import json_rpc_refusal

logger = structlog.get_logger(__name__)

CHECK_EVERY_MS = 2_000
"""The time between two looks at the file."""

DENIED: ASGIApp = json_rpc_refusal(403, "Forbidden: the operator of this server refuses requests from this address.")


class _Served:
    """A request in progress. Each is a key of its own."""

    __slots__ = ("address", "direct")

    def __init__(self, address: IPAddress | None, direct: DirectResponse) -> None:
        self.address = address
        self.direct = direct


class PeerGate:
    """The gate of one broker. The peer of a request is its client's address, by the word of a trusted proxy if any."""

    def __init__(self, broker: Broker, deny_file: DenyFile, proxies: TrustedProxies) -> None:
        self._file = deny_file
        self._networks = deny_file.networks
        self._proxies = proxies
        self._clock = broker.clock
        self._deadlines = broker.deadlines
        self._in_background = broker.in_background
        self._denied = broker.metrics.denied
        self._lines = LineLimit(broker.clock.now_ms)
        self._served: dict[_Served, None] = {}

    def start(self) -> None:
        """Look at the file every `CHECK_EVERY_MS` from now on, until the broker closes."""
        self._deadlines.add(self._clock.now_ms() + CHECK_EVERY_MS, self._check)

    def passage(self, app: ASGIApp, scope: Scope) -> ASGIApp:
        """Return the application for a request: `DENIED`, or `app`, cut off once the peer is denied."""
        client = scope.get("client")
        peer = self._proxies.client_of(client[0], scope["headers"]) if client is not None else ""
        address = parse_address(peer)
        if address is None or address not in self._networks:
            return functools.partial(self._serve, app, address)
        self._denied.inc()
        fields = self._lines.admit("peer_denied")
        if fields is not None:
            logger.info("peer_denied", **fields)
        return DENIED

    async def _serve(self, app: ASGIApp, address: IPAddress | None, scope: Scope, receive: Receive, send: Send) -> None:
        served = _Served(address, direct_response_of(scope))
        self._served[served] = None
        try:
            await app(scope, receive, send)
        finally:
            del self._served[served]

    def _check(self) -> None:
        self._in_background(self._refresh())

    async def _refresh(self) -> None:
        try:
            if await asyncio.to_thread(self._file.refresh):
                self._adopt()
        except DenyFileError as error:
            logger.warning("deny_peers_kept", reason=str(error), hint="the last good list stays in force: correct it")
        finally:
            self.start()

    def _adopt(self) -> None:
        """Use the new list; a stream or a wait of a peer on it ends as if its client had hung up."""
        self._networks = networks = self._file.networks
        denied = [one for one in self._served if one.address is not None and one.address in networks]
        for served in denied:
            served.direct.abort()
        logger.info("deny_peers_read", networks=len(networks), closed=len(denied))
