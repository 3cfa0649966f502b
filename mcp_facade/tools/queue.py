"""The tools of the queue: enter it, for a model or a window, leave it, and move on to the next partner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from broker.broker import Broker
from broker.decision import Rejection
from events.commands import EnterQueue, LeaveQueue, NextPartner
from events.ids import RoomId, connection_id_of
from mcp_facade.session import Session
from mcp_facade.sessions import Sessions
from mcp_facade.tools.arguments import EnterQueueArguments, HandleArguments, RoomArguments, parse
from mcp_facade.tools.calls import Call, Caller, Callers, identify
from mcp_facade.tools.refusals import Refusals, Refused
from mcp_facade.tools.results import Json, place_cursor, place_json, room_json
from projections.state import State


class QueueTools:
    """Tools that move a connection into the queue or out of it."""

    def __init__(self, broker: Broker, sessions: Sessions, callers: Callers, refusals: Refusals) -> None:
        self._attended_grace_ms = broker.attended_grace_ms
        self._replica = broker.replica
        self._writer = broker.writer
        self._presence = broker.presence
        self._minting = broker.minting
        self._peers = broker.peers
        self._reads = broker.reads
        self._records = broker.records
        self._sessions = sessions
        self._callers = callers
        self._refusals = refusals

    async def enter_queue(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        """Carry out `enter_queue`: a left-out handle means the session's default, else a new one."""
        asked = parse(EnterQueueArguments, arguments)
        caller = await identify(self._reads, self._sessions, call.exchange, asked.handle)
        if caller is None and asked.handle:
            raise self._refusals.of("unknown_handle")
        is_attended = caller is not None and self._reads.is_attended(caller.connection_id)
        return await self._enter(call, asked, caller, call.exchange.session if not is_attended else None)

    async def chat_enter(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        """Carry out `chat_enter`: a left-out handle means a new one, and no session has its connection.

        Else a person's chat in a window would reach the model whose host shows the window.
        """
        asked = parse(EnterQueueArguments, arguments)
        caller = await identify(self._reads, self._sessions, call.exchange, asked.handle) if asked.handle else None
        if asked.handle and (caller is None or not self._reads.is_attended(caller.connection_id)):
            raise self._refusals.of("unknown_handle", "unknown_window")
        return await self._enter(call, asked, caller, None, self._attended_grace_ms)

    async def leave_queue(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        """Carry out `leave_queue`."""
        caller = await self._callers.known(call, parse(HandleArguments, arguments).handle)
        with self._presence.call(caller.connection_id):
            answer = await self._writer.submit(LeaveQueue(caller.connection_id))
        if isinstance(answer, Rejection):
            raise self._rejected(answer, caller)
        return {"success": True}

    async def next_partner(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        """Carry out `next_partner`."""
        asked = parse(RoomArguments, arguments)
        caller = await self._callers.known(call, asked.handle)
        command = NextPartner(caller.connection_id, RoomId(asked.room_id))
        with self._presence.call(caller.connection_id), self._entering(call, command):
            answer = await self._writer.submit(command)
        if isinstance(answer, Rejection):
            raise self._rejected(answer, caller)
        return self._queued(answer.state, caller)

    async def _enter(
        self,
        call: Call,
        asked: EnterQueueArguments,
        caller: Caller | None,
        session: Session | None,
        idle_grace_ms: int | None = None,
    ) -> Json:
        """Enter as `caller`, or as a new connection. It becomes the default of `session`."""
        minted = caller is None
        if caller is None:
            caller = self._mint(call, session)
        command = EnterQueue(caller.connection_id, asked.display_name, tuple(asked.interests), idle_grace_ms)
        with self._presence.call(caller.connection_id), self._entering(call, command):
            answer = await self._writer.submit(command)
        if isinstance(answer, Rejection) and minted:
            self._forget_minted(call, caller, session)
        elif session is not None:
            session.enter(*caller)
        if isinstance(answer, Rejection):
            raise self._rejected(answer, caller)
        return self._queued(answer.state, caller)

    @contextmanager
    def _entering(self, call: Call, command: EnterQueue | NextPartner) -> Iterator[None]:
        """Count an entry of the caller's peer, in flight while the context is open.

        Raises:
            Refused: there were too many; nothing has come of the call.
        """
        with self._peers.entering(self._replica.state, command, call.exchange.peer) as refusal:
            if refusal is not None:
                call.exchange.nothing_minted()
                raise self._refusals.of(refusal.code, retry_after_ms=refusal.retry_after_ms)
            yield

    def _forget_minted(self, call: Call, caller: Caller, session: Session | None) -> None:
        """Abandon a minted connection, whose handle no client learns; on a slow log it may still enter, then leaves."""
        call.exchange.nothing_minted()
        if session is not None:
            self._minting.abandon_unless_heard(caller.connection_id)
        else:
            self._minting.abandon(caller.connection_id)

    def _mint(self, call: Call, session: Session | None) -> Caller:
        """Return a new connection; that of `session` is the session's own, so that a repeated call finds itself."""
        if call.exchange.is_over:
            raise self._refusals.of("unavailable")  # the client has gone
        handle = self._minting.mint(call.exchange.peer, session.own_handle if session is not None else None)
        if isinstance(handle, Rejection):
            raise self._refusals.rejected(handle, is_decided=False)
        caller = Caller(connection_id_of(handle), handle)
        call.exchange.minted(caller.connection_id, session)
        return caller

    def _queued(self, state: State, caller: Caller) -> Json:
        """Return the result of an entry; for a match, it is also the notice."""
        connection_id = caller.connection_id
        place, cursor = place_json(state, connection_id), place_cursor(state, connection_id)
        if "room_id" in place and cursor is not None:
            self._records.record_delivery(cursor, connection_id, "result")
        return {
            "handle": caller.handle,
            "connection_id": connection_id,
            "status": "matched" if "room_id" in place else "waiting",
            **place,
            "cursor": cursor,
        }

    def _rejected(self, rejection: Rejection, caller: Caller) -> Refused:
        """Return the refusal of a command; for one that is chatting already, it is also the notice of the match."""
        refusal = self._refusals.rejected(rejection)
        if rejection.code == "already_chatting":
            room = room_json(self._replica.state, caller.connection_id)
            refusal.answer.payload.update(room)
            if room:
                self._records.record_delivery(room["cursor"], caller.connection_id, "result")
        return refusal
