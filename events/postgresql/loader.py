"""Loading a dump into an empty log: one transaction, so it is loaded whole or not at all.

Brokers that have the log open can't append meanwhile.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from events.codec import decode_commit
from events.commit import EMPTY_TIP, Tip
from events.log import Conflict, LogUnavailableError, Snapshot, StateCodec, UnusableLogError
from events.postgresql import snapshots
from events.postgresql.layout import lock_of
from events.postgresql.link import Connection, Link

T = TypeVar("T")


class PostgresqlLoader:
    """`StoreLoader` over one transaction; nothing of it is there before `finish`. All is lost with its connection."""

    def __init__(self, link: Link, codec: StateCodec) -> None:
        self._link, self._codec = link, codec
        self._schema = f'"{link.address.schema}"'
        self._connection: Connection = None
        self._tip = EMPTY_TIP

    async def begin(self) -> None:
        """Begin the transaction.

        Raises:
            UnusableLogError: the log is not empty, or is being loaded.
        """

        async def work(connection: Connection) -> None:
            await connection.execute("BEGIN")
            lock = lock_of(self._link.address.schema, "append")
            if not await connection.fetchval(f"SELECT pg_try_advisory_xact_lock({lock})"):
                raise UnusableLogError("the log is being written or loaded; try again later")
            if await connection.fetchval(f"SELECT position FROM {self._schema}.tip()"):  # noqa: S608
                raise UnusableLogError("the log is not empty; load into another ?name=")
            self._connection = connection

        await self._link.run(work)

    async def start_from(self, snapshot: Snapshot) -> None:
        """Start the empty log from `snapshot`; see `StoreLoader.start_from`."""
        if self._tip != EMPTY_TIP:
            raise Conflict
        await self._write(snapshot, is_base=True)
        self._tip = snapshot.tip

    async def append_lines(self, lines: Sequence[bytes], *, expected: Tip) -> Tip:
        """Append dumped commits; see `StoreLoader.append_lines`."""
        if expected != self._tip:
            raise Conflict
        rows = [(*decode_commit(line).tip, line.decode()) for line in lines]

        async def work(connection: Connection) -> None:
            await connection.copy_records_to_table(
                "commits",
                schema_name=self._link.address.schema,
                columns=["position", "commit_id", "body"],
                records=rows,
            )

        if rows:
            await self._run(work)
            self._tip = Tip(*rows[-1][:2])
        return self._tip

    async def save(self, snapshot: Snapshot) -> None:
        """Keep `snapshot`; see `StoreLoader.save`."""
        await self._write(snapshot, is_base=False)

    async def finish(self) -> None:
        """Make the log usable, under a new epoch; see `StoreLoader.finish`."""

        async def work(connection: Connection) -> None:
            await connection.execute(
                f"UPDATE {self._schema}.meta SET epoch = $1, recorded_after = $2",  # noqa: S608
                secrets.token_hex(8),
                self._tip.position,
            )
            await connection.execute("COMMIT")

        await self._run(work)
        await self._link.close()

    async def abandon(self) -> None:
        """Leave the log as it was; see `StoreLoader.abandon`."""
        await self._link.close()

    async def _write(self, snapshot: Snapshot, *, is_base: bool) -> None:
        written = await snapshots.write(self._link, snapshot, self._codec)
        await self._run(
            lambda connection: snapshots.finish(connection, self._schema, written, is_base=is_base, is_loading=True)
        )

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def checked(connection: Connection) -> T:
            if connection is not self._connection:
                raise LogUnavailableError("the connection broke, so nothing was loaded; begin again")
            return await work(connection)

        return await self._link.run(checked, is_limited=False)
