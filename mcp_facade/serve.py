"""Running the application: uvicorn, with what a server of long streams needs besides."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from types import FrameType
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from broker.broker import Broker
from broker.clock import SystemClock
from broker.opening import commits_kept, open_log
from broker.settings import Settings
from broker.usage import UsageError
from events.log import UnusableLogError
from mcp_facade.app import ChatApp
from mcp_facade.wire import CUT_KEY

logger = structlog.get_logger(__name__)

GRACEFUL_SECONDS = 3
KEEP_ALIVE_SECONDS = 75
BACKLOG = 2_048

GC_THRESHOLDS = (5_000, 20, 50)
"""The SDK leaves a reference cycle a request; rarer collections keep the pauses out of the slowest answers."""

TCP_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
"""A peer that vanished without a word is noticed within a minute; the last is in milliseconds."""


class ChatProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, which can also drop a connection at once and notices peers that have vanished."""

    _served: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask the kernel to look after the peer."""
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        if peer is not None and peer.family in (socket.AF_INET, socket.AF_INET6):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in TCP_KEEPALIVE.items():
                if hasattr(socket, name):
                    peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being served; uvicorn tells the newest, which may stand in line behind it.

        And let go of what was served at once, also where the connection was reset.
        """
        self.pipeline.clear()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._served is not None and not self._served.response_complete:
            self._served.disconnected = True
            self._served.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        """Give the application the means to drop this connection: a client that does not read never lets it close."""
        super().on_message_begin()
        self.scope["extensions"] = {CUT_KEY: {}}
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[CUT_KEY] = self.transport.abort


class ChatUvicorn(uvicorn.Server):
    """uvicorn, told by a signal to end streams and waits before it waits for them; it then exits with 0."""

    def __init__(self, config: uvicorn.Config, app: ChatApp) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End gracefully; at the second signal, at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where."""
        await super().startup(sockets)
        for listening in sockets or ():
            host, port = listening.getsockname()[:2]
            url = f"http://[{host}]:{port}/mcp" if ":" in host else f"http://{host}:{port}/mcp"
            logger.info("serving", url=url)
        gc.set_threshold(*GC_THRESHOLDS)

    def broker_started(self) -> None:
        """The log is folded: keep what is there by now out of every later garbage collection; or else give up."""
        if self._app.failure is not None:
            self.should_exit = True
            return
        gc.freeze()
        gc.enable()
        logger.info("ready", position=self._app.broker.state.position)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams and the waits, then the connections."""
        logger.info("shutting_down")
        self._app.drain()
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Run a broker until it is told to stop.

    Raises:
        UsageError: the address can't be listened on, or the log can't be used.
    """
    listening = _listen(settings.host, settings.port)
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        runner.run(_serve(settings, listening))


def _new_event_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # not made for Windows

    return uvloop.new_event_loop()


async def _serve(settings: Settings, listening: socket.socket) -> None:
    try:
        log = open_log(settings)
    except UnusableLogError as error:
        raise UsageError(str(error)) from None
    app = ChatApp(Broker(log, SystemClock(), keep_commits=commits_kept(settings)), settings)
    uvicorn_server = ChatUvicorn(uvicorn_config(app), app)
    app.on_started = uvicorn_server.broker_started
    # All that a start makes is there to stay: looking for cycles in a large state would take longer than making it.
    gc.disable()
    await uvicorn_server.serve(sockets=[listening])
    if isinstance(app.failure, UnusableLogError):  # which says by itself what is wrong with which file
        raise UsageError(str(app.failure))
    if app.failure is not None:
        raise UsageError(f"{settings.log} can't be used: {app.failure}")


def uvicorn_config(app: ChatApp) -> uvicorn.Config:
    """How uvicorn serves `app`."""
    return uvicorn.Config(
        app,
        http=ChatProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except socket.gaierror:
        raise UsageError(f"can't listen on {host}: there is no such address (--host names another)") from None
    except (OSError, UnicodeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no such address"
        raise UsageError(f"can't listen on {host}, port {port}: {reason} (--host and --port name another)") from None
