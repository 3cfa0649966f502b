"""Reading a log's file, also while a broker writes to it: for the broker itself and for the debugger.

A read transaction ends with its call, so it does not keep the WAL from being reused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import apsw
import msgspec

from events.codec import UnreadableCommitError, decode_commit
from events.commit import EMPTY_TIP, Commit, Tip
from events.ids import CommitId, ConnectionId, Position
from events.log import DeliveryRecord, OperationRecord, Snapshot, StateCodec, UnreadableSnapshotError, UnusableLogError
from events.sqlite import snapshots
from events.sqlite.errors import RESTORE_OR_NEWER, damaged, translate_errors, unreadable
from events.sqlite.open import BASE_SQL, Mode, OpenedFile, SynchronousMode


class _CommitTime(msgspec.Struct):
    at_ms: int


_commit_time_decoder = msgspec.json.Decoder(_CommitTime)

_LINES_SQL = """
SELECT position, CAST(body AS BLOB), CASE
    WHEN instr(body, '"commit_id":"' || commit_id || '"') THEN TRUE
    WHEN json_valid(body) THEN json_extract(body, '$.commit_id') IS commit_id
    ELSE TRUE
END
FROM commits WHERE position > ? ORDER BY position LIMIT ?
"""
"""The third column is false for a commit in the row of another id, as far as it can be read. `instr` is nearly always
enough."""


class SqliteReader:
    """One read connection to a log's file, for one thread at a time.

    Every method raises `LogUnavailableError` if the file can't be reached for now, and `UnusableLogError` if it is
    damaged.
    """

    def __init__(self, path: str | os.PathLike[str], mode: Mode, synchronous: SynchronousMode = "FULL") -> None:
        """Open the log at `path`.

        Raises:
            UnusableLogError: it can't be opened; one line gives the cause and the remedy. The file is untouched.
        """
        self._opened = OpenedFile(path, mode, synchronous)
        self._db = self._opened.db
        self.name, self.path = self._opened.name, self._opened.path
        self.base: Tip
        """The last trimmed commit, as of the last call."""
        try:
            with self._reading() as db:
                self.epoch: str = first(db, "SELECT value FROM meta WHERE name = 'epoch'")
                redacted_to = first(db, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'redacted_to'")
                self.redacted_to: Position = redacted_to or 0
                recorded_after = first(db, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'handings_after'")
                self.recorded_after: Position = recorded_after or 0
                """Deliveries of commits up to here may not be recorded; see `SqliteFile.finish_loading`."""
                self._has_operations = first(db, "SELECT 1 FROM sqlite_master WHERE name = 'operations'") is not None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the file; calling it again is no error."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tip(self) -> Tip:
        """Return the last commit's position and id."""
        with self._reading():
            return self._tip()

    def lines(self, after: Position, limit: int) -> list[bytes]:
        """Return up to `limit` commits after `after`, in order, as lines of JSON without their ends.

        Raises:
            UnusableLogError: the first of them is missing, or in the row of another. A later one ends the result.
        """
        rows, fault = self._numbered_lines(after, limit)
        other = next((n for n, (_, _, is_its_own) in enumerate(rows) if not is_its_own), None)
        if other is not None:
            rows, fault = rows[:other], damaged(self.name, f"at position {rows[other][0]} stands another commit")
        if fault is not None and not rows:
            raise fault
        return [line for _, line, _ in rows]

    def read(self, after: Position, limit: int) -> list[Commit]:
        """Read as `EventLog.read`.

        Raises:
            BrokenChainError: a commit of an older schema was altered; the fold checks those of the present one.
            UnusableLogError: one of them is missing. Unlike `lines`, this returns none of them then.
        """
        rows, gap = self._numbered_lines(after, limit)
        if gap is not None:
            raise gap
        commits = []
        for position, line, _ in rows:
            try:
                commits.append(decode_commit(line))
            except UnreadableCommitError as error:
                raise unreadable(self.name, position, error) from error
        return commits

    def position_at(self, at_ms: int) -> Position:
        """Return the last position with a commit at Unix time `at_ms` or before; the base's if there is none.

        It reads O(log n) commits.
        """
        with self._reading() as db:
            low, high = self.base.position, self._tip().position
            while low < high:
                middle = (low + high + 1) // 2
                if self._at_ms(db, middle) <= at_ms:
                    low = middle
                else:
                    high = middle - 1
            return low

    def delivery_records(
        self, *, after: Position, last: Position, connection_id: ConnectionId | None
    ) -> list[DeliveryRecord]:
        """Return the deliveries of the commits after `after` up to `last`, to one connection or (`None`) to all.

        In order of position, then of time.
        """
        with self._reading() as db:
            rows: Iterable[Any] = db.execute(
                "SELECT position, connection_id, handed_to, at_ms FROM handings WHERE position > max(?1, ?2)"
                " AND position <= ?3 AND (?4 IS NULL OR connection_id = ?4) ORDER BY position, at_ms",
                (after, self.base.position, last, connection_id),
            )
            return [DeliveryRecord(*row) for row in rows]

    def operation_records(self, since_ms: int = 0) -> list[OperationRecord] | None:
        """Return the operation records of Unix time `since_ms` or later, oldest first.

        Return `None` of a file that an earlier version opened last.
        """
        if not self._has_operations:
            return None
        with self._reading() as db:
            rows: Iterable[Any] = db.execute(
                "SELECT kind, at_ms, position, connection_id, command, code, times FROM operations"
                " WHERE position >= ? AND at_ms >= ? ORDER BY id",
                (self.base.position, since_ms),
            )
            return [OperationRecord(*row) for row in rows]

    def snapshot_tips(self) -> list[Tip]:
        """Return the tips of the snapshots, from the base on, in order."""
        with self._reading() as db:
            return [stored.tip for stored in reversed(snapshots.finished(db, self.base))]

    def load_snapshot(self, at_most: Position | None, codec: StateCodec) -> Snapshot | None:
        """Return the newest readable snapshot at or below position `at_most` (`None`: of all).

        Return `None` if there is none and the log begins at position 0, or if `at_most` is below the base.

        Raises:
            UnusableLogError: the commits before are trimmed, and the snapshot in their place can't be read.
        """
        with self._reading() as db:
            stored = snapshots.finished(db, self.base, at_most)
        for each in stored:
            with suppress(UnreadableSnapshotError, UnusableLogError), translate_errors(self.name):
                return snapshots.load(self._db, each, codec)
        if self.base == EMPTY_TIP or (at_most is not None and at_most < self.base.position):
            return None
        trimmed = f"{self.name}: the commits up to position {self.base.position} were trimmed"
        raise UnusableLogError(f"{trimmed}, and the snapshot in their place can't be read; {RESTORE_OR_NEWER}")

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        """Open one view of the file, and set `base` from it."""
        with translate_errors(self.name):
            self._db.execute("BEGIN")
            try:
                self._read_base()
                yield self._db
            finally:
                self._db.execute("ROLLBACK")

    def _read_base(self) -> None:
        position, commit_id = self._db.execute(BASE_SQL).fetchone() or EMPTY_TIP
        self.base = Tip(position, commit_id)

    def _tip(self) -> Tip:
        row = self._db.execute("SELECT position, commit_id FROM commits ORDER BY position DESC LIMIT 1").fetchone()
        return max(self.base, Tip(row[0], CommitId(row[1]))) if row is not None else self.base

    def _numbered_lines(self, after: Position, limit: int) -> tuple[list[Any], UnusableLogError | None]:
        """Return the rows after `after` up to the first gap, and the error for a gap."""
        with self._reading() as db:
            start = max(after, self.base.position)
            rows: list[Any] = db.execute(_LINES_SQL, (start, limit)).fetchall()
        if not rows or rows[-1][0] == start + len(rows):  # positions ascend, so there is no gap
            return rows, None
        sound = next(n for n, row in enumerate(rows) if row[0] != start + 1 + n)
        return rows[:sound], damaged(self.name, f"after position {start + sound} commits are missing")

    def _at_ms(self, db: apsw.Connection, position: Position) -> int:
        body = first(db, "SELECT CAST(body AS BLOB) FROM commits WHERE position = ?", position)
        if body is None:
            raise damaged(self.name, f"the commit at position {position} is missing")
        try:
            return _commit_time_decoder.decode(body).at_ms
        except (msgspec.DecodeError, RecursionError) as error:
            raise unreadable(self.name, position, error) from error


def first(db: apsw.Connection, sql: str, *bindings: Any) -> Any:
    """Return the first value of the first row; `None` if there is no row."""
    row = db.execute(sql, bindings).fetchone()
    return row[0] if row is not None else None
