"""Snapshots in a log's file, in parts of some hundred kilobytes, so that no transaction is long.

A snapshot counts once it has its digest, which comes last; one without was never finished. Those that are dropped
lose their row at once, and their parts piece by piece in `SqliteFile.purge`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import apsw

from events.commit import EMPTY_TIP, Tip
from events.ids import CommitId, Position
from events.log import LogUnavailableError, Snapshot, StateCodec, UnreadableSnapshotError

SNAPSHOTS_MAX = 16
"""As soon as there are as many, every other one goes: the further back, the further they stand apart."""

PART_BYTES = 256 * 1024
WORK_SECONDS = 0.001
PAUSE_SECONDS = 0.000_2

P = ParamSpec("P")
T = TypeVar("T")


class Stored(NamedTuple):
    """A finished snapshot, without what it holds."""

    id: int
    tip: Tip
    is_base: bool
    sha256: str


class SnapshotStore(Protocol):
    """What a `SqliteFile` does for a snapshot that is being written."""

    def begin_snapshot(self, tip: Tip) -> int:
        """A new snapshot's id."""
        ...

    def add_snapshot_part(self, snapshot: int, number: int, lines: str) -> None:
        """The next piece of it."""
        ...

    def finish_snapshot(self, snapshot: int, tip: Tip, sha256: str, *, is_base: bool) -> None:
        """From now on it counts."""
        ...

    def drop_snapshot(self, snapshot: int) -> None:
        """It was not to be."""
        ...


class Caller(Protocol):
    """Runs a function where the connection is at home, and answers what it answers."""

    def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Its errors are those of `work`."""
        ...


def directly(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The caller that is at home itself."""
    return work(*args, **kwargs)


def write(store: SnapshotStore, snapshot: Snapshot, codec: StateCodec, *, is_base: bool, call: Caller) -> None:
    """Encode `snapshot` into `store`, bit by bit: encoding happens here, and only the writing by `call`."""
    digest = hashlib.sha256()
    number = call(store.begin_snapshot, snapshot.tip)
    try:
        for part, lines in enumerate(_parts(codec.encode(snapshot.state))):
            digest.update(lines)
            call(store.add_snapshot_part, number, part, lines.decode())
        call(store.finish_snapshot, number, snapshot.tip, digest.hexdigest(), is_base=is_base)
    except BaseException:
        with suppress(LogUnavailableError):  # if this fails as well, the next start forgets it
            call(store.drop_snapshot, number)
        raise


def _parts(lines: Iterable[bytes]) -> Iterator[bytes]:
    """`lines` with their ends, in pieces of about `PART_BYTES`."""
    part: list[bytes] = []
    size = 0
    for line in _gently(lines):
        part.append(line)
        size += len(line) + 1
        if size >= PART_BYTES:
            yield b"\n".join(part) + b"\n"
            part, size = [], 0
    if part:
        yield b"\n".join(part) + b"\n"


def _gently(lines: Iterable[bytes]) -> Iterator[bytes]:
    """`lines` with pauses: a thread that does nothing but compute has an event loop wait 5 ms at each turn."""
    rested = time.perf_counter()
    for line in lines:
        yield line
        if time.perf_counter() - rested > WORK_SECONDS:
            time.sleep(PAUSE_SECONDS)  # the event loop has the interpreter meanwhile
            rested = time.perf_counter()


def finished(db: apsw.Connection, base: Tip, at_most: Position | None = None) -> list[Stored]:
    """The snapshots that count, from `base` on up to `at_most`, the newest first."""
    rows: Iterable[Any] = db.execute(
        "SELECT id, position, commit_id, is_base, sha256 FROM snapshots WHERE sha256 IS NOT NULL"
        " AND position >= ?1 AND (?2 IS NULL OR position <= ?2) ORDER BY position DESC, id DESC",
        (base.position, at_most),
    )
    return [Stored(id_, Tip(at, CommitId(commit)), bool(is_base), sha) for id_, at, commit, is_base, sha in rows]


def load(db: apsw.Connection, stored: Stored, codec: StateCodec) -> Snapshot:
    """The snapshot itself.

    Raises:
        UnreadableSnapshotError: it is damaged, or gone since, or newer than this program.
    """
    # Part by part, each a reading of its own: a long one would keep the WAL from being used anew.
    parts: list[bytes] = []
    digest = hashlib.sha256()
    while row := db.execute(
        "SELECT CAST(lines AS BLOB) FROM snapshot_parts WHERE snapshot = ? AND number = ?", (stored.id, len(parts))
    ).fetchone():
        parts.append(row[0])
        digest.update(row[0])
    if digest.hexdigest() != stored.sha256:
        raise UnreadableSnapshotError(f"the snapshot at position {stored.tip.position} is not what was written")
    return Snapshot(stored.tip, codec.decode(line for part in parts for line in part.split(b"\n")[:-1]))


def begin(db: apsw.Connection, tip: Tip) -> int:
    """A new snapshot of the state at `tip`, which does not count yet; its id."""
    db.execute("INSERT INTO snapshots (position, commit_id) VALUES (?, ?)", tip)
    return db.last_insert_rowid()


def finish(db: apsw.Connection, snapshot: int, tip: Tip, sha256: str, *, is_base: bool) -> bool:
    """Let `snapshot` count; false if somebody has dropped it."""
    if is_base:
        db.execute("UPDATE snapshots SET is_base = 0 WHERE is_base = 1")
        db.execute("DELETE FROM snapshots WHERE position < ?", (tip.position,))
    db.execute("UPDATE snapshots SET sha256 = ?, is_base = ? WHERE id = ?", (sha256, is_base, snapshot))
    if db.changes() == 0:
        return False
    _thin_out(db)
    return True


def drop(db: apsw.Connection, snapshot: int) -> None:
    """Forget `snapshot`, unless it counts."""
    db.execute("DELETE FROM snapshots WHERE id = ? AND sha256 IS NULL", (snapshot,))


def purge_parts(db: apsw.Connection, limit: int) -> bool:
    """Delete up to `limit` parts of what was dropped; whether there were any."""
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
