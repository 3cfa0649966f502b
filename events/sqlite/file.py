"""A log's file in SQLite: the SQL, and nothing else. Every call blocks until the disk has answered.

Atomicity: an append is one transaction. Order: the position is the primary key. Durability: see `SynchronousMode`. Any
number of processes may read while one writes; reads never wait for writes, nor writes for reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import apsw

from events.codec import UnreadableCommitError, decode_commit, encode_commit, redact_line
from events.commit import EMPTY_TIP, Commit, Tip
from events.ids import CommitId, Position
from events.log import Conflict, DeliveryRecord, LogUnavailableError, OperationRecord, Snapshot, StateCodec
from events.sqlite import snapshots
from events.sqlite.errors import translate_errors, unreadable
from events.sqlite.open import FileIdentity, Mode, SynchronousMode, identity_of
from events.sqlite.reader import SqliteReader, first

PURGED_ROWS = 1_000
PURGED_PARTS = 4
VACUUMED_PAGES = 250
PROBE_BYTES = 16 * 1_024
"""More than most appends, so that a disk which takes it takes them."""

OPERATIONS_KEPT = 100_000
FORGET_OPERATIONS = """
DELETE FROM operations WHERE (kind = 'refused') = ?1 AND id <= (
    SELECT id FROM operations WHERE (kind = 'refused') = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2
)
"""

THE_LOG = "the log"


class _Row(NamedTuple):
    position: Position
    commit_id: CommitId
    body: str


class SqliteFile(SqliteReader):
    """A log's file for reading and (in the modes `write` and `share`) writing, for one thread at a time.

    Every method raises `LogUnavailableError` if the file can't be reached for now: a full disk, a disk error, or
    another process's lock for longer than 0.8 s. Nothing was stored then, unless only the answer was lost. It raises
    `UnusableLogError` if the file is damaged.
    """

    def __init__(
        self, path: str | os.PathLike[str], mode: Mode = "write", *, synchronous: SynchronousMode = "FULL"
    ) -> None:
        """Open the log at `path`. The mode `write` makes a missing file, readable by its owner alone.

        Raises:
            UnusableLogError: it can't be opened; one line gives the cause and the remedy. The file is untouched.
        """
        super().__init__(path, mode, synchronous)
        self._synchronous = synchronous
        if mode == "write":
            # Only a broker writes snapshots of use to a broker: an unfinished one is from a start that was cut short.
            with self._transaction() as db:
                db.execute("DELETE FROM snapshots WHERE sha256 IS NULL")
        self._opened_files = self._identities()

    def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Append as `EventLog.append`.

        Raises:
            Conflict: the tip is another; nothing was stored.
        """
        return self._append([_Row(c.position, c.commit_id, encode_commit(c).decode()) for c in commits], expected)

    def append_lines(self, lines: Sequence[bytes], *, expected: Tip) -> Tip:
        """Append dumped commits of any schema version; each line is stored as it is.

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

    def probe(self) -> None:
        """Write `PROBE_BYTES` to the disk as an append does, and remove them again; check the file's identity.

        Errors call the file "the log", as those who read them need not know where it is.
        """
        if (found := self._identities()) != self._opened_files:
            if None in found:
                raise LogUnavailableError(f"{THE_LOG} was moved or removed; put it back, or start again")
            raise LogUnavailableError(f"{THE_LOG} was replaced by another file; put it back, or start again")
        with self._transaction(called=THE_LOG) as db:
            if first(db, "SELECT value FROM meta WHERE name = 'epoch'") != self.epoch:
                raise LogUnavailableError(f"{THE_LOG} was replaced by another one; put it back, or start again")
            db.execute("INSERT OR REPLACE INTO meta VALUES ('probe', ?)", ("." * PROBE_BYTES,))
        with self._transaction(called=THE_LOG, is_durable=False) as db:
            db.execute("DELETE FROM meta WHERE name = 'probe'")

    def record(
        self, delivery_records: Sequence[DeliveryRecord], operation_records: Sequence[OperationRecord] = ()
    ) -> None:
        """Keep the records, without waiting for the disk; a delivery that is there already is not kept twice.

        Of the operation records, the newest `OPERATIONS_KEPT` refusals and as many others are kept.
        """
        rows = [(h.position, h.connection_id, h.at_ms, h.to) for h in delivery_records]
        with self._transaction(is_durable=False) as db:
            db.executemany("INSERT OR IGNORE INTO handings VALUES (?, ?, ?, ?)", rows)
            if operation_records:
                db.executemany(
                    "INSERT INTO operations (kind, at_ms, position, connection_id, command, code, times)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [record[:7] for record in operation_records],  # one broker writes a file
                )
                for is_refusal in (True, False):
                    db.execute(FORGET_OPERATIONS, (is_refusal, OPERATIONS_KEPT))

    def session_secret(self) -> bytes:
        """See `SessionRecords.secret`; there is one in a file that was opened for writing."""
        with translate_errors(self.name):
            return bytes.fromhex(first(self._db, "SELECT value FROM meta WHERE name = 'secret'"))

    def session_record(self, key: str, now_ms: int) -> dict[str, bytes]:
        """See `SessionRecords.load`."""
        sql = "SELECT field, value FROM session_records WHERE key = ? AND until_ms > ?"
        with translate_errors(self.name):
            return {str(field): bytes(value) for field, value in self._db.execute(sql, (key, now_ms))}

    def keep_session_record(self, key: str, changes: Mapping[str, bytes | None], until_ms: int) -> None:
        """See `SessionRecords.keep`; without waiting for the disk."""
        removed = [(key, field) for field, value in changes.items() if value is None]
        kept = [(key, field, value, until_ms) for field, value in changes.items() if value is not None]
        with self._transaction(is_durable=False) as db:
            db.executemany("DELETE FROM session_records WHERE key = ? AND field = ?", removed)
            db.executemany("INSERT OR REPLACE INTO session_records VALUES (?, ?, ?, ?)", kept)

    def expire_session_records(self, now_ms: int) -> None:
        """See `SessionRecords.expire`."""
        with self._transaction(is_durable=False) as db:
            db.execute(
                "DELETE FROM session_records WHERE (key, field) IN"
                " (SELECT key, field FROM session_records WHERE until_ms <= ? LIMIT ?)",
                (now_ms, PURGED_ROWS),
            )

    def redact(self, positions: Iterable[Position], *, done_to: Position | None = None) -> int:
        """Replace the texts at `positions` by their lengths and hashes, all or none, and store `done_to` if given.

        Return the number of changed commits. The old texts are in the WAL until `checkpoint`.
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
                db.execute(
                    "UPDATE meta SET value = max(CAST(value AS INTEGER), ?) WHERE name = 'redacted_to'", (done_to,)
                )
        if done_to is not None:
            self.redacted_to = max(self.redacted_to, done_to)
        return changed

    def drop_snapshots(self, before: Position) -> None:
        """Drop the snapshots below position `before`, except for the base; `purge` deletes their content."""
        with self._transaction() as db:
            snapshots.drop_older(db, before)

    def checkpoint(self) -> bool:
        """Move everything into the file and empty the WAL: deleted and redacted content is gone from the disk then.

        Return false if another process blocked it for 0.8 s.
        """
        with translate_errors(self.name):
            return bool(first(self._db, "PRAGMA wal_checkpoint(TRUNCATE)") == 0)

    def save(self, snapshot: Snapshot, codec: StateCodec, run: snapshots.Runner = snapshots.run_inline) -> None:
        """Keep `snapshot`; some older ones may be dropped for it. One at or below the base changes nothing.

        Encoding happens in the calling thread. All access to the file goes through `run`, in short pieces.
        """
        if snapshot.tip.position > self.base.position:
            snapshots.write(self, snapshot, codec, is_base=False, run=run)

    def compact(self, snapshot: Snapshot, codec: StateCodec, run: snapshots.Runner = snapshots.run_inline) -> None:
        """Make `snapshot` the base: the commits up to it count as gone at once, and are deleted by `purge`.

        One at or below the present base changes nothing. For `run` see `save`.
        """
        if snapshot.tip.position > self.base.position:
            snapshots.write(self, snapshot, codec, is_base=True, run=run)

    def purge(self) -> bool:
        """Delete a piece of what counts as gone. Return true if there may be more.

        A piece is small, so that another process's append gets its turn in between.
        """
        with self._transaction(is_durable=False) as db:
            tables = {"commits": "<=", "handings": "<="}
            if self._has_operations:
                tables["operations"] = "<"  # those at the base stand between it and the next commit
            for table, up_to in tables.items():
                db.execute(
                    f"DELETE FROM {table} WHERE position {up_to} ?"  # noqa: S608 - names of ours
                    f" AND position < (SELECT min(position) FROM {table}) + {PURGED_ROWS}",
                    (self.base.position,),
                )
                if db.changes():
                    return True
            return snapshots.purge_parts(db, PURGED_PARTS) or _vacuum(db)

    # The `SnapshotStore` for `snapshots.write`.

    def begin_snapshot(self, tip: Tip) -> int:
        """Begin a snapshot of the state at `tip`, and return its id."""
        with self._transaction(is_durable=False) as db:
            is_ours = tip.position <= self.base.position or self._holds(tip) or self._tip() == EMPTY_TIP
            assert is_ours, "a snapshot of another log"
            return snapshots.begin(db, tip)

    def add_snapshot_part(self, snapshot: int, number: int, lines: str) -> None:
        """Add part `number`."""
        with self._transaction(is_durable=False) as db:
            db.execute("INSERT INTO snapshot_parts VALUES (?, ?, ?)", (snapshot, number, lines))

    def finish_snapshot(self, snapshot: int, tip: Tip, sha256: str, *, is_base: bool) -> None:
        """Make the snapshot count, as the base if `is_base`, unless the base has moved past it."""
        with self._transaction() as db:
            if tip.position <= self.base.position:
                snapshots.drop(db, snapshot)
            elif not snapshots.finish(db, snapshot, tip, sha256, is_base=is_base):
                raise LogUnavailableError(f"{self.name}: the snapshot was dropped while it was written; try again")
            self._read_base()

    def drop_snapshot(self, snapshot: int) -> None:
        """Drop an unfinished snapshot."""
        with self._transaction(is_durable=False) as db:
            snapshots.drop(db, snapshot)

    # For loading a dump.

    def start_from(self, snapshot: Snapshot, codec: StateCodec) -> None:
        """Start an empty log from `snapshot` (for loading a trimmed log).

        Raises:
            Conflict: the log is not empty; nothing was stored.
        """
        if self.tip() != EMPTY_TIP:
            raise Conflict
        self.compact(snapshot, codec)

    def finish_loading(self) -> None:
        """Note that the commits so far were loaded: the file may lack their deliveries."""
        with self._transaction() as db:
            self.recorded_after = self._tip().position
            db.execute(
                "INSERT INTO meta VALUES ('handings_after', ?1) ON CONFLICT DO UPDATE SET value = ?1",
                (str(self.recorded_after),),
            )

    @contextmanager
    def _transaction(self, *, is_durable: bool = True, called: str | None = None) -> Iterator[apsw.Connection]:
        """Run one transaction. `base` is read from the file at its beginning. For `called` see `translate_errors`."""
        db = self._db
        with translate_errors(self.name, called):
            if db.in_transaction:  # a failed one that could not be rolled back
                db.execute("ROLLBACK")
            if not is_durable:
                # Not worth a wait for the disk: it is written with the next append.
                db.execute("PRAGMA synchronous = NORMAL")
            try:
                db.execute("BEGIN IMMEDIATE")
                self._read_base()
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                if not is_durable:
                    db.execute(f"PRAGMA synchronous = {self._synchronous}")

    def _append(self, rows: Sequence[_Row], expected: Tip) -> Tip:
        self._check_file_identity()
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
        return rows[0].position > self.base.position and all(self._holds(Tip(*row[:2])) for row in rows)

    def _holds(self, tip: Tip) -> bool:
        return bool(first(self._db, "SELECT commit_id FROM commits WHERE position = ?", tip.position) == tip.commit_id)

    def _redacted(self, position: Position, line: bytes) -> bytes:
        try:
            return redact_line(line)
        except UnreadableCommitError as error:
            raise unreadable(self.name, position, error) from error

    def _check_file_identity(self) -> None:
        """Raise if the file was replaced: SQLite would go on writing to a removed file, and lose it all at exit."""
        if self._identities() != self._opened_files:
            raise LogUnavailableError(f"{self.name} was moved, removed or replaced; put it back, or start again")

    def _identities(self) -> list[FileIdentity | None]:
        return [identity_of(self.path), identity_of(f"{self.path}-wal")]


def _vacuum(db: apsw.Connection) -> bool:
    """Return a piece of the free space to the disk if there is much; some is kept for reuse."""
    free, pages = first(db, "PRAGMA freelist_count"), first(db, "PRAGMA page_count")
    if free <= max(pages // 4, VACUUMED_PAGES):
        return False
    db.execute(f"PRAGMA incremental_vacuum({VACUUMED_PAGES})").fetchall()
    return True
