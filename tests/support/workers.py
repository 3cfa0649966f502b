"""`chat-broker serve --workers` as separate processes, on a real Valkey."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.limits import HUNG_SECONDS
from tests.support.process import Process, free_ports, started


class Supervised(Process):
    """A supervisor and its workers, with all their log lines."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, workers: int, admin_port: int) -> None:
        super().__init__(process, port)
        self.workers = workers
        self.admin_port = admin_port
        self.lines: list[dict[str, Any]] = []
        self.texts: list[str] = []
        """What was written beside log lines."""
        self._changed = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            text = line.decode().rstrip("\n")
            if text.startswith("{"):
                self.lines.append(json.loads(text))
            else:
                self.texts.append(text)
            self._changed.set()

    def events(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines of `event` with these fields."""
        found = [line for line in self.lines if line["event"] == event]
        return [line for line in found if fields.items() <= line.items()]

    async def logged(self, event: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """Return the `count`-th line of `event` when it has been logged."""
        await self.until(lambda: len(self.events(event, **fields)) >= count)
        return self.events(event, **fields)[count - 1]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when `condition` holds; each new line is a reason to look."""
        try:
            async with asyncio.timeout(HUNG_SECONDS):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError("\n".join([*map(str, self.lines), *self.texts])) from None

    def pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return children_of(self.process.pid)

    def admin_url(self, worker: int, path: str) -> str:
        """Return the URL of `path` on a worker's admin port."""
        return f"http://127.0.0.1:{self.admin_port + worker}{path}"

    def send(self, signal_number: int) -> None:
        """Send the supervisor a signal."""
        self.process.send_signal(signal_number)

    async def ended(self) -> int:
        """Return the exit status, after the whole log has been read."""
        async with asyncio.timeout(HUNG_SECONDS):
            status = await self.process.wait()
            await self._reading
        return status


def children_of(pid: int) -> list[int]:
    """Return the live children of `pid`."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            children.append(int(stat.parent.name))
    return children


def lives(pid: int) -> bool:
    """Return true if the process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@asynccontextmanager
async def supervised(log: str, *arguments: str, workers: int = 2, **environment: str) -> AsyncIterator[Supervised]:
    """Yield a supervisor with workers on `log`; they may not be ready yet."""
    port, admin_port = free_ports(1), free_ports(workers + 1)
    limits = ("--messages-per-10s-max", "1000000", "--reads-per-10s-max", "1000000")  # limits far above any test
    flags = ("--port", str(port), "--admin-port", str(admin_port), "--workers", str(workers), "--log", log)
    process = await started("serve", *flags, "--log-format", "json", *limits, *arguments, **environment)
    running = Supervised(process, port, workers, admin_port)
    try:
        yield running
    finally:
        left = running.pids()
        if process.returncode is None:
            process.kill()
        for pid in left:
            if lives(pid):
                os.kill(pid, signal.SIGKILL)
        await running._reading
        await process.communicate()  # after the last writer of the pipe has ended


async def readiness(url: str) -> Any:
    """Return the answer of `/readyz` at `url`; `None` if nothing listens."""
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url)).json()
        except httpx.TransportError:
            return None
