"""A log in a cluster of three servers: the end of a leader, and a server without a way to the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

import nats
import pytest

from events.commit import EMPTY_TIP, Commit, Tip
from events.log import LogUnavailableError, UnusableLogError
from events.nats import client as client_module
from events.nats.layout import Layout
from events.nats.log import NatsLog
from events.nats.open import open_log, open_reader
from events.nats.requests import api
from tests.support.engines.nats import NatsServer
from tests.support.fake_clock import settle
from tests.support.limits import HUNG_SECONDS
from tests.support.log_contract import PickledStates, all_of, chain
from tests.support.process import free_port

pytestmark = pytest.mark.slow


class Cluster:
    """Some servers, not started yet."""

    def __init__(self, size: int) -> None:
        ports = [free_port() for _ in range(size)]
        self.servers = [NatsServer(self._settings(number, port, ports)) for number, port in enumerate(ports)]

    def _settings(self, number: int, own: int, ports: list[int]) -> str:
        routes = ", ".join(f"'nats://127.0.0.1:{port}'" for port in ports)
        return f"server_name: n{number}\ncluster {{ name: c, listen: '127.0.0.1:{own}', routes: [{routes}] }}\n"

    def url(self, replicas: int = 3) -> str:
        """Return the URL of a log."""
        places = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return f"nats://{places}/?name=chat&synced=always&replicas={replicas}"

    async def start(self) -> None:
        """Start all servers."""
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in self.servers))

    async def cut_off(self, number: int) -> None:
        """Start a server again with its data, and without a way to the others."""
        server = self.servers[number]
        server.kill()
        server.configure(self._settings(number, free_port(), [free_port()]))
        await asyncio.to_thread(server.start)

    async def leader_of(self, stream: str) -> NatsServer:
        """Return the leader of a stream."""
        client = await nats.connect(f"nats://127.0.0.1:{self.servers[0].port}")
        info = await client.jetstream().stream_info(stream)
        await client.close()
        assert info.cluster is not None
        assert info.cluster.leader is not None
        return self.servers[int(info.cluster.leader.removeprefix("n"))]

    def stop(self) -> None:
        """Kill all servers and remove their data."""
        for server in self.servers:
            server.stop()


def within(work: Callable[[Cluster], Coroutine[Any, Any, None]], size: int = 3) -> None:
    """Run an async test with a cluster, within a limit of time."""

    async def bounded() -> None:
        cluster = Cluster(size)
        try:
            async with asyncio.timeout(90):
                await work(cluster)
        finally:
            cluster.stop()

    asyncio.run(bounded())


async def until_answered(call: Any) -> Any:
    """Call until the store answers."""
    while True:
        try:
            return await call()
        except LogUnavailableError:
            await asyncio.to_thread(lambda: None)


async def appended_again(log: NatsLog, commits: list[Commit], expected: Tip) -> Tip:
    """Append, as often as the server does not answer."""
    tip: Tip = await until_answered(lambda: log.append(commits, expected=expected))
    return tip


@asynccontextmanager
async def opened(cluster: Cluster, replicas: int = 3) -> AsyncIterator[NatsLog]:
    """Open a log once the cluster has leaders."""
    log = await until_answered(lambda: open_log(cluster.url(replicas), PickledStates()))
    try:
        yield log
    finally:
        await log.close()


def test_a_log_outlives_its_leader() -> None:
    """Every acknowledged commit is there after the stream's leader is killed; followers begin anew."""

    async def scenario(cluster: Cluster) -> None:
        commits = chain(30)
        await cluster.start()
        async with opened(cluster) as log:
            tip = await appended_again(log, commits[:10], EMPTY_TIP)
            (await cluster.leader_of(Layout("chat").log_stream)).kill()
            for commit in commits[10:]:
                tip = await appended_again(log, [commit], tip)
            assert tip == commits[-1].tip
            assert await until_answered(log.tip) == tip
            assert list(await until_answered(lambda: log.read(0, 100))) == commits
            assert await until_answered(lambda: anext(log.follow(29))) == commits[29]
            assert "the loss of 1 of 3 servers" in log.survives

    within(scenario)


def test_a_server_without_a_way_to_the_others_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the first of the URL and takes connections: running brokers, new ones and tools go on with the others."""
    monkeypatch.setattr(client_module, "WATCH_SECONDS", 0.5)

    async def scenario(cluster: Cluster) -> None:
        commits = chain(12)
        await cluster.start()
        async with opened(cluster) as log:
            tip = await appended_again(log, commits[:10], EMPTY_TIP)
            await cluster.cut_off(0)
            assert await appended_again(log, commits[10:11], tip) == commits[10].tip
            assert await until_answered(lambda: anext(log.follow(10))) == commits[10]
            async with opened(cluster) as another:
                assert await all_of(another) == commits[:11]
            reader = await open_reader(cluster.url())
            assert await reader.tip() == commits[10].tip
            await reader.close()

    within(scenario)


def test_a_listener_leaves_a_server_that_loses_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes of brokers at the other servers would never come there."""
    monkeypatch.setattr(client_module, "WATCH_SECONDS", 0.5)
    monkeypatch.setattr(client_module, "REACH_SECONDS", 0.5)

    async def scenario(cluster: Cluster) -> None:
        await cluster.start()
        async with opened(cluster) as log, aclosing(log.coordination.subscribe()) as notes:
            hearing = asyncio.ensure_future(anext(notes))
            await settle(50)
            for server in cluster.servers[1:]:
                server.kill()
            with pytest.raises(LogUnavailableError):
                await asyncio.wait_for(hearing, HUNG_SECONDS)

    within(scenario)


def test_a_server_that_is_left_alone_says_no_tip() -> None:
    """It may lack the last commits. An older tip would be taken for a log that was rolled back."""

    async def scenario(cluster: Cluster) -> None:
        commits = chain(2)
        await cluster.start()
        async with opened(cluster) as log:
            await appended_again(log, commits, EMPTY_TIP)
            cluster.servers[2].kill()
            cluster.servers[1].kill()
            refusal = ""
            while "has no leader now" not in refusal:
                try:
                    assert await log.tip() == commits[-1].tip  # it has not noticed yet
                except LogUnavailableError as error:
                    refusal = str(error)
            for call in (log.tip, log.probe, lambda: log.read(0, 10)):
                with pytest.raises(LogUnavailableError):
                    await call()

    within(scenario)


def test_a_first_start_waits_for_enough_servers() -> None:
    """With two servers, there are too few for three replicas. Another may come, so the broker does not end."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.start()
        refusal = ""
        while "no suitable peers" not in refusal:
            with pytest.raises(LogUnavailableError) as refused:
                await open_log(cluster.url(), PickledStates())
            refusal = str(refused.value)

    within(scenario, size=2)


def test_a_log_survives_no_more_than_its_weakest_stream() -> None:
    """More replicas of the commits alone do not help: without the epoch and the stand-ins, the log is lost."""

    async def scenario(cluster: Cluster) -> None:
        await cluster.start()
        async with opened(cluster, 1) as log:
            await appended_again(log, chain(1), EMPTY_TIP)
        client = await nats.connect(f"nats://127.0.0.1:{cluster.servers[0].port}")
        stream = Layout("chat").log_stream
        config = (await api(client, f"STREAM.INFO.{stream}"))["config"]
        await api(client, f"STREAM.UPDATE.{stream}", config | {"num_replicas": 3})
        await client.close()
        async with opened(cluster, 1) as log:
            assert log.survives.startswith("a crash and a power failure, but not the loss of the server's disk")
        with pytest.raises(UnusableLogError, match="has 1 replica, and the log's URL asks for 3"):
            await until_answered(lambda: open_log(cluster.url(3), PickledStates()))

    within(scenario)
