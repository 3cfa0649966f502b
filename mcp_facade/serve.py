"""Running one broker: its log, its parts and its server, from start to end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import msgspec
import structlog

from broker.addresses import host_of
from broker.broker import Broker
from broker.clock import SystemClock
from broker.config import Settings, commits_kept
from broker.errors import HOW_FAR, LogGivenUpError, StartFailedError, UsageError
from broker.flags import PREFIX
from broker.matching import MatchingError
from broker.networks import NetworkSet
from broker.own_matching import provide_matching
from broker.peers import PeerLimits
from broker.reads import ReadLimits
from broker.shared_log import log_opened, open_shared_log, watch_clock
from broker.stores import SHARED_SCHEMES, open_log, scheme_of, without_password
from events.codec import UnreadableCommitError
from events.commit import BrokenChainError
from events.ids import Position
from events.log import EventLog, LogUnavailableError, UnusableLogError
from mcp_facade.bootstrap import Application, BootstrapApp, operator_app
from mcp_facade.http.deny_file import DenyFile, DenyFileError
from mcp_facade.http.open_files import OpenFiles, raise_limit
from mcp_facade.listening import ADMIN_FLAGS, listen, warn_of_shared_address
from mcp_facade.server import AdminListener, ChatUvicorn, uvicorn_config
from mcp_facade.streams.frames import ANSWER_BYTES, bytes_in_answer
from mcp_facade.workers.worker import Worker

if TYPE_CHECKING:
    from mcp_facade.app import ChatApp

logger = structlog.get_logger(__name__)

NO_RELOAD = "restart the broker; only with --workers 2 or more are there others to serve meanwhile"
RELOAD_ALL = "send SIGHUP to the supervisor of the workers, which replaces them one by one"


def serve(settings: Settings, worker: Worker | None = None) -> None:
    """Run a broker until a signal ends it, alone or as one `worker` of several.

    Raises:
        UsageError: the address can't be listened on, or the log, the matching or the file of `--deny-peers` can't be
            used.
        LogGivenUpError: its shared log is not the one that it folded, or is newer than this program.
        StartFailedError: it could not start for another reason.
    """
    raise_limit()
    deny_file = _deny_file_of(settings)
    provide_matching(settings.policy)
    listening = worker.public if worker is not None else listen(settings.host, settings.port)
    address = listening.getsockname()[0]
    if worker is None:
        warn_of_shared_address(settings, address)
    # A name to listen on may have an address that is none of the usual ones: the log line of the start names that.
    settings = msgspec.structs.replace(settings, allow_hosts=(*settings.allow_hosts, host_of(address)))
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        runner.run(_Service(settings, listening, _admin_socket(settings, worker), deny_file, worker).run())


def _admin_socket(settings: Settings, worker: Worker | None) -> socket.socket | None:
    if worker is not None or settings.admin_port is None:
        return worker.admin if worker is not None else None
    return listen(settings.admin_host, settings.admin_port, ADMIN_FLAGS)


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


class _Service:
    """One broker, served from its start to its end."""

    def __init__(
        self,
        settings: Settings,
        listening: socket.socket,
        admin: socket.socket | None,
        deny_file: DenyFile | None,
        worker: Worker | None,
    ) -> None:
        self._settings = settings
        self._listening = listening
        self._admin = admin
        self._deny_file = deny_file
        self._worker = worker
        self._clock = SystemClock()
        self._log: EventLog | None = None
        self._position: Callable[[], Position] = lambda: 0

    async def run(self) -> None:
        """Serve until a signal, or until the broker can't go on.

        Raises:
            UsageError: it could not start.
            LogGivenUpError: its log was lost.
            StartFailedError: it could not start for another reason.
        """
        settings = self._settings
        if scheme_of(settings.log) not in SHARED_SCHEMES:  # it answers at once, or never
            try:
                self._log = await open_log(settings.log, settings.log_synchronous)
            except Exception as error:  # noqa: BLE001 - each becomes one line
                raise _error_of(error, without_password(settings.log)) from None
        open_files = OpenFiles()
        asyncio.get_running_loop().set_exception_handler(open_files.handle)
        self._app = BootstrapApp("mcp_facade.app", self._made, self._started)
        config = uvicorn_config(self._app, open_files, settings.unread_bytes_max)
        self._server = ChatUvicorn(
            config,
            self._app,
            has_page=settings.page,
            admin=self._admin_listener(open_files),
            worker=self._worker,
        )
        self._handle_hang_up()
        # Objects of a start are permanent: looking for cycles in a large state would take longer than making it.
        gc.disable()
        await self._server.serve(sockets=[self._listening])
        gc.freeze()  # the interpreter's last collection would take seconds, and the process ends anyhow
        if self._app.failure is not None:
            raise _error_of(self._app.failure, without_password(settings.log))
        logger.info("ended")

    def _handle_hang_up(self) -> None:
        """Let SIGHUP end nothing, unless it means that the terminal is gone. `nohup` has it ignored already."""
        if sys.platform == "win32" or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            return
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hung_up, os.isatty(0))

    def _hung_up(self, had_terminal: bool) -> None:
        if had_terminal and not os.isatty(0):
            self._server.handle_exit(signal.SIGTERM, None)
        else:
            logger.warning("reload_ignored", hint=NO_RELOAD if self._worker is None else RELOAD_ALL)

    def _admin_listener(self, open_files: OpenFiles) -> AdminListener | None:
        if self._admin is None:
            return None
        config = uvicorn_config(operator_app(self._app), open_files, self._settings.unread_bytes_max)
        config.load()
        return AdminListener(self._admin, config)

    async def _made(self, module: ModuleType) -> Application:
        settings = self._settings
        log = self._log or await open_shared_log(settings.log, settings.log_synchronous, self._clock)
        log_opened(log, settings.log)
        broker = Broker(
            log,
            self._clock,
            keep_commits=commits_kept(settings),
            read_limits=read_limits_of(settings),
            peer_limits=peer_limits_of(settings),
            attended_grace_ms=settings.idle_grace_attended_ms,
        )
        if log.coordination is not None:
            broker.in_background(watch_clock(log.coordination, self._clock))
        self._position = lambda: broker.state.position
        application: ChatApp = module.ChatApp(broker, settings, self._started, self._deny_file)
        return application

    def _started(self) -> None:
        if self._app.failure is not None:
            self._server.should_exit = True
        else:
            self._server.broker_started(self._position())


def _error_of(failure: Exception, log: str) -> Exception:
    """Return the error for the command line: why the broker could not start or go on, with the remedy."""
    if isinstance(failure, LogGivenUpError):
        return failure
    if isinstance(failure, UnusableLogError):  # its text names the file and the fault
        return UsageError(str(failure))
    if isinstance(failure, ImportError):
        return UsageError(f"can't start, since the installation is not whole: {failure}")
    if isinstance(failure, BrokenChainError):
        return UsageError(f"{log} can't be used: {failure}; {HOW_FAR}")
    if isinstance(failure, LogUnavailableError | MatchingError | UnreadableCommitError):
        return UsageError(f"{log} can't be used: {failure}")
    logger.error("start_failed", fault=type(failure).__name__, exc_info=failure)
    return StartFailedError(f"can't start: {type(failure).__name__}; the log line start_failed says where")


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
