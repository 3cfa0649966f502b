"""A log in NATS while the server is killed, silent or forgetful, and while callers go."""

from __future__ import annotations

import asyncio
import gc
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
from tests.support.limits import HUNG_SECONDS, limited
from tests.support.log_contract import PickledStates, all_of, another_after, chain, conversation


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
    commit: Commit = await asyncio.wait_for(anext(followed), HUNG_SECONDS)
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
                            await asyncio.wait_for(waiting, HUNG_SECONDS)
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

    def test_no_traceback_is_printed(self, own_server: NatsServer) -> None:
        """Requests that were under way beside a failed one are told to nobody."""
        told = list[str]()

        async def scenario() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(f"{context}"))
            commits = chain(3)
            async with opened(own_server) as (log, _):
                await log.append(commits, expected=EMPTY_TIP)
                for steps in range(8):
                    await until_answered(log.tip)
                    calls = [asyncio.ensure_future(log.read(0, 10)) for _ in range(3)]
                    await settle(steps)
                    own_server.kill()
                    await asyncio.gather(*calls, return_exceptions=True)
                    gc.collect()
                    await asyncio.to_thread(own_server.start)

        within(scenario)
        assert told == []


class TestSilent:
    """The server is there and does not answer."""

    def test_a_dead_server_with_much_under_way_is_left(self) -> None:
        """Its machine has no power, so nothing ever answers the bytes that were sent. A new connection is made."""

        async def scenario() -> None:
            commits = conversation(*("x" * 4_000 for _ in range(900)))
            with running() as server:
                async with Relay(server.port) as relay:
                    with limited(client_module, PING_SECONDS=0.2):
                        log = await open_log(relay.url, PickledStates())
                        tip = await appended_again(log, commits[:2], EMPTY_TIP)
                        relay.freeze()
                        with pytest.raises(LogUnavailableError):
                            await log.append(commits[2:], expected=tip)
                    relay.thaw()
                    assert await appended_again(log, commits[2:], tip) == commits[-1].tip
                    await log.close()

        within(scenario)

    def test_an_append_does_not_hang(self, own_server: NatsServer) -> None:
        """It is given up after a while; made again, it is answered as done."""

        async def scenario() -> None:
            commits = chain(4)
            async with opened(own_server) as (log, _):
                tip = await log.append(commits[:1], expected=EMPTY_TIP)
                for batch in (commits[1:2], commits[2:]):
                    own_server.pause()
                    try:
                        with (
                            limited(client_module, ANSWER_SECONDS=0.2),
                            pytest.raises(LogUnavailableError, match="does not answer in time"),
                        ):
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
        monkeypatch.setattr(following, "SILENT_SECONDS", 2.0)

        async def scenario() -> None:
            commits = chain(2)
            async with opened(own_server) as (here, there), aclosing(there.follow(0)) as followed:
                hearing = asyncio.ensure_future(anext(followed))
                await asyncio.wait({hearing}, timeout=1)
                await here.append(commits[:1], expected=EMPTY_TIP)
                assert await hearing == commits[0]
                own_server.pause()
                try:
                    with (
                        limited(following, SILENT_SECONDS=0.2),
                        pytest.raises(LogUnavailableError, match="does not answer in time"),
                    ):
                        await next_of(followed)
                finally:
                    own_server.resume()

        within(scenario)

    def test_a_start_and_an_end_do_not_hang(self, own_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A log is closed within seconds, and an attempt to open one fails."""
        monkeypatch.setattr(client_module, "CLOSE_SECONDS", 0.1)
        monkeypatch.setattr(turns, "CLOSE_SECONDS", 0.1)

        async def scenario() -> None:
            async with opened(own_server) as (log, _):
                await log.tip()
                own_server.pause()
                try:
                    with (
                        limited(open_module, CONNECT_SECONDS=0.1, ANSWER_SECONDS=0.1),
                        pytest.raises(LogUnavailableError, match="does not answer in time"),
                    ):
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
        monkeypatch.setattr(following, "SILENT_SECONDS", 2.0)

        async def scenario() -> None:
            name, commits = new_name(), chain(2)
            async with opened(own_server, name) as (log,):
                await log.append(commits[:1], expected=EMPTY_TIP)
                async with aclosing(log.follow(1)) as followed:
                    hearing = asyncio.ensure_future(anext(followed))
                    await asyncio.wait({hearing}, timeout=0.1)
                    await wipe(own_server, *Layout(name).streams)
                    with pytest.raises(LogUnavailableError):
                        await asyncio.wait_for(hearing, HUNG_SECONDS)
                for call in (log.tip, log.probe, lambda: log.read(0, 10)):
                    with pytest.raises(LogUnavailableError, match="gone"):
                        await asyncio.wait_for(call(), HUNG_SECONDS)
                calls = lambda: log.append(commits[1:], expected=commits[0].tip), lambda: anext(log.follow(0))
                for call in calls:
                    with pytest.raises(LogRolledBackError, match="gone"):
                        await asyncio.wait_for(call(), HUNG_SECONDS)

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


async def until_answered(call: Any) -> None:
    """Call until the store answers."""
    while True:
        try:
            await call()
        except LogUnavailableError:
            await settle(1)
        else:
            return


class Relay:
    """A network to a server. Its connections can be frozen, so that nothing comes through and none of them ends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sinks: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        """The URL of a log behind it."""
        port = self._listening.sockets[0].getsockname()[1]
        return f"nats://127.0.0.1:{port}/?synced=always"

    async def __aenter__(self) -> Relay:
        self._listening = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sink in self._sinks:
            sink.transport.abort()
        await settle(2)

    def freeze(self) -> None:
        """Let nothing through on the present connections."""
        self._may_pass.clear()

    def thaw(self) -> None:
        """Let later connections through."""
        self._may_pass = asyncio.Event()
        self._may_pass.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self._port)
        for source, sink in ((reader, there[1]), (there[0], writer)):
            self._sinks.append(sink)
            self._tasks.add(asyncio.ensure_future(self._carry(source, sink, self._may_pass)))

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, may_pass: asyncio.Event) -> None:
        while some := await source.read(1_000):
            await may_pass.wait()
            sink.write(some)
            await sink.drain()
        sink.close()
