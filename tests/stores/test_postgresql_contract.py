"""The log in PostgreSQL keeps the promises of every log, of every shared one, and of session records."""

from __future__ import annotations

import asyncio

import pytest

from events.log import EventLog
from events.postgresql.log import PostgresqlLog
from events.postgresql.open import open_log
from tests.support.engines.postgresql import Server, new_name, server
from tests.support.limits import HUNG_SECONDS
from tests.support.log_contract import PickledStates
from tests.support.session_records_contract import SessionRecordsContract
from tests.support.shared_log_contract import ClosesLogs, CoordinationContract, SharedStoreContract


class OnPostgresql(ClosesLogs):
    """Logs in a server of the version `version`."""

    version = 18
    server: Server

    @pytest.fixture(autouse=True)
    def _started(self) -> None:
        self.server = server(self.version)
        self.names: dict[EventLog, str] = {}

    async def make(self) -> EventLog:
        """Return an empty log."""
        return await self._open(new_name())

    async def make_another(self, log: EventLog) -> EventLog:
        """Return another broker's access to the same log."""
        return await self._open(self.names[log])

    async def until_in_line(self, log: EventLog, count: int) -> None:
        """Ask the server for the number of waiters for an advisory lock."""
        assert isinstance(log, PostgresqlLog)
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(HUNG_SECONDS):
            while (await log._side.row(waiting))[0] < count:
                pass

    async def lose_after(self, log: EventLog, position: int) -> None:
        """Drop the commits after `position`."""
        await self.server.sql(f"DELETE FROM {self.names[log]}.commits WHERE position > {position}")

    async def _open(self, name: str) -> EventLog:
        log = await open_log(self.server.url(name), PickledStates(), synchronous="full")
        self.logs.append(log)
        self.names[log] = name
        return log


class TestLog18(OnPostgresql, SharedStoreContract):
    """The log in PostgreSQL 18."""


class TestLog15(OnPostgresql, SharedStoreContract):
    """The log in PostgreSQL 15."""

    version = 15


class TestCoordination18(OnPostgresql, CoordinationContract):
    """The brokers' channel in PostgreSQL 18."""


class TestCoordination15(OnPostgresql, CoordinationContract):
    """The brokers' channel in PostgreSQL 15."""

    version = 15


class TestSessionRecords18(OnPostgresql, SessionRecordsContract):
    """Session records in PostgreSQL 18."""


class TestSessionRecords15(OnPostgresql, SessionRecordsContract):
    """Session records in PostgreSQL 15."""

    version = 15
