"""The log in PostgreSQL when things go wrong: crashes, dead peers and cancelled callers; and several brokers on it."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from broker import stores
from broker.broker import Broker
from broker.clock import SystemClock
from events import snapshot_parts
from events.commands import SendMessage
from events.commit import EMPTY_TIP, Commit, Tip, commit_after, redact
from events.ids import RoomId
from events.log import Conflict, LogUnavailableError, Snapshot, UnusableLogError
from events.policy import Policy
from events.postgresql import coordination as coordination_module
from events.postgresql import link as link_module
from events.postgresql import log as log_module
from events.postgresql import redaction
from events.postgresql import session_records as session_records_module
from events.postgresql import snapshots as snapshots_module
from events.postgresql.known_commits import KNOWN_COMMITS_MAX
from events.postgresql.layout import lock_of
from events.postgresql.log import PostgresqlLog
from events.postgresql.open import open_log
from projections.snapshots import STATE_CODEC
from projections.state import fold
from tests.stores.broker_pairs import brokers_on, talk_while_down
from tests.support.engines.postgresql import Server, new_name, server
from tests.support.fake_clock import settle
from tests.support.limits import HUNG_SECONDS, limited
from tests.support.log_contract import PickledStates, all_of, another_after, chain, conversation
from tests.support.logs import log_of
from tests.support.people import ANN, BOB, enter, say


@asynccontextmanager
async def opened(name: str | None = None, count: int = 1) -> AsyncIterator[list[PostgresqlLog]]:
    """Open one log so many times."""
    name, logs = name or new_name(), list[PostgresqlLog]()
    try:
        for _ in range(count):
            logs.append(await open_log(server().url(name), PickledStates(), synchronous="full"))
        yield logs
    finally:
        await asyncio.gather(*(log.close() for log in logs))


def on_log(count: int = 1) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[[object], None]]:
    """Run a test with so many ways to one empty log as its arguments."""

    def decorate(scenario: Callable[..., Coroutine[Any, Any, None]]) -> Callable[[object], None]:
        def wrapper(self: object) -> None:
            async def whole() -> None:
                async with opened(count=count) as logs:
                    await asyncio.wait_for(scenario(self, *logs), HUNG_SECONDS)

            asyncio.run(whole())

        wrapper.__doc__ = scenario.__doc__
        return wrapper

    return decorate


async def until_it_answers(log: PostgresqlLog) -> Tip:
    """Return the tip as soon as the server answers again."""
    async with asyncio.timeout(HUNG_SECONDS):
        while True:
            try:
                return await log.tip()
            except LogUnavailableError:
                await asyncio.sleep(0)  # the connection is tried again with each call


@cache
def mortal_server() -> Server:
    """A server for tests to kill."""
    mortal = Server(server()._binaries)
    atexit.register(mortal.remove)
    return mortal


class TestCrashes:
    """A server's crash and its restart."""

    def test_nothing_acknowledged_is_lost(self) -> None:
        """The server is killed in the middle of appends; every acknowledged commit is there when it is back."""
        own = mortal_server()

        async def scenario() -> None:
            name, commits, stored, enough = new_name(), chain(400), list[Commit](), asyncio.Event()
            log = await open_log(own.url(name), PickledStates(), synchronous="full")

            async def write() -> None:
                tip = EMPTY_TIP
                for commit in commits:
                    tip = await log.append([commit], expected=tip)
                    stored.append(commit)
                    if len(stored) == 20:
                        enough.set()

            writing = asyncio.ensure_future(write())
            await asyncio.wait_for(enough.wait(), HUNG_SECONDS)
            await asyncio.to_thread(own.kill)
            with pytest.raises(LogUnavailableError):
                await writing
            with pytest.raises(LogUnavailableError):
                await log.probe()
            await asyncio.to_thread(own.start)
            await until_it_answers(log)
            found = await all_of(log)
            assert found == commits[: len(found)]
            assert len(found) - len(stored) in (0, 1)
            await log.append(commits[len(found) : len(found) + 1], expected=found[-1].tip)
            async with aclosing(log.follow(len(found))) as followed:
                assert await asyncio.wait_for(anext(followed), HUNG_SECONDS) == commits[len(found)]
            await log.close()

        asyncio.run(scenario())

    def test_a_conversation_over_two_brokers_outlives_it(self) -> None:
        """Messages sent while the server is down are answered when it is back, each stored once."""
        own, name = mortal_server(), new_name()

        async def scenario() -> None:
            async with brokers_on(lambda: open_log(own.url(name), STATE_CODEC, synchronous="full")) as (here, there):
                await talk_while_down(here, there, own)

        asyncio.run(scenario())

    def test_a_record_of_a_session_survives(self) -> None:
        """It survives from its acknowledgement on, since its client was answered then."""
        own = mortal_server()

        async def scenario() -> None:
            log = await open_log(own.url(new_name()), PickledStates(), synchronous="full")
            await log.session_records.keep("key", {"a": b"1"}, until_ms=100)
            await asyncio.to_thread(own.kill)
            await asyncio.to_thread(own.start)
            await until_it_answers(log)
            assert await log.session_records.load("key", now_ms=0) == {"a": b"1"}
            await log.close()

        asyncio.run(scenario())

    def test_a_server_that_is_away_is_waited_for(self) -> None:
        """Opening fails and says why; a subscriber and a follower hear of it, and begin anew after it."""
        own = mortal_server()

        async def scenario() -> None:
            url = own.url(new_name())
            log = await open_log(url, PickledStates(), synchronous="full")
            notes, followed = log.coordination.subscribe(), log.follow(0)
            hearing = [asyncio.ensure_future(anext(each)) for each in (notes, followed)]
            await log.coordination.publish(b"begun")
            assert await hearing[0] == b"begun"
            hearing[0] = asyncio.ensure_future(anext(notes))
            await asyncio.to_thread(own.kill)
            for waiting in hearing:
                with pytest.raises(LogUnavailableError):
                    await asyncio.wait_for(waiting, HUNG_SECONDS)
            with pytest.raises(LogUnavailableError):
                await open_log(url, PickledStates(), synchronous="full")
            async with log.turn(0) as missed:
                assert missed == ()
            await asyncio.to_thread(own.start)
            await until_it_answers(log)
            again = asyncio.ensure_future(anext(log.coordination.subscribe()))
            await asyncio.sleep(0)
            await log.coordination.publish(b"back")
            assert await asyncio.wait_for(again, HUNG_SECONDS) == b"back"
            await log.close()

        asyncio.run(scenario())


class TestDeadPeers:
    """A hanging connection delays its callers only briefly."""

    def test_a_server_that_hangs_is_given_up(self) -> None:
        """The server's process is stopped; the append fails in time, and the next one works."""

        async def scenario() -> None:
            async with opened() as (log,):
                commits = chain(3)
                await log.append(commits[:1], expected=EMPTY_TIP)
                pid = log._writer.server_pid
                os.kill(pid, signal.SIGSTOP)
                try:
                    with (
                        limited(link_module, CALL_SECONDS=0.3),
                        pytest.raises(LogUnavailableError, match="does not answer in time"),
                    ):
                        await asyncio.wait_for(log.append(commits[1:2], expected=commits[0].tip), HUNG_SECONDS)
                finally:
                    os.kill(pid, signal.SIGCONT)
                assert await log.append(commits[1:2], expected=commits[0].tip) == commits[1].tip

        asyncio.run(scenario())

    def test_a_log_closes_although_its_server_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The operation under way fails, and a turn still waited for is forgotten."""
        monkeypatch.setattr(link_module, "CLOSE_SECONDS", 0.2)

        async def scenario() -> None:
            async with opened() as (log,):
                pids = [log._writer.server_pid, log._turns._idle[0].server_pid]
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                try:
                    appending = asyncio.ensure_future(log.append(chain(1), expected=EMPTY_TIP))
                    async with log.turn(0) as missed:
                        assert missed == ()
                    await asyncio.wait_for(log.close(), HUNG_SECONDS)
                    with pytest.raises(LogUnavailableError):
                        await appending
                finally:
                    for pid in pids:
                        os.kill(pid, signal.SIGCONT)

        asyncio.run(scenario())

    def test_work_that_waits_for_a_full_socket_is_abandoned(self) -> None:
        """The server is stopped in the middle of much data, where the client library does not hear of the end."""

        async def send_much(connection: Any) -> None:
            statement = await connection.prepare("SELECT $1::text")
            os.kill(connection.get_server_pid(), signal.SIGSTOP)
            await statement.executemany([("x" * 1_000_000,)] * 40)

        async def scenario() -> None:
            async with opened() as (log,):
                commits, pid = chain(1), log._writer.server_pid
                try:
                    with (
                        limited(link_module, CALL_SECONDS=0.3),
                        pytest.raises(LogUnavailableError, match="in time"),
                    ):
                        await asyncio.wait_for(log._writer.run(send_much), HUNG_SECONDS)
                finally:
                    os.kill(pid, signal.SIGCONT)
                assert await log.append(commits, expected=EMPTY_TIP) == commits[0].tip

        asyncio.run(scenario())

    def test_work_that_does_not_notice_the_end_of_its_connection_is_abandoned(self) -> None:
        """The client library waits for a full socket in this way. The next operation works."""

        async def scenario() -> None:
            async with opened() as (log,):
                commits = chain(1)
                with (
                    limited(link_module, CALL_SECONDS=0.2, ABANDON_SECONDS=0.1),
                    pytest.raises(LogUnavailableError, match="in time"),
                ):
                    await asyncio.wait_for(log._writer.run(_never), HUNG_SECONDS)
                assert await log.append(commits, expected=EMPTY_TIP) == commits[0].tip

        asyncio.run(scenario())

    @on_log(1)
    async def test_a_connection_that_breaks_in_a_transaction_is_lost(self, log: PostgresqlLog) -> None:
        """The error says so in any state of the client library."""
        commits = conversation("one")
        await log.append(commits, expected=EMPTY_TIP)

        async def work(connection: Any) -> None:
            async with connection.transaction():
                await server().sql(f"SELECT pg_terminate_backend({connection.get_server_pid()})")
                await connection.execute("SELECT 1")

        with pytest.raises(LogUnavailableError, match="connection"):
            await log._writer.run(work)
        assert await log.append([], expected=commits[-1].tip) == commits[-1].tip

    def test_a_log_closes_although_work_does_not_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is abandoned, also if it has no limit of its own, or opens a connection."""
        for name in ("CLOSE_SECONDS", "ABANDON_SECONDS"):
            monkeypatch.setattr(link_module, name, 0.1)

        async def scenario() -> None:
            async with opened() as (log,):
                working = asyncio.ensure_future(log._writer.run(_never, is_limited=False))
                await asyncio.sleep(0)
                await asyncio.wait_for(log.close(), HUNG_SECONDS)
                with pytest.raises(LogUnavailableError):
                    await working
                link = link_module.Link(log._address, on_open=_never)
                opening = asyncio.ensure_future(link.open())
                await asyncio.sleep(0)
                await asyncio.wait_for(link.close(), HUNG_SECONDS)
                with pytest.raises(LogUnavailableError):
                    await opening

        asyncio.run(scenario())

    @on_log(1)
    async def test_a_server_that_became_a_standby_is_left(self, log: PostgresqlLog) -> None:
        """The next append looks for the primary, where the URL names more hosts than one."""
        commits = chain(1)
        pid = log._writer.server_pid
        await log._writer.execute("SET default_transaction_read_only = on")
        with pytest.raises(LogUnavailableError, match="read-only"):
            await log.append(commits, expected=EMPTY_TIP)
        assert await log.append(commits, expected=EMPTY_TIP) == commits[0].tip
        assert log._writer.server_pid != pid

    def test_an_append_does_not_wait_for_ever_behind_another(self) -> None:
        """A client holds the lock of the log's appends; the server gives the append up."""

        async def scenario() -> None:
            async with opened(count=2) as (log, other):
                commits = chain(1)
                await log._writer.execute("SET statement_timeout = 200")  # opening a log may take longer
                holding, release = asyncio.Event(), asyncio.Event()

                async def hold(connection: Any) -> None:
                    async with connection.transaction():
                        await connection.execute(
                            f"SELECT pg_advisory_xact_lock({lock_of(log._address.schema, 'append')})"
                        )
                        holding.set()
                        await release.wait()

                held = asyncio.ensure_future(other._writer.run(hold))
                await holding.wait()
                with pytest.raises(LogUnavailableError):
                    await log.append(commits, expected=EMPTY_TIP)
                release.set()
                await held
                await log._writer.execute("RESET statement_timeout")
                assert await log.append(commits, expected=EMPTY_TIP) == commits[0].tip

        asyncio.run(scenario())

    def test_a_dead_holder_of_a_turn_does_not_delay_the_next(self) -> None:
        """Its connection ends, and its turn with it."""

        async def scenario() -> None:
            async with opened(count=2) as (dead, here):
                commits = chain(2)
                await here.append(commits, expected=EMPTY_TIP)
                held = dead.turn(0)
                await held.__aenter__()
                (turn,) = dead._turns._held
                await here._side.row("SELECT pg_terminate_backend($1)", turn._link.server_pid)
                async with here.turn(0) as missed:
                    assert list(missed) == commits
                await held.__aexit__(None, None, None)
                async with dead.turn(0) as missed:
                    assert list(missed) == commits

        asyncio.run(scenario())


async def _never(connection: Any) -> None:
    await asyncio.Event().wait()


async def _to_the_end(notes: AsyncIterator[bytes]) -> None:
    async for _ in notes:
        pass


class TestNotes:
    """The brokers' channel when it is disturbed."""

    def test_a_connection_that_hangs_is_noticed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A subscriber hears of it, even without a note."""
        monkeypatch.setattr(coordination_module, "PING_SECONDS", 0.05)

        async def scenario() -> None:
            async with opened() as (log,):
                notes = log.coordination.subscribe()
                hearing = asyncio.ensure_future(anext(notes))
                await asyncio.sleep(0)
                await log.coordination.publish(b"begun")
                assert await hearing == b"begun"
                pid = log.coordination._link.server_pid
                os.kill(pid, signal.SIGSTOP)
                try:
                    with limited(link_module, CALL_SECONDS=0.3), pytest.raises(LogUnavailableError):
                        await asyncio.wait_for(anext(notes), HUNG_SECONDS)
                finally:
                    os.kill(pid, signal.SIGCONT)

        asyncio.run(scenario())

    def test_a_note_of_another_program_is_left_out(self) -> None:
        """Every role of the database may send on the channel."""

        async def scenario() -> None:
            async with opened() as (log,):
                notes = log.coordination.subscribe()
                hearing = asyncio.ensure_future(anext(notes))
                await asyncio.sleep(0)
                await log.coordination.listen()
                await server().sql(f"SELECT pg_notify('{log._address.note_channel}', 'no note!')")
                await server().sql(f"SELECT pg_notify('{log._address.log_channel}', 'no position')")
                await log.coordination.publish(b"a note")
                assert await hearing == b"a note"

        asyncio.run(scenario())

    def test_a_subscriber_that_is_too_far_behind_has_to_begin_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The queue of a subscriber is bounded."""
        monkeypatch.setattr(coordination_module, "QUEUED_NOTES_MAX", 3)

        async def scenario() -> None:
            async with opened() as (log,):
                notes = log.coordination.subscribe()
                hearing = asyncio.ensure_future(anext(notes))
                await asyncio.sleep(0)
                await log.coordination.publish(b"1")
                assert await hearing == b"1"
                for _ in range(5):
                    await log.coordination.publish(b"more")
                with pytest.raises(LogUnavailableError):
                    await _to_the_end(notes)

        asyncio.run(scenario())


class TestCallers:
    """Cancelled callers, and appends of unstorable texts."""

    @on_log()
    async def test_a_cancelled_append_is_done_or_was_never_begun(self, log: PostgresqlLog) -> None:
        """The log works on, and can be closed in the middle of a call."""
        commits = chain(50)
        for number, commit in enumerate(commits):
            before = commits[number - 1].tip if number else EMPTY_TIP
            appending = asyncio.ensure_future(log.append([commit], expected=before))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            appending.cancel()
            await asyncio.gather(appending, return_exceptions=True)
            assert await log.append([commit], expected=before) == commit.tip
        assert await all_of(log) == commits
        reading = [asyncio.ensure_future(log.read(0, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        await log.close()
        for answer in await asyncio.gather(*reading, return_exceptions=True):
            assert isinstance(answer, LogUnavailableError) or answer == commits[:10]

    @on_log()
    async def test_a_text_that_no_database_takes_is_refused_at_once(self, log: PostgresqlLog) -> None:
        """No broker stores such a character; an append of one would not be tried for ever."""
        commits = conversation("hello")
        await log.append(commits, expected=EMPTY_TIP)
        said = commits[-1].command
        assert isinstance(said, SendMessage)
        odd = commit_after(commits[-1].tip, msgspec.structs.replace(said, text="\0"), commits[-1].facts, ())
        with pytest.raises(UnusableLogError, match="can't be stored"):
            await log.append([odd], expected=commits[-1].tip)
        with pytest.raises(Conflict):
            await log.append([another_after([])], expected=EMPTY_TIP)
        assert await all_of(log) == commits

    @on_log()
    async def test_a_follower_ends_when_it_is_cancelled(self, log: PostgresqlLog) -> None:
        """This holds right after it was woken too; else a broker would wait for ever for its end."""
        for steps in range(8):
            following = asyncio.ensure_future(anext(log.follow(0)))
            await settle()
            await log.tip()  # after the follower's look, over the same connection
            await settle()
            log._wake()
            await settle(steps)
            following.cancel()
            done, _ = await asyncio.wait({following}, timeout=5)
            assert done, steps
            assert following.cancelled(), steps

    @on_log()
    async def test_a_lost_commit_is_damage(self, log: PostgresqlLog) -> None:
        """Reading reports it and does not skip it."""
        commits = chain(5)
        await log.append(commits, expected=EMPTY_TIP)
        await server().sql(f"DELETE FROM {log._address.schema}.commits WHERE position = 3")
        with pytest.raises(UnusableLogError, match="missing after position 0"):
            await log.read(0, 10)
        newer = """replace(body::text, '"schema":3', '"schema":99')::json"""
        await server().sql(f"UPDATE {log._address.schema}.commits SET body = {newer} WHERE position = 5")
        with pytest.raises(UnusableLogError, match="can't be read"):
            await log.read(4, 10)

    @on_log()
    async def test_a_closed_log_refuses(self, log: PostgresqlLog) -> None:
        """Closing it again does no harm."""
        await log.close()
        await log.close()
        with pytest.raises(LogUnavailableError, match="closed"):
            await log.append(chain(1), expected=EMPTY_TIP)
        async with log.turn(0) as missed:
            assert missed == ()


class TestSessionRecords:
    """Session records; clients choose some names of their fields."""

    @on_log(1)
    async def test_no_record_is_a_fault_of_the_log(self, log: PostgresqlLog) -> None:
        """A fault would end all brokers. An unstorable record is an error of that call alone."""
        records = log.session_records
        await records.keep("key", {"\ud800": b"1"}, until_ms=100)
        assert await records.load("key", now_ms=0) == {"\ud800": b"1"}
        for refused in (
            records.keep("\0", {"a": b"1"}, until_ms=100),
            records.keep("\ud800", {"a": b"1"}, until_ms=100),
            records.keep("key", {"a": b"1"}, until_ms=2**63),
            records.load("\0", now_ms=0),
        ):
            with pytest.raises(LogUnavailableError, match="can't be stored"):
                await refused
        assert await records.load("key", now_ms=0) == {"\ud800": b"1"}

    @on_log(1)
    async def test_many_that_are_over_are_forgotten_some_at_a_time(self, log: PostgresqlLog) -> None:
        """Other calls go on meanwhile, and records within their time stay."""
        records, many = log.session_records, 3 * session_records_module.EXPIRED_AT_ONCE
        await records.keep("over", {f"{number}": b"" for number in range(many)}, until_ms=100)
        await records.keep("kept", {"a": b"1"}, until_ms=101)
        expiring = asyncio.ensure_future(records.expire(now_ms=100))
        await asyncio.sleep(0)
        assert await records.load("kept", now_ms=100) == {"a": b"1"}
        assert not expiring.done()
        await expiring
        rows = await log._side.rows(f"SELECT key FROM {log._address.schema}.session_records")
        assert [row["key"] for row in rows] == ["kept"]

    @on_log()
    async def test_a_table_that_is_gone_is_no_answer(self, log: PostgresqlLog) -> None:
        """The commits are there, so a call is put off, and the broker goes on; the reason is the server's."""
        records, table = log.session_records, f"{log._address.schema}.session_records"
        await log._side.execute(f"ALTER TABLE {table} RENAME TO lost")
        for call in (
            lambda: records.load("key", now_ms=0),
            lambda: records.keep("key", {"a": b"1"}, until_ms=100),
            lambda: records.expire(now_ms=0),
        ):
            with pytest.raises(LogUnavailableError, match="session_records"):
                await call()
        await log._side.execute(f"ALTER TABLE {log._address.schema}.lost RENAME TO session_records")
        await records.keep("key", {"a": b"1"}, until_ms=100)
        assert await records.load("key", now_ms=0) == {"a": b"1"}


class TestRedaction:
    """Texts are removed some at a time."""

    def test_appends_go_on_between_its_transactions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An append called during the redaction is stored before its end; then all texts are gone."""
        monkeypatch.setattr(redaction, "REDACTED_AT_ONCE", 2)

        async def scenario() -> None:
            async with opened() as (log,):
                commits = conversation(*(f"text {number}" for number in range(20)))
                await log.append(commits[:-1], expected=EMPTY_TIP)
                redacting = asyncio.ensure_future(log.redact(range(1, 23), done_to=22))
                await asyncio.sleep(0)
                await log.append(commits[-1:], expected=commits[-2].tip)
                assert not redacting.done()
                await redacting
                assert await all_of(log) == [redact(commit) for commit in commits]
                assert log.redacted_to == 22

        asyncio.run(scenario())

    @on_log(1)
    async def test_a_row_without_a_text_is_not_written_again(self, log: PostgresqlLog) -> None:
        """A redaction repeated after an error removes only the remaining texts."""
        commits = conversation("one", "two", "three")
        await log.append(commits, expected=EMPTY_TIP)
        versions = f"SELECT xmin::text FROM {log._address.schema}.commits ORDER BY position"
        await log.redact([3, 4], done_to=4)
        before = await log._side.rows(versions)
        await log.redact([3, 4, 5], done_to=5)
        after = await log._side.rows(versions)
        assert [row == was for row, was in zip(after, before, strict=True)] == [True, True, True, True, False]

    @pytest.mark.slow
    def test_a_long_time_of_texts_is_redacted(self) -> None:
        """This happens after a change of the setting; the log takes commits meanwhile, and closes after it."""
        count = 40_000

        async def scenario() -> None:
            async with opened() as (log,):
                said = (say(ANN, f"hello number {n} of many words", room=RoomId("r_2")) for n in range(count))
                commits, tip = log_of(enter(ANN), enter(BOB), *said, step_ms=3_000), EMPTY_TIP
                for start in range(0, count, 2_000):
                    tip = await log.append(commits[start : start + 2_000], expected=tip)
                redacting = asyncio.ensure_future(log.redact(range(3, count), done_to=count))
                loop, slowest_s = asyncio.get_running_loop(), 0.0
                for commit in commits[count:]:
                    asked_s = loop.time()
                    tip = await log.append([commit], expected=tip)
                    slowest_s = max(slowest_s, loop.time() - asked_s)
                assert not redacting.done()
                assert slowest_s < 2
                await redacting
                assert await log.read(2, 10) == [redact(commit) for commit in commits[2:12]]
                assert log.redacted_to == count

        asyncio.run(scenario())


class Interrupted(PickledStates):
    """A codec whose encoding is interrupted by the work of another broker."""

    def __init__(self, meanwhile: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._meanwhile = meanwhile
        self._loop = asyncio.get_running_loop()

    def encode(self, state: Any) -> Iterator[bytes]:
        """Return the lines, with the work before their end."""
        yield from super().encode(state)
        asyncio.run_coroutine_threadsafe(self._meanwhile(), self._loop).result(HUNG_SECONDS)


class TestSharing:
    """Several brokers on one log."""

    @on_log(2)
    async def test_a_text_redacted_while_it_is_followed_is_not_heard(
        self, here: PostgresqlLog, there: PostgresqlLog
    ) -> None:
        """A later follower hears the redacted commit, also one of its own broker."""
        commits = conversation("one", "two")
        async with aclosing(here.follow(0)) as first, aclosing(there.follow(0)) as second:
            heard = asyncio.ensure_future(anext(first))
            await here.append(commits, expected=EMPTY_TIP)
            assert await heard == commits[0]
            await there.redact([3, 4], done_to=4)
            left = [*commits[:2], *map(redact, commits[2:])]
            assert [await anext(second) for _ in commits] == left
        async with aclosing(here.follow(0)) as again:
            assert [await anext(again) for _ in commits] == left

    @on_log(2)
    async def test_own_commits_do_not_come_back_over_the_network(
        self, here: PostgresqlLog, there: PostgresqlLog
    ) -> None:
        """A lone broker reads nothing; others' commits come between its own ones, in order."""
        commits = chain(6)
        async with aclosing(here.follow(0)) as followed:
            waiting = asyncio.ensure_future(anext(followed))
            await asyncio.sleep(0)
            await here.append(commits[:1], expected=EMPTY_TIP)
            own = [await waiting]
            await here.append(commits[1:3], expected=commits[0].tip)
            own += [await anext(followed), await anext(followed)]
            assert own[1] is commits[1]
            assert own[2] is commits[2]
            await there.append(commits[3:5], expected=commits[2].tip)
            await here.append(commits[5:], expected=commits[4].tip)
            assert [*own, *[await anext(followed) for _ in range(3)]] == commits

    @on_log(2)
    async def test_what_came_with_a_turn_or_a_conflict_does_not_come_again(
        self, here: PostgresqlLog, there: PostgresqlLog
    ) -> None:
        """The follower hears the very objects."""
        commits = chain(6)
        async with aclosing(here.follow(0)) as followed:
            await there.append(commits[:1], expected=EMPTY_TIP)
            assert await anext(followed) == commits[0]
            await there.append(commits[1:3], expected=commits[0].tip)
            async with here.turn(1) as came:
                assert list(came) == commits[1:3]
            await there.append(commits[3:], expected=commits[2].tip)
            with pytest.raises(Conflict) as late:
                await here.append([another_after(commits[:3])], expected=commits[2].tip)
            known = [*came, *late.value.missed]
            assert [await anext(followed) for _ in known] == commits[1:]

    @on_log(2)
    async def test_a_trimmed_log_is_trimmed_for_all(self, here: PostgresqlLog, there: PostgresqlLog) -> None:
        """The rows are deleted with their delivery records; the other broker sees the base with its next read."""
        commits = chain(8)
        await here.append(commits, expected=EMPTY_TIP)
        await here.compact(Snapshot(commits[5].tip, fold(commits[:6])))
        assert await all_of(there) == commits[6:]
        assert there.base == commits[5].tip
        (count,) = await there._side.row(f"SELECT count(*) FROM {here._address.schema}.commits")
        assert count == 2

    @on_log(2)
    async def test_two_brokers_trim_at_once(self, here: PostgresqlLog, there: PostgresqlLog) -> None:
        """The higher base wins, and its snapshot is the only one."""
        commits = chain(8)
        await here.append(commits, expected=EMPTY_TIP)
        lower, higher = (Snapshot(commits[length - 1].tip, fold(commits[:length])) for length in (4, 6))
        await asyncio.gather(here.compact(higher), there.compact(lower))
        await there._write(lower, is_base=True)
        assert list(await there._reader.snapshot_tips()) == [higher.tip]
        assert await there.newest_snapshot() == higher
        assert await all_of(there) == commits[6:]

    @on_log(2)
    async def test_a_trim_that_another_overtakes_has_nothing_left_to_do(
        self, here: PostgresqlLog, there: PostgresqlLog
    ) -> None:
        """Its snapshot is dropped while it is written, since a higher base was set."""
        commits = chain(8)
        await here.append(commits, expected=EMPTY_TIP)
        lower, higher = (Snapshot(commits[length - 1].tip, fold(commits[:length])) for length in (4, 6))
        there._codec = Interrupted(lambda: here.compact(higher))
        await there.compact(lower)
        assert there.base == higher.tip
        assert await there.newest_snapshot() == higher
        assert await all_of(there) == commits[6:]

    @on_log(2)
    async def test_a_snapshot_that_a_redaction_drops_does_not_become_the_base(
        self, log: PostgresqlLog, other: PostgresqlLog
    ) -> None:
        """It is refused as dropped, before any commit counts as gone; the next try succeeds."""
        commits = chain(8)
        await log.append(commits, expected=EMPTY_TIP)
        snapshot = Snapshot(commits[3].tip, fold(commits[:4]))
        log._codec = Interrupted(lambda: other.redact([], done_to=1, snapshots_before=5))
        with pytest.raises(LogUnavailableError, match="dropped while it was written; try again"):
            await log.compact(snapshot)
        await log.save(snapshot)
        assert (await all_of(other), other.base) == (commits, EMPTY_TIP)
        assert await other.newest_snapshot() is None
        log._codec = PickledStates()
        await log.compact(snapshot)
        assert await other.newest_snapshot() == snapshot

    @pytest.mark.parametrize("lost", ["snapshots", "snapshot_parts"])
    def test_a_snapshot_that_a_crash_takes_does_not_become_the_base(
        self, lost: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its rows are not durable until it is finished; they may be lost whole or in part."""
        write = snapshots_module.write

        async def and_lose(*arguments: Any) -> Any:
            written = await write(*arguments)
            schema = arguments[0].address.schema
            await server().sql(f"DELETE FROM {schema}.{lost} RETURNING 1")
            return written

        async def scenario() -> None:
            async with opened() as (log,):
                commits = chain(8)
                await log.append(commits, expected=EMPTY_TIP)
                monkeypatch.setattr(snapshots_module, "write", and_lose)
                with pytest.raises(LogUnavailableError, match="try again"):
                    await log.compact(Snapshot(commits[3].tip, fold(commits[:4])))
                assert (await all_of(log), log.base) == (commits, EMPTY_TIP)

        asyncio.run(scenario())

    @on_log(2)
    async def test_a_base_is_not_dropped_by_a_redaction_that_waited_for_it(
        self, log: PostgresqlLog, other: PostgresqlLog
    ) -> None:
        """The redaction waits for the base and sees it, and drops the snapshots below it alone."""
        commits = chain(8)
        await log.append(commits, expected=EMPTY_TIP)
        snapshot = Snapshot(commits[3].tip, fold(commits[:4]))
        written = await snapshots_module.write(log._side, snapshot, PickledStates())
        finished, release = asyncio.Event(), asyncio.Event()

        async def finish(connection: Any) -> None:
            async with connection.transaction():
                await snapshots_module.finish(connection, log._schema, written, is_base=True)
                finished.set()
                await release.wait()

        finishing = asyncio.ensure_future(log._writer.run(finish))
        await finished.wait()
        redacting = asyncio.ensure_future(other.redact([], done_to=1, snapshots_before=8))
        waiting = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted"
        while (await log._side.row(waiting, other._writer.server_pid))[0] == 0:
            pass
        release.set()
        await finishing
        await redacting
        assert await other.newest_snapshot() == snapshot

    def test_a_snapshot_is_encoded_with_pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The event loop gets its turns although another thread computes."""
        paused = list[float]()
        monkeypatch.setattr(snapshot_parts, "WORK_SECONDS", 0.0)
        monkeypatch.setattr(
            snapshot_parts, "time", SimpleNamespace(perf_counter=time.perf_counter, sleep=paused.append)
        )

        async def scenario() -> None:
            async with opened() as (log,):
                commits = chain(1)
                await log.append(commits, expected=EMPTY_TIP)
                await log.save(Snapshot(commits[0].tip, "x" * 5_000))
                assert len(paused) >= 5
                assert await log.newest_snapshot() == Snapshot(commits[0].tip, "x" * 5_000)

        asyncio.run(scenario())

    @on_log(1)
    async def test_a_large_snapshot_is_kept_in_parts(self, log: PostgresqlLog) -> None:
        """Appends go on meanwhile."""
        commits = chain(2)
        await log.append(commits[:1], expected=EMPTY_TIP)
        large = Snapshot(commits[0].tip, "x" * 500_000)
        saving = asyncio.ensure_future(log.save(large))
        await log.append(commits[1:], expected=commits[0].tip)
        await saving
        assert await log.newest_snapshot() == large
        (parts,) = await log._side.row(f"SELECT count(*) FROM {log._address.schema}.snapshot_parts")
        assert parts > 2

    @on_log(1)
    async def test_many_own_commits_are_heard_by_two_followers(self, log: PostgresqlLog) -> None:
        """They are more than the kept ones; the rest is read."""
        commits = chain(KNOWN_COMMITS_MAX + 300)
        async with aclosing(log.follow(0)) as first, aclosing(log.follow(0)) as second:
            heard = [asyncio.ensure_future(anext(each)) for each in (first, second)]
            await asyncio.sleep(0)
            await log.append(commits[:700], expected=EMPTY_TIP)
            await log.append(commits[700:], expected=commits[699].tip)
            for followed, begun in zip((first, second), heard, strict=True):
                assert [await begun, *[await anext(followed) for _ in commits[1:]]] == commits

    @on_log(1)
    async def test_old_snapshots_are_thinned_out(self, log: PostgresqlLog) -> None:
        """The newest stays, and fewer than sixteen in all."""
        commits = chain(40)
        await log.append(commits, expected=EMPTY_TIP)
        for length in range(1, 41):
            await log.save(Snapshot(commits[length - 1].tip, fold(commits[:length])))
        tips = await log._reader.snapshot_tips()
        assert tips[-1] == commits[-1].tip
        assert len(tips) < 16

    @on_log(1)
    async def test_a_damaged_snapshot_is_passed_over(self, log: PostgresqlLog) -> None:
        """An older one is taken; if it was the base, the log can't be used."""
        commits = chain(6)
        await log.append(commits, expected=EMPTY_TIP)
        older = Snapshot(commits[1].tip, fold(commits[:2]))
        await log.save(older)
        await log.save(Snapshot(commits[3].tip, fold(commits[:4])))
        spoil = f"UPDATE {log._address.schema}.snapshot_parts SET lines = 'x' WHERE snapshot IN (SELECT id FROM"
        await server().sql(f"{spoil} {log._address.schema}.snapshots WHERE position = 4)")
        assert await log.newest_snapshot() == older
        await log.compact(Snapshot(commits[4].tip, fold(commits[:5])))
        await server().sql(f"{spoil} {log._address.schema}.snapshots)")
        with pytest.raises(UnusableLogError, match="can't be read"):
            await log.newest_snapshot()

    def test_two_brokers_exchange_messages(self) -> None:
        """Ann enters at one, Bob at the other; each reads there the other's messages."""

        async def scenario() -> None:
            name, brokers, logs = new_name(), list[Broker](), list[PostgresqlLog]()
            for _ in range(2):
                logs.append(await stores.open_log(server().url(name)))
                brokers.append(Broker(logs[-1], SystemClock()))
                await brokers[-1].start(Policy(messages_per_10s_max=100))
            ann, bob = brokers
            await ann.writer.submit(enter(ANN))
            await bob.writer.submit(enter(BOB))
            assert await ann.replica.caught_up()
            room = ann.state.connections.by_id[ANN].place.room_id
            for number in range(20):
                await ann.writer.submit(say(ANN, f"a{number}", None, room))
                await bob.writer.submit(say(BOB, f"b{number}", None, room))
            assert await ann.replica.caught_up()
            assert await bob.replica.caught_up()
            assert ann.state.tip == bob.state.tip
            said = [c.command.text for c in await all_of(logs[0]) if isinstance(c.command, SendMessage)]
            assert said == [f"{who}{number}" for number in range(20) for who in "ab"]
            for broker in brokers:
                await broker.close()

        asyncio.run(scenario())


def test_redacted_rows_are_vacuumed_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a vacuum, the table keeps the old row with its text."""
    monkeypatch.setattr(log_module, "VACUUM_SECONDS", 0.0)

    async def scenario() -> None:
        async with opened() as (log,):
            commits = conversation("a secret word")
            await log.append(commits, expected=EMPTY_TIP)
            await log.redact([3], done_to=3)
            rows = await server().sql(
                f"SELECT vacuum_count FROM pg_stat_user_tables WHERE relid = '{log._address.schema}.commits'::regclass"
            )
            assert rows[0][0] == 1

    asyncio.run(scenario())
