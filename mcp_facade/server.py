"""The HTTP server: uvicorn, with a graceful end of long streams, and with a port more for operators."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import socket
from collections.abc import Coroutine
from types import FrameType
from typing import NamedTuple

import structlog
import uvicorn
from starlette.types import ASGIApp

from broker.config import BOUNDS
from events.ids import Position
from mcp_facade import systemd
from mcp_facade.bootstrap import Application
from mcp_facade.http.connection import HttpConnection
from mcp_facade.http.open_files import OpenFiles
from mcp_facade.listening import BACKLOG, log_serving
from mcp_facade.sdk.workarounds import GC_THRESHOLDS
from mcp_facade.workers.worker import Worker

logger = structlog.get_logger(__name__)

GRACEFUL_SECONDS = 3
UNREAD_SECONDS = 2.5
"""Time for a client to read its last data; uvicorn would log an error half a second later."""
ACCEPTING_TURNS = 3
"""Turns of the event loop after which uvicorn knows every accepted connection, and ends it with the rest."""
KEEP_ALIVE_SECONDS = 75
LAST_REQUESTS_SECONDS = 0.25
"""Time for the request of a client that was connected to one of several workers just before its end."""


class AdminListener(NamedTuple):
    """The socket of `--admin-port`, and its application."""

    listening: socket.socket
    config: uvicorn.Config


class ChatUvicorn(uvicorn.Server):
    """uvicorn, with streams and waits ended at a signal before it waits for them; it then exits with 0."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: Application,
        *,
        has_page: bool = True,
        admin: AdminListener | None = None,
        worker: Worker | None = None,
    ) -> None:
        super().__init__(config)
        self._app = app
        self._has_page = has_page
        self._admin = admin
        self._worker = worker
        self._unopened: list[socket.socket] = []
        self._is_ready = False
        self._tasks: set[asyncio.Task[None]] = set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End gracefully; at the second signal, at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and log the address. A worker that takes over from another opens its sockets once it is ready."""
        if self._worker is not None and self._worker.opens_when_ready:
            self._unopened, now = sockets or [], []
        else:
            now = sockets or []
        await super().startup(now)
        if self._admin is not None and not self._unopened:
            await self._listen(self._admin.listening, self._admin.config)
        if self._worker is None:
            for listening in now:
                log_serving(listening, has_page=self._has_page)
        else:
            self._worker.end_with_supervisor(lambda: self.handle_exit(signal.SIGTERM, None))
        self._in_background(systemd.stay_alive(lambda: not self._is_ready))
        gc.set_threshold(*GC_THRESHOLDS)

    def broker_started(self, position: Position) -> None:
        """Exclude the objects of a log folded up to `position` from every later garbage collection."""
        gc.freeze()
        gc.enable()
        self._in_background(self._take_calls(position))

    async def _take_calls(self, position: Position) -> None:
        for listening in self._unopened:
            await self._listen(listening, self.config)
        if self._admin is not None and self._unopened:
            await self._listen(self._admin.listening, self._admin.config)
        logger.info("ready", position=position)
        self._is_ready = True
        if self._worker is not None:
            self._worker.ready()
        systemd.notify(systemd.READY)

    async def _listen(self, listening: socket.socket, config: uvicorn.Config) -> None:
        """Accept connections on `listening`, for the application of `config`."""
        make = functools.partial(
            config.http_protocol_class,
            config=config,  # type: ignore[call-arg]  # as uvicorn calls it
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        self.servers.append(await asyncio.get_running_loop().create_server(make, sock=listening, backlog=BACKLOG))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams and the waits, then the connections."""
        logger.info("shutting_down")
        systemd.notify(systemd.STOPPING)
        for task in tuple(self._tasks):
            task.cancel()
        for server in self.servers:
            server.close()
        if self._worker is not None:  # others accept by now: those whose connection was accepted here can still ask
            await asyncio.sleep(LAST_REQUESTS_SECONDS)
        for _ in range(ACCEPTING_TURNS):
            await asyncio.sleep(0)  # one turn
        self._app.drain()
        cutting = asyncio.get_running_loop().call_later(UNREAD_SECONDS, self._cut_what_is_over)
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()
        if self.force_exit:  # uvicorn waits for nothing then, but appends in flight have to finish
            await self.lifespan.shutdown()

    def _cut_what_is_over(self) -> None:
        """Abort every closing connection: a client that does not read would never let it close."""
        for connection in tuple(self.server_state.connections):
            if connection.transport.is_closing():
                connection.transport.abort()


def uvicorn_config(
    app: ASGIApp, open_files: OpenFiles | None = None, unread_bytes_max: int = BOUNDS["unread_bytes_max"]
) -> uvicorn.Config:
    """Return uvicorn's configuration for `app`.

    Connections end where `open_files` has no room, or with more than `unread_bytes_max` that their clients don't read.
    """
    return uvicorn.Config(
        app,
        interface="asgi3",  # uvicorn recognises only coroutine functions
        http=functools.partial(  # type: ignore[arg-type]  # it is only called
            HttpConnection, open_files=open_files, unread_bytes_max=unread_bytes_max
        ),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # see `http.proxies`
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
