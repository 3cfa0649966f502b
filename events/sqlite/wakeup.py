"""Wake-ups between processes: a byte written to a file beside the log after each append.

The log's own files can't be watched: the system reports a write to the WAL before its commit is visible, and reports
checkpoints too. A lost wake-up, or one that can't be sent, costs time and nothing else, since followers poll as well.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress

from watchfiles import awatch

from events.log import UnusableLogError
from events.sqlite.errors import open_beside

WATCH_STEP_MS = 10
WATCH_MAX_MS = 20

logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it logs a line for each change


class Wakeup:
    """The sending end."""

    def __init__(self, path: str) -> None:
        self._fd: int | None = None
        with suppress(OSError, UnusableLogError):
            self._fd = open_beside(wakeup_path(path), os.O_WRONLY)

    def notify(self) -> None:
        """Wake every watcher in another process, within some 20 ms."""
        if self._fd is not None:
            with suppress(OSError):
                os.pwrite(self._fd, b"\n", 0)

    def close(self) -> None:
        """Release the file; calling it again is no error."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


async def watch(path: str, on_wakeup: Callable[[], None]) -> None:
    """Call `on_wakeup` after each `notify` of any process, until cancelled. Return if the file can't be watched."""
    with suppress(OSError, RuntimeError):
        async for _ in awatch(
            wakeup_path(path), watch_filter=None, step=WATCH_STEP_MS, debounce=WATCH_MAX_MS, recursive=False
        ):
            on_wakeup()


def wakeup_path(path: str) -> str:
    """Return the path of the wake-up file of the log at `path`."""
    return f"{path}.wake"
