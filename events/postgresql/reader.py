"""Reading a log: for the broker itself, and for tools that may only read.

The base comes with each answer: commits up to there count as gone, though their rows may not be deleted yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from events.codec import UnreadableCommitError, decode_commit
from events.commit import EMPTY_TIP, Commit, Tip
from events.ids import CommitId, ConnectionId, Position
from events.log import (
    DeliveryRecord,
    OperationRecord,
    Snapshot,
    StateCodec,
    UnreadableSnapshotError,
    UnusableLogError,
)
from events.postgresql import snapshots
from events.postgresql.errors import damaged
from events.postgresql.link import Link

_TIP_SQL = "SELECT base_position, base_id, t.position, t.commit_id FROM {schema}.meta, {schema}.tip() t"

_LINES_SQL = """
SELECT base_position, base_id, page.first, page.last, page.lines FROM {schema}.meta, LATERAL (
    SELECT min(c.position) AS first, max(c.position) AS last, array_agg(c.body::text ORDER BY c.position) AS lines
    FROM (
        SELECT position, body FROM {schema}.commits
        WHERE position > greatest($1, base_position) ORDER BY position LIMIT $2
    ) c
) page
"""

_POSITION_AT_SQL = """
SELECT base_position, base_id, (
    SELECT c.position FROM {schema}.commits c
    WHERE c.at <= to_timestamp($1 / 1000.0) ORDER BY c.at DESC, c.position DESC LIMIT 1
) FROM {schema}.meta
"""

_DELIVERIES_SQL = """
SELECT d.position, d.connection_id, d.delivered_by, d.at_ms FROM {schema}.deliveries d, {schema}.meta m
WHERE d.position > greatest($1, m.base_position) AND d.position <= $2 AND ($3::text IS NULL OR d.connection_id = $3)
ORDER BY d.position, d.at_ms
"""

_OPERATIONS_SQL = """
SELECT o.kind, o.at_ms, o.position, o.connection_id, o.command, o.code, o.times, o.broker
FROM {schema}.operations o, {schema}.meta m WHERE o.position >= m.base_position AND o.at_ms >= $1 ORDER BY o.at_ms, o.id
"""

_TIME_MAX_MS = 253_402_300_799_999
"""The end of the year 9999; a later time is no timestamp to every client."""


class PostgresqlReader:
    """`StoreReader` over one connection; it needs the right to select."""

    def __init__(self, link: Link) -> None:
        self.base: Tip = EMPTY_TIP
        self.recorded_after: Position = 0
        self._link = link
        schema = f'"{link.address.schema}"'
        self._schema = schema
        self._tip_sql, self._lines_sql = _TIP_SQL.replace("{schema}", schema), _LINES_SQL.replace("{schema}", schema)
        self._position_at_sql = _POSITION_AT_SQL.replace("{schema}", schema)
        self._deliveries_sql = _DELIVERIES_SQL.replace("{schema}", schema)
        self._operations_sql = _OPERATIONS_SQL.replace("{schema}", schema)

    async def tip(self) -> Tip:
        """Return the last commit's position and id."""
        base_position, base_id, position, commit_id = await self._link.row(self._tip_sql)
        self._see_base(base_position, base_id)
        return Tip(position, CommitId(commit_id))

    async def lines(self, after: Position, limit: int) -> Sequence[bytes]:
        """Return up to `limit` commits after `after`, in order, as lines of JSON without their ends.

        Raises:
            UnusableLogError: the first of them is missing. A later one ends the result.
        """
        try:
            return [line.encode() for line in await self._lines(after, limit)]
        except UnusableLogError:
            if limit == 1:
                raise
            return await self.lines(after, limit // 2)

    async def read(self, after: Position, limit: int) -> list[Commit]:
        """Read as `EventLog.read`.

        Raises:
            BrokenChainError: a commit of an older schema was altered; the fold checks those of the present one.
            UnusableLogError: one of them is missing or can't be read.
        """
        return self.decoded(await self._lines(after, limit))

    def decoded(self, lines: Sequence[str]) -> list[Commit]:
        """Return the commits of `lines`.

        Raises:
            BrokenChainError: a commit of an older schema was altered.
            UnusableLogError: one of them can't be read.
        """
        try:
            return [decode_commit(line.encode()) for line in lines]
        except UnreadableCommitError as error:
            raise damaged(f"a commit can't be read: {error}") from error

    async def snapshot_tips(self) -> Sequence[Tip]:
        """Return the tips of the snapshots, from the base on, in order."""
        return [stored.tip for stored in reversed(await self._finished(None))]

    async def load_snapshot(self, at_most: Position | None, codec: StateCodec) -> Snapshot | None:
        """Return the newest readable snapshot at or below `at_most`; see `StoreReader.load_snapshot`.

        Raises:
            UnusableLogError: commits are trimmed, and the snapshot in their place can't be read.
        """
        for stored in await self._finished(at_most):
            with suppress(UnreadableSnapshotError):
                return await snapshots.load(self._link, stored, codec)
        if self.base == EMPTY_TIP or (at_most is not None and at_most < self.base.position):
            return None
        raise damaged(
            f"the commits up to position {self.base.position} were trimmed,"
            " and the snapshot in their place can't be read"
        )

    async def position_at(self, at_ms: int) -> Position:
        """Return the last position with a commit at Unix time `at_ms` or before; the base's if there is none."""
        base_position, base_id, position = await self._link.row(self._position_at_sql, max(0, min(at_ms, _TIME_MAX_MS)))
        self._see_base(base_position, base_id)
        return max(self.base.position, position or 0)

    async def delivery_records(
        self, *, after: Position, last: Position, connection_id: ConnectionId | None
    ) -> Sequence[DeliveryRecord]:
        """Return the deliveries of the commits after `after` up to `last`, by position, then by time."""
        return [DeliveryRecord(*row) for row in await self._link.rows(self._deliveries_sql, after, last, connection_id)]

    async def operation_records(self, since_ms: int = 0) -> Sequence[OperationRecord] | None:
        """Return the operation records since a time; `None` of a log without a table for them."""
        (has_table,) = await self._link.row("SELECT to_regclass($1) IS NOT NULL", f"{self._schema}.operations")
        if not has_table:
            return None
        return [OperationRecord(*row) for row in await self._link.rows(self._operations_sql, since_ms)]

    async def look(self) -> None:
        """Read `base` and `recorded_after`.

        Raises:
            UnusableLogError: there is no log, or one of a newer format.
        """
        base_position, base_id, self.recorded_after = await self._link.row(
            f"SELECT base_position, base_id, recorded_after FROM {self._schema}.meta"  # noqa: S608
        )
        self._see_base(base_position, base_id)

    async def close(self) -> None:
        """Release the connection."""
        await self._link.close()

    async def _lines(self, after: Position, limit: int) -> Sequence[str]:
        base_position, base_id, first, last, found = await self._link.row(self._lines_sql, after, limit)
        lines: Sequence[str] = found or ()
        self._see_base(base_position, base_id)
        if not lines:
            return lines
        start = max(after, base_position)
        if first != start + 1 or last != start + len(lines):
            raise damaged(f"commits are missing after position {start}")
        return lines

    async def _finished(self, at_most: Position | None) -> list[snapshots.SnapshotRow]:
        await self.tip()  # for the base
        return await snapshots.finished(self._link, self.base.position, at_most)

    def _see_base(self, position: Position, commit_id: str) -> None:
        self.base = max(self.base, Tip(position, CommitId(commit_id)))
