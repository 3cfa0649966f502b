"""How one process tells others that it has stored something: a byte written to a file beside the log.

The log's own files can't be watched for it: the system reports a write to the WAL before the commit can be seen, and
checkpoints as well. A bell that is not heard, or can't be rung, costs time and nothing else, since followers look
by themselves now and then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress

from watchfiles import awatch

LISTEN_STEP_MS = 10
LISTEN_MAX_MS = 20

logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it has a line for each change


class Bell:
    """The end that is rung."""

    def __init__(self, path: str) -> None:
        self._fd: int | None = None
        with suppress(OSError):
            self._fd = os.open(bell_of(path), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def ring(self) -> None:
        """Wake whoever listens in another process, within some 20 ms."""
        if self._fd is not None:
            with suppress(OSError):
                os.pwrite(self._fd, b"\n", 0)

    def close(self) -> None:
        """Give the file back; again is no error."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


async def listen(path: str, heard: Callable[[], None]) -> None:
    """Call `heard` soon after each ring, of any process, until cancelled; ends where there is nothing to listen to."""
    with suppress(OSError, RuntimeError):
        async for _ in awatch(
            bell_of(path), watch_filter=None, step=LISTEN_STEP_MS, debounce=LISTEN_MAX_MS, recursive=False
        ):
            heard()


def bell_of(path: str) -> str:
    """The file that is the bell of the log at `path`."""
    return f"{path}.wake"
