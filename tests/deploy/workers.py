"""Brokers started as an operator starts them, each with an admin port, and readings of that port."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.limits import HUNG_SECONDS
from tests.support.process import free_ports, inherited_environment

AGAIN_SECONDS = 0.02
"""Between two looks at another process, which has no event to wait for."""


class Served:
    """One `chat-broker serve`; it can be killed and started again on the same ports."""

    def __init__(self, log: str, *arguments: str, workers: int = 1) -> None:
        self.port = free_ports(1)
        self.admin_port = free_ports(workers + 1)
        self.workers = workers
        """The processes behind the port. A single one has `admin_port`; of several, the N-th has the N-th after it."""
        ports = ("--port", str(self.port), "--admin-port", str(self.admin_port), "--workers", str(workers))
        public = ("--trust-proxy", "127.0.0.1", "--peer-exempt", "127.0.0.1", "--log-level", "warning")
        self._command = [sys.executable, "-m", "mcp_facade.main", "serve", *ports, *public, "--log", log, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def admin_ports(self) -> Sequence[int]:
        """The admin port of each worker."""
        if self.workers == 1:
            return [self.admin_port]
        return [self.admin_port + number for number in range(1, self.workers + 1)]

    def launch(self) -> None:
        """Start it, without waiting."""
        self._process = subprocess.Popen(self._command, env=inherited_environment())

    def wait_until_ready(self) -> None:
        """Return once every worker takes calls."""
        assert self._process is not None
        wait_until_ready(self._process, self.admin_ports)

    def replace_workers(self) -> None:
        """Have the supervisor replace all workers, as `systemctl reload` does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it and its workers as SIGTERM does; do nothing if it has ended."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(HUNG_SECONDS)
            self._process = None


def wait_until_ready(process: subprocess.Popen[bytes], ports: Sequence[int]) -> None:
    """Return when `/readyz` reports ready at all `ports`; fail if `process` ends first."""
    deadline = time.monotonic() + HUNG_SECONDS
    with httpx.Client(trust_env=False) as client:
        while not all(_is_ready(client, port) for port in ports):
            assert process.poll() is None, "the broker has ended"
            assert time.monotonic() < deadline, "the broker does not start"
            time.sleep(AGAIN_SECONDS)


def _is_ready(client: httpx.Client, port: int) -> bool:
    try:
        return client.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def launched(*served: Served) -> None:
    """Start all of them side by side; return when all take calls."""
    for one in served:
        one.launch()
    for one in served:
        one.wait_until_ready()


async def metric(admin_port: int, name: str, **labels: str) -> float:
    """Return the value of a sample at the worker with this admin port; 0 if there is no such sample."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://127.0.0.1:{admin_port}/metrics")).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return next((one.value for one in samples if one.name == name and labels.items() <= one.labels.items()), 0.0)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return when `holds` is true; it looks at other processes, so it is polled."""
    async with asyncio.timeout(HUNG_SECONDS):
        while not await holds():  # noqa: ASYNC110 - another process's state has no event
            await asyncio.sleep(AGAIN_SECONDS)
