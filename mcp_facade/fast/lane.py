"""The lane: the choice of requests to take, and their answers."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.exceptions import MCPError
from mcp_types import SubscriptionsListenRequestParams, methods
from mcp_types.version import LATEST_MODERN_VERSION
from starlette.types import Scope

from broker.broker import Broker
from mcp_facade.fast.requests import (
    LISTEN_REQUEST,
    TOOL_CALL,
    VERSION,
    ToolCall,
    decoded,
    envelope_of,
    is_usual,
    may_be_deep,
)
from mcp_facade.fast.subscriptions import SubscriptionEncoder, serve_subscription
from mcp_facade.http.encoders import ResponseEncoder, SessionEncoder, StatelessEncoder
from mcp_facade.http.event_stream import EventStreamResponse
from mcp_facade.http.exchange import HttpExchange
from mcp_facade.http.headers import VERSION_HEADER, Headers
from mcp_facade.http.long_running import LongRunningCall
from mcp_facade.streams.subscriptions import Subscriptions
from mcp_facade.tools.calls import Call
from mcp_facade.tools.catalogue import TOOL_NAMES
from mcp_facade.tools.handlers import Tools

METHOD_HEADER = b"mcp-method"
NAME_HEADER = b"mcp-name"


class FastLane:
    """Answers the requests known in every detail, and nothing else."""

    def __init__(
        self,
        broker: Broker,
        tools: Tools,
        subscriptions: Subscriptions,
        *,
        server_info: dict[str, Any],
        body_bytes_max: int,
    ) -> None:
        """Take `server_info`, the SDK's stamp on every result."""
        self._broker = broker
        self._tools = tools
        self._subscriptions = subscriptions
        self._body_bytes_max = body_bytes_max
        self._stateless = StatelessEncoder(server_info)
        self._in_session = SessionEncoder()
        self.taken = 0
        """The number of requests taken; the others are the SDK's."""

    def answering(self, scope: Scope, exchange: HttpExchange) -> Awaitable[None] | None:
        """Return the answer, to be awaited at once; `None` leaves the request to the SDK, unchanged."""
        session, headers = exchange.session, exchange.headers
        is_stateless = headers.get(VERSION_HEADER) == VERSION
        if session is None and not is_stateless:
            return None
        if not is_usual(scope, headers, self._body_bytes_max):
            return None
        body = exchange.whole_body()
        if body is None or may_be_deep(body):
            return None
        if is_stateless and headers.get(METHOD_HEADER) == b"subscriptions/listen":
            return self._listen(scope, body, exchange)
        call = self._stateless_call(headers, body) if session is None else self._call_in_session(body)
        if call is None:
            return None
        exchange.take_whole()
        self.taken += 1
        return self._call(call, exchange, self._stateless if session is None else self._in_session)

    def _stateless_call(self, headers: Headers, body: bytes) -> ToolCall | None:
        """Decode a call of 2026-07-28; its headers have to agree with its body."""
        if headers.get(METHOD_HEADER) != b"tools/call":
            return None
        call = decoded(body, TOOL_CALL)
        if call is None or headers.get(NAME_HEADER) != call.params.name.encode():
            return None
        return call if call.params.name in TOOL_NAMES and envelope_of(call.params.meta) is not None else None

    def _call_in_session(self, body: bytes) -> ToolCall | None:
        """Decode a call made in a session of 2025."""
        call = decoded(body, TOOL_CALL)
        if call is None or bytes(call.params.meta) or call.params.name not in TOOL_NAMES:
            return None
        return call

    async def _call(self, call: ToolCall, exchange: HttpExchange, encoder: ResponseEncoder) -> None:
        if not _may_block(call.params.name, call.params.arguments):
            answer = await self._tools.call(call.params.name, call.params.arguments, Call(exchange))
            await exchange.respond(encoder.headers, encoder.framed(encoder.result(call.id, answer)))
            return
        work = self._work(call, exchange, encoder)
        long_running = LongRunningCall(exchange, encoder, call.id)
        if exchange.session is None:
            await long_running.serve(work, self._broker)
            return
        with exchange.session.calling(coerce_request_id(call.id), long_running):
            await long_running.serve(work, self._broker)

    async def _work(self, call: ToolCall, exchange: HttpExchange, encoder: ResponseEncoder) -> bytes:
        """Carry out the tool, and return the JSON-RPC response."""
        answer = await self._tools.call(call.params.name, call.params.arguments, Call(exchange))
        return encoder.result(call.id, answer)

    def _listen(self, scope: Scope, body: bytes, exchange: HttpExchange) -> Awaitable[None] | None:
        """Open a stream of 2026-07-28. The SDK's models judge it, since a client asks for one only once."""
        request = decoded(body, LISTEN_REQUEST)
        envelope = envelope_of(request.params.meta) if request is not None else None
        if request is None or envelope is None:
            return None
        params = {"notifications": request.params.notifications, "_meta": msgspec.json.decode(request.params.meta)}
        try:
            methods.validate_client_request(request.method, LATEST_MODERN_VERSION, params)
            asked = SubscriptionsListenRequestParams.model_validate(params, by_name=False).notifications
            if not self._subscriptions.knows_all(asked):
                return None  # the SDK's side can wait until the handle is known
            subscription = self._subscriptions.honour(asked, request.id, envelope.extensions)
            response = EventStreamResponse(exchange.direct, exchange.receive, exchange.send)
            stream = self._subscriptions.open(subscription, SubscriptionEncoder(subscription), response, pinged=True)
        except (ValueError, MCPError):
            return None
        exchange.take_whole()
        self.taken += 1
        scope["headers"] = ()  # it lasts for hours, and nothing reads them any more
        exchange.drop_headers()
        return serve_subscription(subscription, stream, response, self._stateless, request.id)


def _may_block(name: str, arguments: Mapping[str, Any] | None) -> bool:
    """Return whether a call may wait, or mint a handle for this response alone to tell; in doubt, it may."""
    given = arguments or {}
    if name == "send_message":
        return not given.keys() <= _OF_A_SHORT_MESSAGE  # `cursor`, in whatever form its host writes it
    if name in ("enter_queue", "chat_enter"):
        handle = given.get("handle")
        return not isinstance(handle, str) or not handle.strip()
    return name == "wait_for_events"


_OF_A_SHORT_MESSAGE = {"room_id", "message", "handle", "message_id"}
