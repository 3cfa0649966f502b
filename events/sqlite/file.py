"""A log's file in SQLite: the SQL, and nothing else. Every call blocks until the disk has answered.

Atomicity: an append is one transaction. Order: the position is the primary key. Durability: `Synchronous` says. Any
number of processes may read while one writes; reading never waits for writing, nor the other way round.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import apsw

from events.codec import UnreadableCommitError, decode_commit, encode_commit, redact_line
from events.commit import EMPTY_TIP, Commit, Tip
from events.ids import CommitId, Position
from events.log import Conflict, DeliveryRecord, LogUnavailableError, Snapshot, StateCodec
from events.sqlite import snapshots
from events.sqlite.errors import translated, unreadable
from events.sqlite.open import Identity, Mode, Synchronous, identity_of
from events.sqlite.reader import SqliteReader, first

PURGED_ROWS = 1_000
PURGED_PARTS = 4
VACUUMED_PAGES = 250


class _Row(NamedTuple):
    position: Position
    commit_id: CommitId
    body: str


class SqliteFile(SqliteReader):
    """A log's file, to be read and (in the modes `write` and `share`) written; one thread at a time may use it.

    Every method raises `LogUnavailableError` if the file can't be reached for now: a full disk, an error of the disk,
    a lock that another process holds for longer than 0.8 s. Nothing was stored then, unless it was the answer that
    got lost. It raises `UnusableLogError` if the file is damaged.
    """

    def __init__(
        self, path: str | os.PathLike[str], mode: Mode = "write", *, synchronous: Synchronous = "FULL"
    ) -> None:
        """Open the log at `path`; in the mode `write` a missing one is made, which only its owner may read.

        Raises:
            UnusableLogError: it can't be; its text is one line that says why and what to do. The file is untouched.
        """
        super().__init__(path, mode, synchronous)
        self._synchronous = synchronous
        if mode == "write":
            # Nobody else writes any that a broker will want to have: those without an end are of a start cut short.
            with self._transaction() as db:
                db.execute("DELETE FROM snapshots WHERE sha256 IS NULL")
        self._files = self._files_now()

    def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """As `EventLog.append`.

        Raises:
            Conflict: the tip is another; nothing was stored.
        """
        return self._append([_Row(c.position, c.commit_id, encode_commit(c).decode()) for c in commits], expected)

    def append_lines(self, lines: Sequence[bytes], *, expected: Tip) -> Tip:
        """`append` of commits that were dumped, of whatever schema version: each line is stored as it is.

        Raises:
            Conflict: the tip is another; nothing was stored.
            UnreadableCommitError: a line is no commit; nothing was stored.
            BrokenChainError: a line of an older schema was altered; nothing was stored.
        """
        rows = []
        for line in lines:
            commit = decode_commit(line)
            rows.append(_Row(commit.position, commit.commit_id, line.decode()))
        return self._append(rows, expected)

    def record(self, delivery_records: Sequence[DeliveryRecord]) -> None:
        """Keep `delivery_records`, without waiting for the disk; one that is there already is not kept twice."""
        rows = [(h.position, h.connection_id, h.at_ms, h.to) for h in delivery_records]
        with self._transaction(is_durable=False) as db:
            db.executemany("INSERT OR IGNORE INTO handings VALUES (?, ?, ?, ?)", rows)

    def redact(self, positions: Iterable[Position], *, done_to: Position | None = None) -> int:
        """Replace the texts at `positions` by their lengths and hashes, all or none, and keep `done_to` if it is given.

        It answers how many commits changed. What stood there is in the WAL until `checkpoint`.
        """
        changed = 0
        with self._transaction() as db:
            for position in positions:
                line = first(db, "SELECT CAST(body AS BLOB) FROM commits WHERE position = ?", position)
                if line is None:
                    continue
                stand_in = self._redacted(position, line)
                if stand_in != line:
                    db.execute("UPDATE commits SET body = ? WHERE position = ?", (stand_in.decode(), position))
                    changed += 1
            if done_to is not None:
                db.execute("UPDATE meta SET value = ? WHERE name = 'redacted_to'", (str(done_to),))
        if done_to is not None:
            self.redacted_to = done_to
        return changed

    def checkpoint(self) -> bool:
        """Move everything into the file and empty the WAL: what was deleted or redacted is gone from the disk then.

        False if another process stood in the way for 0.8 s.
        """
        with translated(self.name):
            return bool(first(self._db, "PRAGMA wal_checkpoint(TRUNCATE)") == 0)

    def save(self, snapshot: Snapshot, codec: StateCodec, call: snapshots.Caller = snapshots.directly) -> None:
        """Keep `snapshot`; some of the older ones may go for it. One at or below the base changes nothing.

        It is encoded in the calling thread; what speaks to the file goes through `call`, in short pieces.
        """
        if snapshot.tip.position > self.base.position:
            snapshots.write(self, snapshot, codec, is_base=False, call=call)

    def compact(self, snapshot: Snapshot, codec: StateCodec, call: snapshots.Caller = snapshots.directly) -> None:
        """Let `snapshot` be the base: the commits up to it count as gone at once, and go with `purge`.

        One at or below the present base changes nothing. As to `call` see `save`.
        """
        if snapshot.tip.position > self.base.position:
            snapshots.write(self, snapshot, codec, is_base=True, call=call)

    def purge(self) -> bool:
        """Delete a piece of what counts as gone, and answer whether there may be more.

        A piece is little, so that somebody else's append gets its turn in between.
        """
        with self._transaction(is_durable=False) as db:
            for table in ("commits", "handings"):
                db.execute(
                    f"DELETE FROM {table} WHERE position <= ?"  # noqa: S608 - names of ours
                    f" AND position < (SELECT min(position) FROM {table}) + {PURGED_ROWS}",
                    (self.base.position,),
                )
                if db.changes():
                    return True
            return snapshots.purge_parts(db, PURGED_PARTS) or _vacuum(db)

    # What `sqlite_snapshots.write` needs of a store.

    def begin_snapshot(self, tip: Tip) -> int:
        """Begin a snapshot of the state at `tip`, and answer its id."""
        with self._transaction(is_durable=False) as db:
            is_ours = tip.position <= self.base.position or self._stands(tip) or self._tip() == EMPTY_TIP
            assert is_ours, "a snapshot of another log"
            return snapshots.begin(db, tip)

    def add_snapshot_part(self, snapshot: int, number: int, lines: str) -> None:
        """Add the part `number` to it."""
        with self._transaction(is_durable=False) as db:
            db.execute("INSERT INTO snapshot_parts VALUES (?, ?, ?)", (snapshot, number, lines))

    def finish_snapshot(self, snapshot: int, tip: Tip, sha256: str, *, is_base: bool) -> None:
        """Let it count, as the base if `is_base`; unless the base has gone past it."""
        with self._transaction() as db:
            if tip.position <= self.base.position:
                snapshots.drop(db, snapshot)
            elif not snapshots.finish(db, snapshot, tip, sha256, is_base=is_base):
                raise LogUnavailableError(f"{self.name}: the snapshot was dropped while it was written; try again")
            self._see_base()

    def drop_snapshot(self, snapshot: int) -> None:
        """Forget one that could not be finished."""
        with self._transaction(is_durable=False) as db:
            snapshots.drop(db, snapshot)

    # For a log that is loaded from a dump.

    def begin_behind(self, snapshot: Snapshot, codec: StateCodec) -> None:
        """Let an empty log begin behind `snapshot`, which stands in for commits that were never here: a trimmed log's.

        Raises:
            Conflict: it is not empty; nothing was stored.
        """
        if self.tip() != EMPTY_TIP:
            raise Conflict
        self.compact(snapshot, codec)

    def end_loading(self) -> None:
        """Keep in mind that the commits so far were loaded: that some were handed over before is not noted here."""
        with self._transaction() as db:
            self.recorded_after = self._tip().position
            db.execute(
                "INSERT INTO meta VALUES ('handings_after', ?1) ON CONFLICT DO UPDATE SET value = ?1",
                (str(self.recorded_after),),
            )

    @contextmanager
    def _transaction(self, *, is_durable: bool = True) -> Iterator[apsw.Connection]:
        """All or nothing; `base` is as it stands in the file."""
        db = self._db
        with translated(self.name):
            if db.in_transaction:  # one that failed so badly that it could not even be rolled back
                db.execute("ROLLBACK")
            if not is_durable:
                # What may be lost need not cost the disk's time: it gets there with the next append.
                db.execute("PRAGMA synchronous = NORMAL")
            try:
                db.execute("BEGIN IMMEDIATE")
                self._see_base()
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if not is_durable:
                    db.execute(f"PRAGMA synchronous = {self._synchronous}")

    def _append(self, rows: Sequence[_Row], expected: Tip) -> Tip:
        self._make_sure_that_it_is_there()
        with self._transaction() as db:
            tip = self._tip()
            if tip != expected:
                if rows and self._has_landed(rows):
                    return tip
                raise Conflict
            assert all(row.position == tip.position + n for n, row in enumerate(rows, 1))
            db.executemany("INSERT INTO commits VALUES (?, ?, ?)", rows)
        return Tip(rows[-1].position, rows[-1].commit_id) if rows else tip

    def _has_landed(self, rows: Sequence[_Row]) -> bool:
        return rows[0].position > self.base.position and all(self._stands(Tip(*row[:2])) for row in rows)

    def _stands(self, tip: Tip) -> bool:
        return bool(first(self._db, "SELECT commit_id FROM commits WHERE position = ?", tip.position) == tip.commit_id)

    def _redacted(self, position: Position, line: bytes) -> bytes:
        try:
            return redact_line(line)
        except UnreadableCommitError as error:
            raise unreadable(self.name, position, error) from error

    def _make_sure_that_it_is_there(self) -> None:
        """SQLite would go on writing to a file that was removed, and every answer would be lost with the process."""
        if self._files_now() != self._files:
            raise LogUnavailableError(f"{self.name} was moved, removed or replaced; put it back, or start again")

    def _files_now(self) -> list[Identity | None]:
        return [identity_of(self.path), identity_of(f"{self.path}-wal")]


def _vacuum(db: apsw.Connection) -> bool:
    """Give a piece of the free space back to the disk, where it is much; some is kept, to be written to again."""
    free, pages = first(db, "PRAGMA freelist_count"), first(db, "PRAGMA page_count")
    if free <= max(pages // 4, VACUUMED_PAGES):
        return False
    db.execute(f"PRAGMA incremental_vacuum({VACUUMED_PAGES})").fetchall()
    return True
