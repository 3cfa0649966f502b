"""A worker as its supervisor has it: a process with a channel, in a slot with sockets of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from broker.errors import EXIT_USAGE
from broker.flags import WORKER_VARIABLE
from mcp_facade import systemd
from mcp_facade.workers.worker import READY, REFUSED, TEXT_BYTES_MAX, Opens

ENDED_WITHIN_S = 5.5
"""A worker that takes longer to end is killed: all are gone within six seconds."""

PAUSE_S_MAX = 30
STEADY_S = 60.0
"""After so long a life, an end is the first one again."""


class WorkerProcess:
    """One process. It is started here, and ends by itself, by `end`, or at `finish_by_s`."""

    def __init__(self, number: int, sockets: list[socket.socket], opens: Opens) -> None:
        """Start it with `sockets`: the one for clients, then the one of its admin port, if there is one.

        Raises:
            OSError: the system has no room for a process.
        """
        self.number = number
        self.is_ready = False
        self.refusal = ""
        """The reason why it could not start, in one line."""
        self.finish_by_s: float | None = None
        self.began_s = time.monotonic()
        self._received = b""
        environment = {name: value for name, value in os.environ.items() if name not in systemd.VARIABLES}
        self.channel, theirs = socket.socketpair()
        with theirs:
            try:
                self.process = subprocess.Popen(  # noqa: S603 - this program again
                    [sys.executable, *sys.orig_argv[1:]],
                    stdin=theirs.fileno(),
                    env=environment | {WORKER_VARIABLE: str(number)},
                    process_group=0,  # control-C at a terminal is for the supervisor
                )
            except BaseException:
                self.channel.close()
                raise
            socket.send_fds(self.channel, [opens], [one.fileno() for one in sockets])

    def hear(self) -> bool:
        """Take what it says; return false once it has ended."""
        try:
            received = self.channel.recv(2 * TEXT_BYTES_MAX)
        except ConnectionResetError:
            received = b""
        *lines, self._received = (self._received + received).split(b"\n")
        for line in lines:
            if line == READY:
                self.is_ready = True
            elif line.startswith(REFUSED):
                self.refusal = line.removeprefix(REFUSED).decode(errors="replace")
        return bool(received)

    def is_refused(self, status: int) -> bool:
        """Return whether it ended with `status` because it could not start, and said why."""
        return not self.is_ready and (status == EXIT_USAGE or bool(self.refusal))

    def end(self) -> None:
        """Ask it to end; the second time, to end at once."""
        if self.finish_by_s is None:
            self.finish_by_s = time.monotonic() + ENDED_WITHIN_S
        self.process.terminate()

    def ended(self) -> int:
        """Return its exit status, after `hear` has said that it ended."""
        self.channel.close()
        return self.process.wait()


class Slot:
    """The place of one worker: its sockets, the worker serving there, and its successor."""

    def __init__(self, number: int, reserve_sockets: Callable[[], list[socket.socket]]) -> None:
        """Reserve the sockets.

        Raises:
            UsageError: an address can't be listened on.
        """
        self.number = number
        self.worker: WorkerProcess | None = None
        self.successor: WorkerProcess | None = None
        self.start_at_s: float | None = None
        self._ends = 0
        self._reserve_sockets = reserve_sockets
        self._sockets = reserve_sockets()

    def start(self, opens: Opens) -> WorkerProcess:
        """Start a process for this place.

        Raises:
            UsageError: its address can't be listened on any more.
            OSError: the system has no room for a process.
        """
        if not self._sockets:
            self._sockets = self._reserve_sockets()
        return WorkerProcess(self.number, self._sockets, opens)

    def close_sockets(self) -> None:
        """Close the sockets, so that no connection waits where nothing accepts it."""
        for one in self._sockets:
            one.close()
        self._sockets = []

    def start_later(self, lived_s: float = 0.0) -> float:
        """Have it started again after a pause; return the pause: 1, 2, 4 ... seconds."""
        self._ends = 0 if lived_s >= STEADY_S else self._ends
        pause_s = float(min(PAUSE_S_MAX, 2**self._ends))
        self._ends = min(self._ends + 1, PAUSE_S_MAX)
        self.start_at_s = time.monotonic() + pause_s
        return pause_s
