"""A call of a tool, and the lookup of its caller by handle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from broker.broker import Broker
from broker.reads import Reads
from events.ids import ConnectionId, Handle, connection_id_of
from mcp_facade.http.exchange import HttpExchange
from mcp_facade.session import Session
from mcp_facade.sessions import Sessions
from mcp_facade.tools.refusals import Refusals
from projections.state import State

HANDLES_REMEMBERED = 4_096

_connection_id_of = lru_cache(HANDLES_REMEMBERED)(connection_id_of)  # the same is shown with every call

Report = Callable[[float, float], Awaitable[None]]
"""Reports the seconds passed, and the total, to the caller."""


class Call(NamedTuple):
    """One call of a tool, from the lane or the SDK."""

    exchange: HttpExchange
    report: Report | None = None  # for a caller that asked for progress


class Caller(NamedTuple):
    """The known connection of a caller, and its handle."""

    connection_id: ConnectionId
    handle: Handle


async def identify(reads: Reads, sessions: Sessions, exchange: HttpExchange, handle: str | None) -> Caller | None:
    """Return the caller: the named handle's, else the session's default's; `None` if it is unknown.

    In a session, this counts as showing the handle: the session's stream is for its connection too. A window's handle
    is an exception, since the model behind the session is not to hear a person's chat in a window.

    Raises:
        LogUnavailableError: the handle is not known here, and may be known elsewhere; or the session's record can't be
            read.
    """
    session = exchange.session
    if handle:
        connection_id = _connection_id_of(handle)
        caller = Caller(connection_id, Handle(handle)) if await reads.is_known(connection_id) else None
    elif session is not None:
        await sessions.refresh(session)
        caller = await _default(reads, session)
    else:
        caller = None
    if caller is not None:
        exchange.called_by(caller.connection_id)
        if session is not None and not reads.is_attended(caller.connection_id):
            session.bind(*caller)
    return caller


def caller_in(call: Call, arguments: Mapping[str, Any] | None, state: State) -> ConnectionId | None:
    """Return the connection of a call, also of one whose caller was not looked up; `None` if it is unknown."""
    if call.exchange.caller is not None:
        return call.exchange.caller
    handle, session = (arguments or {}).get("handle"), call.exchange.session
    if isinstance(handle, str) and handle:
        meant = [_connection_id_of(handle.strip())]
    else:
        meant = [connection_id for connection_id, _ in session.default_handles()] if session is not None else []
    return next((who for who in meant if who in state.connections.by_id), None)


async def _default(reads: Reads, session: Session) -> Caller | None:
    """Return the session's default caller: of its handles, the first that is (still) known."""
    for found in session.default_handles():
        if await reads.is_known(found[0]):
            return Caller(*found)
    return None


class Callers:
    """Finds the callers of tools that only a known connection may call."""

    def __init__(self, broker: Broker, sessions: Sessions, refusals: Refusals) -> None:
        self._reads = broker.reads
        self._replica = broker.replica
        self._peers = broker.peers
        self._sessions = sessions
        self._refusals = refusals

    async def known(self, call: Call, handle: str | None) -> Caller:
        """Return the caller.

        Raises:
            Refused: the caller is unknown, or named no handle.
        """
        caller = await identify(self._reads, self._sessions, call.exchange, handle)
        if caller is None:
            raise self._refusals.of("unknown_handle", None if handle else "no_handle")
        self._peers.heard(self._replica.state, caller.connection_id, call.exchange.peer)
        session = call.exchange.session
        if session is not None and session.changes:  # now, since the call may wait for long
            await self._sessions.keep(session)
        return caller
