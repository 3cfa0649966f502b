"""A log file under construction, under a temporary name until it is complete."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from broker.errors import UsageError
from events.commit import EMPTY_TIP, Tip
from events.log import Snapshot, UnusableLogError
from events.sqlite.errors import translate_open_errors
from events.sqlite.file import SqliteFile
from events.sqlite.lock import WriterLock
from events.sqlite.reader import SqliteReader
from projections.snapshots import STATE_CODEC

_BESIDE = ".loading"
_PARTS = ("", "-wal", "-shm", "-journal", ".lock", ".wake")


class NewLogFile:
    """An empty file to fill. `finish` makes it the log at `path`; without it, nothing changes there.

    A lock keeps other processes from creating or opening a broker's log at `path` meanwhile.
    """

    def __init__(self, path: str, name: str) -> None:
        """Lock `path` and create the temporary file; errors call the log `name`.

        Raises:
            UsageError: the log at `path` is not empty.
            UnusableLogError: no log can be created there.
        """
        self._path = os.path.realpath(path)
        self._new = f"{self._path}{_BESIDE}"
        with translate_open_errors(name):
            self._lock = WriterLock(self._path, name)
        try:
            self._check_empty(name)
            self._remove(self._new)  # left by an interrupted load
            # An incomplete file is thrown away, so durability matters only for the complete one.
            self._file = SqliteFile(self._new, "write", synchronous="NORMAL")
        except BaseException:
            self._lock.release()
            raise

    def start_from(self, snapshot: Snapshot) -> None:
        """Start from `snapshot`, before the first commit."""
        self._file.start_from(snapshot, STATE_CODEC)

    def append_lines(self, lines: Sequence[bytes], *, expected: Tip) -> None:
        """Append commits as lines of JSON, which were checked, after `expected`."""
        self._file.append_lines(lines, expected=expected)

    def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`, of the present tip."""
        self._file.save(snapshot, STATE_CODEC)

    def finish(self) -> None:
        """Atomically replace the log at `path`, and flush the change to disk."""
        self._file.finish_loading()
        if not self._file.checkpoint():
            raise UnusableLogError(f"{self._new} is in use by another program; end that one")
        self._file.close()
        # The WAL of the empty log holds no commits, and the new log must not inherit it.
        self._remove(self._path, _PARTS[1:4])
        os.replace(self._new, self._path)
        _sync(os.path.dirname(self._path))

    def __enter__(self) -> NewLogFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._remove(self._new)
        self._lock.release()

    def _check_empty(self, name: str) -> None:
        if not os.path.exists(self._path):
            return
        with SqliteReader(self._path, "read") as there:
            if there.tip() != EMPTY_TIP:
                raise UsageError(f"{name} is not empty; load into a log that is, or into a new file")

    @staticmethod
    def _remove(path: str, parts: tuple[str, ...] = _PARTS) -> None:
        for part in parts:
            with suppress(FileNotFoundError):
                os.unlink(path + part)


def _sync(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
