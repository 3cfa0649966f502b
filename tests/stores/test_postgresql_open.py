"""Opening a log in PostgreSQL: refusals and their texts, least rights, reading, loading, and `log init`."""

from __future__ import annotations

import asyncio
import io
from argparse import ArgumentParser
from collections.abc import Coroutine
from typing import Any

import asyncpg
import pytest
from structlog.testing import CapturedCall, CapturingLogger

from broker.errors import UsageError
from events.codec import UnreadableCommitError, encode_commit
from events.commit import EMPTY_TIP, redact
from events.log import Conflict, DeliveryRecord, LogUnavailableError, Snapshot, UnusableLogError
from events.postgresql import layout, link, server_checks
from events.postgresql import open as opening
from events.postgresql.address import address_of
from events.postgresql.errors import translated
from events.postgresql.layout import lock_of
from events.postgresql.log import PostgresqlLog
from events.postgresql.open import init_log, init_statements, open_loading, open_log, open_reader
from log_debugger.commands import init
from log_debugger.terminal import Terminal
from mcp_facade import cli
from projections.state import fold
from tests.support.engines.postgresql import new_name, server
from tests.support.limits import HUNG_SECONDS
from tests.support.log_contract import PickledStates, all_of, another_after, chain, conversation
from tests.support.people import ANN, BOB

CODEC = PickledStates()
PASSWORD = "s3cr3t-p4ss"


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run an async test to its end."""
    asyncio.run(asyncio.wait_for(scenario, HUNG_SECONDS))


async def refused(url: str, *, synchronous: str = "full") -> str:
    """Return the one line of the refusal of `url`."""
    with pytest.raises(UnusableLogError) as error:
        await open_log(url, CODEC, synchronous=synchronous)
    text = str(error.value)
    assert "\n" not in text
    assert PASSWORD not in text
    return text


async def new_role(*rights: str) -> str:
    """Return a new role with the right to log in with `PASSWORD`."""
    role = f"role_{new_name()}"
    await server().sql(
        f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'", *(right.format(role=role) for right in rights)
    )
    return role


class TestRefusals:
    """One line without the password says what an operator has to change."""

    def test_a_wrong_password(self) -> None:
        """The role exists."""

        async def scenario() -> None:
            role = await new_role()
            assert "check user and password" in await refused(server().url("chat", user=f"{role}:wrong"))
            wrong = server().url("chat", user=f"nobody_{role}:{PASSWORD}")
            assert "password authentication failed" in await refused(wrong)

        run(scenario())

    def test_a_missing_database(self) -> None:
        """The database is not made."""
        text = asyncio.run(refused(server().url(database="missing")))
        assert "create the database" in text

    def test_a_role_that_may_not_make_a_log(self) -> None:
        """The line names the command for making it."""

        async def scenario() -> None:
            url = server().url(new_name(), user=f"{await new_role()}:{PASSWORD}")
            assert "chat-broker log init" in await refused(url)

        run(scenario())

    def test_a_role_without_rights_to_a_log(self) -> None:
        """The log exists and belongs to another role."""

        async def scenario() -> None:
            name = new_name()
            await init_log(server().url(name))
            text = await refused(server().url(name, user=f"{await new_role()}:{PASSWORD}"))
            assert "permission denied" in text
            assert "--brokers ROLE" in text

        run(scenario())

    def test_a_schema_that_is_no_log(self) -> None:
        """Nothing is added to it; an empty one becomes a log."""

        async def scenario() -> None:
            name, empty = new_name(), new_name()
            await server().sql(f"CREATE SCHEMA {name}", f"CREATE TABLE {name}.meta ()", f"CREATE SCHEMA {empty}")
            assert "something else than a log" in await refused(server().url(name))
            with pytest.raises(UnusableLogError, match="something else than a log"):
                await init_log(server().url(name))
            assert len(await server().sql(f"SELECT FROM pg_class WHERE relnamespace = '{name}'::regnamespace")) == 1
            await (await open_log(server().url(empty), CODEC, synchronous="full")).close()

        run(scenario())

    def test_a_newer_format(self) -> None:
        """A newer version made the log."""

        async def scenario() -> None:
            name = new_name()
            await init_log(server().url(name))
            await server().sql(f"UPDATE {name}.meta SET format = 2")
            assert "use a newer version" in await refused(server().url(name))
            with pytest.raises(UnusableLogError, match="newer version"):
                await open_reader(server().url(name))

        run(scenario())

    @pytest.mark.parametrize("name", ["", "Chat", "a" * 33, "pg_chat", "1st", "a%22b"])
    def test_a_name_that_is_none(self, name: str) -> None:
        """The name becomes a part of statements."""
        assert "a log's name has" in asyncio.run(refused(f"postgresql://host/database?name={name}"))

    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://u:{PASSWORD}@[host/database",
            f"postgresql://u:{PASSWORD}@host/database?sslmode=maybe",
            f"postgresql://u:{PASSWORD}@host/database?target_session_attrs=maybe",
        ],
    )
    def test_a_url_that_is_none(self, url: str) -> None:
        """The line calls it the URL."""
        assert "URL" in asyncio.run(refused(url))

    def test_a_parameter_that_the_server_does_not_know(self) -> None:
        """Other parameters than the name are the server's settings."""
        text = asyncio.run(refused(server().url(new_name()) + "&nonsense=1"))
        assert "check the parameters" in text

    def test_tls_that_the_server_does_not_offer(self) -> None:
        """The URL demands TLS."""
        assert "offers no TLS" in asyncio.run(refused(server().url(new_name(), sslmode="require")))

    def test_another_encoding(self) -> None:
        """It could not store every text."""

        async def scenario() -> None:
            database = new_name()
            await server().sql(f"CREATE DATABASE {database} ENCODING 'LATIN1' TEMPLATE template0")
            assert "encoding LATIN1" in await refused(server().url(database=database))

        run(scenario())

    def test_an_older_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The least version is named."""
        monkeypatch.setattr(server_checks, "VERSION_MIN", 99)
        assert "99 is the least version" in asyncio.run(refused(server().url(new_name())))

    def test_a_pooler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server's process is another than the connection was told, or its settings are refused."""
        monkeypatch.setattr(asyncpg.Connection, "get_server_pid", lambda _: 1)
        assert "direct connection" in asyncio.run(refused(server().url(new_name())))
        refusal = asyncpg.ProtocolViolationError("unsupported startup parameter: statement_timeout")
        assert "direct connection" in str(translated(refusal, address_of("postgresql://host/database")))
        broken = asyncpg.ProtocolViolationError("no such message")
        assert isinstance(translated(broken, address_of("postgresql://host/database")), LogUnavailableError)

    def test_a_server_that_is_not_there(self) -> None:
        """It may be started later."""

        async def scenario() -> None:
            for url in ("postgresql://u:p@127.0.0.1:1/database", "postgresql:///database?host=/nowhere&user=u"):
                with pytest.raises(LogUnavailableError, match="can't be reached: ") as error:
                    await open_log(url, CODEC, synchronous="full")
                assert "127.0.0.1" not in str(error.value)

        run(scenario())

    def test_a_server_that_says_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A listener accepts the connection and does not answer."""
        monkeypatch.setattr(link, "CONNECT_SECONDS", 0.2)

        gone = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
            gone.set()

        async def scenario() -> None:
            silent = await asyncio.start_server(hold, "127.0.0.1", 0)
            port = silent.sockets[0].getsockname()[1]
            with pytest.raises(LogUnavailableError, match="does not answer in time"):
                await open_log(f"postgresql://u:p@127.0.0.1:{port}/database", CODEC, synchronous="full")
            silent.close()
            await gone.wait()

        run(scenario())


class TestSettings:
    """The durability of an acknowledged message is demanded, and told."""

    @pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
    def test_a_server_that_may_destroy_the_log_is_refused(self, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The operator may accept it; then a warning says so."""

        async def scenario() -> None:
            url = server().url(new_name())
            _pretend(monkeypatch, **{setting: "off"})
            monkeypatch.setattr(opening, "logger", said := CapturingLogger())
            assert f"{setting} = off" in await refused(url)
            log = await open_log(url, CODEC, synchronous="normal")
            assert said.calls == [CapturedCall("warning", ("durability_reduced",), {"survives": log.survives})]
            assert f"a power failure may destroy the log ({setting} = off)" in log.survives
            await log.close()

        run(scenario())

    def test_a_role_that_does_not_wait_for_the_disk_does_so_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With `full`, the broker's session is set; with `normal` it is left as it is, and a warning says so."""

        async def scenario() -> None:
            name = new_name()
            role = await new_role("ALTER ROLE {role} SET synchronous_commit = off")
            await init_log(server().url(name), brokers=role)
            monkeypatch.setattr(opening, "logger", said := CapturingLogger())
            found = {}
            for synchronous in ("full", "normal"):
                log = await open_log(server().url(name, user=f"{role}:{PASSWORD}"), CODEC, synchronous=synchronous)
                assert [call.kwargs["survives"] for call in said.calls] == [log.survives] * (synchronous == "normal")
                (found[synchronous],) = await log._writer.row("SELECT current_setting('synchronous_commit')")
                assert ("synchronous_commit = off" in log.survives) == (synchronous == "normal")
                await log.close()
            assert found == {"full": "on", "normal": "off"}

        run(scenario())

    @pytest.mark.parametrize(("default", "later"), [("on", "off"), ("remote_apply", "local"), ("remote_write", "off")])
    def test_a_session_waits_for_the_disk_for_its_whole_life(self, default: str, later: str) -> None:
        """Later changes of the server's default do not matter; a stronger setting stays."""

        async def scenario() -> None:
            try:
                await _set_default(default)
                log = await open_log(server().url(new_name()), CODEC, synchronous="full")
                await _set_default(later)
                (found,) = await log._writer.row("SELECT current_setting('synchronous_commit')")
                assert found == ("remote_apply" if default == "remote_apply" else "on")
                await log.close()
            finally:
                await _set_default("on")

        run(scenario())

    def test_a_database_with_another_isolation_level_is_used_as_any(self) -> None:
        """An append waiting for another sees its commits."""

        async def scenario() -> None:
            name = new_name()
            await server().sql(f"CREATE DATABASE {name}")
            await server().sql(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
            url = server().url(database=name)
            here, there = [await open_log(url, CODEC, synchronous="full") for _ in range(2)]
            commits, holding, release = chain(2), asyncio.Event(), asyncio.Event()
            await here.append(commits[:1], expected=EMPTY_TIP)

            async def append_late(connection: Any) -> None:
                async with connection.transaction():
                    await connection.execute(f"SELECT pg_advisory_xact_lock({lock_of('chat', 'append')})")
                    holding.set()
                    await release.wait()
                    await connection.fetch(
                        here._append_sql, *commits[0].tip, [commits[1].commit_id], [encode_commit(commits[1]).decode()]
                    )

            appending = asyncio.ensure_future(here._writer.run(append_late))
            await holding.wait()
            late = asyncio.ensure_future(there.append([another_after(commits[:1])], expected=commits[0].tip))
            waiting = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND NOT granted"
            while (await here._side.row(waiting, there._writer.server_pid))[0] == 0:
                pass
            release.set()
            await appending
            with pytest.raises(Conflict):
                await late
            await asyncio.gather(here.close(), there.close())

        run(scenario())

    @pytest.mark.parametrize(
        ("settings", "synchronous", "survives"),
        [
            ({}, "full", "no standby is synchronous"),
            ({"synchronous_standby_names": "b"}, "full", "a failover to a synchronous standby (b)"),
            ({"synchronous_standby_names": "b", "synchronous_commit": "local"}, "full", "synchronous standby (b)"),
            ({"synchronous_standby_names": "b", "synchronous_commit": "local"}, "normal", "may take the last moments"),
        ],
    )
    def test_what_a_commit_survives_is_said(
        self, settings: dict[str, str], synchronous: str, survives: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is one line."""

        async def scenario() -> None:
            _pretend(monkeypatch, **settings)
            log = await open_log(server().url(new_name()), CODEC, synchronous=synchronous)
            assert survives in log.survives
            await log.close()

        run(scenario())

    def test_a_standby_is_unavailable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It takes no writes until it is promoted."""
        fetchval = asyncpg.Connection.fetchval

        async def in_recovery(connection: asyncpg.Connection, sql: str, *values: object, **options: object) -> object:
            return True if "pg_is_in_recovery" in sql else await fetchval(connection, sql, *values, **options)

        monkeypatch.setattr(asyncpg.Connection, "fetchval", in_recovery)
        with pytest.raises(LogUnavailableError, match="standby"):
            asyncio.run(open_log(server().url(new_name()), CODEC, synchronous="full"))


async def _set_default(synchronous_commit: str) -> None:
    """Set the server's default, and return once new sessions and old ones have it."""
    async with asyncio.timeout(HUNG_SECONDS):
        await server().sql(f"ALTER SYSTEM SET synchronous_commit = {synchronous_commit}", "SELECT pg_reload_conf()")
        while (await server().sql("SELECT current_setting('synchronous_commit')"))[0][0] != synchronous_commit:
            pass


def _pretend(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Let the checks find `settings` of the server."""
    real = asyncpg.Connection.fetch

    async def fetch(connection: asyncpg.Connection, sql: str, *values: object, **options: object) -> Any:
        rows = await real(connection, sql, *values, **options)
        if "pg_settings" not in sql:
            return rows
        return {**dict(rows), **settings}.items()

    monkeypatch.setattr(asyncpg.Connection, "fetch", fetch)


class TestRights:
    """A broker needs no right to make anything, and a tool none to write."""

    def test_a_broker_with_the_least_rights_does_all(self) -> None:
        """Append, follow, redact, trim, snapshots, deliveries, records, notes and turns."""

        async def scenario() -> None:
            name, role = new_name(), await new_role()
            await init_log(server().url(name), brokers=role)
            log = await open_log(server().url(name, user=f"{role}:{PASSWORD}"), CODEC, synchronous="full")
            commits = conversation("one", "two")
            async with log.turn(0):
                await log.append(commits, expected=EMPTY_TIP)
            await log.record([DeliveryRecord(3, BOB, "get", 1)])
            await log.save(Snapshot(commits[1].tip, fold(commits[:2])))
            await log.redact([3], done_to=3, snapshots_before=3)
            await log.compact(Snapshot(commits[2].tip, fold(commits[:3])))
            await log.probe()
            await log.session_records.keep("key", {"a": b"1"}, until_ms=10)
            await log.session_records.expire(now_ms=10)
            await log.coordination.publish(b"note")
            await log.coordination.renew_epoch(log.epoch)
            assert await all_of(log) == commits[3:]
            assert (await log.newest_snapshot()).tip == commits[2].tip
            await log.close()

        run(scenario())

    def test_a_reader_needs_no_more_than_to_select(self) -> None:
        """It does not learn the secret of the sessions."""

        async def scenario() -> None:
            name, role = new_name(), await new_role()
            await init_log(server().url(name), readers=role)
            log = await open_log(server().url(name), CODEC, synchronous="full")
            commits = chain(6)
            await log.append(commits, expected=EMPTY_TIP)
            await log.record([DeliveryRecord(1, ANN, "get", 5), DeliveryRecord(4, BOB, "inbox", 6)])
            snapshot = Snapshot(commits[3].tip, fold(commits[:4]))
            await log.save(snapshot)
            url = server().url(name, user=f"{role}:{PASSWORD}")
            reader = await open_reader(url)
            assert (await reader.tip(), reader.base, reader.recorded_after) == (commits[5].tip, EMPTY_TIP, 0)
            assert list(await reader.lines(1, 2)) == [encode_commit(commit) for commit in commits[1:3]]
            assert list(await reader.snapshot_tips()) == [commits[3].tip]
            assert await reader.load_snapshot(None, CODEC) == snapshot
            assert await reader.load_snapshot(3, CODEC) is None
            for commit in commits:
                assert await reader.position_at(commit.at_ms) == commit.position
                assert await reader.position_at(commit.at_ms - 1) == commit.position - 1
            assert await reader.position_at(10**18) == 6
            assert await reader.position_at(-1) == 0
            deliveries = await reader.delivery_records(after=0, last=6, connection_id=None)
            assert list(deliveries) == [DeliveryRecord(1, ANN, "get", 5), DeliveryRecord(4, BOB, "inbox", 6)]
            assert list(await reader.delivery_records(after=0, last=6, connection_id=ANN)) == [deliveries[0]]
            await log.compact(snapshot)
            assert list(await reader.lines(0, 9)) == [encode_commit(commit) for commit in commits[4:]]
            assert reader.base == commits[3].tip
            assert await reader.position_at(0) == 4
            await reader.close()
            connection = await asyncpg.connect(url.partition("?")[0])
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT * FROM {name}.secret")
            await connection.close()
            await log.close()

        run(scenario())

    def test_a_reader_makes_no_log(self) -> None:
        """The error says that the log does not exist."""

        async def scenario() -> None:
            with pytest.raises(UnusableLogError, match="there is no such log"):
                await open_reader(server().url(new_name()))

        run(scenario())


class TestLoading:
    """A log is loaded whole or not at all."""

    def test_a_loaded_log_is_the_one_that_was_dumped(self) -> None:
        """It has a new epoch; its deliveries were recorded elsewhere."""

        async def scenario() -> None:
            url, commits = server().url(new_name()), conversation("one", "two", "three")
            before = await open_log(url, CODEC, synchronous="full")
            loader = await open_loading(url, CODEC)
            lines = [encode_commit(redact(commit) if commit.position == 3 else commit) for commit in commits]
            with pytest.raises(UnusableLogError, match="being written or loaded"):
                await open_loading(url, CODEC)
            with pytest.raises(UnreadableCommitError):
                await loader.append_lines([lines[0], b"{}"], expected=EMPTY_TIP)
            assert await loader.append_lines([], expected=EMPTY_TIP) == EMPTY_TIP
            tip = await loader.append_lines(lines[:2], expected=EMPTY_TIP)
            with pytest.raises(Conflict):
                await loader.append_lines(lines[2:], expected=EMPTY_TIP)
            with pytest.raises(Conflict):
                await loader.start_from(Snapshot(commits[0].tip, fold(commits[:1])))
            await loader.save(Snapshot(commits[1].tip, fold(commits[:2])))
            assert await before.tip() == EMPTY_TIP
            assert await loader.append_lines(lines[2:], expected=tip) == commits[-1].tip
            await loader.finish()
            log = await open_log(url, CODEC, synchronous="full")
            assert log.epoch != before.epoch
            assert (await log.newest_snapshot()).tip == commits[1].tip
            reader = await open_reader(url)
            assert list(await reader.lines(0, 9)) == lines
            assert reader.recorded_after == len(commits)
            with pytest.raises(UnusableLogError, match="not empty"):
                await open_loading(url, CODEC)
            await loader.abandon()
            await asyncio.gather(before.close(), log.close(), reader.close())

        run(scenario())

    def test_a_trimmed_log_begins_with_its_snapshot(self) -> None:
        """The snapshot is the base."""

        async def scenario() -> None:
            url, commits = server().url(new_name()), chain(6)
            loader = await open_loading(url, CODEC)
            snapshot = Snapshot(commits[3].tip, fold(commits[:4]))
            await loader.start_from(snapshot)
            await loader.append_lines([encode_commit(commit) for commit in commits[4:]], expected=commits[3].tip)
            await loader.finish()
            log = await open_log(url, CODEC, synchronous="full")
            assert (log.base, await log.newest_snapshot()) == (commits[3].tip, snapshot)
            assert await all_of(log) == commits[4:]
            await log.close()

        run(scenario())

    def test_an_abandoned_load_leaves_nothing(self) -> None:
        """A load with a broken connection leaves nothing either."""

        async def scenario() -> None:
            url, commits = server().url(new_name()), chain(4)
            loader = await open_loading(url, CODEC)
            await loader.append_lines([encode_commit(commit) for commit in commits], expected=EMPTY_TIP)
            await loader.abandon()
            broken = await open_loading(url, CODEC)
            tip = await broken.append_lines([encode_commit(commits[0])], expected=EMPTY_TIP)
            await server().sql(f"SELECT pg_terminate_backend({broken._link.server_pid})")
            with pytest.raises(LogUnavailableError):
                await broken.append_lines([encode_commit(commits[1])], expected=tip)
            with pytest.raises(LogUnavailableError):
                await broken.finish()
            await broken.abandon()
            log = await open_log(url, CODEC, synchronous="full")
            assert await all_of(log) == []
            await log.close()

        run(scenario())


class TestInit:
    """`chat-broker log init`."""

    def test_it_makes_a_log_and_may_be_repeated(self) -> None:
        """A second run changes no commit; neither prints the password."""
        url = server().url(new_name(), user=f"postgres:{PASSWORD}")
        assert _init(url) == f'the log is there: "{url.replace(PASSWORD, "***")}"\n'

        async def scenario() -> None:
            log = await open_log(url, CODEC, synchronous="full")
            await log.append(chain(3), expected=EMPTY_TIP)
            await log.close()

        run(scenario())
        assert _init(url, "--brokers", "postgres", "--readers", "postgres")

        async def look() -> None:
            log = await open_log(url, CODEC, synchronous="full")
            assert await all_of(log) == chain(3)
            await log.close()

        run(look())

    def test_it_prints_what_it_would_do(self) -> None:
        """The printed statements make the same log, by `psql` or any client."""

        async def scenario() -> None:
            name, role = new_name(), await new_role()
            printed = await asyncio.to_thread(_init, server().url(name), "--print", "--brokers", role)
            await server().sql(printed, "SELECT 1")
            log = await open_log(server().url(name, user=f"{role}:{PASSWORD}"), CODEC, synchronous="full")
            await log.append(chain(2), expected=EMPTY_TIP)
            await log.close()

        run(scenario())

    def test_a_log_in_use_takes_commits_meanwhile(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A session reading a view keeps it from being replaced, and all others go on."""
        monkeypatch.setattr(layout, "LOCK_MS", 100)
        monkeypatch.setattr(layout, "PAUSE_MS", 10)
        monkeypatch.setattr(layout, "ATTEMPTS", 1_000)

        async def scenario() -> None:
            name, commits = new_name(), chain(2)
            url = server().url(name)
            log = await open_log(url, CODEC, synchronous="full")
            analyst = await asyncpg.connect(server().url())
            reading = analyst.transaction()
            await reading.start()
            await analyst.fetch(f"SELECT FROM {name}.messages")
            making = asyncio.ensure_future(init_log(url, brokers="postgres", readers="postgres"))
            waiting = "SELECT count(*) FROM pg_locks WHERE relation = to_regclass($1) AND NOT granted"
            while (await log._side.row(waiting, f"{name}.rooms"))[0] == 0:
                pass
            async with asyncio.timeout(HUNG_SECONDS):
                tip = await log.append(commits[:1], expected=EMPTY_TIP)
                await log.append(commits[1:], expected=tip)
                await log.probe()
                await server().sql(f"SELECT FROM {name}.messages")
            assert not making.done()
            await reading.rollback()
            await making
            monkeypatch.setattr(layout, "ATTEMPTS", 1)
            await analyst.execute("BEGIN")
            await analyst.fetch(f"SELECT FROM {name}.messages")
            with pytest.raises(LogUnavailableError, match="views of the log are being read"):
                await init_log(url)
            await asyncio.gather(analyst.close(), log.close())

        run(scenario())

    def test_it_makes_the_indexes_that_are_missing(self) -> None:
        """A later version may need more of them."""

        async def scenario() -> None:
            name = new_name()
            indexes = f"SELECT indexdef FROM pg_indexes WHERE schemaname = '{name}' ORDER BY indexname"
            await init_log(server().url(name))
            made = await server().sql(indexes)
            await server().sql(f"DROP INDEX {name}.rooms_by_first, {name}.session_records_until", "SELECT 1")
            await init_log(server().url(name))
            assert await server().sql(indexes) == made

        run(scenario())

    def test_a_roles_name_is_quoted(self) -> None:
        """Any name of a role can be used."""
        assert 'TO "a""b; c";' in init_statements("postgresql://host/database", readers='a"b; c')

    def test_redis_needs_nothing(self) -> None:
        """It says so, and connects to nothing."""
        assert "nothing is needed" in _init("redis://host")

    def test_it_is_a_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Its errors are one line."""
        url = f"postgresql://u:{PASSWORD}@127.0.0.1:1/database"
        assert cli.main(["log", "init", url, "--print"], {}, lambda _: None) == 0
        assert cli.main(["log", "init", url], {}, lambda _: None) == 2
        said = capsys.readouterr()
        assert "CREATE SCHEMA" in said.out
        assert len(said.err.splitlines()) == 1
        assert PASSWORD not in said.out + said.err

    def test_a_file_needs_nothing_either(self) -> None:
        """The command takes the URL of a server."""
        with pytest.raises(UsageError, match="takes postgresql://"):
            _init("sqlite:chat.db")


def _init(*arguments: str) -> str:
    parser = ArgumentParser()
    init.add_arguments(parser)
    out = io.StringIO()
    assert init.run(parser.parse_args(arguments), Terminal(out, io.StringIO())) == 0
    return out.getvalue()


def test_opening_leaves_no_connection_behind_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step fails; the connections of those before are closed."""

    async def scenario() -> None:
        async def fail(log: object) -> None:
            raise LogUnavailableError("gone")

        monkeypatch.setattr(PostgresqlLog, "open", fail)
        name = new_name()
        with pytest.raises(LogUnavailableError, match="gone"):
            await open_log(server().url(name) + f"&application_name={name}", CODEC, synchronous="full")

    run(scenario())
