"""Logs in NATS, for tests without a contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

from events.nats.log import NatsLog
from events.nats.open import open_log
from tests.support.engines.nats import NatsServer
from tests.support.limits import HUNG_SECONDS
from tests.support.log_contract import PickledStates

NUMBERS = count()


def new_name() -> str:
    """Return a name of no other log."""
    return f"log-{next(NUMBERS)}"


@asynccontextmanager
async def opened(server: NatsServer, *names: str) -> AsyncIterator[tuple[NatsLog, ...]]:
    """Open a log for each of `names`; without any, two clients of one new log."""
    if not names:
        names = (new_name(),) * 2
    async with AsyncExitStack() as left:
        logs = []
        for name in names:
            logs.append(await open_log(server.url(name), PickledStates()))
            left.push_async_callback(logs[-1].close)
        yield tuple(logs)


def users(publish: list[str], subscribe: list[str]) -> str:
    """Return the settings of a server with one user of these rights."""
    return (
        "authorization { users: [ { user: u, password: p, permissions: {"
        f" publish: {publish!r}, subscribe: {subscribe!r} }} }} ] }}"
    )


def within(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run an async test within a limit of time."""

    async def bounded() -> None:
        async with asyncio.timeout(HUNG_SECONDS):
            await work()

    asyncio.run(bounded())
