"""The contracts of a shared log, for Redis and Valkey."""

from __future__ import annotations

from itertools import count

import pytest

from events.log import EventLog
from events.redis.log import RedisLog
from events.redis.open import open_log
from tests.support.engines.redis import RedisServer
from tests.support.log_contract import PickledStates
from tests.support.session_records_contract import SessionRecordsContract
from tests.support.shared_log_contract import ClosesLogs, CoordinationContract, SharedStoreContract

NAMES = (f"contract-{number}" for number in count())


class InRedis(ClosesLogs):
    """Logs in an engine, each under a name of its own."""

    @pytest.fixture(autouse=True)
    def _in(self, redis_server: RedisServer) -> None:
        self.server = redis_server
        self.names: dict[EventLog, str] = {}

    async def make(self) -> EventLog:
        """Return an empty log."""
        return await self._opened(next(NAMES))

    async def make_another(self, log: EventLog) -> EventLog:
        """Return another broker's way to `log`."""
        return await self._opened(self.names[log])

    async def _opened(self, name: str) -> RedisLog:
        log = await open_log(self.server.url(name), PickledStates())
        self.logs.append(log)
        self.names[log] = name
        return log

    async def lose_after(self, log: EventLog, position: int) -> None:
        """Make the stream anew, with its first entries."""
        key, redis = f"{{{self.names[log]}}}:log", self.server.client
        entries = redis.xrange(key)
        redis.delete(key)
        for entry, fields in entries[:position]:
            redis.xadd(key, fields, id=entry)


class TestRedisLog(InRedis, SharedStoreContract):
    """The log."""


class TestRedisSessionRecords(InRedis, SessionRecordsContract):
    """The session records."""


class TestRedisCoordination(InRedis, CoordinationContract):
    """The coordination of a log's brokers."""
