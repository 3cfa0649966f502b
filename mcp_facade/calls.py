"""Who calls a tool, and the way from a handle to its connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from broker.broker import Broker
from events.ids import ConnectionId, Handle, connection_id_of
from mcp_facade.exchange import Exchange
from mcp_facade.sessions import Session

Report = Callable[[float, float], Awaitable[None]]
"""Tells the caller how many seconds have passed, and of how many."""


class Call(NamedTuple):
    """One call of a tool, whoever serves it."""

    exchange: Exchange
    report: Report | None = None  # of a caller who asked to be told how a wait goes on


class Caller(NamedTuple):
    """Someone whose connection is known."""

    connection_id: ConnectionId
    handle: Handle


def identify(broker: Broker, exchange: Exchange, handle: str | None) -> Caller | None:
    """Whose call it is: the named handle's, else the session's default's; `None` if that is not known.

    A handle that is shown in a session makes the session's stream one for its connection too.
    """
    session = exchange.session
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
