"""Session records in a table beside the log. A record that was kept survives a crash of the server.

A client is answered once its record is kept. Without it, another broker would not know the handles of the session.
"""

from __future__ import annotations

from collections.abc import Mapping

from events.postgresql.link import Connection, Link
from events.session_records import Fields


class PostgresqlSessionRecords:
    """`SessionRecords` over one connection, so the changes of one broker are applied in the order of its calls."""

    def __init__(self, link: Link, secret: bytes) -> None:
        self.secret = secret
        self._link = link
        table = f'"{link.address.schema}".session_records'
        self._load_sql = f"SELECT field, value FROM {table} WHERE key = $1 AND until_ms > $2"  # noqa: S608
        self._keep_sql = f"""
            WITH removed AS (DELETE FROM {table} WHERE key = $1 AND field = ANY($2))
            INSERT INTO {table} SELECT $1, field, value, $5 FROM unnest($3::text[], $4::bytea[]) AS u(field, value)
            ON CONFLICT (key, field) DO UPDATE SET value = excluded.value, until_ms = excluded.until_ms
        """  # noqa: S608
        self._expire_sql = f"DELETE FROM {table} WHERE until_ms <= $1"  # noqa: S608

    async def load(self, key: str, *, now_ms: int) -> Fields:
        """See `SessionRecords.load`."""
        return dict(await self._link.rows(self._load_sql, key, now_ms))

    async def keep(self, key: str, changes: Mapping[str, bytes | None], *, until_ms: int) -> None:
        """See `SessionRecords.keep`."""
        removed = [name for name, value in changes.items() if value is None]
        kept = {name: value for name, value in changes.items() if value is not None}

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute("SET LOCAL synchronous_commit = on")  # the connection's own is off
                await connection.execute(self._keep_sql, key, removed, list(kept), list(kept.values()), until_ms)

        await self._link.run(work)

    async def expire(self, *, now_ms: int) -> None:
        """See `SessionRecords.expire`."""
        await self._link.execute(self._expire_sql, now_ms)
