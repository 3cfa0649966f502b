"""A server as a subprocess, and its cost by the operating system's accounting."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

READY_WITHIN_S: Final = 20.0
STOPPED_WITHIN_S: Final = 6.0
LOG_TAIL_BYTES: Final = 1_000
DIRECTORY: Final = "{directory}"

# Limits that protect a broker from one talkative stranger would only measure themselves here.
UNLIMITED: Final = {
    "CHAT_BROKER_MESSAGES_PER_10S_MAX": "1000000",
    "CHAT_BROKER_HANDLES_MINTED_PER_10S_MAX": "1000000",
    "CHAT_BROKER_SESSIONS_MAX": "100000",
    "CHAT_BROKER_STREAMS_MAX": "100000",
}


def free_port() -> int:
    """Return a loopback port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_open_files() -> int:
    """Raise the limit on open files of this process and its children to the system's maximum; return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def end_in_order_on_sigterm() -> None:
    """Have SIGTERM end this process as an exception does, so that what it has started ends too."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command to run a module."""
    return (sys.executable, "-m", module, *arguments)


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU time of a whole process, user and system, all threads.

    The process's CPU clock: `utime + stime` of `/proc/<pid>/stat`, not rounded to ticks of 10 ms.
    The number is `clock_getcpuclockid(3)`; Python has it for threads only.
    """
    return time.clock_gettime((~pid << 3) | 2)


def cpu_seconds_of_the_ended() -> float:
    """Return the CPU time of all ended children; before its end, a process's last moment is not counted."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Server:
    """One server process on its own loopback port, with a data directory of its own.

    Its log lines go to an unnamed temporary file.
    """

    def __init__(self, *command: str) -> None:
        """Start `command` with the data directory in the place of `DIRECTORY`, and with `--port`."""
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory()  # removed by stop
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        self._process = subprocess.Popen(
            [*map(self.placed, command), "--port", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **UNLIMITED},
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def placed(self, argument: str) -> str:
        """Return `argument` with the data directory in the place of `DIRECTORY`."""
        return argument.replace(DIRECTORY, self._directory.name)

    async def ready(self, within_s: float = READY_WITHIN_S) -> None:
        """Return when `/readyz` answers 200.

        :raises RuntimeError: it ended, or was not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"a server ended with {self._process.returncode}:\n{self.log_tail()}")
            if await self._answers():
                return
            await asyncio.sleep(0.05)
        raise RuntimeError(f"a server was not ready in {within_s:.0f} s:\n{self.log_tail()}")

    async def _answers(self) -> bool:
        try:
            return (await self.get("/readyz")).startswith("HTTP/1.1 200")
        except OSError:
            return False

    async def get(self, path: str) -> str:
        """Send a GET on a connection of its own and return the whole answer.

        :raises OSError: the server does not listen, or not any more.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            return (await reader.read()).decode()
        finally:
            writer.close()

    def cpu_seconds(self) -> float:
        """Return the CPU time of the whole process; see `cpu_seconds_of`."""
        return cpu_seconds_of(self._process.pid)

    def resident_kb(self) -> int:
        """Return the resident memory in KiB (`VmRSS`)."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError(f"the server is gone:\n{self.log_tail()}")

    def open_fds(self) -> int:
        """Return the number of open file descriptors."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    async def terminate(self, within_s: float) -> tuple[int | None, float]:
        """Send SIGTERM; return the exit status, `None` if it has not ended in time, and the seconds it took."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, within_s)
        return self._process.returncode, time.monotonic() - began

    def log_lines(self) -> Iterator[str]:
        """Yield the log of a server after its end."""
        self._log.seek(0)
        for line in self._log:
            yield line.decode(errors="replace")

    def log_tail(self) -> str:
        """Return the end of the log."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - LOG_TAIL_BYTES))
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        """End the process: politely, then not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                print(f"a server did not stop in {STOPPED_WITHIN_S:.0f} s and was killed", file=sys.stderr)
                self._process.kill()
                self._process.wait()
        self._log.close()
        self._directory.cleanup()
