"""Running `tail` while a log grows."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Queue
from threading import Thread
from unittest import mock

from log_debugger.reading import following
from tests.log_debugger.logs import CommandResult, run_command

SECONDS_MAX = 30


def tailed(*arguments: str, meanwhile: list[Callable[[], object]], lines: int = 0) -> CommandResult:
    """Return the output of `tail` up to an interrupt.

    Each function of `meanwhile` is called where `tail` waits for more; the interrupt comes when it waits after the last
    of them and has printed `lines` lines.
    """
    actions, deadline = iter(meanwhile), time.monotonic() + SECONDS_MAX

    def wait(seconds: float) -> None:
        printed = sys.stdout
        assert isinstance(printed, io.StringIO)  # # `run_command` replaced it
        if (action := next(actions, None)) is not None:
            action()
        elif printed.getvalue().count("\n") >= lines:
            raise KeyboardInterrupt
        else:
            assert time.monotonic() < deadline, printed.getvalue()
            time.sleep(min(seconds, 0.05))

    with mock.patch.object(following, "sleep", wait):
        return run_command("tail", *arguments)


class RunningTail:
    """`tail` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: Queue[str] = Queue()
        Thread(target=self._read, daemon=True).start()

    def line(self, seconds_max: float = SECONDS_MAX) -> str:
        """Return its next line."""
        return self._lines.get(timeout=seconds_max)

    def interrupt(self) -> tuple[int, str]:
        """Send Ctrl-C; return the exit status and the error output."""
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(SECONDS_MAX)
        assert self._process.stderr is not None
        return status, self._process.stderr.read()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))


@contextmanager
def running_tail(*arguments: str) -> Iterator[RunningTail]:
    """Run `tail`, and kill it in the end if it still runs."""
    command = [sys.executable, "-m", "mcp_facade.main", "tail", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield RunningTail(process)
        finally:
            process.kill()
