"""One broker a file.

Compare-and-append keeps two brokers at one log from doing harm, but each would meet the other's commits at every
turn; a second one is mostly started by mistake. The lock is `flock` on a file beside the log: the kernel gives it
back however the process ends, `kill -9` included, so none is ever left over and none needs breaking. It is not on
the log itself, where some file systems mix it up with SQLite's own locks. The file stays when the lock goes:
removing it would let two processes each hold 'the' lock on a file of their own.
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
        self._fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(self._fd)
        except BlockingIOError:
            holder = os.pread(self._fd, 20, 0).decode(errors="replace").strip()
            os.close(self._fd)
            held = f"{name} is in use by another broker (process {holder or 'unknown'})"
            raise UnusableLogError(f"{held}; stop that one, or name another file") from None
        except OSError:
            os.close(self._fd)
            raise
        with suppress(OSError):  # a courtesy to whoever comes second, not worth failing for
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let another have it."""
        os.close(self._fd)


def _lock(fd: int) -> None:
    import fcntl  # not on every system, and a broker without a file needs none

    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
