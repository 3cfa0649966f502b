"""Running the application: uvicorn, with a graceful shutdown of long streams."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import socket
import sys
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

import msgspec
import structlog
import uvicorn

from broker.addresses import host_of, parse_address
from broker.broker import Broker
from broker.clock import SystemClock
from broker.config import BOUNDS, PREFIX, Settings, commits_kept
from broker.errors import HOW_FAR, UsageError
from broker.networks import NetworkSet
from broker.peers import PeerLimits
from broker.reads import ReadLimits
from broker.stores import open_log, without_password
from events.commit import BrokenChainError
from events.ids import Position
from events.log import UnusableLogError
from mcp_facade.bootstrap import Application, BootstrapApp
from mcp_facade.http.connection import HttpConnection
from mcp_facade.http.deny_file import DenyFile, DenyFileError
from mcp_facade.http.open_files import OpenFiles, raise_limit
from mcp_facade.sdk.workarounds import GC_THRESHOLDS
from mcp_facade.streams.frames import ANSWER_BYTES, bytes_in_answer

if TYPE_CHECKING:
    from mcp_facade.app import ChatApp

logger = structlog.get_logger(__name__)

GRACEFUL_SECONDS = 3
UNREAD_SECONDS = 2.5
"""Time for a client to read its last data; uvicorn would log an error half a second later."""
ACCEPTING_TURNS = 3
"""Turns of the event loop after which uvicorn knows every accepted connection, and ends it with the rest."""
KEEP_ALIVE_SECONDS = 75
BACKLOG = 2_048
LOCAL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on
"""By an address that stands for all of this machine's, one of them that a client on it can use."""

OTHER_NAMES = "clients elsewhere use a name or an address of this machine: allow each with --allow-host NAME"

ONE_PEER = "name the proxy with --trust-proxy, or else all callers share the limits of one: --peer-exempt lifts them"


class ChatUvicorn(uvicorn.Server):
    """uvicorn, with streams and waits ended at a signal before it waits for them; it then exits with 0."""

    def __init__(self, config: uvicorn.Config, app: Application, *, has_page: bool = True) -> None:
        super().__init__(config)
        self._app = app
        self._has_page = has_page

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End gracefully; at the second signal, at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and log the address."""
        await super().startup(sockets)
        for listening in sockets or ():
            address, port = listening.getsockname()[:2]
            local = LOCAL_ADDRESSES.get(address)
            origin = f"http://{host_of(local or address)}:{port}"
            page = {"page": f"{origin}/"} if self._has_page else {}
            hint = {} if local is None else {"hint": OTHER_NAMES}
            logger.info("serving", url=f"{origin}/mcp", **page, **hint)
        gc.set_threshold(*GC_THRESHOLDS)

    def broker_started(self, position: Position) -> None:
        """Exclude the objects of a log folded up to `position` from every later garbage collection."""
        gc.freeze()
        gc.enable()
        logger.info("ready", position=position)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams and the waits, then the connections."""
        logger.info("shutting_down")
        for server in self.servers:
            server.close()
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


def serve(settings: Settings) -> None:
    """Run a broker until a signal ends it.

    Raises:
        UsageError: the address can't be listened on, or the log or the file of `--deny-peers` can't be used.
    """
    raise_limit()
    deny_file = _deny_file_of(settings)
    listening = _listen(settings.host, settings.port)
    address = listening.getsockname()[0]
    if _share_an_address(settings, address):
        logger.warning("peers_share_an_address", hint=ONE_PEER)
    # A name to listen on may have an address that is none of the usual ones: the log line of the start names that.
    settings = msgspec.structs.replace(settings, allow_hosts=(*settings.allow_hosts, host_of(address)))
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        runner.run(_serve(settings, listening, deny_file))


def _share_an_address(settings: Settings, address: str) -> bool:
    """Return whether all callers of a broker at `address` count as one peer, which is this machine."""
    listening = parse_address(address)
    if listening is None or not listening.is_loopback or settings.trust_proxies:
        return False
    return listening not in NetworkSet.of(settings.exempt_peers)


def _deny_file_of(settings: Settings) -> DenyFile | None:
    try:
        return DenyFile(settings.deny_peers) if settings.deny_peers is not None else None
    except DenyFileError as error:
        raise UsageError(f"--deny-peers ({PREFIX}DENY_PEERS): {error}") from None


def _new_event_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # not made for Windows

    return uvloop.new_event_loop()


async def _serve(settings: Settings, listening: socket.socket, deny_file: DenyFile | None) -> None:
    try:
        log = await open_log(settings.log, settings.log_synchronous)
    except UnusableLogError as error:
        raise UsageError(str(error)) from None
    broker = Broker(
        log,
        SystemClock(),
        keep_commits=commits_kept(settings),
        read_limits=read_limits_of(settings),
        peer_limits=peer_limits_of(settings),
        attended_grace_ms=settings.idle_grace_attended_ms,
    )
    open_files = OpenFiles()
    asyncio.get_running_loop().set_exception_handler(open_files.handle)

    def started() -> None:
        if app.failure is not None:
            uvicorn_server.should_exit = True
        else:
            uvicorn_server.broker_started(broker.state.position)

    def made(module: ModuleType) -> Application:
        application: ChatApp = module.ChatApp(broker, settings, started, deny_file)
        return application

    app = BootstrapApp("mcp_facade.app", made, started)
    uvicorn_server = ChatUvicorn(
        uvicorn_config(app, open_files, settings.unread_bytes_max), app, has_page=settings.page
    )
    # Objects of a start are permanent: looking for cycles in a large state would take longer than making it.
    gc.disable()
    await uvicorn_server.serve(sockets=[listening])
    gc.freeze()  # the interpreter's last collection would take seconds, and the process ends anyhow
    if app.failure is not None:
        raise UsageError(_why(app.failure, without_password(settings.log)))
    logger.info("ended")


def _why(failure: Exception, log: str) -> str:
    """Explain why the broker could not start, with the remedy."""
    if isinstance(failure, UnusableLogError):  # its text names the file and the fault
        return str(failure)
    if isinstance(failure, ImportError):
        return f"can't start, since the installation is not whole: {failure}"
    if isinstance(failure, BrokenChainError):
        return f"{log} can't be used: {failure}; {HOW_FAR}"
    return f"{log} can't be used: {failure}"


def read_limits_of(settings: Settings) -> ReadLimits:
    """Return the limits of reads, so that a tool's whole answer keeps to those of `settings`."""
    return ReadLimits(settings.page_bytes_max - ANSWER_BYTES, settings.reads_per_10s_max, bytes_in_answer)


def peer_limits_of(settings: Settings) -> PeerLimits:
    """Return the limits of peers."""
    return PeerLimits(
        settings.connections_per_peer_max,
        settings.queue_entries_per_peer_10s_max,
        NetworkSet.of(settings.exempt_peers),
        settings.log_peers,
    )


def uvicorn_config(
    app: Application, open_files: OpenFiles | None = None, unread_bytes_max: int = BOUNDS["unread_bytes_max"]
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


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        is_every_address = address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=is_every_address)
    except socket.gaierror:
        raise UsageError(f"can't listen on {host}: there is no such address (--host names another)") from None
    except (OSError, UnicodeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no such address"
        raise UsageError(f"can't listen on {host}, port {port}: {reason} (--host and --port name another)") from None
