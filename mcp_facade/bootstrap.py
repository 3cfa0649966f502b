"""What answers until the application is there: to import the SDK takes longer than all else of a start.

Whoever watches the process is told at once that it lives; whoever calls has to wait for a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib import import_module
from types import ModuleType
from typing import Protocol

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

HEALTH_PATH = "/healthz"
READY_PATH = "/readyz"


def healthy() -> Response:
    """The process lives."""
    return JSONResponse({"status": "ok"})


def readiness(*, is_ready: bool) -> Response:
    """Whether calls are taken."""
    return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)


def not_ready() -> Response:
    """To a call before that."""
    return PlainTextResponse("starting: try again in a moment", 503, {"Retry-After": "1"})


class Application(Protocol):
    """An ASGI application that starts and ends by its lifespan."""

    on_started: Callable[[], None]
    """It has started, or failed to."""

    @property
    def failure(self) -> Exception | None:
        """Why it could not start; its text is for an operator."""
        ...

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the lifespan."""
        ...

    def drain(self) -> None:
        """Take no more calls, and end what lasts."""
        ...


class BootstrapApp:
    """An application whose module is imported beside the event loop; from then on, it is that application.

    To the server its lifespan begins at once.
    """

    def __init__(self, module: str, make: Callable[[ModuleType], Application], on_started: Callable[[], None]) -> None:
        """`make` is called within the event loop, with `module`; `on_started` once that has started, or failed to."""
        self.on_started = on_started
        self._module = module
        self._make = make
        self._app: Application | None = None
        self._import_error: ImportError | None = None
        self._there = asyncio.Event()

    @property
    def failure(self) -> Exception | None:
        """See `Application`; an `ImportError` if the module is not there."""
        return self._app.failure if self._app is not None else self._import_error

    def drain(self) -> None:
        """See `Application`; what is not there yet ends as soon as it is."""
        if self._app is not None:
            self._app.drain()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """See `Application`. Once that is there, nothing of this stands beneath a request, however long it lasts."""
        if self._app is not None:
            return self._app(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._live(scope, receive, send)
        if scope["path"] == HEALTH_PATH:
            return healthy()(scope, receive, send)
        if scope["path"] == READY_PATH:
            return readiness(is_ready=False)(scope, receive, send)
        return self._wait(scope, receive, send)

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._there.wait()
        await (self._app or not_ready())(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        ahead = [await receive()]
        await send({"type": "lifespan.startup.complete"})
        try:
            app = self._make(await asyncio.to_thread(import_module, self._module))
        except ImportError as error:
            self._import_error = error
            self._there.set()
            self.on_started()
            return
        app.on_started = self.on_started
        self._app = app

        async def receive_again() -> Message:
            return ahead.pop() if ahead else await receive()

        async def send_news(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._there.set()
            else:
                await send(message)

        await app(scope, receive_again, send_news)
