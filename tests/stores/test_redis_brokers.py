"""Two brokers on one log in Redis: clients of either meet, talk, and outlive the engine's restarts."""

from __future__ import annotations

from events.log import EventLog
from events.redis.open import open_log
from projections.snapshots import STATE_CODEC
from tests.stores.broker_pairs import brokers_on, talk, talk_while_down
from tests.stores.redis_logs import new_name, within
from tests.support.engines.redis import RedisServer, running


def test_a_conversation_over_two_brokers(redis_server: RedisServer) -> None:
    """Each message is stored once, in one order, and both brokers have the same state in the end."""
    url = redis_server.url(new_name())

    async def opened() -> EventLog:
        return await open_log(url, STATE_CODEC)

    async def scenario() -> None:
        async with brokers_on(opened) as (here, there):
            await talk(here, there)

    within(scenario)


def test_a_conversation_outlives_the_engine() -> None:
    """Messages sent while the engine is down are answered when it is back, each stored once."""

    async def scenario() -> None:
        with running("valkey") as server:

            async def opened() -> EventLog:
                return await open_log(server.url("chat"), STATE_CODEC)

            async with brokers_on(opened) as (here, there):
                await talk_while_down(here, there, server)

    within(scenario)
