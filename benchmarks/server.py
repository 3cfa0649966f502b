"""A server as a subprocess, and what the operating system says that it costs."""

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
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_open_files() -> int:
    """Let this process, and those that it starts, have as many files open as the system allows; how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module."""
    return (sys.executable, "-m", module, *arguments)


def cpu_seconds_of(pid: int) -> float:
    """CPU time of a whole process, user and system, all threads.

    The process's CPU clock: what `utime + stime` of `/proc/<pid>/stat` is, before that is rounded to ticks of 10 ms.
    The number is `clock_getcpuclockid(3)`, which Python has for threads only.
    """
    return time.clock_gettime((~pid << 3) | 2)


def cpu_seconds_of_the_ended() -> float:
    """CPU time of all children of this process that have ended: only then is a process's known to its last moment."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Server:
    """One server process on its own loopback port, with a directory of its own for what it keeps.

    Its log lines go to an unnamed temporary file.
    """

    def __init__(self, *command: str) -> None:
        """Start `command`, in which `DIRECTORY` stands for the directory; `--port` is added."""
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
        """`argument` with the directory in the place of `DIRECTORY`."""
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
        """The whole answer to a GET, on a connection of its own.

        :raises OSError: nobody listens, or not any more.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            return (await reader.read()).decode()
        finally:
            writer.close()

    def cpu_seconds(self) -> float:
        """CPU time of the whole process; see `cpu_seconds_of`."""
        return cpu_seconds_of(self._process.pid)

    def resident_kb(self) -> int:
        """Resident memory in KiB (`VmRSS`)."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError(f"the server is gone:\n{self.log_tail()}")

    def open_fds(self) -> int:
        """How many file descriptors it has open."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    async def terminate(self, within_s: float) -> tuple[int | None, float]:
        """Ask it to end; its exit status, `None` if it has not ended in time, and the seconds that it took."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, within_s)
        return self._process.returncode, time.monotonic() - began

    def log_lines(self) -> Iterator[str]:
        """What the server wrote; for when it has ended."""
        self._log.seek(0)
        for line in self._log:
            yield line.decode(errors="replace")

    def log_tail(self) -> str:
        """The end of what the server wrote."""
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
