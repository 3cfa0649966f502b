"""The process's limit of open files, and what happens at it: every connection is one.

A server that can open no more files cannot write its log either, and uvloop then drops connections without a word.
So connections end before files do: the last ones are kept for the rest of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sys
import time
from typing import Any

import structlog

from broker.line_limit import LineLimit

if sys.platform != "win32":
    import resource

logger = structlog.get_logger(__name__)

RESERVED_FILES = 64
"""Files that connections leave to the rest of the process, if the limit is not too low for that."""

FALLBACK_FILES = 10_240
"""A limit that macOS grants where its hard limit is infinite."""

HINT = "raise the limit of open files (ulimit -n, or LimitNOFILE= in systemd) to serve more connections at a time"


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard one, or as near as the system lets it."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, FALLBACK_FILES):
        if soft == wanted:
            return
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


class OpenFiles:
    """The room for connections below the limit of open files at the time of construction."""

    def __init__(self) -> None:
        self._lines = LineLimit(lambda: time.monotonic_ns() / 1_000_000)
        self._descriptors_max = sys.maxsize
        if sys.platform != "win32":
            soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            if soft != resource.RLIM_INFINITY:
                self._descriptors_max = soft - min(RESERVED_FILES, soft // 4)

    def has_room(self, descriptor: int) -> bool:
        """Return whether a new connection with this file descriptor can be kept; warn the operator if not.

        Descriptors are given out lowest first, so the newest says how many files are open.
        """
        if descriptor < self._descriptors_max:
            return True
        self._warn()
        return False

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error of the event loop: exhaustion is a line a minute, and any other what it is without us."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            self._warn()
        else:
            loop.default_exception_handler(context)

    def _warn(self) -> None:
        fields = self._lines.admit("open_files_exhausted")
        if fields is not None:
            logger.warning("open_files_exhausted", hint=HINT, **fields)
