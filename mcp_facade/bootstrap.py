"""Responses before the application is loaded: importing the SDK takes longer than the rest of a start.

Health checks are answered at once; calls wait for the import.
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
    """Return the health response: the process lives."""
    return JSONResponse({"status": "ok"})


def readiness(*, is_ready: bool, reason: str | None = None) -> Response:
    """Return the readiness response: whether calls are taken, and the `reason` if it is known why not."""
    body = {"ready": is_ready} if reason is None else {"ready": is_ready, "reason": reason}
    return JSONResponse(body, status_code=200 if is_ready else 503)


def not_ready() -> Response:
    """Return the 503 for a call that has waited in vain for the start to be complete."""
    return PlainTextResponse("starting: try again in a moment", 503, {"Retry-After": "1"})


class Application(Protocol):
    """An ASGI application that starts and ends by its lifespan."""

    @property
    def failure(self) -> Exception | None:
        """The reason for a failed start, in words for an operator."""
        ...

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the lifespan."""
        ...

    def drain(self) -> None:
        """Take no more calls, and end waits and streams."""
        ...


class BootstrapApp:
    """An application whose module is imported in a thread; from then on, it delegates to that application.

    For the server, the lifespan begins at once.
    """

    def __init__(self, module: str, make: Callable[[ModuleType], Application], on_started: Callable[[], None]) -> None:
        """Take `make`, called in the event loop with the module, and `on_started`.

        `on_started` is called here if the module is missing. Otherwise the application that `make` returns calls it,
        after a start or a failure.
        """
        self._on_started = on_started
        self._module = module
        self._make = make
        self._app: Application | None = None
        self._import_error: ImportError | None = None
        self._there = asyncio.Event()

    @property
    def failure(self) -> Exception | None:
        """See `Application`; an `ImportError` if the module is missing."""
        return self._app.failure if self._app is not None else self._import_error

    def drain(self) -> None:
        """See `Application`; one still loading ends as soon as it is there."""
        if self._app is not None:
            self._app.drain()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """See `Application`. After the import, none of its frames stays on a request's stack, however long it lasts."""
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
            self._on_started()
            return
        self._app = app

        async def receive_again() -> Message:
            return ahead.pop() if ahead else await receive()

        async def send_news(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._there.set()
            else:
                await send(message)

        await app(scope, receive_again, send_news)
