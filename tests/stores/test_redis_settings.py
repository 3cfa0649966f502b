"""Refused engines, and the durability of accepted ones."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import BusyLoadingError

from broker.stores import StoreModule, store_module
from broker.stores import open_log as open_by_url
from events.commit import EMPTY_TIP, redact
from events.log import LogUnavailableError, UnusableLogError
from events.redis import open as open_module
from events.redis.address import parse
from events.redis.errors import RIGHTS, at_start
from events.redis.open import open_log
from events.redis.settings import judge, parse_info
from tests.stores.redis_logs import new_name, opened, within
from tests.support.engines.redis import DURABLE, RedisServer, running
from tests.support.log_contract import PickledStates, all_of, chain, conversation
from tests.support.process import free_port

GOOD = {"maxmemory": "0", "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
INFO = {"redis_version": "7.2.4", "role": "master", "cluster_enabled": "0", "connected_slaves": "0"}


def refusal_of(url: str, synchronous: Any = "full") -> str:
    """Return the reason why the log at `url` is unusable; it must be one line."""
    with pytest.raises(UnusableLogError) as error:
        asyncio.run(open_log(url, PickledStates(), synchronous=synchronous))
    text = str(error.value)
    assert "\n" not in text
    assert "secret" not in text
    return text


class TestJudging:
    """The engine's answers to INFO and CONFIG GET."""

    @pytest.mark.parametrize(
        ("info", "config", "told"),
        [
            ({"redis_version": "6.2.14"}, {}, "Redis 6.2.14 is too old; use Redis 7.0, Valkey 7.2 or newer"),
            ({"redis_version": ""}, {}, "too old"),
            ({"cluster_enabled": "1"}, {}, "cluster"),
            ({}, {"maxmemory": "1000000", "maxmemory-policy": "allkeys-lru"}, "set maxmemory-policy noeviction"),
            ({}, {"appendonly": "no"}, "--log-synchronous normal"),
            ({}, {"appendfsync": "everysec"}, "set appendonly yes, appendfsync always"),
            ({}, {"appendfsync": "no"}, "appendfsync no"),
            ({}, {"no-appendfsync-on-rewrite": "yes"}, "no-appendfsync-on-rewrite yes"),
        ],
    )
    def test_weak_settings_are_refused(self, info: dict[str, str], config: dict[str, str], told: str) -> None:
        """The text says what to do about them."""
        with pytest.raises(UnusableLogError, match=told.replace("(", r"\(")):
            judge(INFO | info, GOOD | config, "full")

    def test_a_replica_is_unavailable_whatever_its_settings(self) -> None:
        """It may become the primary, or the address may lead to the primary again."""
        with pytest.raises(LogUnavailableError, match="read-only replica; name the primary"):
            judge(INFO | {"role": "slave"}, GOOD | {"appendfsync": "no"}, "full")

    def test_eviction_without_a_limit_of_memory_is_harmless(self) -> None:
        """Nothing is dropped as long as there is no limit."""
        assert judge(INFO, GOOD | {"maxmemory-policy": "allkeys-lru"}, "full").warnings == ()

    @pytest.mark.parametrize(
        ("config", "survives", "is_reduced"),
        [
            ({}, "a crash and a power failure, but not the loss of the disk", False),
            ({"appendfsync": "everysec"}, "may take the last second", True),
            ({"appendfsync": "no"}, "may take the last half minute", True),
            ({"no-appendfsync-on-rewrite": "yes"}, "may take what came while Redis rewrites its file", True),
            ({"appendonly": "no"}, "an end of Redis takes what it has not saved", True),
        ],
    )
    def test_what_a_commit_survives_is_said(self, config: dict[str, str], survives: str, *, is_reduced: bool) -> None:
        """With `normal`, it depends on the settings."""
        verdict = judge(INFO, GOOD | config, "normal")
        assert survives in verdict.survives
        assert verdict.is_reduced == is_reduced
        assert verdict.warnings == ()

    def test_a_file_that_is_never_rewritten_is_warned_of(self) -> None:
        """Redacted texts stay in it."""
        (warning,) = judge(INFO, GOOD | {"auto-aof-rewrite-percentage": "0"}, "full").warnings
        assert "BGREWRITEAOF" in warning

    def test_a_replica_is_named(self) -> None:
        """Replication is asynchronous."""
        verdict = judge(INFO | {"connected_slaves": "1"}, GOOD, "full")
        assert verdict.survives.endswith("a failover to a replica may take the last moments")

    def test_hidden_settings_are_refused_or_warned_of(self) -> None:
        """Managed services forbid CONFIG."""
        with pytest.raises(UnusableLogError, match="does not show its settings"):
            judge(INFO, None, "full")
        verdict = judge(INFO, None, "normal")
        assert verdict.has_file
        assert len(verdict.warnings) == 1

    def test_info_is_read_line_by_line(self) -> None:
        """Headings are left out."""
        assert parse_info("# Server\r\nredis_version:7.0.15\r\n\r\nrole:master\r\n") == {
            "redis_version": "7.0.15",
            "role": "master",
        }


def test_the_module_offers_what_a_store_offers() -> None:
    """Its types are checked against the protocol; the extra's library is loaded by the URL alone."""
    module: StoreModule = open_module
    assert store_module("redis://") is store_module("unix:///x") is module


class TestUrls:
    """The parts of a log's URL."""

    def test_all_parts(self) -> None:
        """Escapes are resolved."""
        address = parse("redis://ann:s%40cret@[::1]:7000/3?name=lobby-2")
        assert address.name == "lobby-2"
        assert address.keys.log == "{lobby-2}:log"
        assert address.options == {
            "username": "ann",
            "password": "s@cret",
            "host": "::1",
            "port": 7000,
            "db": 3,
            "socket_keepalive": True,
        }

    def test_defaults(self) -> None:
        """Database 0 of this machine's engine, under the name chat."""
        address = parse("redis://")
        assert (address.name, address.options["host"], address.options["port"]) == ("chat", "localhost", 6379)
        assert address.options["db"] == 0

    @pytest.mark.parametrize(
        ("url", "told"),
        [
            ("redis://h/x", "database 'x'"),
            ("redis://h:99999/", "a port that is none"),
            ("redis://:s3cr3t/", "a port that is none"),
            ("redis://a..b/", "host 'a..b'"),
            ("redis://h/?name=Bad_Name", "name 'Bad_Name'"),
            ("redis://h/?name=", "name ''"),
            ("redis://h/?password=secret", "unknown setting 'password'"),
            ("redis://h/?ssl_ca_certs=x", "unknown setting 'ssl_ca_certs'"),
            ("rediss://h/?ssl_cert_reqs=none", "unknown setting"),
            ("unix://", "no path"),
            ("unix:///run/redis.sock?db=one", "database 'one'"),
        ],
    )
    def test_malformed_urls_are_refused(self, url: str, told: str) -> None:
        """The text shows their form."""
        text = refusal_of(url)
        assert told in text
        assert "s3cr3t" not in text
        assert "redis://[USER:PASSWORD@]HOST" in text


class TestEngines:
    """Real engines with other settings."""

    def test_durable_settings_are_taken(self, redis_server: RedisServer) -> None:
        """The URL alone is enough, as in `--log`."""

        async def scenario() -> None:
            log = await open_by_url(redis_server.url(new_name()))
            assert log.survives == "a crash and a power failure, but not the loss of the disk"
            await log.close()

        within(scenario)

    @pytest.mark.parametrize("flavour", ["valkey", "redis"])
    def test_a_cache_is_refused_and_taken_with_normal(self, flavour: Any) -> None:
        """An engine without a configuration has the settings of a cache."""
        with running(flavour, ("--save", "")) as server:
            assert "appendonly no" in refusal_of(server.url())
            server.client.config_set("maxmemory", "100mb")
            server.client.config_set("maxmemory-policy", "allkeys-lru")
            assert "maxmemory-policy allkeys-lru" in refusal_of(server.url(), "normal")
            server.client.config_set("maxmemory-policy", "noeviction")
            assert server.client.keys() == []

            async def scenario() -> None:
                async with opened(server, "chat", synchronous="normal") as (log,):
                    await log.append(chain(2), expected=EMPTY_TIP)
                    await log.redact([1], done_to=1)

            within(scenario)
            assert server.client.info("persistence")["aof_rewrite_in_progress"] == 0

    def test_a_full_engine_is_unavailable(self) -> None:
        """Nothing is stored, and the probe says so; with more memory it goes on."""

        async def scenario() -> None:
            commits = chain(2)
            with running("valkey", (*DURABLE, "--maxmemory-policy", "noeviction")) as server:
                async with opened(server, "chat") as (log,):
                    await log.append(commits[:1], expected=EMPTY_TIP)
                    server.client.config_set("maxmemory", "1")
                    for call in (lambda: log.append(commits[1:], expected=commits[0].tip), log.probe):
                        with pytest.raises(LogUnavailableError, match="memory"):
                            await call()
                    assert await all_of(log) == commits[:1]
                    server.client.config_set("maxmemory", "0")
                    await log.append(commits[1:], expected=commits[0].tip)
                    await log.probe()

        within(scenario)

    def test_a_primary_without_its_replica_is_unavailable(self) -> None:
        """With `min-replicas-to-write`, a commit without a replica is not acknowledged: a failover would lose it."""

        async def scenario() -> None:
            with running("redis", (*DURABLE, "--min-replicas-to-write", "1")) as server:
                server.client.config_set("min-replicas-to-write", "0")
                async with opened(server, "chat") as (log,):
                    server.client.config_set("min-replicas-to-write", "1")
                    with pytest.raises(LogUnavailableError, match="replicas"):
                        await log.append(chain(1), expected=EMPTY_TIP)
                    assert await all_of(log) == []

        within(scenario)

    def test_a_cluster_is_refused(self) -> None:
        """Clusters are not supported yet."""
        with running("valkey", (*DURABLE, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))) as server:
            assert "cluster" in refusal_of(server.url())

    def test_a_replica_is_unavailable_at_the_start_and_later(self, redis_server: RedisServer) -> None:
        """It is unavailable until it is promoted again."""

        async def scenario() -> None:
            with running("valkey") as server:
                commits = chain(2)
                async with opened(server, "chat") as (log,):
                    await log.append(commits[:1], expected=EMPTY_TIP)
                    server.client.replicaof("127.0.0.1", str(free_port()))
                    with pytest.raises(LogUnavailableError, match="read-only replica"):
                        async with opened(server, "chat"):
                            pass
                    with pytest.raises(LogUnavailableError):
                        await log.append(commits[1:], expected=commits[0].tip)
                    with pytest.raises(LogUnavailableError):
                        await log.probe()
                    server.client.replicaof("NO", "ONE")
                    await log.append(commits[1:], expected=commits[0].tip)

        within(scenario)

    def test_nothing_at_the_address_is_unavailable(self, tmp_path: Path) -> None:
        """It may be started later; the host is not named."""
        for url in (f"redis://127.0.0.1:{free_port()}", f"unix://{tmp_path}/none.sock", "redis://name.invalid"):
            with pytest.raises(LogUnavailableError, match=r"^Redis can't be reached: [A-Z]") as error:
                asyncio.run(open_log(url, PickledStates()))
            assert "127.0.0.1" not in str(error.value)

    def test_a_unix_socket(self, redis_server: RedisServer) -> None:
        """Its path is the address, with a database."""

        async def scenario() -> None:
            log = await open_log(f"unix://{redis_server.socket}?db=2&name={new_name()}", PickledStates())
            await log.append(chain(2), expected=EMPTY_TIP)
            assert await all_of(log) == chain(2)
            await log.close()

        within(scenario)

    def test_an_engine_that_loads_its_data_is_unavailable(self) -> None:
        """It will be ready soon."""
        error = at_start(BusyLoadingError("Redis is loading the dataset in memory"))
        assert isinstance(error, LogUnavailableError)
        assert str(error) == "Redis is loading its data"

    def test_a_database_that_is_not_there_is_refused(self, redis_server: RedisServer) -> None:
        """Engines have 16 of them."""
        assert "no database of the number" in refusal_of(redis_server.url().replace("/?", "/99?"))


class TestForeignKeys:
    """Foreign keys under the log's names."""

    @pytest.mark.parametrize(
        "part",
        [
            "meta",
            "log",
            "texts",
            "snapshots",
            "pen",
            "turn",
            "handings",
            "sessions",
            "operations",
            "refusals",
            "running",
        ],
    )
    def test_another_programs_key_is_refused_and_kept(self, redis_server: RedisServer, part: str) -> None:
        """The kind of the key does not matter."""
        name, redis = new_name(), redis_server.client
        key = f"{{{name}}}:{part}"
        redis.set(key, "precious")
        text = refusal_of(redis_server.url(name))
        assert key in text
        assert "?name=" in text
        assert redis.get(key) == b"precious"
        assert redis.keys(f"{{{name}}}:*") == [key.encode()]

    def test_a_hash_without_a_format_is_refused(self, redis_server: RedisServer) -> None:
        """It is not filled with a log."""
        name, redis = new_name(), redis_server.client
        redis.hset(f"{{{name}}}:meta", mapping={"a": "b"})
        assert "no log of this program" in refusal_of(redis_server.url(name))

    def test_a_stream_without_a_log_is_refused(self, redis_server: RedisServer) -> None:
        """A log without its head is not replaced by a new one."""
        name, redis = new_name(), redis_server.client
        redis.xadd(f"{{{name}}}:log", {"a": "b"})
        assert f"{{{name}}}:log" in refusal_of(redis_server.url(name))

    def test_an_unknown_format_is_refused(self, redis_server: RedisServer) -> None:
        """A newer broker has made it."""
        name = new_name()

        async def scenario() -> None:
            async with opened(redis_server, name):
                pass

        within(scenario)
        redis_server.client.hset(f"{{{name}}}:meta", "format", 2)
        assert "has format 2" in refusal_of(redis_server.url(name))
        redis_server.client.hset(f"{{{name}}}:meta", mapping={"format": 1, "base_position": "x"})
        assert "damaged" in refusal_of(redis_server.url(name))


class TestRights:
    """Users and passwords."""

    def test_a_wrong_password_is_refused(self, redis_server: RedisServer) -> None:
        """The text does not have the password."""
        assert "user or the password" in refusal_of(redis_server.url(new_name(), user="nobody:secret@"))

    def test_a_missing_password_is_refused(self) -> None:
        """The engine demands one."""
        with running("redis", (*DURABLE, "--requirepass", "secret")) as server:
            for user in ("", ":another%20secret@", "default:another%20secret@"):
                assert "user or the password" in refusal_of(server.url(user=user))

            async def scenario() -> None:
                log = await open_log(server.url(user=":secret@"), PickledStates())
                await log.append(chain(2), expected=EMPTY_TIP)
                await log.close()

            within(scenario)

    def test_the_rights_of_a_broker_are_enough_and_no_more(self, redis_server: RedisServer) -> None:
        """All calls of a log are allowed; wiping the engine, other logs and its settings are not."""
        name, redis = new_name(), redis_server.client
        rights = RIGHTS.replace("{NAME}", f"{{{name}}}").split()
        redis.execute_command("ACL", "SETUSER", name, "reset", "on", ">secret", *rights)
        url = redis_server.url(name, user=f"{name}:secret@")

        async def scenario() -> None:
            log = await open_log(url, PickledStates())
            await all_calls(log)
            for command in ((b"FLUSHALL",), (b"KEYS", b"*"), (b"CONFIG", b"SET", b"appendonly", b"no")):
                with pytest.raises(LogUnavailableError, match="permission"):
                    await log._writing.call(*command)
            with pytest.raises(LogUnavailableError, match="permission"):
                await log._writing.call(b"GET", b"{other}:meta")
            await log.close()

        within(scenario)

    def test_too_few_rights_are_refused_with_the_right_ones(self, redis_server: RedisServer) -> None:
        """The text has the right ones, ready to copy."""
        name = new_name()
        redis_server.client.execute_command("ACL", "SETUSER", name, "on", ">secret", f"~{{{name}}}:*", "+@read")
        text = refusal_of(redis_server.url(name, user=f"{name}:secret@"))
        assert RIGHTS in text

    def test_hidden_settings(self, redis_server: RedisServer) -> None:
        """A user without CONFIG, as in managed services."""
        name = new_name()
        rights = [right for right in RIGHTS.replace("{NAME}", f"{{{name}}}").split() if right != "+config|get"]
        redis_server.client.execute_command("ACL", "SETUSER", name, "reset", "on", ">secret", *rights)
        url = redis_server.url(name, user=f"{name}:secret@")
        assert "does not show its settings" in refusal_of(url)

        async def scenario() -> None:
            log = await open_log(url, PickledStates(), synchronous="normal")
            await log.append(chain(2), expected=EMPTY_TIP)
            await log.close()

        within(scenario)


async def all_calls(log: Any) -> None:
    """Use everything of a log."""
    from events.ids import ConnectionId
    from events.log import DeliveryRecord, Snapshot

    commits = conversation("one", "two")
    await log.append(commits[:2], expected=EMPTY_TIP)
    async with log.turn(0) as missed:
        assert len(missed) == 2
        await log.append(commits[2:], expected=commits[1].tip)
    followed = log.follow(0)
    assert await anext(followed) == commits[0]
    await followed.aclose()
    await log.save(Snapshot(commits[2].tip, {"a": 1}))
    await log.compact(Snapshot(commits[1].tip, {"a": 2}))
    await log.redact([3], done_to=3)
    assert await log.read(0, 10) == [redact(commits[2]), commits[3]]
    assert (await log.newest_snapshot()).tip == commits[2].tip
    await log.record([DeliveryRecord(3, ConnectionId("c_ann"), "get", 1)])
    await log.probe()
    assert await log.tip() == commits[3].tip
    await log.session_records.keep("key", {"a": b"1"}, until_ms=1)
    await log.session_records.load("key", now_ms=0)
    await log.session_records.expire(now_ms=1)
    notes = log.coordination.subscribe()
    first = asyncio.ensure_future(anext(notes))
    await asyncio.sleep(0)
    await log.coordination.publish(b"note")
    assert await first == b"note"
    await notes.aclose()
    assert await log.coordination.time_ms()
    await log.coordination.renew_epoch(log.epoch)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, and its key."""
    path = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=engine"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path / "key.pem"), "-out", str(path / "cert.pem")]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return path


class TestTls:
    """Debian's Redis speaks TLS; the wheel's Valkey does not."""

    @pytest.fixture
    def tls_url(self, certificates: Path) -> Iterator[str]:
        """Return the URL of a log that needs TLS, without the means to trust it."""
        port = free_port()
        files = ("--tls-cert-file", f"{certificates}/cert.pem", "--tls-key-file", f"{certificates}/key.pem")
        files += ("--tls-auth-clients", "no")
        with running("redis", (*DURABLE, "--tls-port", str(port), *files)):
            yield f"rediss://127.0.0.1:{port}/"

    def test_a_log_behind_tls(self, tls_url: str, certificates: Path) -> None:
        """The engine's certificate is checked; without trust in it, the text says what to do."""
        assert "ssl_ca_certs=" in refusal_of(tls_url)
        assert "no file '/nowhere.pem'" in refusal_of(f"{tls_url}?ssl_ca_certs=/nowhere.pem")
        assert "ssl_ca_certs=" in refusal_of(
            f"{tls_url.replace('127.0.0.1', 'localhost')}?ssl_ca_certs={certificates}/cert.pem"
        )

        async def scenario() -> None:
            log = await open_log(f"{tls_url}?ssl_ca_certs={certificates}/cert.pem", PickledStates())
            await all_calls(log)
            await log.close()

        within(scenario)
