"""Snapshots in a log's file, in parts of some hundred kilobytes, so that no transaction is long.

A snapshot counts once it has its digest, which comes last; one without is unfinished. A dropped snapshot loses its row
at once, and its parts piece by piece in `SqliteFile.purge`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import apsw

from events.commit import EMPTY_TIP, Tip
from events.ids import CommitId, Position
from events.log import LogUnavailableError, Snapshot, StateCodec
from events.snapshot_parts import lines_of, parts_of

SNAPSHOTS_MAX = 16
"""At this number, every other snapshot is dropped: the older they are, the further apart they are."""

P = ParamSpec("P")
T = TypeVar("T")


class SnapshotRow(NamedTuple):
    """A finished snapshot, without its content."""

    id: int
    tip: Tip
    is_base: bool
    sha256: str


class SnapshotStore(Protocol):
    """The methods of `SqliteFile` for writing a snapshot."""

    def begin_snapshot(self, tip: Tip) -> int:
        """Begin a snapshot, and return its id."""
        ...

    def add_snapshot_part(self, snapshot: int, number: int, lines: str) -> None:
        """Add the next part."""
        ...

    def finish_snapshot(self, snapshot: int, tip: Tip, sha256: str, *, is_base: bool) -> None:
        """Make the snapshot count."""
        ...

    def drop_snapshot(self, snapshot: int) -> None:
        """Drop an unfinished snapshot."""
        ...


class Runner(Protocol):
    """Runs a function in the connection's thread, and returns its result."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Raise what `work` raises."""
        ...


def run_inline(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in the calling thread: a `Runner` for the connection's own thread."""
    return work(*args, **kwargs)


def write(store: SnapshotStore, snapshot: Snapshot, codec: StateCodec, *, is_base: bool, run: Runner) -> None:
    """Encode `snapshot` into `store`, part by part: encoding happens here, and only the writing in `run`."""
    digest = hashlib.sha256()
    number = run(store.begin_snapshot, snapshot.tip)
    try:
        for part, lines in enumerate(parts_of(codec.encode(snapshot.state))):
            digest.update(lines)
            run(store.add_snapshot_part, number, part, lines.decode())
        run(store.finish_snapshot, number, snapshot.tip, digest.hexdigest(), is_base=is_base)
    except BaseException:
        with suppress(LogUnavailableError):  # if this fails as well, the next start drops it
            run(store.drop_snapshot, number)
        raise


def finished(db: apsw.Connection, base: Tip, at_most: Position | None = None) -> list[SnapshotRow]:
    """Return the finished snapshots from `base` on up to `at_most`, the newest first."""
    rows: Iterable[Any] = db.execute(
        "SELECT id, position, commit_id, is_base, sha256 FROM snapshots WHERE sha256 IS NOT NULL"
        " AND position >= ?1 AND (?2 IS NULL OR position <= ?2) ORDER BY position DESC, id DESC",
        (base.position, at_most),
    )
    return [SnapshotRow(id_, Tip(at, CommitId(commit)), bool(is_base), sha) for id_, at, commit, is_base, sha in rows]


def load(db: apsw.Connection, stored: SnapshotRow, codec: StateCodec) -> Snapshot:
    """Return the snapshot of a row.

    Raises:
        UnreadableSnapshotError: it is damaged, or gone since, or newer than this program.
    """
    # Part by part, each in a read of its own: a long read would keep the WAL from being reused.
    parts: list[bytes] = []
    while row := db.execute(
        "SELECT CAST(lines AS BLOB) FROM snapshot_parts WHERE snapshot = ? AND number = ?", (stored.id, len(parts))
    ).fetchone():
        parts.append(row[0])
    return Snapshot(stored.tip, codec.decode(lines_of(parts, stored.sha256, stored.tip.position)))


def begin(db: apsw.Connection, tip: Tip) -> int:
    """Insert an unfinished snapshot of the state at `tip`, and return its id."""
    db.execute("INSERT INTO snapshots (position, commit_id) VALUES (?, ?)", tip)
    return db.last_insert_rowid()


def finish(db: apsw.Connection, snapshot: int, tip: Tip, sha256: str, *, is_base: bool) -> bool:
    """Make `snapshot` count. Return false if another process has dropped it."""
    if is_base:
        db.execute("UPDATE snapshots SET is_base = 0 WHERE is_base = 1")
        db.execute("DELETE FROM snapshots WHERE position < ?", (tip.position,))
    db.execute("UPDATE snapshots SET sha256 = ?, is_base = ? WHERE id = ?", (sha256, is_base, snapshot))
    if db.changes() == 0:
        return False
    _thin_out(db)
    return True


def drop(db: apsw.Connection, snapshot: int) -> None:
    """Drop `snapshot`, unless it is finished."""
    db.execute("DELETE FROM snapshots WHERE id = ? AND sha256 IS NULL", (snapshot,))


def drop_older(db: apsw.Connection, before: Position) -> None:
    """Drop the snapshots below position `before`, finished or not, except for the base."""
    db.execute("DELETE FROM snapshots WHERE position < ? AND is_base = 0", (before,))


def purge_parts(db: apsw.Connection, limit: int) -> bool:
    """Delete up to `limit` parts of dropped snapshots. Return false if there were none."""
    db.execute(
        "DELETE FROM snapshot_parts WHERE rowid IN (SELECT rowid FROM snapshot_parts"
        " WHERE snapshot NOT IN (SELECT id FROM snapshots) LIMIT ?)",
        (limit,),
    )
    return db.changes() > 0


def _thin_out(db: apsw.Connection) -> None:
    """Keep a file from filling with snapshots; the base and the newest stay."""
    kept = finished(db, EMPTY_TIP)
    if len(kept) >= SNAPSHOTS_MAX:
        db.executemany("DELETE FROM snapshots WHERE id = ?", [(each.id,) for each in kept[1::2] if not each.is_base])
