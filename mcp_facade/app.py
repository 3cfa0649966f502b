"""The whole broker as one ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.addresses import host_of
from broker.broker import Broker
from broker.clock import Clock
from broker.config import Settings
from broker.errors import LogGivenUpError
from broker.shared_log import until_available
from mcp_facade.bootstrap import (
    HEALTH_PATH,
    METRICS_PATH,
    READY_PATH,
    START_WAIT_MS,
    Unready,
    healthy,
    not_ready,
    readiness,
)
from mcp_facade.http.deny_file import DenyFile
from mcp_facade.http.endpoint import StreamableHttpEndpoint
from mcp_facade.http.host_check import HostOriginCheck
from mcp_facade.http.pages import PageRequests, is_from_page
from mcp_facade.http.peer_gate import DENIED, PeerGate
from mcp_facade.http.proxies import TrustedProxies
from mcp_facade.operator_notice import OperatorNotice
from mcp_facade.sdk.workarounds import keep_streams_through_a_signal
from mcp_facade.web.page import PAGE_PATH, ChatPage

MCP_PATHS = ("/mcp", "/mcp/")
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ChatApp:
    """Serves `/mcp`, the page at `/`, `/healthz`, `/readyz` and `/metrics`; starts and closes the broker."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        on_started: Callable[[], None] = lambda: None,
        deny_file: DenyFile | None = None,
    ) -> None:
        """Refuse the peers in `deny_file`, the one of `settings`.

        `on_started` is called once the broker has started, and once there is a `failure`, then or later.
        """
        assert (deny_file is None) == (settings.deny_peers is None), "a setting without effect"
        self.broker = broker
        proxies = TrustedProxies(settings.trust_proxies)
        self._peer_gate = PeerGate(broker, deny_file, proxies) if deny_file is not None else None
        host_check = host_check_of(settings, broker.clock)
        self.endpoint = StreamableHttpEndpoint(
            broker,
            settings.policy,
            host_check,
            proxies=proxies,
            session_age_max_ms=settings.session_age_max_ms,
            fast_lane=settings.fast_lane,
            notice=OperatorNotice(settings.rules_url, settings.operator_contact),
        )
        self.failure: Exception | None = None
        """The reason for a failed start, or for an end of its own; in words for an operator."""
        self._waiting: set[asyncio.Event] = set()  # the calls that came before the start was complete
        self._settings = settings
        self._on_started = on_started
        self._pages = PageRequests(host_check)
        self._chat_page = ChatPage(host_check) if settings.page else None
        self._rest = Starlette(
            routes=[
                Route(HEALTH_PATH, self._healthz),
                Route(READY_PATH, self._readyz),
                Route(METRICS_PATH, self._metrics),
            ],
            lifespan=self._lifespan,
        )
        self._rest.router.redirect_slashes = False  # a redirect goes to the host that the caller named

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the lifespan; the hot path has no layer that it does not need."""
        if scope["type"] != "http" or scope["path"] not in MCP_PATHS:
            return self._other(scope)(scope, receive, send)
        app: ASGIApp = self.endpoint if self.broker.ready or self.broker.draining else self._serve_once_ready
        if self._peer_gate is not None:
            app = self._peer_gate.passage(app, scope)
        if is_from_page(scope) and not (app is DENIED and scope["method"] == "OPTIONS"):  # no preflight passes then
            return self._pages.serve(app, scope, receive, send)
        return app(scope, receive, send)

    def _other(self, scope: Scope) -> ASGIApp:
        """Return the application for a request that is not to `/mcp`."""
        if self._chat_page is None or scope["type"] != "http" or scope["path"] != PAGE_PATH:
            return self._rest
        return self._peer_gate.passage(self._chat_page, scope) if self._peer_gate is not None else self._chat_page

    async def _serve_once_ready(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that came before the log is folded; refuse it if that takes longer than `START_WAIT_MS`."""
        clock = self.broker.clock
        too_late = clock.call_at(clock.now_ms() + START_WAIT_MS, (waiting := asyncio.Event()).set)
        self._waiting.add(waiting)
        try:
            if self.failure is None:
                await waiting.wait()
        finally:
            too_late.cancel()
            self._waiting.discard(waiting)
        app = self.endpoint if self.broker.ready or self.broker.draining else not_ready()
        await app(scope, receive, send)

    def _end_waiting(self) -> None:
        for waiting in self._waiting:
            waiting.set()

    def drain(self) -> None:
        """Take no more calls; end every wait and every stream with its result so far."""
        self.broker.drain()
        self._end_waiting()

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Fold the log in the background: a long one takes a while, and `/healthz` and `/readyz` answer meanwhile."""
        keep_streams_through_a_signal()
        if self._peer_gate is not None:
            self._peer_gate.start()
        async with self.endpoint.run():
            starting = asyncio.create_task(self._start())
            try:
                yield
            finally:
                self.drain()
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                await self.broker.close()

    async def _start(self) -> None:
        """Start the broker, and say so; then say if its log is given up."""
        try:
            if self.broker.log.is_shared:
                await until_available(self._try_to_start, self.broker.clock)
            else:
                await self._try_to_start()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process has to end
            self.failure = error
        self._end_waiting()
        self._on_started()
        if self.failure is None:
            self.failure = await self._log_given_up()
            self._on_started()

    async def _try_to_start(self) -> None:
        await self.broker.writer.drained()  # of an attempt before
        if self.broker.log_fault is not None:
            raise await self._log_given_up()
        settings = self._settings
        await self.broker.start(
            settings.policy, redact_after_ms=settings.redact_after_ms, names_matching=settings.names_matching
        )

    async def _log_given_up(self) -> LogGivenUpError:
        await self.broker.log_given_up.wait()
        assert self.broker.log_fault is not None
        return LogGivenUpError(self.broker.log_fault.detail)

    async def _healthz(self, request: Request) -> Response:
        return healthy()

    async def _readyz(self, request: Request) -> Response:
        if (fault := self.broker.log_fault) is not None:
            return readiness(fault.reason, fault.detail)
        if not self.broker.ready:
            return readiness("ending" if self.broker.draining else "starting")
        detail = await self.broker.store_watch.checked()
        reason: Unready | None = "log" if detail is not None else None
        return readiness(reason, detail)

    async def _metrics(self, request: Request) -> Response:
        return PlainTextResponse(self.broker.metrics.render(), media_type=METRICS_TYPE)


def host_check_of(settings: Settings, clock: Clock) -> HostOriginCheck:
    """Return the check of Host and Origin: it allows this machine's names, and those of `settings`."""
    hosts = (*LOCAL_HOSTS, host_of(settings.host), *settings.allow_hosts)
    return HostOriginCheck(hosts, settings.allow_origins, clock)
