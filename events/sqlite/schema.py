"""The layout of a log's file: its tables, its identification, and the creation of a new one.

One commit is one row with the JSON line of a dump as its body, so the `sqlite3` shell can read and query it. SQLite's
`application_id` identifies the file, and `user_version` is its layout. Both are in its first hundred bytes, and are
checked before SQLite opens the file.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

import apsw

from events.log import UnusableLogError
from events.session_records import SECRET_BYTES
from events.sqlite.errors import RESTORE, damaged

APPLICATION_ID = 0x63686174  # 'chat'
LAYOUT_VERSION = 1

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE commits (position INTEGER PRIMARY KEY, commit_id TEXT NOT NULL, body TEXT NOT NULL) STRICT;

-- A snapshot without a digest is still being written, or never was to its end. The base is one like any other, but
-- that the commits up to it count as gone from the moment on that it is the base.
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER NOT NULL, commit_id TEXT NOT NULL,
    is_base INTEGER NOT NULL DEFAULT 0, sha256 TEXT
) STRICT;
CREATE UNIQUE INDEX one_base ON snapshots (is_base) WHERE is_base = 1;
CREATE TABLE snapshot_parts (
    snapshot INTEGER NOT NULL, number INTEGER NOT NULL, lines TEXT NOT NULL, PRIMARY KEY (snapshot, number)
) STRICT;

CREATE TABLE handings (
    position INTEGER NOT NULL, connection_id TEXT NOT NULL, at_ms INTEGER NOT NULL, handed_to TEXT NOT NULL,
    PRIMARY KEY (position, connection_id, at_ms, handed_to)
) STRICT, WITHOUT ROWID;
"""


# Not in the layout: a file that an earlier broker made has none yet, and an earlier broker does not look for them.
_SESSION_RECORDS = """
CREATE TABLE IF NOT EXISTS session_records (
    key TEXT NOT NULL, field TEXT NOT NULL, value BLOB NOT NULL, until_ms INTEGER NOT NULL, PRIMARY KEY (key, field)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS session_records_until ON session_records (until_ms);
"""


_OPERATIONS = """
CREATE TABLE IF NOT EXISTS operations (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, at_ms INTEGER NOT NULL, position INTEGER NOT NULL,
    connection_id TEXT, command TEXT, code TEXT, times INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS operations_position ON operations (position);
CREATE INDEX IF NOT EXISTS operations_refused ON operations (kind = 'refused', id);
"""


def add_records(db: apsw.Connection) -> None:
    """Make room for session and operation records, and draw the log's secret, where that has not been done."""
    db.execute(f"BEGIN IMMEDIATE; {_SESSION_RECORDS} {_OPERATIONS}")
    db.execute("INSERT OR IGNORE INTO meta VALUES ('secret', ?); COMMIT", (secrets.token_hex(SECRET_BYTES),))


def create(path: str, name: str) -> None:
    """Make an empty log at `path`, whole or not at all, readable by its owner alone.

    Raises:
        UnusableLogError: it can't be made.
    """
    new = f"{path}.new"
    _remove(new)  # left by a start that was cut short
    os.close(os.open(new, os.O_CREAT | os.O_EXCL, 0o600))
    try:
        _fill(new, name)
        os.replace(new, path)
    except BaseException:
        _remove(new)
        raise
    _sync_directory_of(path)


def _fill(path: str, name: str) -> None:
    db = apsw.Connection(path, apsw.SQLITE_OPEN_READWRITE)
    try:
        # A trimmed log returns its space to the disk piece by piece; this must be set first.
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute(f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LAYOUT_VERSION}")
        db.execute(
            "INSERT INTO meta VALUES ('epoch', ?), ('openings', '0'), ('redacted_to', '0'); COMMIT",
            (secrets.token_hex(8),),
        )
        use_wal(db, name)
    finally:
        db.close()


def use_wal(db: apsw.Connection, name: str) -> None:
    """Use a WAL, so that readers and the writer do not wait for each other.

    Raises:
        UnusableLogError: the file system can't do that.
    """
    if db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise UnusableLogError(f"{name} is on a file system where processes share no memory; put it on a local disk")


def _remove(path: str) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(path + suffix)


def _sync_directory_of(path: str) -> None:
    fd = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_header(path: str, name: str) -> None:
    """Check that the file at `path` is a complete log; `name` is the user's name for it. The file is only read.

    Raises:
        UnusableLogError: it is something else, or of a newer layout, or cut off.
        OSError: it can't be read.
    """
    with open(path, "rb") as file:
        header = file.read(_HEADER_BYTES)
        size = os.fstat(file.fileno()).st_size
    if not header:
        raise UnusableLogError(
            f"{name} is empty, which not even a new log is; {RESTORE}, or remove it to begin a new log"
        )
    if not header.startswith(_MAGIC):
        raise UnusableLogError(f"{name} is no log of this program, nor any SQLite database; name another file")
    if len(header) < _HEADER_BYTES:
        raise damaged(name, "cut off within its first bytes")
    check_layout(name, application_id=_number(header, 68), version=_number(header, 60))
    # While the WAL holds commits, the file itself may be shorter than its header says.
    if not has_wal(path) and _number(header, 24) == _number(header, 92):
        page_bytes = int.from_bytes(header[16:18], "big")
        expected = _number(header, 28) * (65_536 if page_bytes == 1 else page_bytes)
        if size < expected:
            raise damaged(name, f"cut off: {size:,} bytes of {expected:,} are left")


def check_layout(name: str, *, application_id: int, version: int) -> None:
    """Check that this program knows the file's layout.

    Raises:
        UnusableLogError: the file is another program's, or of a newer layout.
    """
    if application_id != APPLICATION_ID:
        raise UnusableLogError(f"{name} is an SQLite database of another program; name another file")
    if version > LAYOUT_VERSION:
        raise UnusableLogError(
            f"{name} has layout {version}, and this program knows up to {LAYOUT_VERSION}; use a newer version"
        )
    if version < 1:
        raise damaged(name, f"layout {version}")


def has_wal(path: str) -> bool:
    """Return true if the WAL may hold commits that are not in the file."""
    with suppress(FileNotFoundError):
        return os.stat(f"{path}-wal").st_size > 0
    return False


def _number(header: bytes, at: int) -> int:
    return int.from_bytes(header[at : at + 4], "big")
