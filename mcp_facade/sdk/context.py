"""The SDK's context of a handler, and its HTTP exchange."""

from __future__ import annotations

from typing import Any

from mcp.server.context import ServerRequestContext
from starlette.requests import Request

from mcp_facade.http.exchange import EXCHANGE_KEY, HttpExchange

Context = ServerRequestContext[Any, Request]


def exchange_of(ctx: Context) -> HttpExchange:
    """Return the HTTP exchange of a request."""
    assert ctx.request is not None
    exchange = ctx.request.scope[EXCHANGE_KEY]
    assert isinstance(exchange, HttpExchange)
    return exchange
