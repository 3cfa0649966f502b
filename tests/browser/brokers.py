"""A broker process for pages in a browser; it can be stopped, and restarted at the same address."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.support.limits import HUNG_SECONDS
from tests.support.process import free_port, inherited_environment


class BrokerProcess:
    """`chat-broker serve` at a port of its own."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self._command = [sys.executable, "-m", "mcp_facade.main", "serve", "--port", str(self.port), *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return once it takes calls."""
        self._process = subprocess.Popen(self._command, env=inherited_environment(), stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + HUNG_SECONDS
        with httpx.Client(trust_env=False) as client:
            while not self._is_ready(client):
                assert self._process.poll() is None, "the broker has ended"
                assert time.monotonic() < deadline, "the broker does not start"
                time.sleep(0.02)  # another process's start has no event to wait for

    def stop(self) -> None:
        """Stop it by `SIGTERM`; do nothing if it has ended."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(HUNG_SECONDS)
            self._process = None

    def _is_ready(self, client: httpx.Client) -> bool:
        try:
            return client.get(f"{self.url}readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def broker_process(*arguments: str) -> Iterator[BrokerProcess]:
    """Run a broker with `arguments` of `serve`, ready for calls."""
    broker = BrokerProcess(*arguments)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
