"""The ASGI application at `/mcp`: accepts requests, finds the session of each, and chooses the server for it.

2026-07-28        the fast lane, else the SDK
2025, POST        the fast lane, else the SDK's kernel (`sdk.session_requests`)
2025, GET         `streams.get_stream`
2025, DELETE      ends the session
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable

from mcp.server.streamable_http import check_accept_headers
from mcp.server.transport_security import RequestBodyLimitMiddleware
from mcp_types import INTERNAL_ERROR
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.broker import Broker
from broker.matching import counted_as
from broker.streams import TooManyStreamsError
from events.ids import Position
from events.log import LogUnavailableError
from events.policy import Policy
from mcp_facade.fast.lane import FastLane
from mcp_facade.http.direct_response import direct_response_of
from mcp_facade.http.event_stream import EventStreamResponse
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
from mcp_facade.http.proxies import TrustedProxies
from mcp_facade.http.refusals import json_rpc_refusal, session_missing, session_not_found
from mcp_facade.operator_notice import NO_NOTICE, OperatorNotice
from mcp_facade.resources import Resources
from mcp_facade.sdk.server import chat_server
from mcp_facade.sdk.session_requests import SessionRequests
from mcp_facade.sdk.stateless_requests import StatelessRequests
from mcp_facade.session import Session
from mcp_facade.sessions import Sessions
from mcp_facade.streams.get_stream import PRIMED_SINCE, GetStreams
from mcp_facade.streams.subscriptions import Subscriptions
from mcp_facade.texts import NO_STREAM, NOT_ANSWERING
from mcp_facade.tools.handlers import Tools
from mcp_facade.web.window import ChatWindow, window_html


class StreamableHttpEndpoint:
    """`/mcp` of one broker."""

    def __init__(
        self,
        broker: Broker,
        policy: Policy,
        host_check: HostOriginCheck,
        *,
        proxies: TrustedProxies,
        session_age_max_ms: int,
        fast_lane: bool = True,
        notice: OperatorNotice = NO_NOTICE,
    ) -> None:
        """Serve with the fast lane if `fast_lane`; the SDK serves the rest. Clients are told `notice`."""
        self._broker = broker
        self._replica = broker.replica
        self._sessions = Sessions(broker, session_age_max_ms)
        self._host_check = host_check
        self._proxies = proxies
        window = ChatWindow(window_html(notice, counted_as(policy)))
        tools, resources = Tools(broker, self._sessions), Resources(broker, self._sessions, window, notice)
        subscriptions = Subscriptions(broker, resources)
        server = chat_server(tools, resources, subscriptions, window, notice)
        self._get_streams = GetStreams(broker, self._sessions)
        self._stateless_requests = StatelessRequests(server, policy.body_bytes_max)
        self._session_requests = SessionRequests(broker, server, self._sessions)
        self._stateless_posts: ASGIApp = RequestBodyLimitMiddleware(self._serve_stateless, policy.body_bytes_max)
        self._session_posts: ASGIApp = RequestBodyLimitMiddleware(self._serve_in_session, policy.body_bytes_max)
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
        """Serve while the context is open."""
        async with self._stateless_requests.run():
            self._sessions.start_sweeping()
            yield
            self._sessions.stop()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        headers = headers_of(scope)
        refusal = self._host_check.refusal(scope, headers)
        return refusal(scope, receive, send) if refusal else self._serve(scope, headers, receive, send)

    def _serve(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> Awaitable[None]:
        if is_stateless_request(headers.get(VERSION_HEADER)):
            return self._exchange(scope, HttpExchange(self._broker, self._proxies, scope, headers, receive, send, None))
        session_id = headers.get(SESSION_HEADER)
        if session_id is None:
            return self._in_session(None, scope, headers, receive, send)
        session = self._sessions.get(session_id.decode("latin-1"), fresh=scope["method"] != "POST")
        if session is None:
            return self._find_session(session_id.decode("latin-1"), scope, headers, receive, send)
        return self._in_session(session, scope, headers, receive, send)

    async def _find_session(
        self, session_id: str, scope: Scope, headers: Headers, receive: Receive, send: Send
    ) -> None:
        """Serve a request whose session is not held in memory, if the session can be found."""
        try:
            session = await self._sessions.find(session_id)
        except LogUnavailableError as error:
            self._broker.log_put_off("session_put_off", error)
            await _not_answering()(scope, receive, send)
            return
        if session is None and scope["method"] in ("GET", "DELETE"):
            await session_not_found()(scope, receive, send)
        else:  # a client may open another session and name the old one
            await self._in_session(session, scope, headers, receive, send)

    def _in_session(
        self, session: Session | None, scope: Scope, headers: Headers, receive: Receive, send: Send
    ) -> Awaitable[None]:
        """Serve a request of the 2025 side: one that opens a session, is made in one, or ends it."""
        method = scope["method"]
        if method == "GET":
            return self._get(session, scope, headers, receive, send)
        if method == "POST":
            return self._post(session, scope, headers, receive, send)
        if method != "DELETE":
            allow = {"Allow": "GET, POST, DELETE"}
            return json_rpc_refusal(405, "Method Not Allowed", headers=allow)(scope, receive, send)
        if session is None:
            return session_missing()(scope, receive, send)
        return self._delete(session, scope, receive, send)

    async def _post(
        self, session: Session | None, scope: Scope, headers: Headers, receive: Receive, send: Send
    ) -> None:
        exchange = HttpExchange(self._broker, self._proxies, scope, headers, receive, send, session)
        if session is None:
            await self._exchange(scope, exchange)
            return
        session.calls[exchange] = None
        try:
            await self._exchange(scope, exchange)
        finally:
            del session.calls[exchange]
            self._sessions.touch(session)

    async def _delete(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """End `session`; its calls in flight are answered with their results so far."""
        try:
            await self._sessions.end(session)
        except LogUnavailableError as error:
            self._broker.log_put_off("session_put_off", error)
            await _not_answering()(scope, receive, send)
            return
        await Response()(scope, receive, send)

    async def _exchange(self, scope: Scope, exchange: HttpExchange) -> None:
        """Let the fast lane respond, or else the SDK."""
        scope[EXCHANGE_KEY] = exchange
        try:
            responding = self.fast_lane.answering(scope, exchange) if self.fast_lane is not None else None
            if responding is None:
                serve = self._session_posts if self._is_of_a_session(exchange) else self._stateless_posts
                responding = serve(scope, exchange.receive, exchange.send)
            await responding
        except ClientDisconnect:
            pass
        finally:
            exchange.finish()

    def _is_of_a_session(self, exchange: HttpExchange) -> bool:
        return not is_stateless_request(exchange.headers.get(VERSION_HEADER))

    async def _serve_stateless(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stateless_requests.serve(scope, receive, scope[EXCHANGE_KEY])

    async def _serve_in_session(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._session_requests.serve(scope, receive, scope[EXCHANGE_KEY])

    async def _get_caught_up(
        self, position: Position, session: Session, scope: Scope, headers: Headers, receive: Receive, send: Send
    ) -> None:
        """Open the stream once this broker has what the client has: it got that from another broker of the log."""
        is_caught_up = await self._replica.caught_up(position)
        if session.ended:
            await session_not_found()(scope, receive, send)
        elif is_caught_up:
            await self._get(session, scope, headers, receive, send, is_caught_up=True)
        else:
            await _not_answering()(scope, receive, send)

    def _get(
        self,
        session: Session | None,
        scope: Scope,
        headers: Headers,
        receive: Receive,
        send: Send,
        *,
        is_caught_up: bool = False,
    ) -> Awaitable[None]:
        last_event_id = headers.get(LAST_EVENT_ID_HEADER, b"").decode("latin-1")
        resume_point = self._get_streams.resume_point(last_event_id)
        if not check_accept_headers(Request(scope))[1]:
            refusal = json_rpc_refusal(406, "Not Acceptable: Client must accept text/event-stream")
        elif session is None:
            refusal = session_missing()
        elif resume_point is not None and not is_caught_up and resume_point.position > self._replica.state.position:
            return self._get_caught_up(resume_point.position, session, scope, headers, receive, send)
        else:
            response = EventStreamResponse(direct_response_of(scope), receive, send)
            try:
                stream = self._get_streams.open(session, response)
            except TooManyStreamsError:
                refusal = json_rpc_refusal(503, NO_STREAM, INTERNAL_ERROR)
            else:
                primed = headers.get(VERSION_HEADER, b"") >= PRIMED_SINCE
                scope["headers"] = ()  # it lasts for hours, and nothing reads them any more
                return stream.serve(resume_point, primed=primed)
        return refusal(scope, receive, send)


def _not_answering() -> Response:
    return json_rpc_refusal(503, NOT_ANSWERING, INTERNAL_ERROR, {"Retry-After": "1"})
