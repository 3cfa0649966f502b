"""Responses before the application is there: the SDK is still imported, or the log's store can't be reached yet.

Health checks are answered at once; calls wait for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from importlib import import_module
from types import ModuleType
from typing import Literal, Protocol

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.log_fault import FaultReason

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"
METRICS_PATH = "/metrics"
OPERATOR_PATHS = (HEALTH_PATH, READY_PATH, METRICS_PATH)

START_WAIT_MS = 15_000
"""How long a call waits for the start to be complete; clients give up later than that."""

Unready = Literal["starting", "ending"] | FaultReason


def healthy() -> Response:
    """Return the health response: the process lives."""
    return JSONResponse({"status": "ok"})


def readiness(reason: Unready | None, detail: str | None = None) -> Response:
    """Return the readiness response: calls are taken, or the `reason` why not, with a sentence where there is one."""
    if reason is None:
        return JSONResponse({"ready": True})
    body = {"ready": False, "reason": reason} | ({"detail": detail} if detail is not None else {})
    return JSONResponse(body, status_code=503)


def not_ready() -> Response:
    """Return the 503 for a call that has waited in vain for the start to be complete."""
    return PlainTextResponse("starting: try again in a moment", 503, {"Retry-After": "1"})


class Application(Protocol):
    """An ASGI application that starts and ends by its lifespan."""

    @property
    def failure(self) -> Exception | None:
        """The reason for a failed start, or for an end of its own; in words for an operator."""
        ...

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the lifespan."""
        ...

    def drain(self) -> None:
        """Take no more calls, and end waits and streams."""
        ...


class BootstrapApp:
    """An application that is still being made: its module is imported in a thread. It delegates to it afterwards.

    For the server, the lifespan begins at once.
    """

    def __init__(
        self, module: str, make: Callable[[ModuleType], Awaitable[Application]], on_started: Callable[[], None]
    ) -> None:
        """Take `make`, called in the event loop with the module, and `on_started`.

        `on_started` is called here if there is no application, or its lifespan fails to start. Otherwise the
        application calls it, after a start or a failure.
        """
        self._on_started = on_started
        self._module = module
        self._make = make
        self._app: Application | None = None
        self._failure: Exception | None = None
        self._is_draining = False
        self._decided = asyncio.Event()  # the application is there, or never will be

    @property
    def failure(self) -> Exception | None:
        """See `Application`; also the error for which there is none."""
        return self._app.failure if self._app is not None else self._failure

    def drain(self) -> None:
        """See `Application`; calls that wait for one get a 503."""
        if self._app is not None:
            self._app.drain()
        else:
            self._is_draining = True
            self._decided.set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """See `Application`. Once it is there, no frame of this one stays on a request's stack."""
        if self._app is not None:
            return self._app(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._live(scope, receive, send)
        if scope["path"] == HEALTH_PATH:
            return healthy()(scope, receive, send)
        if scope["path"] == READY_PATH:
            return readiness("ending" if self._is_draining else "starting")(scope, receive, send)
        return self._wait(scope, receive, send)

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_WAIT_MS / 1_000):
                await self._decided.wait()
        await (self._app or not_ready())(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        ahead = [await receive()]
        await send({"type": "lifespan.startup.complete"})
        making = asyncio.ensure_future(self._made())
        shutdown = asyncio.ensure_future(receive())
        await asyncio.wait({making, shutdown}, return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            making.cancel()
            await asyncio.wait({making})
            await send({"type": "lifespan.shutdown.complete"})
            return
        try:
            app = making.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process has to end
            shutdown.cancel()
            self._fail(error)
            return
        self._app = app
        if self._is_draining:
            app.drain()

        async def receive_again() -> Message:
            return ahead.pop() if ahead else await shutdown

        async def send_news(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._decided.set()
            elif message["type"] != "lifespan.startup.failed":  # it is raised as well
                await send(message)

        try:
            await app(scope, receive_again, send_news)
        except Exception as error:
            if self._decided.is_set():
                raise
            shutdown.cancel()
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Take note that there will be no application."""
        self._app, self._failure = None, error
        self._decided.set()
        self._on_started()

    async def _made(self) -> Application:
        return await self._make(await asyncio.to_thread(import_module, self._module))


def operator_app(app: ASGIApp) -> ASGIApp:
    """Return what `app` has for an operator, and nothing for clients."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        wanted = app if scope["path"] in OPERATOR_PATHS else PlainTextResponse("Not Found", 404)
        await wanted(scope, receive, send)

    return serve
