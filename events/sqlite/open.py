"""Opening a log's file, or refusing it with one line. A refused file is left as it was, byte for byte."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote

import apsw

from events.codec import UnreadableCommitError, decode_commit
from events.commit import EMPTY_TIP, BrokenChainError, Tip
from events.ids import CommitId
from events.log import UnusableLogError
from events.sqlite.errors import check_beside, damaged, translate_open_errors, unreadable
from events.sqlite.lock import WriterLock
from events.sqlite.schema import add_records, check_header, check_layout, create, has_wal, use_wal

Mode = Literal["write", "share", "read"]
"""`write`: the broker's own, one process at a time; makes a missing file. `share`: may write beside a running broker,
for an operator's changes to a log. `read`: writes nothing, and needs no permission to."""

SynchronousMode = Literal["FULL", "NORMAL"]
"""`FULL`: an append survives a power failure. `NORMAL`: it survives the end of the process, however it ends, and the
log stays whole; the last moments before a power failure may be lost."""

SURVIVES: Mapping[SynchronousMode, str] = {
    "FULL": "a crash and a power failure, but not the loss of the disk",
    "NORMAL": "a crash; a power failure may take the last moments",
}
"""What an acknowledged commit survives, in words for an operator."""

BUSY_TIMEOUT_MS = 800
WAL_BYTES_KEPT = 16 * 1024 * 1024

BASE_SQL = "SELECT position, commit_id FROM snapshots WHERE is_base = 1"


FileIdentity = tuple[int, int]
"""A file under any name: its device and inode."""

_held: Counter[FileIdentity] = Counter()
"""The files that this process has open. POSIX drops a process's locks on a file, SQLite's among them, as soon as the
process closes any descriptor of that file. A `sqlite3` shell would then take itself for the last user, and delete
the WAL. So only SQLite may open a file that is held."""


class OpenedFile:
    """A connection to a checked log file, with the lock of its mode."""

    def __init__(self, path: str | os.PathLike[str], mode: Mode, synchronous: SynchronousMode) -> None:
        self.name = os.fspath(path)
        self.path = os.path.realpath(self.name)  # a link leads to the same lock
        self._lock: WriterLock | None = None
        with translate_open_errors(self.name):
            try:
                self._prepare(mode)
                self.db = _connect(self.path, mode)
                self._identity: FileIdentity | None = _identity(os.stat(self.path))
            except BaseException:
                self._release()
                raise
            _held[self._identity] += 1
            try:
                self._set_up(mode, synchronous)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the connection, and release the lock."""
        self.db.close()
        if self._identity is not None:
            _held[self._identity] -= 1
            self._identity = None
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _prepare(self, mode: Mode) -> None:
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory):
            raise UnusableLogError(f"{self.name}: there is no directory {directory}; make it first")
        if os.path.isdir(self.path):
            raise UnusableLogError(f"{self.name} is a directory; name a file in it")
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise UnusableLogError(f"{self.name} is a pipe or a device; name a file")
        for suffix in ("-wal", "-shm", "-journal"):
            check_beside(self.path + suffix, is_read_only=mode == "read")
        identity = identity_of(self.path)
        if identity is not None and not _held[identity]:
            check_header(self.path, self.name)
        if identity is not None and mode != "read" and os.stat(self.path).st_nlink > 1:
            raise UnusableLogError(
                f"{self.name} has another name too, a hard link; remove one of them, or copy the log"
            )
        if identity is None and mode != "write":
            raise UnusableLogError(f"{self.name} does not exist; name a log that does")
        if mode == "write":
            self._lock = WriterLock(self.path, self.name)
            if not os.path.exists(self.path):
                create(self.path, self.name)

    def _set_up(self, mode: Mode, synchronous: SynchronousMode) -> None:
        db = self.db
        if has_wal(self.path):
            # Until the file is checked, not even closing it may move the content of its WAL.
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "temp_store = MEMORY"):
            db.execute(f"PRAGMA {setting}")
        check_layout(self.name, application_id=_pragma(db, "application_id"), version=_pragma(db, "user_version"))
        if db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone() is None:
            raise damaged(self.name, "it has lost its epoch")
        if mode == "read":
            return
        _check_content(db, self.name)
        # Redacted or trimmed content must not stay in free pages, nor in a long WAL.
        db.execute("PRAGMA secure_delete = ON")
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        use_wal(db, self.name)
        # A full or read-only disk must show now, not at the first command.
        db.execute("UPDATE meta SET value = value + 1 WHERE name = 'openings'")
        if mode == "write":
            add_records(db)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


def identity_of(path: str) -> FileIdentity | None:
    """Return the identity of the file at `path`; `None` if there is none."""
    try:
        return _identity(os.stat(path))
    except OSError:
        return None


def _identity(found: os.stat_result) -> FileIdentity:
    return found.st_dev, found.st_ino


def _connect(path: str, mode: Mode) -> apsw.Connection:
    # A reader needs write access too, if it may have it, to remove the WAL's files that it makes.
    db = apsw.Connection(path, apsw.SQLITE_OPEN_READWRITE)
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    if mode != "read":
        return db
    try:
        db.execute("PRAGMA query_only = ON")
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except (apsw.CantOpenError, apsw.ReadOnlyError):
        db.close()
        # There is no WAL, and none can be made: this file has no writer, so it can be read as it is.
        if has_wal(path):
            raise OSError("commits stand in its -wal, which can't be opened here") from None
        return apsw.Connection(f"file:{quote(path)}?immutable=1", apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    except apsw.Error:
        db.close()
        raise
    return db


def _pragma(db: apsw.Connection, name: str) -> int:
    row = db.execute(f"PRAGMA {name}").fetchone()
    assert row is not None
    return int(row[0])


def _check_content(db: apsw.Connection, name: str) -> None:
    """Check the first and last rows now, so that a broker does not fail on them later."""
    base = Tip(*(db.execute(BASE_SQL).fetchone() or EMPTY_TIP))
    db.execute("SELECT position, commit_id, sha256 FROM snapshots").fetchall()
    first = db.execute(
        "SELECT position FROM commits WHERE position > ? ORDER BY position LIMIT 1", (base.position,)
    ).fetchone()
    last = db.execute("SELECT position, commit_id, CAST(body AS BLOB) FROM commits ORDER BY position DESC LIMIT 1")
    row = last.fetchone()
    if first is not None and first[0] != base.position + 1:
        raise damaged(name, f"the commits from position {base.position + 1} to {first[0] - 1} are missing")
    if row is not None:
        _check_last(row[2], Tip(row[0], CommitId(row[1])), name)


def _check_last(line: bytes, tip: Tip, name: str) -> None:
    try:
        commit = decode_commit(line)
    except (UnreadableCommitError, BrokenChainError) as error:
        raise unreadable(name, tip.position, error) from error
    if commit.tip != tip:
        raise damaged(name, f"at position {tip.position} stands another commit")
