"""Who calls a tool, and the way from a handle to its connection."""

from __future__ import annotations

from typing import Any, NamedTuple

from mcp.server.context import ServerRequestContext
from starlette.requests import Request

from broker.broker import Broker
from events.ids import ConnectionId, Handle, connection_id_of
from mcp_facade.exchange import Exchange
from mcp_facade.sessions import Session
from mcp_facade.wire import EXCHANGE_KEY, is_modern

Context = ServerRequestContext[Any, Request]


class Caller(NamedTuple):
    """Someone whose connection is known."""

    connection_id: ConnectionId
    handle: Handle


def exchange_of(ctx: Context) -> Exchange:
    """The HTTP exchange that a request came with."""
    assert ctx.request is not None
    exchange = ctx.request.scope[EXCHANGE_KEY]
    assert isinstance(exchange, Exchange)
    return exchange


def session_of(ctx: Context) -> Session | None:
    """The 2025 session that a request belongs to; later requests stand alone."""
    return None if is_modern(ctx.protocol_version) else exchange_of(ctx).session


def peer_of(ctx: Context) -> str:
    """The address that a request came from."""
    assert ctx.request is not None
    return ctx.request.client.host if ctx.request.client is not None else "unknown"


def identify(broker: Broker, ctx: Context, handle: str | None) -> Caller | None:
    """Whose call it is: the named handle's, else the session's default's; `None` if that is not known.

    A handle that is shown in a session makes the session's stream one for its connection too.
    """
    session = session_of(ctx)
    shown = handle if handle is not None or session is None else _default_handle(broker, session)
    connection_id = broker.resolve(shown) if shown is not None else None
    if shown is None or connection_id is None:
        return None
    caller = Caller(connection_id, Handle(shown))
    if session is not None:
        session.present(*caller)
    return caller


def _default_handle(broker: Broker, session: Session) -> Handle | None:
    """The session's default among the handles that are known still."""
    while (handle := session.default_handle) is not None and broker.resolve(handle) is None:
        session.forget(connection_id_of(handle))
    return handle
