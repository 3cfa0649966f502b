"""A log in NATS while the server is killed, silent or forgetful, and while callers go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import nats
import pytest

from events.commit import EMPTY_TIP, Commit, Tip
from events.ids import ConnectionId
from events.log import Conflict, DeliveryRecord, LogRolledBackError, LogUnavailableError, Snapshot
from events.nats import client as client_module
from events.nats import following, turns
from events.nats import open as open_module
from events.nats.layout import Layout
from events.nats.log import NatsLog
from events.nats.open import open_log
from projections.state import fold
from tests.stores.nats_logs import new_name, opened, within
from tests.support.engines.nats import NatsServer, running
from tests.support.fake_clock import settle
from tests.support.log_contract import PickledStates, all_of, another_after, chain, conversation
from tests.support.process import free_port


@pytest.fixture(scope="module")
def own_server() -> Iterator[NatsServer]:
    """A server for tests to kill."""
    with running() as server:
        yield server


async def appended_again(log: NatsLog, commits: list[Commit], expected: Tip) -> Tip:
    """Append, as often as the server does not answer."""
    while True:
        try:
            return await log.append(commits, expected=expected)
        except LogUnavailableError:
            await settle(1)


async def wipe(server: NatsServer, *streams: str) -> None:
    """Delete streams."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    for stream in streams:
        await client.jetstream().delete_stream(stream)
    await client.close()


async def next_of(followed: Any) -> Commit:
    """Return the next followed commit."""
    commit: Commit = await asyncio.wait_for(anext(followed), 5)
    return commit


class TestKilled:
    """The server ends without warning and comes back with its data."""

    @pytest.mark.parametrize("batch", [1, 3])
    def test_nothing_acknowledged_is_lost(self, own_server: NatsServer, batch: int) -> None:
        """Every acknowledged commit is there after the restart, in whole batches, and appends go on after them."""

        async def scenario() -> None:
            commits = chain(60)
            async with opened(own_server) as (here, there):
                tip, answered = EMPTY_TIP, 0

                async def restart() -> None:
                    for _ in range(2):
                        await asyncio.to_thread(own_server.restart)

                restarting = asyncio.ensure_future(restart())
                while answered < len(commits):
                    tip = await appended_again(here, commits[answered : answered + batch], tip)
                    answered += batch
                await restarting
                assert await all_of(there) == commits
                assert await there.tip() == tip

        within(scenario)

    def test_all_calls_say_so_and_work_again(self, own_server: NatsServer) -> None:
        """Each is refused in one line without a host, and nothing hangs."""

        async def scenario() -> None:
            commits = chain(3)
            async with opened(own_server) as (log, _):
                await log.append(commits[:1], expected=EMPTY_TIP)
                own_server.kill()
                calls = (
                    lambda: log.append(commits[1:], expected=commits[0].tip),
                    lambda: log.read(0, 10),
                    log.tip,
                    log.probe,
                    lambda: log.redact([1], done_to=1),
                    lambda: log.compact(Snapshot(commits[0].tip, fold(commits[:1]))),
                    log.newest_snapshot,
                    lambda: log.coordination.publish(b"note"),
                    log.coordination.time_ms,
                    lambda: log.session_records.load("key", now_ms=0),
                    lambda: log.session_records.keep("key", {"a": b"1"}, until_ms=1),
                    lambda: anext(log.follow(0)),
                    lambda: anext(log.coordination.subscribe()),
                )
                for call in calls * 2:
                    with pytest.raises(LogUnavailableError) as error:
                        await call()
                    assert str(error.value).startswith("NATS ")
                    assert "127.0.0.1" not in str(error.value)
                    assert "\n" not in str(error.value)
                async with log.turn(0) as missed:
                    assert list(missed) == []
                await log.save(Snapshot(commits[0].tip, fold(commits[:1])))
                await log.record([DeliveryRecord(1, ConnectionId("c_1"), "get", 1)])
                await asyncio.to_thread(own_server.start)
                assert await log.append(commits[1:], expected=commits[0].tip) == commits[2].tip
                assert await all_of(log) == commits
                async with log.turn(1) as missed:
                    assert list(missed) == commits[1:]
                await log.probe()
                assert await log.coordination.time_ms()

        within(scenario)

    def test_a_follower_and_a_listener_are_told(self, own_server: NatsServer) -> None:
        """They can be started again afterwards, and miss nothing."""

        async def scenario() -> None:
            commits = chain(3)
            async with opened(own_server) as (here, there):
                async with aclosing(there.follow(0)) as followed, aclosing(there.coordination.subscribe()) as notes:
                    await here.append(commits[:1], expected=EMPTY_TIP)
                    assert await next_of(followed) == commits[0]
                    listening = asyncio.ensure_future(anext(notes))
                    await settle(1)
                    await there.coordination.publish(b"before")
                    assert await listening == b"before"
                    own_server.kill()
                    for waiting in (anext(followed), anext(notes)):
                        with pytest.raises(LogUnavailableError):
                            await asyncio.wait_for(waiting, 5)
                await asyncio.to_thread(own_server.start)
                await here.append(commits[1:2], expected=commits[0].tip)
                async with aclosing(there.follow(1)) as followed:
                    assert await next_of(followed) == commits[1]
                    await here.append(commits[2:], expected=commits[1].tip)
                    assert await next_of(followed) == commits[2]

        within(scenario)

    def test_a_log_of_which_all_is_trimmed_goes_on(self, own_server: NatsServer) -> None:
        """An empty stream keeps its last sequence, also over a restart."""

        async def scenario() -> None:
            commits = chain(4)
            async with opened(own_server) as (here, there):
                await here.append(commits[:3], expected=EMPTY_TIP)
                base = Snapshot(commits[2].tip, fold(commits[:3]))
                await here.compact(base)
                await asyncio.to_thread(own_server.restart)
                assert await there.tip() == commits[2].tip
                assert await there.newest_snapshot() == base
                assert await there.append(commits[3:], expected=commits[2].tip) == commits[3].tip
                assert await all_of(here) == commits[3:]

        within(scenario)

    def test_an_erased_last_commit_stays_the_last(self, own_server: NatsServer) -> None:
        """The log goes on after it, also over a restart."""

        async def scenario() -> None:
            commits = conversation("one", "two")
            async with opened(own_server) as (here, there):
                await here.append(commits[:3], expected=EMPTY_TIP)
                await here.redact([3], done_to=3)
                assert await there.tip() == commits[2].tip
                await asyncio.to_thread(own_server.restart)
                assert await there.tip() == commits[2].tip
                with pytest.raises(Conflict):
                    await there.append([another_after(commits[:2])], expected=commits[1].tip)
                assert await there.append([], expected=commits[2].tip) == commits[2].tip
                assert await there.append(commits[3:], expected=commits[2].tip) == commits[3].tip

        within(scenario)


class TestSilent:
    """The server is there and does not answer."""

    def test_an_append_does_not_hang(self, own_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is given up after a while; made again, it is answered as done."""
        monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.2)
        monkeypatch.setattr(client_module, "CONNECT_SECONDS", 1.0)

        async def scenario() -> None:
            commits = chain(4)
            async with opened(own_server) as (log, _):
                tip = await log.append(commits[:1], expected=EMPTY_TIP)
                for batch in (commits[1:2], commits[2:]):
                    own_server.pause()
                    try:
                        with pytest.raises(LogUnavailableError, match="does not answer in time"):
                            await log.append(batch, expected=tip)
                    finally:
                        own_server.resume()
                    tip = await appended_again(log, batch, tip)
                assert tip == commits[3].tip
                assert await all_of(log) == commits

        within(scenario)

    def test_a_follower_notices(self, own_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A quiet server with answers is no error; a silent one is."""
        monkeypatch.setattr(following, "HEARTBEAT_SECONDS", 0.1)
        monkeypatch.setattr(following, "SILENT_SECONDS", 0.5)

        async def scenario() -> None:
            commits = chain(2)
            async with opened(own_server) as (here, there), aclosing(there.follow(0)) as followed:
                hearing = asyncio.ensure_future(anext(followed))
                await asyncio.wait({hearing}, timeout=1)
                await here.append(commits[:1], expected=EMPTY_TIP)
                assert await hearing == commits[0]
                own_server.pause()
                try:
                    with pytest.raises(LogUnavailableError, match="does not answer in time"):
                        await next_of(followed)
                finally:
                    own_server.resume()

        within(scenario)

    def test_a_start_and_an_end_do_not_hang(self, own_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A log is closed within seconds, and an attempt to open one fails."""
        monkeypatch.setattr(client_module, "CLOSE_SECONDS", 0.1)
        monkeypatch.setattr(turns, "CLOSE_SECONDS", 0.1)
        monkeypatch.setattr(open_module, "CONNECT_SECONDS", 0.1)
        monkeypatch.setattr(open_module, "ANSWER_SECONDS", 0.1)

        async def scenario() -> None:
            async with opened(own_server) as (log, _):
                await log.tip()
                own_server.pause()
                try:
                    with pytest.raises(LogUnavailableError, match="does not answer in time"):
                        async with opened(own_server):
                            pass
                    calls = [asyncio.ensure_future(call) for call in (log.tip(), log.turn(0).__aenter__())]
                    await settle(1)
                    await log.close()
                    with pytest.raises(LogUnavailableError):
                        await calls[0]
                    assert list(await calls[1]) == []
                    with pytest.raises(LogUnavailableError, match="closed"):
                        await log.tip()
                finally:
                    own_server.resume()

        within(scenario)


class TestCancelled:
    """Callers go while they wait."""

    def test_no_answer_is_left_for_a_later_call(self, own_server: NatsServer) -> None:
        """Begun calls are finished; the next calls get their own answers."""

        async def scenario() -> None:
            commits = chain(40)
            async with opened(own_server) as (here, there):
                tip = EMPTY_TIP
                for number, commit in enumerate(commits):
                    append = asyncio.ensure_future(here.append([commit], expected=tip))
                    others = [asyncio.ensure_future(call) for call in (here.tip(), here.read(0, number + 1))]
                    await settle(number % 4)
                    for call in (append, *others):
                        call.cancel()
                    await asyncio.gather(append, *others, return_exceptions=True)
                    tip = await here.append([commit], expected=tip)
                    assert tip == commit.tip
                    assert await here.tip() == tip
                    assert len(await here.read(0, 100)) == number + 1
                assert await all_of(there) == commits

        within(scenario)

    def test_a_follower_ends_at_once(self, own_server: NatsServer) -> None:
        """A cancellation is not swallowed at any step."""

        async def scenario() -> None:
            async with opened(own_server) as (here, _):
                for hops in range(30):
                    following = asyncio.ensure_future(anext(here.follow(0)))
                    await settle(hops)
                    following.cancel()
                    await asyncio.wait({following}, timeout=5)
                    assert following.cancelled()

        within(scenario)


class TestForgetful:
    """The server has lost streams."""

    def test_a_log_that_is_gone_is_said_to_be(self, own_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A wiped server is not taken for an empty log. Its broker has to start again to append or follow."""
        monkeypatch.setattr(following, "HEARTBEAT_SECONDS", 0.1)
        monkeypatch.setattr(following, "SILENT_SECONDS", 0.3)

        async def scenario() -> None:
            name, commits = new_name(), chain(2)
            async with opened(own_server, name) as (log,):
                await log.append(commits[:1], expected=EMPTY_TIP)
                async with aclosing(log.follow(1)) as followed:
                    hearing = asyncio.ensure_future(anext(followed))
                    await asyncio.wait({hearing}, timeout=0.1)
                    await wipe(own_server, *Layout(name).streams)
                    with pytest.raises(LogUnavailableError):
                        await asyncio.wait_for(hearing, 5)
                for call in (log.tip, log.probe, lambda: log.read(0, 10)):
                    with pytest.raises(LogUnavailableError, match="gone"):
                        await asyncio.wait_for(call(), 5)
                calls = lambda: log.append(commits[1:], expected=commits[0].tip), lambda: anext(log.follow(0))
                for call in calls:
                    with pytest.raises(LogRolledBackError, match="gone"):
                        await asyncio.wait_for(call(), 5)

        within(scenario)

    def test_nothing_is_written_where_a_log_is_gone(self, own_server: NatsServer) -> None:
        """The next start finds nothing of it, and makes a new log."""

        async def scenario() -> None:
            name, commits = new_name(), chain(2)
            layout = Layout(name)
            async with opened(own_server, name) as (log,):
                await log.append(commits[:1], expected=EMPTY_TIP)
                await wipe(own_server, *layout.streams)
                snapshot = Snapshot(commits[0].tip, fold(commits[:1]))
                await log.record([DeliveryRecord(1, ConnectionId("c_1"), "get", 1)])
                await log.save(snapshot)
                calls = (
                    lambda: log.redact([1], done_to=1),
                    lambda: log.compact(snapshot),
                    log.probe,
                    log.newest_snapshot,
                    lambda: log.session_records.keep("key", {"a": b"1"}, until_ms=2**40),
                )
                for call in calls:
                    with pytest.raises(LogUnavailableError):
                        await call()
                async with log.turn(0) as missed:
                    assert list(missed) == []
                client = await nats.connect(f"nats://127.0.0.1:{own_server.port}")
                streams = {info.config.name for info in await client.jetstream().streams_info()}
                await client.close()
                assert not streams & set(layout.streams)
                async with opened(own_server, name) as (again,):
                    assert again.epoch != log.epoch
                    assert await again.append(commits[:1], expected=EMPTY_TIP) == commits[0].tip

        within(scenario)

    def test_a_follower_notices_a_log_that_became_shorter(self, own_server: NatsServer) -> None:
        """A restored backup ends before the followed position."""

        async def scenario() -> None:
            commits = chain(3)
            async with opened(own_server) as (log, _):
                await log.append(commits[:2], expected=EMPTY_TIP)
                with pytest.raises(LogRolledBackError, match="ends at position 2, and had a commit at 3"):
                    await anext(log.follow(3))

        within(scenario)


class TestCluster:
    """Three servers with three replicas."""

    @pytest.mark.slow
    def test_a_log_outlives_its_leader(self) -> None:
        """Every acknowledged commit is there after the stream's leader is killed; followers begin anew."""

        async def scenario() -> None:
            commits = chain(30)
            servers = cluster()
            try:
                await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
                addresses = ",".join(f"127.0.0.1:{server.port}" for server in servers)
                url = f"nats://{addresses}/?name=chat&synced=always&replicas=3"
                log = await open_when_ready(url)
                try:
                    tip = await appended_again(log, commits[:10], EMPTY_TIP)
                    leader = await leader_of(servers, Layout("chat").log_stream)
                    leader.kill()
                    for commit in commits[10:]:
                        tip = await appended_again(log, [commit], tip)
                    assert tip == commits[-1].tip
                    assert await until_answered(log.tip) == tip
                    assert list(await until_answered(lambda: log.read(0, 100))) == commits
                    assert await until_answered(lambda: anext(log.follow(29))) == commits[29]
                    assert "the loss of 1 of 3 servers" in log.survives
                finally:
                    await log.close()
            finally:
                for server in servers:
                    server.stop()

        async def bounded() -> None:
            async with asyncio.timeout(90):
                await scenario()

        asyncio.run(bounded())


def cluster() -> list[NatsServer]:
    """Three connected servers."""
    ports = [free_port() for _ in range(3)]
    routes = ", ".join(f"'nats://127.0.0.1:{port}'" for port in ports)
    return [
        NatsServer(f"server_name: n{number}\ncluster {{ name: c, listen: '127.0.0.1:{port}', routes: [{routes}] }}\n")
        for number, port in enumerate(ports)
    ]


async def open_when_ready(url: str) -> NatsLog:
    """Open a log once the cluster has leaders."""
    return await until_answered(lambda: open_log(url, PickledStates()))


async def until_answered(call: Any) -> Any:
    """Call until the store answers."""
    while True:
        try:
            return await call()
        except LogUnavailableError:
            await asyncio.to_thread(lambda: None)


async def leader_of(servers: list[NatsServer], stream: str) -> NatsServer:
    """Return the leader of a stream."""
    client = await nats.connect(f"nats://127.0.0.1:{servers[0].port}")
    info = await client.jetstream().stream_info(stream)
    await client.close()
    return servers[int(info.cluster.leader.removeprefix("n"))]
