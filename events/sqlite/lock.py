"""One broker a file.

Compare-and-append keeps two brokers at one log from doing harm, but each would meet the other's commits at every
turn; a second one is mostly started by mistake. The lock is `flock` on a file beside the log: the kernel gives it
back however the process ends, `kill -9` included, so none is ever left over and none needs breaking. It is not on
the log itself, where some file systems mix it up with SQLite's own locks.

The file goes with the lock. So whoever has locked one looks whether it is still the one that others would open: if
it is not, its holder removed it in between, and the lock on it is worth nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress

from events.log import UnusableLogError


class WriterLock:
    """The right to be the only broker at a log; held from its making until `release`."""

    def __init__(self, path: str, name: str) -> None:
        """Take the lock of the log at `path`, which the user calls `name`.

        Raises:
            UnusableLogError: another process has it.
            OSError: there can be no lock here, as on a read-only file system.
        """
        self._path = f"{path}.lock"
        self._fd = self._locked(name)
        while not self._is_in_place():
            os.close(self._fd)
            self._fd = self._locked(name)
        with suppress(OSError):  # a courtesy to whoever comes second, not worth failing for
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let another have it; what it was for has to be over."""
        with suppress(OSError):  # it is in nobody's way where it may not be removed
            if self._is_in_place():  # and no other, since somebody had removed this one by hand
                os.unlink(self._path)
        os.close(self._fd)

    def _locked(self, name: str) -> int:
        """The file that is there, or a new one, locked."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
            return os.path.samestat(os.fstat(self._fd), os.stat(self._path))
        except FileNotFoundError:
            return False


def _lock(fd: int) -> None:
    import fcntl  # not on every system, and a broker without a file needs none

    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
