"""The real application on a real port, in the test's own event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from broker.broker import Broker
from broker.clock import Clock, SystemClock
from broker.config import BOUNDS, Settings
from broker.peers import LOOPBACK
from events.commit import Commit, Tip
from events.ids import ConnectionId
from events.log import EventLog
from events.memory import MemoryLog
from events.policy import Policy
from mcp_facade.app import ChatApp
from mcp_facade.http.deny_file import DenyFile
from mcp_facade.serve import peer_limits_of, read_limits_of
from mcp_facade.server import ChatUvicorn, uvicorn_config
from tests.support.fake_clock import settle
from tests.support.lane import FAST_LANE
from tests.support.limits import SOON_SECONDS


class GatedLog(MemoryLog):
    """A log with a gate: while the gate is shut, appends wait before it."""

    never_waits = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.standing = 0

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits` after the gate has opened."""
        self.standing += 1
        await self.gate.wait()
        self.standing -= 1
        return await super().append(commits, expected=expected)


class Running:
    """A served broker."""

    def __init__(self, app: ChatApp, port: int, unread_bytes_max: int) -> None:
        self.app = app
        self.unread_bytes_max = unread_bytes_max
        self.broker = app.broker
        self.port = port
        self.url = f"http://127.0.0.1:{port}/mcp"
        self.started = False
        self.ended = False
        self._stopping = asyncio.Event()
        self._gracefully = True

    async def serve(self, listening: socket.socket) -> None:
        """Do uvicorn's work between start and end, without taking this process's signals."""
        config = uvicorn_config(self.app, unread_bytes_max=self.unread_bytes_max)
        config.load()
        uvicorn = self.uvicorn = ChatUvicorn(config, self.app)
        uvicorn.lifespan = config.lifespan_class(config)
        with patch("mcp_facade.server.gc"):  # it would collect and keep the objects of earlier tests
            await uvicorn.startup([listening])
        self.started = True
        await self._stopping.wait()
        if self._gracefully:
            await uvicorn.shutdown([listening])
            self.ended = True
            return
        for server in uvicorn.servers:
            server.close()
        for connection in tuple(uvicorn.server_state.connections):
            connection.transport.abort()
        await eventually(lambda: not uvicorn.server_state.tasks)
        await uvicorn.lifespan.shutdown()

    def stop(self, *, gracefully: bool = True) -> None:
        """Stop as on `SIGTERM`, or faster: as if all clients had hung up before. Only the first call counts."""
        if not self._stopping.is_set():
            self._gracefully = gracefully
            self._stopping.set()

    async def waits(self, connection_id: str, count: int = 1) -> None:
        """Return when `count` calls wait for `connection_id`."""
        await eventually(lambda: self.broker.hub.waits_of(ConnectionId(connection_id)) == count)

    def buffered_bytes(self) -> int:
        """Return the bytes written and not yet sent, in the user-space buffers of the connections."""
        return sum(one.transport.get_write_buffer_size() for one in self.uvicorn.server_state.connections)

    @property
    def connections(self) -> int:
        """The number of TCP connections."""
        return len(self.uvicorn.server_state.connections)

    def metric(self, name: str) -> float:
        """Return the value of a sample, named as in the text format, labels included."""
        lines = self.broker.metrics.render().decode().splitlines()
        values = [line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name]
        return float(values[0]) if values else 0.0


async def eventually(condition: Callable[[], Any], within_seconds: float = SOON_SECONDS) -> None:
    """Return when `condition` holds; everything else in this event loop goes on meanwhile."""
    async with asyncio.timeout(within_seconds):
        while not condition():
            await settle(1)


@asynccontextmanager
async def serving(
    *,
    log: EventLog | None = None,
    clock: Clock | None = None,
    allow_hosts: tuple[str, ...] = (),
    allow_origins: tuple[str, ...] = (),
    trust_proxies: tuple[str, ...] = (),
    deny_peers: Path | None = None,
    rules_url: str | None = None,
    operator_contact: str | None = None,
    exempt_peers: tuple[str, ...] = LOOPBACK,
    log_peers: bool = False,
    page: bool = True,
    folded: bool = True,
    on_started: Callable[[], None] = lambda: None,
    **limits: Any,
) -> AsyncIterator[Running]:
    """Yield a broker under uvicorn, as the command line runs it, on a port of its own.

    Rate limits are generous unless the test sets them. With `folded`, it takes calls already.
    """
    generous = {"messages_per_10s_max": 1_000_000, "queue_commands_per_10s_max": 1_000_000}
    bounds = {"reads_per_10s_max": 1_000_000} | {name: limits.pop(name) for name in BOUNDS if name in limits}
    policy = Policy(**(generous | {"handles_minted_per_10s_max": 1_000_000} | limits))
    settings = Settings(
        page=page,
        fast_lane=FAST_LANE,
        allow_hosts=allow_hosts,
        allow_origins=allow_origins,
        trust_proxies=trust_proxies,
        deny_peers=str(deny_peers) if deny_peers is not None else None,
        rules_url=rules_url,
        operator_contact=operator_contact,
        exempt_peers=exempt_peers,
        log_peers=log_peers,
        policy=policy,
        **bounds,
    )
    broker = Broker(
        log if log is not None else MemoryLog(),
        clock or SystemClock(),
        keep_commits=policy.log_commits_max,
        read_limits=read_limits_of(settings),
        peer_limits=peer_limits_of(settings),
        attended_grace_ms=settings.idle_grace_attended_ms,
    )
    app = ChatApp(broker, settings, on_started, DenyFile(deny_peers) if deny_peers is not None else None)
    listening = socket.create_server(("127.0.0.1", 0))
    running = Running(app, listening.getsockname()[1], settings.unread_bytes_max)
    serve = asyncio.create_task(running.serve(listening))
    try:
        await eventually(lambda: (running.started and (running.broker.ready or not folded)) or serve.done())
        yield running
    finally:
        running.stop(gracefully=False)
        await serve
