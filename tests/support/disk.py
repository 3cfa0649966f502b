"""A disk for SQLite's files: it counts its syncs, and can delay them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw


class Disk:
    """A disk that blocks each sync until it is ready."""

    def __init__(self) -> None:
        self.is_ready, self.is_asked = threading.Event(), threading.Event()
        self.is_ready.set()
        self.syncs = 0

    def sync(self) -> None:
        """Count a sync, and wait until the disk is ready, at most 10 seconds."""
        self.syncs += 1
        if not self.is_ready.is_set():
            self.is_asked.set()
            self.is_ready.wait(10)


@contextmanager
def watched_disk() -> Iterator[Disk]:
    """Yield a watched disk; SQLite opens all files on it meanwhile."""
    disk = Disk()

    class File(apsw.VFSFile):
        def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
            disk.sync()
            super().xSync(flags)

    class FileSystem(apsw.VFS):
        def xOpen(self, name: Any, flags: Any) -> File:  # noqa: N802 - SQLite's name
            return File("unix", name, flags)

    files = FileSystem("watched", "unix", makedefault=True)
    try:
        yield disk
    finally:
        disk.is_ready.set()
        files.unregister()
