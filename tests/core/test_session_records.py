"""Session records of the logs in memory and in a file."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from events.log import EventLog, LogUnavailableError
from events.memory import MemoryLog
from events.session_records import RECORDS_MAX, MemorySessionRecords
from events.sqlite.log import SqliteLog
from projections.snapshots import STATE_CODEC
from tests.support.logs import run
from tests.support.session_records_contract import KEY, SessionRecordsContract


class TestInMemory(SessionRecordsContract):
    """The contract for a log in memory."""

    async def make(self) -> EventLog:
        """A new log."""
        return MemoryLog()

    def test_the_oldest_make_room(self) -> None:
        """Memory holds so many at most."""

        async def scenario() -> None:
            records = MemorySessionRecords()
            for number in range(RECORDS_MAX + 2):
                await records.keep(f"{number}", {"a": b"1"}, until_ms=100)
            found = [bool(await records.load(f"{number}", now_ms=0)) for number in (0, 1, 2, RECORDS_MAX + 1)]
            assert found == [False, False, True, True]

        run(scenario)


class TestInAFile(SessionRecordsContract):
    """The contract for a log in a file."""

    @pytest.fixture(autouse=True)
    def _in(self, tmp_path: Path) -> None:
        self.paths = (tmp_path / f"{number}.db" for number in count())
        self.logs: list[SqliteLog] = []

    async def make(self) -> EventLog:
        """A new log."""
        return SqliteLog(next(self.paths), STATE_CODEC)

    def test_they_outlive_the_process(self, tmp_path: Path) -> None:
        """The secret and the records are there again when the file is opened again."""

        async def scenario() -> None:
            log = SqliteLog(tmp_path / "chat.db", STATE_CODEC)
            secret = log.session_records.secret
            await log.session_records.keep(KEY, {"a": b"1"}, until_ms=100)
            await log.close()
            with pytest.raises(LogUnavailableError):
                await log.session_records.keep(KEY, {"a": b"2"}, until_ms=100)
            log = SqliteLog(tmp_path / "chat.db", STATE_CODEC)
            assert log.session_records.secret == secret
            assert await log.session_records.load(KEY, now_ms=0) == {"a": b"1"}
            await log.close()

        run(scenario)
