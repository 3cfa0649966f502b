"""Who calls a tool, and the way from a handle to its connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import NamedTuple

from broker.broker import Broker
from events.ids import ConnectionId, Handle, connection_id_of
from mcp_facade.http.exchange import HttpExchange
from mcp_facade.sessions import Session

HANDLES_REMEMBERED = 4_096

_connection_id_of = lru_cache(HANDLES_REMEMBERED)(connection_id_of)  # the same is shown with every call

Report = Callable[[float, float], Awaitable[None]]
"""Tells the caller how many seconds have passed, and of how many."""


class Call(NamedTuple):
    """One call of a tool, whoever serves it."""

    exchange: HttpExchange
    report: Report | None = None  # of a caller who asked to be told how a wait goes on


class Caller(NamedTuple):
    """Someone whose connection is known."""

    connection_id: ConnectionId
    handle: Handle


async def identify(broker: Broker, exchange: HttpExchange, handle: str | None) -> Caller | None:
    """Whose call it is: the named handle's, else the session's default's; `None` if that is not known.

    A handle that is shown in a session makes the session's stream one for its connection too.

    Raises:
        LogUnavailableError: it is not known here, and may be known elsewhere.
    """
    session = exchange.session
    if handle is not None:
        connection_id = _connection_id_of(handle)
        caller = Caller(connection_id, Handle(handle)) if await broker.is_known(connection_id) else None
    else:
        caller = await _default(broker, session) if session is not None else None
    if caller is not None and session is not None:
        session.bind(*caller)
    return caller


async def _default(broker: Broker, session: Session) -> Caller | None:
    """Return whom the session acts as if no handle is named: of its handles, the first that is known (still)."""
    for found in session.default_handles():
        if await broker.is_known(found[0]):
            return Caller(*found)
    return None
