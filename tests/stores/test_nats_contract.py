"""The contracts of a shared log, for NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count

import nats
import pytest
from nats.js import JetStreamContext

from events.log import TURN_MS, EventLog
from events.nats.layout import COMMIT_HEADER, Layout
from events.nats.log import NatsLog
from events.nats.open import open_log
from events.nats.requests import api
from events.nats.turns import CONSUMER
from tests.support.engines.nats import nats_server
from tests.support.fake_clock import settle
from tests.support.log_contract import PickledStates
from tests.support.session_records_contract import SessionRecordsContract
from tests.support.shared_log_contract import ClosesLogs, CoordinationContract, SharedStoreContract

NAMES = (f"contract-{number}" for number in count())


@asynccontextmanager
async def jetstream() -> AsyncIterator[JetStreamContext]:
    """Another client of the server."""
    client = await nats.connect(f"nats://127.0.0.1:{nats_server().port}")
    try:
        yield client.jetstream()
    finally:
        await client.close()


class InNats(ClosesLogs):
    """Logs in a server, each under a name of its own."""

    @pytest.fixture(autouse=True)
    def _in(self) -> None:
        self.server = nats_server()
        self.names: dict[EventLog, str] = {}

    async def make(self) -> EventLog:
        """Return an empty log."""
        return await self._opened(next(NAMES))

    async def make_another(self, log: EventLog) -> EventLog:
        """Return another broker's way to `log`."""
        return await self._opened(self.names[log])

    async def _opened(self, name: str) -> NatsLog:
        log = await open_log(self.server.url(name), PickledStates())
        self.logs.append(log)
        self.names[log] = name
        return log

    async def lose_after(self, log: EventLog, position: int) -> None:
        """Make the stream anew, with its first messages."""
        layout = Layout(self.names[log])
        async with jetstream() as js:
            config = (await js.stream_info(layout.log_stream)).config
            messages = [await js.get_msg(layout.log_stream, seq) for seq in range(1, position + 1)]
            await js.delete_stream(layout.log_stream)
            await js.add_stream(config)
            for message in messages:
                headers = {COMMIT_HEADER: (message.headers or {})[COMMIT_HEADER]}
                await js.publish(message.subject, message.data, headers=headers)

    async def until_in_line(self, log: EventLog, count: int) -> None:
        """Ask the server for the number of requests in line, until it is `count` or a turn's time is over."""
        assert isinstance(log, NatsLog)
        subject = f"CONSUMER.INFO.{Layout(self.names[log]).turns_stream}.{CONSUMER}"
        with suppress(TimeoutError):
            async with asyncio.timeout(TURN_MS / 1_000):
                while (await log._reading.ask(lambda nats: api(nats, subject)))["num_waiting"] < count:
                    await settle(1)


class TestNatsLog(InNats, SharedStoreContract):
    """The log."""


class TestNatsSessionRecords(InNats, SessionRecordsContract):
    """The session records."""


class TestNatsCoordination(InNats, CoordinationContract):
    """The coordination of a log's brokers."""
