"""Session records in a table beside the log. A record that was kept survives a crash of the server.

A client is answered once its record is kept. Without it, another broker would not know the handles of the session.

A client chooses a part of a field's name. So any string can be stored, and no record is a fault of the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg

from events.log import LogUnavailableError, UnusableLogError
from events.postgresql.link import Connection, Link
from events.session_records import Fields

EXPIRED_AT_ONCE = 500

T = TypeVar("T")


class PostgresqlSessionRecords:
    """`SessionRecords` over one connection, so the changes of one broker are applied in the order of its calls."""

    def __init__(self, link: Link, secret: bytes) -> None:
        self.secret = secret
        self._link = link
        table = f'"{link.address.schema}".session_records'
        self._load_sql = f"SELECT field, value FROM {table} WHERE key = $1 AND until_ms > $2"  # noqa: S608
        self._keep_sql = f"""
            WITH removed AS (DELETE FROM {table} WHERE key = $1 AND field_sha256 = ANY($2))
            INSERT INTO {table} (key, field_sha256, field, value, until_ms)
                SELECT $1, u.sha256, u.field, u.value, $6
                FROM unnest($3::bytea[], $4::bytea[], $5::bytea[]) AS u(sha256, field, value)
            ON CONFLICT (key, field_sha256) DO UPDATE SET value = excluded.value, until_ms = excluded.until_ms
        """  # noqa: S608
        self._expire_sql = f"""
            DELETE FROM {table} WHERE until_ms <= $1 AND ctid = ANY(ARRAY(
                SELECT ctid FROM {table} WHERE until_ms <= $1 LIMIT {EXPIRED_AT_ONCE}
            ))
        """  # noqa: S608

    async def load(self, key: str, *, now_ms: int) -> Fields:
        """See `SessionRecords.load`."""
        rows = await self._run(lambda connection: connection.fetch(self._load_sql, key, now_ms))
        return {_text(field): value for field, value in rows}

    async def keep(self, key: str, changes: Mapping[str, bytes | None], *, until_ms: int) -> None:
        """See `SessionRecords.keep`."""
        fields = {_bytes(name): value for name, value in changes.items()}
        removed = [_digest(name) for name, value in fields.items() if value is None]
        kept = [(_digest(name), name, value) for name, value in fields.items() if value is not None]
        columns = [[row[column] for row in kept] for column in range(3)]

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                await connection.execute("SET LOCAL synchronous_commit = on")  # the connection's own is off
                await connection.execute(self._keep_sql, key, removed, *columns, until_ms)

        await self._run(work)

    async def expire(self, *, now_ms: int) -> None:
        """See `SessionRecords.expire`. Other calls go on between its statements."""
        with _no_fault_of_the_log():
            while await self._link.execute(self._expire_sql, now_ms):
                pass

    async def _run(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `work`.

        Raises:
            LogUnavailableError: the server does not answer, takes a value for malformed, or lacks the table or a right
                to it. The commits may be there nevertheless.
        """

        async def guarded(connection: Connection) -> T:
            try:
                return await work(connection)
            except asyncpg.DataError as error:
                raise LogUnavailableError(f"a session's record can't be stored ({type(error).__name__})") from error

        with _no_fault_of_the_log():
            return await self._link.run(guarded)


@contextmanager
def _no_fault_of_the_log() -> Iterator[None]:
    """Let a missing table or right be no answer: it passes once the operator has put it back."""
    try:
        yield
    except UnusableLogError as error:
        raise LogUnavailableError(str(error)) from error


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


def _digest(name: bytes) -> bytes:
    return hashlib.sha256(name).digest()
