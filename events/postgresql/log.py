"""The log in PostgreSQL: `EventLog` over a schema of a database.

A broker has four connections. One appends, redacts and trims, each of its commits durable, and hears of others'
appends. One reads, and writes what may be lost. One has the brokers' notes, and one stands in line for turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from events.codec import encode_commit
from events.commit import BrokenChainError, Commit, Tip
from events.ids import CommitId, Position
from events.log import (
    MISSED_COMMITS_MAX,
    Conflict,
    DeliveryRecord,
    LogRolledBackError,
    LogUnavailableError,
    OperationRecord,
    Snapshot,
    StateCodec,
    UnusableLogError,
)
from events.postgresql import records, redaction, snapshots
from events.postgresql.coordination import PostgresqlCoordination
from events.postgresql.known_commits import KnownCommits
from events.postgresql.link import NO_LIMIT, SOON, Connection, Link
from events.postgresql.reader import PostgresqlReader
from events.postgresql.session_records import PostgresqlSessionRecords
from events.postgresql.turns import TurnLine

FOLLOWED_PAGE = 500
POLL_SECONDS = 1.0
PURGED_AT_ONCE = 1_000
VACUUM_SECONDS = 3_600.0

STORED, STORED_OUT_OF_TURN, LATE, ROLLED_BACK = 1, 3, 0, -1
"""The answers of the function `append` (layout.sql)."""


class PostgresqlLog:
    """`EventLog` over a schema. What an acknowledged commit survives is in `survives`.

    Every method but `save`, `record`, `turn` and `close` raises `LogUnavailableError` while the server does not answer,
    and works again once it does. It raises `UnusableLogError` if the log is damaged or its rights were taken away. A
    cancelled caller's work is done completely, or not at all if it had not begun.
    """

    is_shared = True
    never_waits = False
    keeps_delivery_records = True
    keeps_operation_records = True

    def __init__(self, writer: Link, codec: StateCodec, *, epoch: str, secret: bytes, survives: str) -> None:
        """Take over `writer`, a connection whose commits are durable."""
        address = writer.address
        self.epoch, self.survives = epoch, survives
        self.redacted_to: Position = 0
        self._address, self._codec, self._writer = address, codec, writer
        self._side = Link(address, SOON)
        self._reader = PostgresqlReader(self._side)
        self.coordination = PostgresqlCoordination(address)
        self.session_records = PostgresqlSessionRecords(self._side, secret)
        self._turns = TurnLine(address)
        self._known = KnownCommits()
        self._grown = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None
        self.is_contended = False
        self._is_closed = False
        self._vacuumed_at = -VACUUM_SECONDS
        self._schema = f'"{address.schema}"'
        self._append_sql = f"SELECT * FROM {self._schema}.append($1, $2, $3, $4, {MISSED_COMMITS_MAX})"  # noqa: S608

    async def open(self) -> None:
        """Open the connections that the first command needs, and read the log's base and how far it is redacted.

        Raises:
            LogUnavailableError: the server does not answer.
            UnusableLogError: the log can't be read.
        """
        await self._writer.prepare(self._listen)
        await self._reader.look()
        (self.redacted_to,) = await self._side.row(f"SELECT redacted_to FROM {self._schema}.meta")  # noqa: S608
        await self._turns.prepare()

    @property
    def base(self) -> Tip:
        """The last trimmed commit, as of the last read; see `EventLog.base`."""
        return self._reader.base

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits` in one transaction; see `EventLog.append`."""
        ids = [commit.commit_id for commit in commits]
        lines = [encode_commit(commit).decode() for commit in commits]
        has_turn = self._turns.has_one
        try:
            answer, position, commit_id, missed = await self._writer.row(self._append_sql, *expected, ids, lines)
        finally:
            self._turns.end_all()
        if answer == LATE:
            raise Conflict(self._known_now(missed or ()))
        if answer == ROLLED_BACK:
            raise LogRolledBackError(
                f"the log was rolled back: it ends at position {position} ({commit_id}),"
                f" and went on to position {expected.position} ({expected.commit_id}) before"
            )
        self.is_contended = answer == STORED_OUT_OF_TURN and not has_turn
        if answer in (STORED, STORED_OUT_OF_TURN):
            self._known.add(commits)
            self._wake_soon()
        return Tip(position, CommitId(commit_id))

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Read the commits after `after`; see `EventLog.read`. Never waits for an append."""
        return await self._reader.read(after, limit)

    async def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Follow the commits after `after`, of all brokers; see `EventLog.follow`."""
        with self._known.followed():
            while not self._is_closed:
                grown = self._grown
                try:
                    commits = await self._next(after)
                except LogUnavailableError:
                    if self._is_closed:
                        return
                    raise
                for commit in commits:
                    yield commit
                    after = commit.position
                if not commits:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL_SECONDS):  # `wait_for` may swallow a cancellation (3.11)
                            await grown.wait()

    async def tip(self) -> Tip:
        """Return the last commit's tip; see `EventLog.tip`."""
        return await self._reader.tip()

    @asynccontextmanager
    async def turn(self, after: Position) -> AsyncIterator[Sequence[Commit]]:
        """Stand in line to write; see `EventLog.turn`."""
        turn = await self._turns.take(after)
        try:
            commits: Sequence[Commit] = ()
            if turn is not None:
                with suppress(UnusableLogError, BrokenChainError):  # the next read says it
                    commits = self._known_now(turn.lines)
            yield commits
        finally:
            if turn is not None:
                turn.end()

    def _known_now(self, lines: Sequence[str]) -> Sequence[Commit]:
        """Return the commits of `lines`, which need not come again to the followers."""
        commits = self._reader.decoded(lines)
        self._known.add(commits)
        return commits

    async def newest_snapshot(self) -> Snapshot | None:
        """Return the newest readable snapshot; see `EventLog.newest_snapshot`."""
        return await self._reader.load_snapshot(None, self._codec)

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`, if possible; see `EventLog.save`. Appends go on meanwhile."""
        with suppress(LogUnavailableError, LogRolledBackError, UnusableLogError):
            await self._reader.look()
            if snapshot.tip.position > self.base.position:
                await self._write(snapshot, is_base=False)

    async def compact(self, snapshot: Snapshot) -> None:
        """Forget the commits up to `snapshot`; see `EventLog.compact`. Appends go on meanwhile.

        The commits count as gone at once, for every reader and view. Deleting them takes a while. If it is cut short,
        the next call finishes it.

        Raises:
            LogUnavailableError: the server did not answer, or a redaction dropped the snapshot while it was written.
            LogRolledBackError: the snapshot's tip is no commit of this log.
        """
        await self._reader.look()
        if snapshot.tip.position > self.base.position:
            await self._write(snapshot, is_base=True)
            await self._reader.look()
        for table in ("commits", "deliveries"):
            while await self._purge(table, "<="):
                pass
        with suppress(UnusableLogError):  # a log that its owner made before there were any
            while await self._purge("operations", "<"):  # those at the base stand between it and the next commit
                pass

    async def redact(self, positions: Sequence[Position], *, done_to: Position, snapshots_before: Position = 0) -> None:
        """Redact the texts at `positions`, some in each transaction; see `EventLog.redact`. Appends go on meanwhile.

        The old rows are overwritten once they are vacuumed, which this asks for once an hour. Backups and archived WAL
        keep them.
        """
        for start in range(0, len(positions), redaction.REDACTED_AT_ONCE):
            page = positions[start : start + redaction.REDACTED_AT_ONCE]
            self._known.forget(page)
            await self._writer.run(partial(redaction.redact_page, schema=self._schema, positions=page))
        reached = await self._writer.run(
            partial(redaction.finish, schema=self._schema, done_to=done_to, snapshots_before=snapshots_before)
        )
        self.redacted_to = max(self.redacted_to, reached)
        await self._vacuum()

    async def record(
        self, delivery_records: Sequence[DeliveryRecord], operation_records: Sequence[OperationRecord] = ()
    ) -> None:
        """Store the records, if they can be; see `EventLog.record`."""
        with suppress(LogUnavailableError, UnusableLogError):
            if delivery_records:
                await self._side.execute(records.deliveries_sql(self._schema), *records.columns(delivery_records))
            if operation_records:
                newest = records.newest_signs(operation_records)
                await self._side.execute(records.operations_sql(self._schema), *records.columns(newest))
                for is_refusal in {record.kind == "refused" for record in operation_records}:
                    await self._side.execute(records.forget_sql(self._schema), is_refusal, records.OPERATIONS_KEPT)

    async def probe(self) -> None:
        """Write something small to the disk; see `EventLog.probe`."""
        await self._writer.execute(f"UPDATE {self._schema}.meta SET probes = probes + 1")  # noqa: S608

    async def close(self) -> None:
        """Finish all work but snapshots, and release the connections; see `EventLog.close`."""
        self._is_closed = True
        self._wake()
        if self._waking is not None:
            self._waking.cancel()
        await asyncio.gather(self.coordination.close(), self._turns.close(), self._writer.close(), self._side.close())

    # Following

    async def _next(self, after: Position) -> Sequence[Commit]:
        """Return the next commits after `after`: those known here as they are, others from the server."""
        if known := self._known.after(after):
            return known
        await self._writer.open()  # it hears of others' commits
        return await self._reader.read(after, FOLLOWED_PAGE)

    async def _listen(self, connection: Connection) -> None:
        """Listen by the connection that appends: what is heard of its own appends comes with their answers."""
        await connection.add_listener(self._address.log_channel, self._hear_tip)

    def _hear_tip(self, connection: Connection, pid: int, channel: str, payload: str) -> None:
        if pid != self._writer.server_pid:
            self._wake()

    def _wake_soon(self) -> None:
        """Wake the followers of own commits. Those are in no hurry, so many are told at once."""
        if self._known.has_followers and self._waking is None:
            self._waking = asyncio.get_running_loop().call_later(0.01, self._wake)

    def _wake(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    # Chores

    async def _write(self, snapshot: Snapshot, *, is_base: bool) -> None:
        written = await snapshots.write(self._side, snapshot, self._codec)

        async def finish(connection: Connection) -> None:
            async with connection.transaction():
                await snapshots.finish(connection, self._schema, written, is_base=is_base)

        await self._writer.run(finish)

    async def _purge(self, table: str, gone: str) -> int:
        """Delete some of the rows that count as gone; return how many."""
        return await self._side.execute(
            f"DELETE FROM {self._schema}.{table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {self._schema}.{table}"  # noqa: S608
            f" WHERE position {gone} (SELECT base_position FROM {self._schema}.meta)"
            f" ORDER BY position LIMIT {PURGED_AT_ONCE}))"
        )

    async def _vacuum(self) -> None:
        """Let the server overwrite what was redacted, once an hour, if the role may; else autovacuum does it later."""
        if time.monotonic() - self._vacuumed_at < VACUUM_SECONDS:
            return
        self._vacuumed_at = time.monotonic()
        link = Link(self._address, NO_LIMIT)
        try:
            with suppress(LogUnavailableError, UnusableLogError):
                await link.run(
                    lambda connection: connection.execute(f"VACUUM {self._schema}.commits"), is_limited=False
                )
        finally:
            await link.close()
