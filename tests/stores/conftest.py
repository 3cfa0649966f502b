"""The servers that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.engines.redis import FLAVOURS, RedisServer, running


@pytest.fixture(params=FLAVOURS, scope="session")
def redis_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Valkey, then Redis; each test has a log of its own there."""
    with running(request.param) as server:
        yield server
