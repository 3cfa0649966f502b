"""The ASGI application in front of the SDK: who may come in, which session it is, and the 2025 GET stream.

It mirrors the SDK's sessions by watching its answers, ends the idle ones by the client's own means (DELETE), and
leaves all else to it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping

from mcp.server.streamable_http import check_accept_headers
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST, ErrorData, JSONRPCError
from starlette.datastructures import Headers as AnswerHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from broker.broker import Broker
from broker.clock import Timer
from broker.streams import Stream, TooManyStreamsError
from events.policy import Policy
from mcp_facade.fast.lane import FastLane
from mcp_facade.http.direct_response import DirectResponse, direct_response_of
from mcp_facade.http.exchange import EXCHANGE_KEY, HttpExchange
from mcp_facade.http.headers import (
    LAST_EVENT_ID_HEADER,
    SESSION_HEADER,
    VERSION_HEADER,
    Headers,
    headers_of,
    is_stateless_request,
)
from mcp_facade.http.host_check import HostOriginCheck
from mcp_facade.http.openings import EndingError, Opening, Openings
from mcp_facade.resources import Resources
from mcp_facade.sdk.server import chat_server
from mcp_facade.sessions import RequestIdInUseError, Session, SessionEndedError, Sessions
from mcp_facade.streams.get_stream import PRIMED_SINCE, GetStream, parse_event_id
from mcp_facade.streams.subscriptions import Subscriptions
from mcp_facade.texts import ENDING, NO_STREAM, REQUEST_ID_IN_USE
from mcp_facade.tools.handlers import Tools

SESSION_SWEEP_MS = 30_000
ENDING_MS = 1_000


class StreamableHttpEndpoint:
    """`/mcp` of one broker."""

    def __init__(
        self, broker: Broker, policy: Policy, security: TransportSecuritySettings, *, fast_lane: bool = True
    ) -> None:
        """`fast_lane`: whether there is one; the SDK answers all that it does not."""
        self._broker = broker
        self._streams = broker.streams
        self._sessions = Sessions(broker)
        self._openings = Openings()
        self._host_check = HostOriginCheck(security, broker.clock)
        self._sweep_timer: Timer | None = None
        tools, resources = Tools(broker), Resources(broker)
        subscriptions = Subscriptions(broker, self._streams, resources)
        server = chat_server(tools, resources, subscriptions)
        # Sessions end by our clock and our idea of activity. Host and Origin are checked once, here; unless the SDK is
        # told so, each of its sessions holds settings of its own that say it.
        self._manager = StreamableHTTPSessionManager(
            server,
            json_response=False,
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
            session_idle_timeout=None,
            max_sessions=policy.sessions_max,
            max_request_body_size=policy.body_bytes_max,
        )
        self.fast_lane = (
            FastLane(
                broker,
                tools,
                subscriptions,
                server_info=server.server_info_stamp,
                body_bytes_max=policy.body_bytes_max,
            )
            if fast_lane
            else None
        )

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve for as long as it is open."""
        async with self._manager.run():
            self._sweep_later()
            yield
            if self._sweep_timer is not None:
                self._sweep_timer.cancel()

    def drain(self) -> None:
        """Open no more sessions."""
        self._openings.end()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        headers = headers_of(scope)
        if self._host_check.is_known(scope, headers):
            return self._serve(scope, headers, receive, send)
        return self._admit(scope, headers, receive, send)

    async def _admit(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        refusal = await self._host_check.refusal(scope, headers)
        await (refusal(scope, receive, send) if refusal else self._serve(scope, headers, receive, send))

    def _serve(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> Awaitable[None]:
        if is_stateless_request(headers.get(VERSION_HEADER)):
            return self._exchange(scope, HttpExchange(self._broker, scope, headers, receive, send, None))
        if scope["method"] == "GET":
            return self._get(scope, headers, receive, send)
        return self._in_session(scope, headers, receive, send)

    async def _in_session(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """A request of the 2025 side: one that opens a session, is made in one, or ends it."""
        session_id, session = self._session_of(headers)
        if session_id is None:
            await self._open_session(scope, headers, receive, send)
        elif session is None:
            await _refusal(404, "Session not found")(scope, receive, send)
        elif scope["method"] == "DELETE":
            await self._end(session)
            await Response()(scope, receive, send)
        else:
            exchange = HttpExchange(self._broker, scope, headers, receive, send, session)
            try:
                await self._exchange(scope, exchange)
            finally:
                self._sessions.touch(session)
            if exchange.status == 404:  # the SDK has lost it
                self._sessions.closed(session.session_id)

    async def _open_session(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        if self._sessions.are_full:
            await self._end_expired(making_room=True)
        opening = Opening(self._openings, receive, self._watched(send))
        exchange = HttpExchange(self._broker, scope, headers, opening.receive, opening.send, None)
        try:
            await self._exchange(scope, exchange)
        except EndingError:
            await _refusal(503, ENDING, INTERNAL_ERROR, {"Retry-After": "1"})(scope, receive, send)
        finally:
            opening.over()

    async def _end(self, session: Session) -> None:
        """End `session`, once what is in flight in it is answered, or after a moment.

        The SDK takes a request that it is about to hand on, while the session ends, for a fault.
        """
        self._sessions.closed(session.session_id)
        for call in tuple(session.calls):
            call.finish_early()
        clock = self._broker.clock
        deadline_ms = clock.now_ms() + ENDING_MS
        call_over = asyncio.Event()
        session.call_over = call_over.set
        timer = clock.call_at(deadline_ms, call_over.set)
        while any(call.is_asked for call in session.calls) and clock.now_ms() < deadline_ms:
            call_over.clear()
            await call_over.wait()
        timer.cancel()
        await self._forget(session.session_id)

    async def _forget(self, session_id: str) -> None:
        """Let the SDK end a session, as its client would: with a DELETE."""
        scope = {"type": "http", "method": "DELETE", "path": "/mcp", "query_string": b"", "http_version": "1.1"}
        scope["headers"] = [(SESSION_HEADER, session_id.encode())]
        await self._manager.handle_request(scope, _nothing_more, _to_nobody)

    async def _exchange(self, scope: Scope, exchange: HttpExchange) -> None:
        """Let the lane answer, or else the SDK; no status is set if the client left before it had asked."""
        session = exchange.session
        scope[EXCHANGE_KEY] = exchange
        if session is not None:
            session.calls[exchange] = None
        try:
            answering = self.fast_lane.answering(scope, exchange) if self.fast_lane is not None else None
            await (answering or self._manager.handle_request(scope, exchange.receive, exchange.send))
        except ClientDisconnect:
            pass
        except RequestIdInUseError:
            await _refusal(400, REQUEST_ID_IN_USE)(scope, exchange.receive, exchange.send)
        except SessionEndedError:
            await _refusal(404, "Session not found")(scope, exchange.receive, exchange.send)
        finally:
            exchange.finish()
            if session is not None:
                del session.calls[exchange]
                session.call_over()

    def _session_of(self, headers: Headers) -> tuple[str | None, Session | None]:
        """The session that a request names, and that session if it is open."""
        named = headers.get(SESSION_HEADER)
        session_id = named.decode("latin-1") if named is not None else None
        return session_id, self._sessions.get(session_id) if session_id is not None else None

    def _watched(self, send: Send) -> Send:
        """`send`, noting each session that an answer opens."""

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                session_id = AnswerHeaders(raw=message["headers"]).get(SESSION_HEADER.decode())
                if session_id is not None and self._sessions.get(session_id) is None:
                    self._sessions.opened(session_id)
            await send(message)

        return watched

    def _get(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> Awaitable[None]:
        session_id, session = self._session_of(headers)
        if not check_accept_headers(Request(scope))[1]:
            refusal = _refusal(406, "Not Acceptable: Client must accept text/event-stream")
        elif session_id is None:
            refusal = _refusal(400, "Bad Request: Missing session ID")
        elif session is None:
            refusal = _refusal(404, "Session not found")
        elif (stream := self._opened(session, direct_response_of(scope))) is None:
            refusal = _refusal(503, NO_STREAM, INTERNAL_ERROR)
        else:
            last_event_id = headers.get(LAST_EVENT_ID_HEADER, b"").decode("latin-1")
            resumption = parse_event_id(last_event_id, self._broker.log.epoch)
            primed = headers.get(VERSION_HEADER, b"") >= PRIMED_SINCE
            scope["headers"] = ()  # it lasts for hours, and nobody reads them any more
            writer = GetStream(self._broker, session, stream, send, direct_response_of(scope))
            return self._stream(session, stream, writer.serve(receive, resumption, primed=primed))
        return refusal(scope, receive, send)

    def _opened(self, session: Session, direct: DirectResponse) -> Stream | None:
        """The session's stream, if there can be one more; one that is open already is displaced by it."""
        try:
            stream = self._streams.open("get", direct.abort, pinged=True, replaces=session.stream)
        except TooManyStreamsError:
            return None
        displaced, session.stream = session.stream, stream
        for connection_id in session.presented:
            stream.attach(connection_id)
        if displaced is not None:
            displaced.end()
        return stream

    async def _stream(self, session: Session, stream: Stream, writing: Awaitable[None]) -> None:
        try:
            await writing
        finally:
            if session.stream is stream:
                session.stream = None
            self._streams.close(stream)
            self._sessions.touch(session)

    def _sweep_later(self) -> None:
        clock = self._broker.clock
        self._sweep_timer = clock.call_at(clock.now_ms() + SESSION_SWEEP_MS, self._sweep)

    def _sweep(self) -> None:
        self._broker.in_background(self._end_expired())
        self._sweep_later()

    async def _end_expired(self, *, making_room: bool = False) -> None:
        """End the sessions whose time is up."""
        for session_id in self._sessions.expired(making_room=making_room):
            await self._forget(session_id)
            self._sessions.closed(session_id)


def _refusal(
    status: int, message: str, code: int = INVALID_REQUEST, headers: Mapping[str, str] | None = None
) -> Response:
    error = JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=code, message=message))
    body = error.model_dump_json(by_alias=True, exclude_unset=True)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


async def _nothing_more() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _to_nobody(message: Message) -> None:
    pass
