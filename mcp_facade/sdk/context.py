"""What the SDK hands to a handler, and the way from it to the HTTP exchange that it came with."""

from __future__ import annotations

from typing import Any

from mcp.server.context import ServerRequestContext
from starlette.requests import Request

from mcp_facade.http.exchange import EXCHANGE_KEY, HttpExchange

Context = ServerRequestContext[Any, Request]


def exchange_of(ctx: Context) -> HttpExchange:
    """The HTTP exchange that a request came with."""
    assert ctx.request is not None
    exchange = ctx.request.scope[EXCHANGE_KEY]
    assert isinstance(exchange, HttpExchange)
    return exchange
