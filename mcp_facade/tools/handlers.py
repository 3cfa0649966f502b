"""The tools: parse, submit, render. Those of the queue and of conduct have files of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from broker.batch import Accepted
from broker.broker import Broker
from broker.decision import Rejection
from events.commands import LeaveRoom, SendMessage
from events.ids import RoomId
from events.log import LogUnavailableError
from mcp_facade.sessions import Sessions
from mcp_facade.texts import WINDOW_OPENED
from mcp_facade.tools.arguments import (
    LONE_SURROGATE_TEXT,
    HandleArguments,
    InvalidArgumentsError,
    OpenChatArguments,
    RoomArguments,
    SendMessageArguments,
    TextTooLargeError,
    WaitForEventsArguments,
    clean_text,
    parse,
)
from mcp_facade.tools.calls import Call, Caller, Callers, caller_in, identify
from mcp_facade.tools.conduct import ConductTools
from mcp_facade.tools.queue import QueueTools
from mcp_facade.tools.refusals import Refusals, Refused
from mcp_facade.tools.results import (
    Answer,
    Json,
    idle_seconds_of,
    page_json,
    partner_idle_json,
    status_json,
    waited_json,
)
from projections.notifications import timestamp_of

logger = structlog.get_logger(__name__)


class Tools:
    """The tools of one broker, for the lane and the SDK: each turns a caller and arguments into an answer."""

    def __init__(self, broker: Broker, sessions: Sessions) -> None:
        self._broker = broker
        self._clock = broker.clock
        self._replica = broker.replica
        self._writer = broker.writer
        self._presence = broker.presence
        self._peers = broker.peers
        self._reads = broker.reads
        self._waits = broker.waits
        self._refusals = Refusals(broker)
        self._sessions = sessions
        self._callers = Callers(broker, sessions, self._refusals)
        queue = QueueTools(broker, sessions, self._callers, self._refusals)
        conduct = ConductTools(broker, self._callers, self._refusals)
        self._tools: Mapping[str, Callable[[Call, Mapping[str, Any] | None], Awaitable[Json]]] = {
            "enter_queue": queue.enter_queue,
            "chat_enter": queue.chat_enter,
            "send_message": self._send_message,
            "wait_for_events": self._wait_for_events,
            "leave_chat": self._leave_chat,
            "next_partner": queue.next_partner,
            "block_partner": conduct.block,
            "report_partner": conduct.report,
            "leave_queue": queue.leave_queue,
            "get_status": self._get_status,
            "open_chat": self._open_chat,
        }

    async def call(self, name: str, arguments: Mapping[str, Any] | None, call: Call) -> Answer:
        """Carry out the tool `name`, which has to exist; a fault of ours is a refusal too."""
        refusal = None
        try:
            if self._broker.draining and not self._broker.log.is_shared:  # else the calls taken before are carried out
                raise self._refusals.unavailable()
            if call.exchange.had_lone_surrogate:
                raise InvalidArgumentsError(LONE_SURROGATE_TEXT)
            answer = Answer(await self._tools[name](call, arguments), is_refusal=False)
        except Refused as refused:
            refusal = refused.with_traceback(None)  # it would hold this frame, which holds it
        except InvalidArgumentsError as error:
            refusal = self._refusals.invalid(str(error))
        except LogUnavailableError as error:
            self._broker.log_put_off("tool_put_off", error)
            refusal = self._refusals.unavailable()
        except Exception as fault:
            counted = self._broker.lines.admit_fault("tool_failed", fault)
            if counted is not None:
                logger.error("tool_failed", fault=type(fault).__name__, exc_info=fault, **counted)
            refusal = self._refusals.unavailable()
        if refusal is not None:
            answer = refusal.answer
            self._refusals.record(refusal, name, caller_in(call, arguments, self._replica.state))
        if call.exchange.session is not None:
            await self._sessions.keep(call.exchange.session)
        call.exchange.answer_ready(answer.payload.get("cursor"))
        return answer

    async def _send_message(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        asked = parse(SendMessageArguments, arguments)
        if asked.wait_seconds and asked.cursor is None:
            raise InvalidArgumentsError("wait_seconds needs a cursor: pass the newest one that you were given.")
        caller = await self._callers.known(call, asked.handle)
        with self._presence.call(caller.connection_id):
            text = self._clean(asked.message)
            if asked.cursor is not None:
                await self._check_wait(caller, asked.cursor, asked.wait_seconds)
            command = SendMessage(caller.connection_id, RoomId(asked.room_id), text, asked.message_id)
            answer = await self._writer.submit(command)
            if isinstance(answer, Rejection):
                raise await self._not_sent(answer, caller, asked.cursor)
            payload: Json = {"success": True, "timestamp": timestamp_of(_sent_at_ms(answer, command))}
            if asked.cursor is not None:
                payload |= await self._wait(call, caller, asked.cursor, asked.wait_seconds)
        return payload

    async def _not_sent(self, rejection: Rejection, caller: Caller, cursor: int | None) -> Refused:
        """Return the refusal of a message; at the end of a chat, with what the caller has not heard of it."""
        refusal = self._refusals.rejected(rejection)
        if rejection.code == "chat_ended" and cursor is not None:
            page = await self._reads.page(caller.connection_id, cursor)
            self._reads.record(caller.connection_id, page, "result")
            refusal.answer.payload.update(page_json(page))
        return refusal

    async def _wait_for_events(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        asked = parse(WaitForEventsArguments, arguments)
        caller = await self._callers.known(call, asked.handle)
        with self._presence.call(caller.connection_id):
            await self._check_wait(caller, asked.cursor, asked.wait_seconds)
            payload = await self._wait(call, caller, asked.cursor, asked.wait_seconds)
        idle_seconds = idle_seconds_of(self._replica.state, caller.connection_id, self._writer.time_ms())
        return payload | {"idle_seconds": idle_seconds}

    async def _leave_chat(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        asked = parse(RoomArguments, arguments)
        caller = await self._callers.known(call, asked.handle)
        with self._presence.call(caller.connection_id):
            answer = await self._writer.submit(LeaveRoom(caller.connection_id, RoomId(asked.room_id)))
        if isinstance(answer, Rejection):
            raise self._refusals.rejected(answer)
        return {"success": True}

    async def _get_status(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        handle = parse(HandleArguments, arguments).handle
        await self._replica.confirm()
        caller = await identify(self._reads, self._sessions, call.exchange, handle)
        if caller is None and handle:
            raise self._refusals.of("unknown_handle")
        state = self._replica.state
        if caller is None:  # nothing of the log concerns it, its positions neither
            return {"status": "idle", "waiting": len(state.queue), "idle_reason": "never_entered"}
        self._peers.heard(state, caller.connection_id, call.exchange.peer)
        self._count_read(caller)
        with self._presence.call(caller.connection_id):
            ending = await self._reads.ending(state, caller.connection_id)
            cursor = await self._reads.before_last_room(state, caller.connection_id)
        partner_idle = partner_idle_json(state, caller.connection_id, self._presence)
        return status_json(state, caller.connection_id, ending, cursor) | partner_idle

    async def _open_chat(self, call: Call, arguments: Mapping[str, Any] | None) -> Json:
        """Answer in words alone: a host opens the window, and only a click in it enters."""
        parse(OpenChatArguments, arguments)
        return {"note": WINDOW_OPENED}

    async def _wait(self, call: Call, caller: Caller, cursor: int, wait_seconds: float) -> Json:
        """Wait for events after `cursor`, and return them."""
        wait_ms = min(int(wait_seconds * 1_000), self._replica.state.policy.wait_ms_max)
        wait = self._waits.start(caller.connection_id, cursor, wait_ms)
        call.exchange.when_gone(wait.give_up)
        waited = await wait.run(self._progress(call, wait_ms / 1_000))
        ending = await self._reads.ending(waited.state, caller.connection_id)
        self._reads.record(caller.connection_id, waited.page, "result")
        partner_idle = partner_idle_json(waited.state, caller.connection_id, self._presence)
        return waited_json(waited, caller.connection_id, ending) | partner_idle

    def _progress(self, call: Call, total_seconds: float) -> Callable[[], Awaitable[None]] | None:
        report = call.report
        if report is None:
            return None
        clock = self._clock
        started_ms = clock.now_ms()
        return lambda: report(round((clock.now_ms() - started_ms) / 1_000), total_seconds)

    async def _check_wait(self, caller: Caller, cursor: int, wait_seconds: float) -> None:
        """Check cursor and wait before the command is submitted: a refusal after it would not undo the command."""
        self._count_read(caller)
        if not await self._reads.has_given(caller.connection_id, cursor):
            raise InvalidArgumentsError("cursor is not one that you were given. Call get_status for one that is.")
        if wait_seconds and not self._waits.may_start(caller.connection_id):
            raise self._refusals.of("rate_limited", "too_many_waits", retry_after_ms=1_000)

    def _count_read(self, caller: Caller) -> None:
        """Count a read of the caller.

        Raises:
            Refused: there were too many.
        """
        retry_after_ms = self._reads.retry_after_ms(caller.connection_id)
        if retry_after_ms:
            raise self._refusals.of("rate_limited", retry_after_ms=retry_after_ms)

    def _clean(self, message: str) -> str:
        try:
            text = clean_text(message, self._replica.state.policy.message_bytes_max)
        except TextTooLargeError:
            raise self._refusals.of("message_too_large") from None
        if not text:
            raise self._refusals.of("message_empty")
        return text


def _sent_at_ms(accepted: Accepted, command: SendMessage) -> int:
    """Return when the message was stored: now, or by the first call, for a repeated one."""
    if accepted.commit is not None:
        return accepted.commit.at_ms
    assert command.client_message_id is not None
    room = accepted.state.rooms.by_id[command.room_id]
    sent_at_ms = room.sent_at_ms(command.connection_id, command.client_message_id)
    assert sent_at_ms is not None
    return sent_at_ms
