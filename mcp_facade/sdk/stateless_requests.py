"""Requests of 2026-07-28 outside the fast lane: served by the SDK, after the checks that both eras share."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import check_accept_headers
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from mcp_facade.http.exchange import HttpExchange
from mcp_facade.http.messages import fault_of, understood
from mcp_facade.http.refusals import json_rpc_refusal, not_acceptable


class StatelessRequests:
    """The requests of one broker's 2026-07-28 clients."""

    def __init__(self, server: Server[Any], body_bytes_max: int) -> None:
        # Without sessions of its own. Host and Origin were checked before.
        self._manager = StreamableHTTPSessionManager(
            server,
            stateless=True,
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            max_request_body_size=body_bytes_max,
        )

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve while the context is open."""
        async with self._manager.run():
            yield

    async def serve(self, scope: Scope, receive: Receive, exchange: HttpExchange) -> None:
        """Answer one request; `receive` gives its body."""
        request = Request(scope, receive)
        refusal = None if all(check_accept_headers(request)) else not_acceptable()
        body = await request.body()
        try:
            message = json.loads(body)  # as the SDK reads it
        except (ValueError, RecursionError):
            pass  # the SDK says what is wrong
        else:
            fault = fault_of(message)
            if fault is not None:
                refusal = refusal or json_rpc_refusal(400, fault)
            if (meant := understood(message)) is not message:
                body = json.dumps(meant).encode()
        if refusal is not None:
            await refusal(scope, receive, exchange.send)
        else:
            await self._manager.handle_request(scope, _again(body, receive), exchange.send)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives `body`, and then what comes after it."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return first.pop() if first else await receive()

    return receive_again
