"""The contracts of session records and coordination in NATS."""

from __future__ import annotations

import asyncio
import secrets
from itertools import count
from typing import Any

import pytest
from nats.js.api import KeyValueConfig, StreamConfig

from events.log import LogUnavailableError
from events.nats.address import parse
from events.nats.client import Client
from events.nats.coordination import NatsCoordination, new_epoch
from events.nats.meta import EPOCH
from events.nats.session_records import NatsSessionRecords
from tests.stores.broker_pairs import until
from tests.support.engines.nats import NatsServer, nats_server, running
from tests.support.limits import HUNG_SECONDS
from tests.support.session_records_contract import KEY, SessionRecordsContract
from tests.support.shared_log_contract import ClosesLogs, CoordinationContract

NAMES = (f"side-{number}" for number in count())


class Side:
    """The buckets of a log, and a broker's way to them."""

    def __init__(self, url: str, secret: bytes) -> None:
        self.address = parse(url)
        self.client = Client(self.address)
        self.session_records = NatsSessionRecords(secret, self.address.layout, self.client)
        self.coordination = NatsCoordination(self.address, self.client)
        self.epoch = ""

    async def open(self) -> None:
        """Make the missing buckets, and read the epoch."""
        js = (await self.client.open()).nats.jetstream()
        layout = self.address.layout
        meta = await js.create_key_value(KeyValueConfig(layout.meta_bucket))
        bucket = layout.sessions_bucket
        await js.add_stream(
            StreamConfig(
                name=f"KV_{bucket}",
                subjects=[f"$KV.{bucket}.>"],
                max_msgs_per_subject=1,
                allow_msg_ttl=True,
                allow_direct=True,
                allow_rollup_hdrs=True,
            )
        )
        if not self.epoch and not (await js.stream_info(f"KV_{layout.meta_bucket}")).state.messages:
            await meta.put(EPOCH, new_epoch().encode())
        self.epoch = ((await meta.get(EPOCH)).value or b"").decode()

    async def close(self) -> None:
        """Disconnect."""
        await self.coordination.close()
        await self.client.close()


class InNats(ClosesLogs):
    """Sides in a server, each under a name of its own."""

    @pytest.fixture(autouse=True)
    def _in(self) -> None:
        self.server: NatsServer = nats_server()

    async def make(self) -> Any:
        """Return an empty side."""
        return await self._opened(self.server.url(next(NAMES)), secrets.token_bytes(32))

    async def make_another(self, log: Any) -> Any:
        """Return another broker's way to `log`."""
        return await self._opened(self.server.url(log.address.name), log.session_records.secret)

    async def _opened(self, url: str, secret: bytes) -> Any:
        side: Any = Side(url, secret)
        await side.open()
        self.logs.append(side)
        return side


class TestNatsSessionRecords(InNats, SessionRecordsContract):
    """The session records."""

    def test_two_brokers_change_one_record_at_once(self) -> None:
        """No change is lost."""

        async def scenario() -> None:
            here = await self.make()
            there = await self.make_another(here)
            await asyncio.gather(
                *(
                    (here, there)[number % 2].session_records.keep(KEY, {f"f{number}": b"1"}, until_ms=100)
                    for number in range(20)
                )
            )
            assert len(await here.session_records.load(KEY, now_ms=0)) == 20

        self.run(scenario)

    def test_changes_by_one_broker_are_kept_one_after_the_other(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A later one waits for a slow one before it, which itself had to wait."""
        write, may_write = NatsSessionRecords._write, asyncio.Event()

        async def scenario() -> None:
            records = (await self.make()).session_records
            done: list[int] = []

            async def slow(self: NatsSessionRecords, js: Any, subject: str, data: bytes, last: int) -> bool:
                if b"slow" in data and b"last" not in data:
                    await may_write.wait()
                return await write(self, js, subject, data, last)

            async def change(number: int, value: bytes) -> None:
                await records.keep(KEY, {"a": value}, until_ms=100)
                done.append(number)

            monkeypatch.setattr(NatsSessionRecords, "_write", slow)
            changes = [asyncio.ensure_future(change(0, b"first")), asyncio.ensure_future(change(1, b"slow"))]
            await until(lambda: done == [0])
            changes.append(asyncio.ensure_future(change(2, b"last")))
            await asyncio.wait({changes[2]}, timeout=0.2)
            may_write.set()
            await asyncio.gather(*changes)
            assert done == [0, 1, 2]
            assert await records.load(KEY, now_ms=0) == {"a": b"last"}

        self.run(scenario)

    def test_a_damaged_record_is_none(self) -> None:
        """Its session begins anew, and the next change replaces it."""

        async def scenario() -> None:
            side = await self.make()
            records = side.session_records
            await records.keep(KEY, {"a": b"1"}, until_ms=100)
            await side.client.run(lambda js: js.publish(records._subject(KEY), b"{no msgpack"))
            assert await records.load(KEY, now_ms=0) == {}
            await records.keep(KEY, {"b": b"2"}, until_ms=100)
            assert await records.load(KEY, now_ms=0) == {"b": b"2"}
            await side.client.run(lambda js: js.publish(records._subject(KEY), b"{no msgpack"))
            await records.expire(now_ms=0)

        self.run(scenario)


class TestNatsCoordination(InNats, CoordinationContract):
    """The coordination of a log's brokers."""


def test_listeners_notice_an_outage() -> None:
    """They are told, to subscribe again; a kept record survives the server's end."""

    async def scenario() -> None:
        with running() as server:
            side: Any = Side(server.url(), secrets.token_bytes(32))
            await side.open()
            await side.session_records.keep(KEY, {"a": b"1"}, until_ms=100)
            notes = side.coordination.subscribe()
            first = asyncio.ensure_future(anext(notes))
            await asyncio.sleep(0)
            await side.coordination.publish(b"hello")
            assert await first == b"hello"
            server.kill()
            with pytest.raises(LogUnavailableError, match="no connection"):
                await asyncio.wait_for(anext(notes), HUNG_SECONDS)
            with pytest.raises(LogUnavailableError):
                await side.coordination.time_ms()
            server.start()
            assert await side.coordination.time_ms()
            assert await side.session_records.load(KEY, now_ms=0) == {"a": b"1"}
            await side.close()

    asyncio.run(scenario())
