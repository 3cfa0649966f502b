"""Session records in a log's file."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from events.session_records import Fields
from events.sqlite.file import SqliteFile

Run = Callable[..., Coroutine[Any, Any, Any]]
"""Runs a blocking call in the thread that writes."""


class SqliteSessionRecords:
    """`SessionRecords` in the file of a log. They survive a crash of the process, as a snapshot does."""

    def __init__(self, file: SqliteFile, run: Run) -> None:
        self.secret = file.session_secret()
        self._file = file
        self._run = run

    async def load(self, key: str, *, now_ms: int) -> Fields:
        """See `SessionRecords.load`."""
        fields: Fields = await self._run(self._file.session_record, key, now_ms)
        return fields

    async def keep(self, key: str, changes: Mapping[str, bytes | None], *, until_ms: int) -> None:
        """See `SessionRecords.keep`."""
        await self._run(self._file.keep_session_record, key, dict(changes), until_ms)

    async def expire(self, *, now_ms: int) -> None:
        """See `SessionRecords.expire`."""
        await self._run(self._file.expire_session_records, now_ms)
