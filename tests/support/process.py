"""`chat-broker` as a separate process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom
from typing import TYPE_CHECKING, cast

import httpx

from tests.support.lane import FAST_LANE
from tests.support.limits import HUNG_SECONDS

if TYPE_CHECKING:
    from tests.facade.people import Crowd
    from tests.support.server import Running

NO_MISSED_MATCH = "--confirm-grace-ms", "0"
"""For a broker of several tests: people who were left in their rooms stay there, and meet nobody of a later test."""
FIXED_PORTS = 15_000, 30_000
"""Below the ports of connections on Linux and macOS."""


class Process:
    """A broker process, started as from a shell."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}/mcp"

    def people(self) -> Crowd:
        """Return the clients of this broker."""
        from tests.facade.people import Crowd

        return Crowd(cast("Running", self))

    async def until_metric(self, wanted: str) -> None:
        """Return when `/metrics` has the line `wanted`."""
        metrics = ""
        async with asyncio.timeout(HUNG_SECONDS), httpx.AsyncClient(trust_env=False) as client:
            while wanted not in metrics:
                await asyncio.sleep(0.02)  # another process's state has no event to wait for
                metrics = (await client.get(f"http://127.0.0.1:{self.port}/metrics")).text

    async def terminate(self) -> tuple[int, float, str]:
        """Stop it; return its exit status, the time taken in seconds, and its log."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, logged = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, time.monotonic() - started, logged.decode()


def free_port() -> int:
    """Return a port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(count: int) -> int:
    """Return the first of `count` adjacent ports without listeners.

    No system chooses them for its own connections, so they stay free for a server that starts later.
    """
    while True:
        first = SystemRandom().randrange(*FIXED_PORTS)
        if all(map(_is_free, range(first, first + count))):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def started(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """Start the command line with `arguments`."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mcp_facade.main",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=inherited_environment() | environment,
    )


def inherited_environment() -> dict[str, str]:
    """Return this process's environment without settings of the broker, except for the fast lane."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHAT_BROKER_")}
    return inherited if FAST_LANE else inherited | {"CHAT_BROKER_NO_FAST_LANE": "1"}


async def ready(port: int, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
    """Return a broker process that takes calls at `port`."""
    process = await started("serve", "--port", str(port), *arguments, **environment)
    async with asyncio.timeout(HUNG_SECONDS), httpx.AsyncClient(trust_env=False) as client:
        while not await is_ready(client, port):
            assert process.returncode is None, (await process.communicate())[1].decode()
            await asyncio.sleep(0.02)  # another process's start has no event to wait for
    return process


async def killed(process: asyncio.subprocess.Process) -> None:
    """Kill `process`, without any notice."""
    if process.returncode is None:
        process.kill()
    await process.communicate()


@asynccontextmanager
async def serving(*arguments: str, **environment: str) -> AsyncIterator[Process]:
    """Yield a ready broker process on a free port."""
    port = free_port()
    process = await ready(port, *arguments, **environment)
    try:
        yield Process(process, port)
    finally:
        await killed(process)


async def is_ready(client: httpx.AsyncClient, port: int) -> bool:
    """Return true if `/readyz` reports ready."""
    try:
        return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx.TransportError:
        return False
