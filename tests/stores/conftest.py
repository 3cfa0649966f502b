"""The servers shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.debugger_logs import NATS_USERS, NatsStore, PostgresqlStore, RedisStore, Store
from tests.support.engines import nats
from tests.support.engines.redis import FLAVOURS, RedisServer, running


@pytest.fixture(params=FLAVOURS, scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Valkey, then Redis; each test has a log of its own there."""
    with running(request.param) as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisStore]:
    """A server of Valkey, for the debugger's tests."""
    with running("valkey") as server:
        yield RedisStore(server)


@pytest.fixture(scope="session")
def nats_store() -> Iterator[NatsStore]:
    """A server of NATS, for the debugger's tests."""
    with nats.running(NATS_USERS) as server:
        yield NatsStore(server)


@pytest.fixture(params=["valkey", "postgresql", "nats_store"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each kind of shared store."""
    return PostgresqlStore() if request.param == "postgresql" else request.getfixturevalue(request.param)
