"""The side of a worker towards its supervisor (`--workers`): it is given its sockets, and tells how its start goes.

Standard input is the socket between the two. Its end is the supervisor's, and so this process's too.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Callable, Mapping
from typing import Literal

from broker.errors import EXIT_FAILED, EXIT_USAGE, StartFailedError, UsageError
from broker.flags import WORKER_VARIABLE

SOCKETS_MAX = 2
TEXT_BYTES_MAX = 4_096

Opens = Literal[b"at once", b"when ready"]
"""When a worker begins to accept: a successor waits until it is ready."""

READY = b"ready"
REFUSED = b"refused "


class Worker:
    """This process, as one of several."""

    def __init__(self, supervisor: socket.socket) -> None:
        """Receive the sockets from `supervisor`."""
        self._supervisor = supervisor
        opens, descriptors, _, _ = socket.recv_fds(supervisor, TEXT_BYTES_MAX, SOCKETS_MAX)
        self.opens_when_ready = opens == b"when ready"
        public, *rest = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        self.public = public
        """The socket for clients, bound already."""
        self.admin: socket.socket | None = rest[0] if rest else None
        """The socket of `--admin-port`."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Worker | None:
        """Return this process as a worker; `None` if it has no supervisor.

        Raises:
            UsageError: the environment says that it is one, and there is no supervisor.
        """
        if WORKER_VARIABLE not in environment:
            return None
        if not stat.S_ISSOCK(os.fstat(0).st_mode):
            raise UsageError(f"{WORKER_VARIABLE} is for the processes that --workers starts; leave it out")
        return cls(socket.socket(fileno=os.dup(0)))

    def run(self, serve: Callable[[], None]) -> None:
        """Run `serve`. If it can't start, its supervisor says why, once for all workers.

        Raises:
            SystemExit: it could not start.
        """
        try:
            serve()
        except (UsageError, StartFailedError) as error:
            self._tell(REFUSED + str(error).encode(errors="replace")[:TEXT_BYTES_MAX])
            raise SystemExit(EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED) from None

    def end_with_supervisor(self, end: Callable[[], None]) -> None:
        """Call `end` in the running event loop once the supervisor is gone."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            if not self._supervisor.recv(TEXT_BYTES_MAX):
                loop.remove_reader(self._supervisor)
                end()

        self._supervisor.setblocking(False)
        loop.add_reader(self._supervisor, look)

    def ready(self) -> None:
        """Tell the supervisor that this worker takes calls."""
        self._tell(READY)

    def _tell(self, line: bytes) -> None:
        try:
            self._supervisor.sendall(line + b"\n")
        except OSError:
            return  # it is gone, and this process ends as well
