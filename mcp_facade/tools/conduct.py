"""The tools against a stranger's bad conduct: block and report. Both also end the conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.broker import Broker
from broker.decision import Rejection
from events.commands import BlockPartner, ReportPartner
from events.ids import RoomId
from mcp_facade.tools.arguments import ReportArguments, RoomArguments, TextTooLargeError, clean_text, parse
from mcp_facade.tools.calls import Call, Caller, Callers
from mcp_facade.tools.refusals import Refusals
from mcp_facade.tools.results import Json

_TEXTS = {"rate_limited": "too_many_reports", "room_not_found": "no_such_partner"}
"""The words of refusals that are others here."""


class ConductTools:
    """Tools about the other member of a room, which may be closed. No result tells the position of a report."""

    def __init__(self, broker: Broker, callers: Callers, refusals: Refusals) -> None:
        self._replica = broker.replica
        self._writer = broker.writer
        self._presence = broker.presence
        self._callers = callers
        self._refusals = refusals

    async def block(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        """Carry out `block_partner`."""
        asked = parse(RoomArguments, arguments)
        caller = await self._callers.known(call, asked.handle)
        return await self._do(BlockPartner(caller.connection_id, RoomId(asked.room_id)), caller)

    async def report(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        """Carry out `report_partner`."""
        asked = parse(ReportArguments, arguments)
        caller = await self._callers.known(call, asked.handle)
        note = self._clean(asked.note) if asked.note is not None else None
        return await self._do(ReportPartner(caller.connection_id, RoomId(asked.room_id), asked.category, note), caller)

    async def _do(self, command: BlockPartner | ReportPartner, caller: Caller) -> Json:
        with self._presence.call(caller.connection_id):
            answer = await self._writer.submit(command)
        if isinstance(answer, Rejection):
            raise self._refusals.rejected(answer, _TEXTS.get(answer.code))
        return {"success": True}

    def _clean(self, note: str) -> str | None:
        """Return a note as it is stored; a blank one is none."""
        try:
            return clean_text(note, self._replica.state.policy.message_bytes_max) or None
        except TextTooLargeError:
            raise self._refusals.of("message_too_large", "note_too_large") from None
