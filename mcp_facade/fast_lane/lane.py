"""The lane: whether a request is one for it, and the way from there to its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.exceptions import MCPError
from mcp_types import SubscriptionsListenRequestParams, methods
from mcp_types.version import LATEST_MODERN_VERSION
from starlette.types import Scope

from broker.broker import Broker
from broker.heartbeat import Heartbeat
from mcp_facade.admission import Headers
from mcp_facade.calls import Call
from mcp_facade.exchange import Exchange
from mcp_facade.fast_lane.answers import Form, SessionForm, StatelessForm
from mcp_facade.fast_lane.lasting import LastingCall
from mcp_facade.fast_lane.listening import ListenStream
from mcp_facade.fast_lane.requests import (
    CANCELLED,
    LISTEN_REQUEST,
    TOOL_CALL,
    VERSION,
    Envelope,
    ListenRequest,
    ToolCall,
    decoded,
    envelope_of,
    is_usual,
)
from mcp_facade.listen import Listening
from mcp_facade.protocol import CUT_KEY
from mcp_facade.sessions import Session
from mcp_facade.tools import Tools
from mcp_facade.wire import VERSION_HEADER

METHOD_HEADER = b"mcp-method"
NAME_HEADER = b"mcp-name"


class FastLane:
    """Answers what it knows in every detail, and nothing else."""

    def __init__(
        self,
        broker: Broker,
        tools: Tools,
        listening: Listening,
        heartbeat: Heartbeat,
        *,
        server_info: dict[str, Any],
        body_bytes_max: int,
    ) -> None:
        """`server_info`: what the SDK stamps results with."""
        self._broker = broker
        self._tools = tools
        self._listening = listening
        self._heartbeat = heartbeat
        self._body_bytes_max = body_bytes_max
        self._stateless = StatelessForm(server_info)
        self.taken = 0
        """How many requests were for it; the others are the SDK's."""

    async def serve(self, scope: Scope, headers: Headers, exchange: Exchange) -> bool:
        """Answer the request, or leave it as it was and say `False`."""
        session = exchange.session
        is_stateless = headers.get(VERSION_HEADER) == VERSION
        if not (is_stateless or (session is not None and session.is_served)):
            return False
        if not is_usual(scope, headers, self._body_bytes_max):
            return False
        body = await exchange.whole_body()
        if body is None or exchange.had_lone_surrogate:
            return False
        if is_stateless:
            return await self._stateless_request(scope, headers, body, exchange)
        assert session is not None
        return await self._in_session(session, body, exchange)

    async def _stateless_request(self, scope: Scope, headers: Headers, body: bytes, exchange: Exchange) -> bool:
        """A request of 2026-07-28, whose headers say what its body says."""
        method = headers.get(METHOD_HEADER)
        if method == b"tools/call":
            call = decoded(body, TOOL_CALL)
            if call is None or headers.get(NAME_HEADER) != call.params.name.encode():
                return False
            if call.params.name not in self._tools or envelope_of(call.params.meta) is None:
                return False
            await self._call(call, exchange, self._stateless)
            return True
        if method == b"subscriptions/listen":
            request = decoded(body, LISTEN_REQUEST)
            envelope = envelope_of(request.params.meta) if request is not None else None
            return (
                request is not None and envelope is not None and await self._listen(scope, request, envelope, exchange)
            )
        return False

    async def _in_session(self, session: Session, body: bytes, exchange: Exchange) -> bool:
        """A request made in a session of 2025."""
        call = decoded(body, TOOL_CALL)
        if call is None:
            if session.lasting and (off := decoded(body, CANCELLED)) is not None and off.id is msgspec.UNSET:
                session.call_off(coerce_request_id(off.params.request_id))
            return False
        if bytes(call.params.meta) or call.params.name not in self._tools:
            return False
        await self._call(call, exchange, SessionForm(session.session_id))
        return True

    async def _call(self, call: ToolCall, exchange: Exchange, form: Form) -> None:
        self.taken += 1
        name, arguments = call.params.name, call.params.arguments
        work = self._tools.call(name, arguments, Call(exchange))
        if not _may_last(name, arguments):
            for message in form.whole(call.id, await work):
                await exchange.send(message)
            return
        lasting = LastingCall(exchange, form, call.id)
        if exchange.session is None:
            await lasting.serve(work, self._broker, self._heartbeat)
            return
        with exchange.session.calling(coerce_request_id(call.id), lasting):
            await lasting.serve(work, self._broker, self._heartbeat)

    async def _listen(self, scope: Scope, request: ListenRequest, envelope: Envelope, exchange: Exchange) -> bool:
        """Judged by the SDK's models: it is made once for a stream."""
        params = {"notifications": request.params.notifications, "_meta": msgspec.json.decode(request.params.meta)}
        try:
            methods.validate_client_request(request.method, LATEST_MODERN_VERSION, params)
            asked = SubscriptionsListenRequestParams.model_validate(params, by_name=False).notifications
        except ValueError:
            return False
        cut = scope["extensions"][CUT_KEY]
        try:
            with self._listening.opened(asked, request.id, envelope.extensions, cut, pinged=True) as subscription:
                self.taken += 1
                await ListenStream(exchange, self._stateless, request.id).serve(subscription)
        except MCPError:
            return False
        return True


def _may_last(name: str, arguments: Mapping[str, Any] | None) -> bool:
    """Whether a call may wait, or mint a handle that nobody else will be told."""
    given = arguments or {}
    return (
        name == "wait_for_events"
        or (name == "send_message" and "cursor" in given)
        or (name == "enter_queue" and given.get("handle") is None)
    )
