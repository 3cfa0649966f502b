"""One broker a file.

Compare-and-append keeps two brokers at one log from harm, but each would conflict with the other at every turn; a
second one is mostly started by mistake. The lock is `flock` on a file beside the log. The kernel releases it however
the process ends, `kill -9` included, so a stale lock can't exist. It is not on the log itself, since some file systems
mix it up with SQLite's own locks.

The file is removed with the lock. So after locking, a process checks that the file is still in place: if the holder
removed it in between, the lock on it is worth nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress

from events.log import UnusableLogError
from events.sqlite.errors import open_beside


class WriterLock:
    """The right to be the only broker at a log; held from construction until `release`."""

    def __init__(self, path: str, name: str) -> None:
        """Take the lock of the log at `path`; `name` is the user's name for it.

        Raises:
            UnusableLogError: another process has it, or the lock's path is taken by a link or the like.
            OSError: a lock is impossible here, as on a read-only file system.
        """
        self._path = f"{path}.lock"
        self._fd = self._locked(name)
        while not self._is_in_place():
            os.close(self._fd)
            self._fd = self._locked(name)
        with suppress(OSError):  # a hint for a second broker, not worth failing for
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Release the lock. The log must be closed already."""
        with suppress(OSError):  # a file that may not be removed does no harm
            if self._is_in_place():  # not another file, after this one was removed by hand
                os.unlink(self._path)
        os.close(self._fd)

    def _locked(self, name: str) -> int:
        """Open the file, make it if it is missing, and lock it."""
        fd = open_beside(self._path, os.O_RDWR)
        try:
            _lock(fd)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode(errors="replace").strip()
            os.close(fd)
            held = f"{name} is in use by another broker (process {holder or 'unknown'})"
            raise UnusableLogError(f"{held}; stop that one, or name another file") from None
        except OSError:
            os.close(fd)
            raise
        return fd

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), os.lstat(self._path))
        except FileNotFoundError:
            return False


def _lock(fd: int) -> None:
    import fcntl  # missing on some systems, and a broker without a file needs none

    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
