"""A log in Redis while the engine is killed, silent or forgetful, and while callers go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from events.commit import EMPTY_TIP, Commit, Tip, redact
from events.ids import ConnectionId
from events.log import Conflict, DeliveryRecord, LogRolledBackError, LogUnavailableError, Snapshot
from events.redis import client as client_module
from events.redis import coordination, following
from events.redis import open as open_module
from events.redis.log import RedisLog
from projections.state import fold
from tests.stores.redis_logs import new_name, opened, within
from tests.support.engines.redis import RedisServer, running
from tests.support.fake_clock import settle
from tests.support.limits import HUNG_SECONDS, limited
from tests.support.log_contract import all_of, another_after, chain, conversation


@pytest.fixture(params=["valkey", "redis"], scope="module")
def own_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server for tests to kill."""
    with running(request.param) as server:
        yield server


async def appended_again(log: RedisLog, commits: list[Commit], expected: Tip) -> Tip:
    """Append, as often as the engine does not answer."""
    while True:
        try:
            return await log.append(commits, expected=expected)
        except LogUnavailableError:
            await settle(1)


def wipe(server: RedisServer, name: str) -> None:
    """Delete all keys of a log."""
    server.client.delete(*server.client.keys(f"{{{name}}}:*"))


async def next_of(followed: Any) -> Commit:
    """Return the next followed commit."""
    commit: Commit = await asyncio.wait_for(anext(followed), HUNG_SECONDS)
    return commit


class TestKilled:
    """The engine ends without warning and comes back with its file."""

    def test_nothing_acknowledged_is_lost(self, own_server: RedisServer) -> None:
        """Every acknowledged commit is there after the restart, and appends go on after them."""

        async def scenario() -> None:
            commits = chain(60)
            async with opened(own_server) as (here, there):
                tip, answered = EMPTY_TIP, 0

                async def restart() -> None:
                    for _ in range(2):
                        await asyncio.to_thread(own_server.kill)
                        await asyncio.to_thread(own_server.start)

                restarting = asyncio.ensure_future(restart())
                while answered < len(commits) or not restarting.done():
                    if answered == len(commits):
                        await restarting
                        break
                    tip = await appended_again(here, commits[answered : answered + 1], tip)
                    answered += 1
                assert await all_of(there) == commits
                assert await there.tip() == tip

        within(scenario)

    def test_all_calls_say_so_and_work_again(self, own_server: RedisServer) -> None:
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
                    assert str(error.value).startswith("Redis ")
                    assert "127.0.0.1" not in str(error.value)
                    assert "\n" not in str(error.value)
                async with log.turn(0) as missed:
                    assert list(missed) == []
                await asyncio.to_thread(own_server.start)
                assert await log.append(commits[1:], expected=commits[0].tip) == commits[2].tip
                assert await all_of(log) == commits
                async with log.turn(1) as missed:
                    assert list(missed) == commits[1:]
                await log.probe()
                assert await log.coordination.time_ms()

        within(scenario)

    def test_a_follower_and_a_listener_are_told(self, own_server: RedisServer) -> None:
        """They can be started again afterwards."""

        async def scenario() -> None:
            commits = chain(2)
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
                async with aclosing(there.follow(1)) as followed:
                    await here.append(commits[1:], expected=commits[0].tip)
                    assert await next_of(followed) == commits[1]

        within(scenario)


class TestSilent:
    """The engine is there and does not answer."""

    def test_an_append_does_not_hang(self, own_server: RedisServer) -> None:
        """It is given up after a while; made again, it is answered as done."""

        async def scenario() -> None:
            commits = chain(2)
            async with opened(own_server) as (log, _):
                await log.append(commits[:1], expected=EMPTY_TIP)
                own_server.pause()
                try:
                    with (
                        limited(client_module, ANSWER_SECONDS=0.2, CONNECT_SECONDS=0.1),
                        pytest.raises(LogUnavailableError, match="does not answer in time"),
                    ):
                        await log.append(commits[1:], expected=commits[0].tip)
                finally:
                    own_server.resume()
                assert await log.append(commits[1:], expected=commits[0].tip) == commits[1].tip
                assert await all_of(log) == commits

        within(scenario)

    def test_a_listener_notices(self, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a while without a note it asks; a quiet engine with answers is no error."""
        monkeypatch.setattr(coordination, "SILENT_SECONDS", 0.02)

        async def scenario() -> None:
            async with opened(own_server) as (here, there):
                async with aclosing(here.coordination.subscribe()) as notes:
                    listening = asyncio.ensure_future(anext(notes))
                    await asyncio.wait({listening}, timeout=0.1)
                    await there.coordination.publish(b"note")
                    assert await listening == b"note"
                async with aclosing(here.coordination.subscribe()) as notes:
                    listening = asyncio.ensure_future(anext(notes))
                    await settle(1)
                    await here.coordination.publish(b"another")
                    assert await listening == b"another"
                    own_server.pause()
                    try:
                        with (
                            limited(coordination, ANSWER_SECONDS=0.2),
                            pytest.raises(LogUnavailableError, match="does not answer in time"),
                        ):
                            await anext(notes)
                    finally:
                        own_server.resume()

        within(scenario)

    def test_a_start_and_an_end_do_not_hang(self, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A log is closed within seconds, and an attempt to open one fails."""
        monkeypatch.setattr(client_module, "CLOSE_SECONDS", 0.1)

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

    def test_no_answer_is_left_for_a_later_call(self, redis_server: RedisServer) -> None:
        """Begun calls are finished; the next calls get their own answers."""

        async def scenario() -> None:
            commits = chain(40)
            async with opened(redis_server) as (here, there):
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

    def test_followers_and_turns_leave_nothing_open(self, redis_server: RedisServer) -> None:
        """Cancelled at any step, they end; the log is closed without a connection left."""

        async def scenario() -> None:
            async with opened(redis_server) as (here, _):
                before = connections_of(redis_server)
                for hops in range(12):
                    tasks = [
                        asyncio.ensure_future(work)
                        for work in (
                            anext(here.follow(0)),
                            anext(here.coordination.subscribe()),
                            here.turn(0).__aenter__(),
                        )
                    ]
                    await settle(hops)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
                await here.tip()
                async with here.turn(0):
                    pass
            while connections_of(redis_server) > before - 2:
                await settle(1)

        within(scenario)


class TestForgetful:
    """The engine has forgotten the scripts."""

    def test_scripts_are_sent_again(self, redis_server: RedisServer) -> None:
        """Every call does so, also in the middle of following and of a turn."""

        async def scenario() -> None:
            commits = chain(6)
            async with opened(redis_server) as (here, there), aclosing(there.follow(0)) as followed:
                tip = EMPTY_TIP
                for commit in commits:
                    redis_server.client.script_flush()
                    tip = await here.append([commit], expected=tip)
                    redis_server.client.script_flush()
                    assert await next_of(followed) == commit
                    redis_server.client.script_flush()
                    async with there.turn(0) as missed:
                        assert len(missed) == commit.position
                    redis_server.client.script_flush()
                    assert await there.tip() == tip

        within(scenario)

    def test_a_log_that_is_gone_is_said_to_be(self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """A wiped engine is not taken for an empty log. Its broker has to start again to append or follow."""
        monkeypatch.setattr(following, "BLOCK_MS", 20)

        async def scenario() -> None:
            name, commits = new_name(), chain(2)
            async with opened(redis_server, name) as (log,):
                await log.append(commits[:1], expected=EMPTY_TIP)
                wipe(redis_server, name)
                for call in (lambda: log.read(0, 10), log.tip, log.probe, lambda: log.redact([1], done_to=1)):
                    with pytest.raises(LogUnavailableError, match="gone"):
                        await asyncio.wait_for(call(), HUNG_SECONDS)
                calls = lambda: log.append(commits[1:], expected=commits[0].tip), lambda: anext(log.follow(0))
                for call in calls:
                    with pytest.raises(LogRolledBackError, match="gone"):
                        await asyncio.wait_for(call(), HUNG_SECONDS)

        within(scenario)

    def test_nothing_is_written_where_a_log_is_gone(self, redis_server: RedisServer) -> None:
        """The next start finds no key of it, and makes a new log."""

        async def scenario() -> None:
            name, commits = new_name(), chain(2)
            async with opened(redis_server, name) as (log,):
                await log.append(commits[:1], expected=EMPTY_TIP)
                wipe(redis_server, name)
                await log.record([DeliveryRecord(1, ConnectionId("c_1"), "get", 1)])
                await log.session_records.keep("key", {"a": b"1"}, until_ms=2**40)
                await log.save(Snapshot(commits[0].tip, fold(commits[:1])))
                with suppress(LogUnavailableError, LogRolledBackError):
                    await log.compact(Snapshot(commits[0].tip, fold(commits[:1])))
                for call in (lambda: log.redact([1], done_to=1), log.probe):
                    with pytest.raises(LogUnavailableError):
                        await call()
                async with log.turn(0) as missed:
                    assert list(missed) == []
                await log.coordination.renew_epoch(log.epoch)
                assert redis_server.client.keys(f"{{{name}}}:*") == []
                async with opened(redis_server, name) as (again,):
                    assert again.epoch != log.epoch
                    assert await again.append(commits[:1], expected=EMPTY_TIP) == commits[0].tip

        within(scenario)


class TestFollowing:
    """Redacted and own commits, as followers get them."""

    def test_what_is_redacted_before_it_comes_is_not_heard(self, redis_server: RedisServer) -> None:
        """This holds for another broker's commit, and for one appended by this broker."""

        async def scenario() -> None:
            commits = conversation("one", "two")
            async with opened(redis_server) as (here, there):
                await here.append(commits, expected=EMPTY_TIP)
                for log in (here, there):
                    async with aclosing(log.follow(0)) as followed:
                        assert [await next_of(followed) for _ in commits] == commits
                async with aclosing(here.follow(1)) as own, aclosing(there.follow(1)) as other:
                    for followed in (own, other):
                        assert await next_of(followed) == commits[1]
                    await here.redact([3, 4], done_to=4)
                for log in (here, there):
                    async with aclosing(log.follow(2)) as followed:
                        assert [await next_of(followed) for _ in commits[2:]] == [redact(c) for c in commits[2:]]

        within(scenario)

    def test_own_commits_are_not_decoded(self, redis_server: RedisServer) -> None:
        """The follower gets the very objects of the append; equal ones of another broker are decoded."""

        async def scenario() -> None:
            commits = conversation("one")
            async with opened(redis_server) as (here, there):
                await here.append(commits, expected=EMPTY_TIP)
                async with aclosing(here.follow(0)) as own, aclosing(there.follow(0)) as other:
                    for commit in commits:
                        assert await next_of(own) is commit
                        heard = await next_of(other)
                        assert heard == commit
                        assert heard is not commit

        within(scenario)

    def test_what_came_with_a_turn_or_a_conflict_is_not_decoded_again(self, redis_server: RedisServer) -> None:
        """The follower hears the very objects."""

        async def scenario() -> None:
            commits = conversation("one", "two")
            async with opened(redis_server) as (here, there):
                await there.append(commits[:2], expected=EMPTY_TIP)
                async with here.turn(0) as came:
                    assert list(came) == commits[:2]
                await there.append(commits[2:], expected=commits[1].tip)
                with pytest.raises(Conflict) as late:
                    await here.append([another_after(commits[:2])], expected=commits[1].tip)
                async with aclosing(here.follow(0)) as followed:
                    for known in (*came, *late.value.missed):
                        assert await next_of(followed) is known

        within(scenario)


def connections_of(server: RedisServer) -> int:
    """Return how many connections the engine has."""
    return int(server.client.info("clients")["connected_clients"])
