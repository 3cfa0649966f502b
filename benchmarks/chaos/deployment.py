"""Workers behind a proxy, as processes: started, killed, and started again."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Final, NamedTuple

import httpx

from benchmarks.server import free_port
from tests.deploy.proxies import program, substituted

READY_WITHIN_S: Final = 60.0
STOPPED_WITHIN_S: Final = 10.0
POLL_S: Final = 0.05
WORKER_HEADER: Final = "x-worker"
"""The proxy's header in each answer: the name of the worker that gave it."""


class Kill(NamedTuple):
    """The end of a worker's process by `SIGKILL`."""

    worker: str
    at_s: float  # Unix time


class Life(NamedTuple):
    """The time of a ready worker process; Unix times."""

    worker: str
    ready_s: float
    ended_s: float


class Worker:
    """One `chat-broker serve` with ports of its own."""

    def __init__(self, name: str, log_url: str, flags: list[str], directory: Path) -> None:
        self.name = name
        self.port, self.admin_port = free_port(), free_port()
        self.ready_s = 0.0
        """Since when its present process is ready; Unix time, 0 if it is not."""
        ports = ["--port", str(self.port), "--admin-port", str(self.admin_port)]
        logs = ["--log-format", "json", "--log-level", "warning"]
        proxied = ["--trust-proxy", "127.0.0.1", "--peer-exempt", "127.0.0.1"]
        self._command = [
            *(sys.executable, "-m", "mcp_facade.main", "serve", "--log", log_url),
            *ports,
            *logs,
            *proxied,
            *flags,
        ]
        self._log: IO[bytes] = (directory / f"{name}.log").open("a+b")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start its process."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if not name.startswith("CHAT_BROKER_")},
        )

    async def until_ready(self) -> None:
        """Return once it takes calls.

        Raises:
            RuntimeError: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + READY_WITHIN_S
        async with httpx.AsyncClient(trust_env=False) as client:
            while not await self._is_ready(client):
                if self.status() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"{self.name} does not start, status {self.status()}:\n{self.log_text()[-2000:]}"
                    )
                await asyncio.sleep(POLL_S)
        self.ready_s = time.time()

    async def _is_ready(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"http://127.0.0.1:{self.admin_port}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    def status(self) -> int | None:
        """Return its exit status, if it has ended."""
        assert self._process is not None
        return self._process.poll()

    def kill(self) -> None:
        """End its process without a chance to do anything more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.ready_s = 0.0

    def stop(self) -> None:
        """End it, politely first."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def log_text(self) -> str:
        """Return the log lines of its processes."""
        return Path(self._log.name).read_text(errors="replace")


class Deployment:
    """Workers on one log, and HAProxy, which gives each request to the next of them."""

    def __init__(self, log_url: str, workers: int, flags: list[str]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="chat-workers-")
        path = Path(self._directory.name)
        self.workers = [Worker(f"w{number}", log_url, flags, path) for number in range(1, workers + 1)]
        self.kills: list[Kill] = []
        self.lives: list[Life] = []
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._proxy: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start all; return once all take calls."""
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            await worker.until_ready()
        self._proxy = self._haproxy()
        deadline = time.monotonic() + READY_WITHIN_S
        async with httpx.AsyncClient(trust_env=False) as client:
            while not await self._proxy_answers(client):
                if self._proxy.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("HAProxy does not serve")
                await asyncio.sleep(POLL_S)

    def _haproxy(self) -> subprocess.Popen[bytes]:
        """Start HAProxy with the shipped configuration; it takes the workers in turn, and notices soon."""
        folder = Path(self._directory.name)
        servers = [f"server {one.name} 127.0.0.1:{one.port} port {one.admin_port}" for one in self.workers]
        changes = {
            "    server a 172.30.80.11:8000 port 9000\n": "".join(f"    {server}\n" for server in servers),
            "    server b 172.30.80.12:8000 port 9000\n": "",
            "    bind :80\n": f"    bind 127.0.0.1:{self.port}\n    http-response set-header {WORKER_HEADER} %s\n",
            "/run/haproxy/admin.sock": f"{folder}/admin.sock",
            "    user haproxy\n    group haproxy\n": "",
            "balance leastconn": "balance roundrobin",
            "check inter 2s fall 2 rise 1": "check inter 200ms fall 1 rise 1",
        }
        config = folder / "haproxy.cfg"
        config.write_text(substituted("haproxy.cfg", changes))
        return subprocess.Popen(
            [program("haproxy"), "-q", "-db", "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    async def _proxy_answers(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(self.url.replace("/mcp", "/"))).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self, worker: Worker) -> None:
        """Kill a worker, and note the time."""
        ready_s = worker.ready_s
        worker.kill()
        now_s = time.time()
        self.kills.append(Kill(worker.name, now_s))
        if ready_s:
            self.lives.append(Life(worker.name, ready_s, now_s))

    def stop(self) -> None:
        """End the proxy and all workers."""
        if self._proxy is not None:
            self._proxy.kill()
            self._proxy.wait()
        now_s = time.time()
        for worker in self.workers:
            if worker.ready_s:
                self.lives.append(Life(worker.name, worker.ready_s, now_s))
            worker.stop()

    def faults(self) -> list[str]:
        """Return the log lines of faults, and the unexpected ends."""
        lines = [(worker.name, line) for worker in self.workers for line in worker.log_text().splitlines()]
        return [f"{name} logged {line[:600]}" for name, line in lines if _is_fault(line)]

    def remove(self) -> None:
        """Delete the logs."""
        self._directory.cleanup()


def _is_fault(line: str) -> bool:
    """Tell if a log line shows a fault of the worker; a silent engine is none."""
    return line[:1] != "{" or ('"level":"error"' in line and '"event":"log_unavailable"' not in line)
