"""Requests of 2025 sessions outside the fast lane: one call of the SDK's kernel for each.

No session of the SDK's outlives a request. This module replaces the SDK's session manager, with the same responses
byte for byte but for the session ids. A test compares the two (`tests/facade/lane`), so a different answer in a new
version of the SDK is noticed.
(MCP 2025-11-25, basic/transports, 'Sending Messages to the Server'.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import structlog
from mcp.server.connection import Connection
from mcp.server.lowlevel.server import Server
from mcp.server.runner import serve_one
from mcp.server.streamable_http import check_accept_headers
from mcp.shared.dispatcher import CallOptions, coerce_request_id
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import (
    cancelled_request_id_from_params,
    handler_exception_to_error_data,
    progress_token_from_params,
)
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    ProgressToken,
    RequestId,
    jsonrpc_message_adapter,
)
from mcp_types.version import LATEST_HANDSHAKE_VERSION
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from broker.broker import Broker
from mcp_facade.http.encoders import SessionEncoder
from mcp_facade.http.exchange import HttpExchange
from mcp_facade.http.headers import SESSION_HEADER
from mcp_facade.http.long_running import LongRunningCall
from mcp_facade.http.messages import NO_MESSAGE, fault_of, understood
from mcp_facade.http.refusals import json_rpc_refusal, not_acceptable, session_missing, session_not_found
from mcp_facade.session import Session
from mcp_facade.sessions import Sessions

logger = structlog.get_logger(__name__)

UNSUPPORTED = "Unsupported Media Type: Content-Type must be application/json"


class SessionRequests:
    """POST requests of 2025 clients of one broker."""

    def __init__(self, broker: Broker, server: Server[Any], sessions: Sessions) -> None:
        self._broker = broker
        self._server = server
        self._sessions = sessions
        self._encoder = SessionEncoder()

    async def serve(self, scope: Scope, receive: Receive, exchange: HttpExchange) -> None:
        """Answer one POST of `exchange.session`, or one that opens a session.

        `receive` gives the body; the rest of `exchange` is watched separately.
        """
        request = Request(scope, receive)
        message = await self._message(request)
        session = exchange.session
        if session is not None and session.ended:  # while the request was still coming
            session = exchange.session = None
        if isinstance(message, Response):
            await message(scope, receive, exchange.send)
        elif isinstance(message, JSONRPCRequest) and message.method == "initialize":
            await self._initialize(request, message, exchange)
        elif session is None:
            refusal = session_not_found() if SESSION_HEADER in exchange.headers else session_missing()
            await refusal(scope, receive, exchange.send)
        elif isinstance(message, JSONRPCRequest):
            await self._answer(request, message, exchange, session)
        else:
            self._notice(message, session, exchange.peer)
            await Response(status_code=202, media_type="application/json")(scope, receive, exchange.send)

    async def _message(self, request: Request) -> JSONRPCMessage | Response:
        """Return the message of a request, or the refusal."""
        if not all(check_accept_headers(request)):
            return not_acceptable()
        media_types = request.headers.get("content-type", "").partition(";")[0].split(",")
        if "application/json" not in [media_type.strip() for media_type in media_types]:
            return json_rpc_refusal(415, UNSUPPORTED)
        try:
            raw = understood(from_json(await request.body()))
        except ValueError as error:
            return json_rpc_refusal(400, f"Parse error: {error}", PARSE_ERROR)
        fault = fault_of(raw)
        if fault is not None:
            return json_rpc_refusal(400, fault)
        try:
            return jsonrpc_message_adapter.validate_python(raw, by_name=False)
        except ValidationError:
            return json_rpc_refusal(400, NO_MESSAGE)

    async def _answer(
        self, request: Request, message: JSONRPCRequest, exchange: HttpExchange, session: Session
    ) -> None:
        call = LongRunningCall(exchange, self._encoder, message.id)
        connection = Connection.from_envelope(session.token.version, None, None)
        with session.calling(coerce_request_id(message.id), call):
            await call.serve(self._work(request, message, connection, call), self._broker)

    async def _initialize(self, request: Request, message: JSONRPCRequest, exchange: HttpExchange) -> None:
        """Answer the handshake. A successful one opens a session, unless it repeats that of its session's version."""
        connection = Connection.from_envelope(LATEST_HANDSHAKE_VERSION, None, None)
        response = await self._response(request, message, connection, None)
        session, headers = exchange.session, [*self._encoder.headers]
        if isinstance(response, JSONRPCResponse):
            if session is not None and session.token.version == connection.protocol_version:
                session_id = session.session_id
            else:
                session_id = self._sessions.new_id(connection.protocol_version)
            headers.insert(-1, (SESSION_HEADER, session_id.encode()))  # where the SDK has it
        await exchange.respond(headers, self._encoder.framed(_encoded(response)))

    def _notice(self, message: JSONRPCMessage, session: Session, address: str) -> None:
        """Act on a notification; the only one with an effect is a cancellation."""
        if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            request_id = cancelled_request_id_from_params(message.params)
            if request_id is not None:
                self._sessions.cancel(session, coerce_request_id(request_id), address)

    async def _work(
        self, request: Request, message: JSONRPCRequest, connection: Connection, call: LongRunningCall
    ) -> bytes:
        return _encoded(await self._response(request, message, connection, call))

    async def _response(
        self, request: Request, message: JSONRPCRequest, connection: Connection, call: LongRunningCall | None
    ) -> JSONRPCResponse | JSONRPCError:
        context = _RequestContext(request, message, call)
        try:
            result = await serve_one(
                self._server, context, message.method, message.params, connection=connection, lifespan_state={}
            )
        except Exception as error:
            data = handler_exception_to_error_data(error)
            if data is None:
                counted = self._broker.lines.admit_fault("request_failed", error)
                if counted is not None:
                    logger.error("request_failed", fault=type(error).__name__, exc_info=error, **counted)
                data = ErrorData(code=0, message=str(error))
            return JSONRPCError(jsonrpc="2.0", id=message.id, error=data)
        return JSONRPCResponse(jsonrpc="2.0", id=message.id, result=result)


class _RequestContext:
    """The SDK's `DispatchContext` of one request: it may send notifications before its response, and nothing else."""

    can_send_request = False

    def __init__(self, request: Request, message: JSONRPCRequest, call: LongRunningCall | None) -> None:
        self.request_id: RequestId = message.id
        self.transport = TransportContext(kind="streamable-http", can_send_request=False, headers=request.headers)
        self.message_metadata = ServerMessageMetadata(request_context=request)
        self.cancel_requested = anyio.Event()
        self._call = call
        self._progress_token: ProgressToken | None = progress_token_from_params(message.params)

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        """Refuse: the client's answer would have no way back.

        Raises:
            NoBackChannelError: always.
        """
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Write a notification to the response's stream."""
        if self._call is not None:
            sent = dict(params) if params is not None else None
            await self._call.notify(_encoded(JSONRPCNotification(jsonrpc="2.0", method=method, params=sent)))

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Write `notifications/progress`, if the client gave a token for it."""
        if self._progress_token is None:
            return
        params: dict[str, Any] = {"progressToken": self._progress_token, "progress": progress}
        if total is not None:
            params["total"] = total
        if message is not None:
            params["message"] = message
        await self.notify("notifications/progress", params)


def _encoded(message: JSONRPCMessage) -> bytes:
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode()
