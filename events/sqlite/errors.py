"""SQLite's errors as a log's: the store does not answer for now, or the file is damaged."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from events.ids import Position
from events.log import LogUnavailableError, UnusableLogError

_DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError, apsw.SQLError, apsw.MismatchError)
"""Failing SQL is damage too: ours is fixed, so the tables must be missing or malformed."""

PAGE_BYTES = 32 * 1_024  # SQLite's allocation unit
FULL = "the disk is full; free some space"

_CAUSES: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.FullError, FULL),
    (apsw.BusyError, "another process keeps it locked; find out which, and end that one"),
    (apsw.LockedError, "another process keeps it locked; find out which, and end that one"),
    (apsw.ReadOnlyError, "it can't be written; check the owners and modes of it and of its directory"),
    (apsw.PermissionsError, "it can't be opened; check the owners and modes of it and of its directory"),
    (apsw.CantOpenError, "it can't be opened; check the owners and modes of it and of its directory"),
    (apsw.IOError, "the disk reports an error; see the system's own log"),
)

RESTORE = "restore it from a backup"
RESTORE_OR_NEWER = f"{RESTORE}, or use a newer version of this program"


@contextmanager
def translate_errors(name: str, called: str | None = None) -> Iterator[None]:
    """Translate SQLite's errors about the file called `name`; the errors call it `called` if that is given.

    Raises:
        LogUnavailableError: the store did not answer; it may the next time.
        UnusableLogError: the file is damaged.
    """
    try:
        yield
    except _DAMAGE as error:
        raise damaged(called or name, str(error)) from error
    except apsw.Error as error:
        raise LogUnavailableError(f"{called or name}: {_cause_of(error, name)}") from error


@contextmanager
def translate_open_errors(name: str) -> Iterator[None]:
    """Translate every error of opening the file called `name` into one line.

    Raises:
        UnusableLogError: in place of every error of SQLite and of the system.
    """
    try:
        with translate_errors(name):
            yield
    except LogUnavailableError as error:
        raise UnusableLogError(str(error)) from error
    except OSError as error:
        why = "check the owners and modes of it and of its directory, and the space on its disk"
        raise UnusableLogError(f"{name}: {error.strerror or error}; {why}") from error


def open_beside(path: str, flags: int) -> int:
    """Open the small file at `path` beside a log, and make it if it is missing, for its owner alone.

    In a directory where others may write, one of them may have put something else there. So a link is not followed, a
    pipe is not waited for, and only a file with no other name is taken.

    Raises:
        OSError: it can't be opened.
        UnusableLogError: it is no file that a broker has made.
    """
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise _planted(path) from None
        raise
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(fd)
        raise _planted(path)
    return fd


def check_beside(path: str, *, is_read_only: bool) -> None:
    """Check a file that SQLite itself will open beside a log, as `open_beside` checks those of ours.

    Raises:
        UnusableLogError: it is something else, or would be written to under another name too.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISREG(found.st_mode) or (found.st_nlink > 1 and not is_read_only):
        raise _planted(path)


def _planted(path: str) -> UnusableLogError:
    return UnusableLogError(
        f"{path} is not a file that a broker has made, but a link or the like; look who has put it there, and remove it"
    )


def damaged(name: str, how: str) -> UnusableLogError:
    """Return the error for a file that no longer holds what was written to it."""
    return UnusableLogError(f"{name} is damaged ({how}); {RESTORE}")


def unreadable(name: str, position: Position, error: Exception) -> UnusableLogError:
    """Return the error for a commit that is damaged, or newer than this program."""
    return UnusableLogError(f"{name}: the commit at position {position} can't be read ({error}); {RESTORE_OR_NEWER}")


def _cause_of(error: apsw.Error, name: str) -> str:
    if isinstance(error, apsw.IOError) and _is_full(name):  # raised when there is no space for the shared memory
        return FULL
    return next((cause for kind, cause in _CAUSES if isinstance(error, kind)), str(error))


def _is_full(name: str) -> bool:
    try:
        found = os.statvfs(os.path.dirname(os.path.realpath(name)))
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < PAGE_BYTES
