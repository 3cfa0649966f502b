"""The whole broker as one ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.broker import Broker
from broker.config import Settings
from events.codec import UnreadableCommitError
from events.commit import BrokenChainError
from events.log import LogUnavailableError, UnusableLogError
from mcp_facade.bootstrap import HEALTH_PATH, READY_PATH, healthy, not_ready, readiness
from mcp_facade.http.endpoint import StreamableHttpEndpoint
from mcp_facade.sdk.workarounds import keep_streams_through_a_signal

MCP_PATH = "/mcp"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ChatApp:
    """Serves `/mcp`, `/healthz`, `/readyz` and `/metrics` of one broker; starts and closes the broker."""

    def __init__(self, broker: Broker, settings: Settings, on_started: Callable[[], None] = lambda: None) -> None:
        """`on_started` is called once the broker has started, or failed to."""
        self.broker = broker
        self.endpoint = StreamableHttpEndpoint(
            broker,
            settings.policy,
            security_settings(settings),
            session_age_max_ms=settings.session_age_max_ms,
            fast_lane=settings.fast_lane,
        )
        self.failure: Exception | None = None
        """The reason for a failed start, in words for an operator."""
        self._settings = settings
        self._on_started = on_started
        self._mcp = _for_browsers(self.endpoint, settings.allow_origins)
        self._rest = Starlette(
            routes=[
                Route(HEALTH_PATH, self._healthz),
                Route(READY_PATH, self._readyz),
                Route("/metrics", self._metrics),
            ],
            lifespan=self._lifespan,
        )

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the lifespan; the hot path has no layer that it does not need."""
        if scope["type"] != "http" or scope["path"] != MCP_PATH:
            return self._rest(scope, receive, send)
        if self.broker.ready or self.broker.draining:
            return self._mcp(scope, receive, send)
        return not_ready()(scope, receive, send)

    def drain(self) -> None:
        """Take no more calls; end every wait and every stream with its result so far."""
        self.broker.drain()

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Fold the log in the background: a long one takes a while, and `/healthz` and `/readyz` answer meanwhile."""
        keep_streams_through_a_signal()
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
        try:
            await self.broker.start(self._settings.policy, redact_after_ms=self._settings.redact_after_ms)
        except (BrokenChainError, LogUnavailableError, UnreadableCommitError, UnusableLogError) as error:
            self.failure = error
        self._on_started()

    async def _healthz(self, request: Request) -> Response:
        return healthy()

    async def _readyz(self, request: Request) -> Response:
        if not self.broker.ready:
            return readiness(is_ready=False)
        reason = await self.broker.store_watch.checked()
        return readiness(is_ready=reason is None, reason=reason)

    async def _metrics(self, request: Request) -> Response:
        return PlainTextResponse(self.broker.metrics.render(), media_type=METRICS_TYPE)


def security_settings(settings: Settings) -> TransportSecuritySettings:
    """Return the accepted values of Host and Origin: this machine's names, and those allowed by the settings."""
    hosts = [*LOCAL_HOSTS, *settings.allow_hosts]
    origins = [*(f"http://{host}" for host in LOCAL_HOSTS), *settings.allow_origins]
    return TransportSecuritySettings(
        allowed_hosts=[*hosts, *_any_port(hosts)], allowed_origins=[*origins, *_any_port(origins)]
    )


def _any_port(names: Iterable[str]) -> list[str]:
    return [f"{name}:*" for name in names]


def _for_browsers(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Let pages of the allowed origins call `app`, and read the session id in its answers."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["Mcp-Session-Id"],
    )
