"""Opening a log in NATS: the demands on a server and its streams, and the parts of a new log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import nats
import pytest
from nats.errors import Error
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from structlog.testing import capture_logs

from events.commit import EMPTY_TIP
from events.log import LogUnavailableError, UnusableLogError
from events.nats import client as client_module
from events.nats import meta
from events.nats import open as open_module
from events.nats.address import parse
from events.nats.client import Client
from events.nats.errors import NO_JETSTREAM, at_start, rights_of
from events.nats.layout import Layout
from events.nats.log import NatsLog
from events.nats.open import open_log
from events.nats.settings import JEPSEN, check_replicas, check_server, survives
from tests.stores.nats_logs import new_name, opened, users, within
from tests.support.engines.nats import NatsServer, nats_server, running
from tests.support.limits import HUNG_SECONDS, limited
from tests.support.log_contract import PickledStates, all_of, chain
from tests.support.pages import ROOT
from tests.support.process import free_port


async def refusal_of(url: str, synchronous: Any = "full") -> str:
    """Return why the log at `url` is refused, in one line."""
    with pytest.raises(UnusableLogError) as refusal:
        await open_log(url, PickledStates(), synchronous=synchronous)
    text = str(refusal.value)
    assert "\n" not in text
    return text


async def published(server: NatsServer, subject: str, data: bytes) -> None:
    """Publish to a stream of the server."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    await client.jetstream().publish(subject, data)
    await client.close()


async def streams_of(server: NatsServer) -> set[str]:
    """Return the names of the server's streams."""
    client = await nats.connect(f"nats://127.0.0.1:{server.port}")
    names = {info.config.name for info in await client.jetstream().streams_info()}
    await client.close()
    return {name for name in names if name is not None}


class TestDurability:
    """A client can't read how a server syncs, so the operator has to say it."""

    def test_a_server_of_which_nothing_is_said_is_refused(self) -> None:
        """The text says what to set, and how to accept the present setting."""

        async def scenario() -> None:
            told = await refusal_of(nats_server().url(new_name()).replace("&synced=always", ""))
            for part in ("every two minutes", "sync_interval: always", "synced=always", "--log-synchronous normal"):
                assert part in told

        within(scenario)

    def test_it_is_taken_with_normal(self) -> None:
        """A warning is logged."""

        async def scenario() -> None:
            url = nats_server().url(new_name()).replace("&synced=always", "")
            with capture_logs() as lines:
                log = await open_log(url, PickledStates(), synchronous="normal")
            await log.close()
            assert [line["event"] for line in lines] == ["durability_reduced"]
            assert log.survives.startswith("a crash; a power failure may take the last two minutes")

        within(scenario)

    @pytest.mark.parametrize(
        ("replicas", "is_synced", "promise"),
        [
            (1, True, "a crash and a power failure, but not the loss of the server's disk"),
            (3, True, "a crash, a power failure and the loss of 1 of 3 servers"),
            (5, True, "a crash, a power failure and the loss of 2 of 5 servers"),
            (3, False, "a crash; a power failure may take the last two minutes, or as much as sync_interval says"),
        ],
    )
    def test_what_a_commit_survives_is_said(self, replicas: int, promise: str, *, is_synced: bool) -> None:
        """It is one line, with the findings of Jepsen."""
        assert survives(replicas, is_synced=is_synced) == promise + JEPSEN
        assert "\n" not in JEPSEN
        assert "7564" in JEPSEN
        assert "7545" in JEPSEN

    def test_two_replicas_are_refused_and_fewer_than_were_asked_for(self) -> None:
        """Two replicas stop when one is lost."""
        for asked in (1, 3):
            with pytest.raises(UnusableLogError, match="2 replicas, which stop when one is lost"):
                check_replicas("chat_LOG", 2, asked)
        with pytest.raises(UnusableLogError, match="has 1 replica, and the log's URL asks for 3"):
            check_replicas("chat_LOG", 1, 3)
        for replicas, asked in ((1, 1), (3, 1), (3, 3), (5, 3)):
            check_replicas("chat_LOG", replicas, asked)


class TestServer:
    """The demands on a server."""

    def test_an_old_server_is_refused(self) -> None:
        """2.12.1 stops for good when two brokers append at once."""
        for version in ((2, 12, 1), (2, 11, 9), (1, 20, 0)):
            with pytest.raises(UnusableLogError, match=r"is too old; use nats-server 2\.12\.2 or newer"):
                check_server(server_of(*version))
        for version in ((2, 12, 2), (2, 15, 1), (3, 0, 0)):
            check_server(server_of(*version))

    def test_short_messages_are_refused(self) -> None:
        """A commit or a part of a snapshot might be longer."""

        async def scenario() -> None:
            with running("max_payload: 65536") as server:
                assert "65536 bytes at most; set max_payload to 1048576" in await refusal_of(server.url())

        within(scenario)

    def test_a_server_without_jetstream_is_refused(self) -> None:
        """This includes an account without it."""

        async def scenario() -> None:
            server = NatsServer()
            (server.path / "server.conf").write_text(f"listen: '127.0.0.1:{server.port}'\n")
            try:
                server.start()
                assert await refusal_of(server.url()) == NO_JETSTREAM
            finally:
                server.stop()
            with running("accounts { A { users: [ { user: u, password: p } ] } }") as server:
                assert await refusal_of(server.url(user="u:p@")) == NO_JETSTREAM

        within(scenario)

    def test_replicas_that_a_single_server_does_not_keep_are_refused(self) -> None:
        """Nothing of the log is made then."""

        async def scenario() -> None:
            with running() as server:
                told = await refusal_of(f"{server.url()}&replicas=3")
                assert told.startswith("NATS refuses to make the stream")
                assert "replicas" in told
                assert await streams_of(server) == set()

        within(scenario)

    def test_nothing_at_the_address_is_unavailable(self) -> None:
        """It may be started later."""

        async def scenario() -> None:
            with pytest.raises(LogUnavailableError, match=r"^NATS can't be reached: Connection refused$"):
                await open_log(f"nats://127.0.0.1:{free_port()}/?synced=always", PickledStates())

        within(scenario)

    def test_a_server_without_room_for_a_connection_is_unavailable(self) -> None:
        """It is no fault of the user's or the password's, so a broker waits."""

        async def scenario() -> None:
            with running("max_connections: 1") as server:
                client = await nats.connect(f"nats://127.0.0.1:{server.port}")
                for _ in range(5):
                    with pytest.raises(LogUnavailableError, match=r"maximum connections|too many \(max_connections\)"):
                        await open_log(server.url(), PickledStates())
                await client.close()

        within(scenario)

    @pytest.mark.parametrize(
        ("said", "kind"),
        [
            ("Authorization Violation", UnusableLogError),
            ("User Authentication Expired", UnusableLogError),
            ("Account Authentication Expired", UnusableLogError),
            ("User Authentication Revoked", UnusableLogError),
            ("Authentication Timeout", LogUnavailableError),
            ("maximum account active connections exceeded", LogUnavailableError),
        ],
    )
    def test_a_refusal_that_passes_is_waited_for(self, said: str, kind: type[Exception]) -> None:
        """A server says all of them in place of its greeting."""
        error = at_start(Error(f"nats: '{said}'"))
        assert type(error) is kind
        assert isinstance(error, UnusableLogError) or str(error) == f"NATS refuses: {said.lower()}"

    def test_a_greeting_out_of_order_is_no_connection(self) -> None:
        """A server may tell other news before it; the library would go on, and never send anything."""

        async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            info = b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n'
            writer.write(info)
            await reader.readuntil(b"PING\r\n")
            writer.write(info + b"PONG\r\n")
            await reader.read()
            writer.close()

        async def scenario() -> None:
            listening = await asyncio.start_server(server, "127.0.0.1", 0)
            async with listening:
                port = listening.sockets[0].getsockname()[1]
                with pytest.raises(LogUnavailableError, match="no connection"):
                    await asyncio.wait_for(Client(parse(f"nats://127.0.0.1:{port}")).open(), HUNG_SECONDS)

        within(scenario)

    def test_a_server_that_ends_meanwhile_is_unavailable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It ends between its check and the first calls."""

        async def scenario() -> None:
            with running() as server:
                connect = NatsLog.begin

                async def too_late(self: NatsLog) -> None:
                    server.kill()
                    await connect(self)

                monkeypatch.setattr(NatsLog, "begin", too_late)
                with pytest.raises(LogUnavailableError):
                    await open_log(server.url(), PickledStates())

        within(scenario)


def server_of(major: int, minor: int, patch: int) -> Any:
    """Return a client of a server of this version."""
    version = SimpleNamespace(major=major, minor=minor, patch=patch)
    return SimpleNamespace(connected_server_version=version, max_payload=1_048_576)


class TestRights:
    """The user of a log."""

    def test_the_rights_of_the_text_are_enough(self) -> None:
        """A broker can do all its work with them."""

        async def scenario() -> None:
            publish, subscribe = (
                re.findall(r"[\w$.*>]+>", part) for part in rights_of("chat").split("and to subscribe to")
            )
            with running(users(publish, subscribe)) as server:
                log = await open_log(server.url(user="u:p@"), PickledStates())
                commits = chain(3)
                await log.append(commits[:2], expected=EMPTY_TIP)
                async with log.turn(0) as missed:
                    assert list(missed) == commits[:2]
                await log.append(commits[2:], expected=commits[1].tip)
                assert await anext(log.follow(2)) == commits[2]
                await log.redact([1], done_to=1, snapshots_before=1)
                await log.session_records.keep("key", {"a": b"1"}, until_ms=2**40)
                await log.coordination.publish(b"note")
                await log.probe()
                assert len(await all_of(log)) == 3
                await log.close()

        within(scenario)

    def test_the_page_gives_the_same_rights(self) -> None:
        """Both have rights to publish and to subscribe, in the same order."""
        page = (ROOT / "docs" / "operating.md").read_text("utf-8")
        _, _, section = page.partition("**NATS.**")
        section, _, _ = section.partition("\n    }\n")
        assert re.findall(r'"([^"]+)"', section) == re.findall(r"[\w$.*>]+>", rights_of("chat"))

    def test_too_few_are_refused_with_the_right_ones(self) -> None:
        """This holds at the start and later."""

        async def scenario() -> None:
            with running(users(["$JS.API.INFO"], ["_INBOX_chat.>"])) as server:
                with limited(client_module, open_module, ANSWER_SECONDS=2.0):
                    told = await refusal_of(server.url(user="u:p@"))
                assert told.startswith("NATS refuses: a right to publish is missing; ")
                assert rights_of("chat") in told
            rights = ["$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$KV.chat_META.>", "chat.turn"]
            with running(users(rights, ["_INBOX_chat.>", "chat.>"])) as server:
                log = await open_log(server.url(user="u:p@"), PickledStates())
                with (
                    limited(client_module, ANSWER_SECONDS=0.5),
                    pytest.raises(
                        LogUnavailableError, match=r"^NATS refuses: a right to publish is missing; give .*chat\.>"
                    ),
                ):
                    await log.append(chain(1), expected=EMPTY_TIP)
                await log.close()

        within(scenario)


class TestStreams:
    """The demands on a log's streams."""

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"subjects": ["{name}.other"]}, "subjects"),
            ({"storage": StorageType.MEMORY}, "storage memory instead of file"),
            ({"retention": RetentionPolicy.WORK_QUEUE}, "retention workqueue instead of limits"),
            ({"max_msgs": 10}, "max_msgs 10 instead of -1"),
            ({"max_bytes": 1_000_000}, "max_bytes"),
            ({"max_age": 60}, "max_age"),
            ({"max_msgs_per_subject": 1}, "max_msgs_per_subject"),
            ({"max_msg_size": 1_000}, "max_msg_size"),
            ({"discard": DiscardPolicy.OLD}, "discard old instead of new"),
            ({"allow_direct": False}, "allow_direct False instead of True"),
            ({"allow_atomic": False}, "allow_atomic unset instead of True"),
            ({"deny_purge": True}, "deny_purge True instead of unset"),
            ({"deny_delete": True}, "deny_delete"),
            ({"no_ack": True}, "no_ack"),
            ({"max_consumers": 1}, "max_consumers 1 instead of -1"),
        ],
    )
    def test_another_programs_stream_is_refused_and_kept(self, settings: Mapping[str, Any], told: str) -> None:
        """It has other subjects, or a setting to lose commits."""

        async def scenario() -> None:
            name = new_name()
            plain: dict[str, Any] = {
                "name": f"{name}_LOG",
                "subjects": [f"{name}.log.*"],
                "discard": DiscardPolicy.NEW,
                "storage": StorageType.FILE,
                "allow_direct": True,
                "allow_atomic": True,
            }
            made = plain | dict(settings)
            made["subjects"] = [subject.format(name=name) for subject in made["subjects"]]
            client = await nats.connect(f"nats://127.0.0.1:{nats_server().port}")
            await client.jetstream().add_stream(StreamConfig(**made))
            await client.close()
            before = await streams_of(nats_server())
            text = await refusal_of(nats_server().url(name))
            assert f"a stream {name}_LOG that is no log of this program" in text
            assert told in text
            assert await streams_of(nats_server()) == before

        within(scenario)

    def test_a_log_that_was_edited_is_refused_with_the_change(self) -> None:
        """It is no other program's, so no other name is of use."""

        async def scenario() -> None:
            name = new_name()
            async with opened(nats_server(), name):
                pass
            client = await nats.connect(f"nats://127.0.0.1:{nats_server().port}")
            js = client.jetstream()
            config = (await js.stream_info(f"{name}_LOG")).config
            config.max_msgs = 60
            await js.update_stream(config)
            await client.close()
            told = await refusal_of(nats_server().url(name))
            assert told == (
                f"the stream {name}_LOG was changed (max_msgs 60 instead of -1); set it back: nats stream edit"
            )

        within(scenario)

    @pytest.mark.parametrize(
        ("limit", "told"),
        [
            ("max_streams: 3", f"a log needs {len(Layout('x').streams)} streams: raise max_streams of the account"),
            ("max_bytes_required: true", "turn max_bytes_required off for the account"),
        ],
    )
    def test_an_account_with_too_little_room_is_refused(self, limit: str, told: str) -> None:
        """The limit to change is told. Once it is changed, the log is made."""

        async def scenario() -> None:
            account = "accounts {{ A {{ jetstream: {{ {} }}\n users: [ {{ user: u, password: p }} ] }} }}"
            with running(account.format(limit)) as server:
                url = server.url(user="u:p@")
                assert told in await refusal_of(url)
                await asyncio.to_thread(server.reload, account.format("max_streams: 8"))
                await (await open_log(url, PickledStates())).close()

        within(scenario)

    def test_subjects_of_another_stream_are_refused(self) -> None:
        """The server says so."""

        async def scenario() -> None:
            with running() as server:
                client = await nats.connect(f"nats://127.0.0.1:{server.port}")
                await client.jetstream().add_stream(StreamConfig(name="other", subjects=["chat.>"]))
                await client.close()
                assert "subjects overlap with an existing stream" in await refusal_of(server.url())

        within(scenario)

    def test_two_brokers_make_one_log_at_once(self) -> None:
        """They have one epoch and one secret."""

        async def scenario() -> None:
            name = new_name()
            logs = await asyncio.gather(*(open_log(nats_server().url(name), PickledStates()) for _ in range(4)))
            assert len({log.epoch for log in logs}) == 1
            assert len({log.session_records.secret for log in logs}) == 1
            for log in logs:
                await log.close()

        within(scenario)

    def test_a_broker_that_comes_while_another_makes_the_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The other one makes its values and its first commit between two looks of this one."""
        get = meta.get

        async def scenario() -> None:
            name = new_name()

            async def overtaken(client: Any, layout: Layout, key: str) -> bytes | None:
                value = await get(client, layout, key)
                if key == meta.FORMAT and value is None:
                    monkeypatch.setattr(meta, "get", get)
                    async with opened(nats_server(), name) as (other,):
                        await other.append(chain(1), expected=EMPTY_TIP)
                return value

            monkeypatch.setattr(meta, "get", overtaken)
            async with opened(nats_server(), name) as (log,):
                assert await all_of(log) == chain(1)

        within(scenario)

    def test_a_stream_beside_the_log_is_made_anew(self) -> None:
        """A log without its session records can go on."""

        async def scenario() -> None:
            name = new_name()
            layout = Layout(name)
            async with opened(nats_server(), name) as (log,):
                await log.append(chain(1), expected=EMPTY_TIP)
            client = await nats.connect(f"nats://127.0.0.1:{nats_server().port}")
            for stream in (f"KV_{layout.sessions_bucket}", layout.turns_stream, layout.deliveries_stream):
                await client.jetstream().delete_stream(stream)
            await client.close()
            async with opened(nats_server(), name) as (log,):
                await log.session_records.keep("key", {"a": b"1"}, until_ms=2**40)
                async with log.turn(0) as missed:
                    assert list(missed) == chain(1)

        within(scenario)

    @pytest.mark.parametrize("lost", ["_LOG", "_META"])
    def test_a_log_of_which_a_part_is_gone_is_refused(self, lost: str) -> None:
        """Neither its commits nor its epoch are replaced by new ones."""

        async def scenario() -> None:
            name = new_name()
            stream = f"{name}_LOG" if lost == "_LOG" else f"KV_{name}_META"
            async with opened(nats_server(), name) as (log,):
                await log.append(chain(1), expected=EMPTY_TIP)
            client = await nats.connect(f"nats://127.0.0.1:{nats_server().port}")
            await client.jetstream().delete_stream(stream)
            await client.close()
            for _ in range(2):
                assert "restore it" in await refusal_of(nats_server().url(name))

        within(scenario)

    @pytest.mark.parametrize(
        ("key", "value", "told"),
        [
            (meta.FORMAT, b"2", "has format 2, and this program knows 1; use a newer version"),
            (meta.LOADING, b"token", "was not loaded to its end"),
            (meta.SECRET, b"no hex", "can't be read"),
            (meta.BASE, b"[]", "the log's key base can't be read"),
            (meta.REDACTED_TO, b"far", "can't be read"),
            (meta.EPOCH, b"\xff", "can't be read"),
        ],
    )
    def test_values_that_are_damaged_or_newer_are_refused(self, key: str, value: bytes, told: str) -> None:
        """The refusal is one line and names the log's part."""

        async def scenario() -> None:
            name = new_name()
            async with opened(nats_server(), name):
                pass
            await published(nats_server(), f"$KV.{name}_META.{key}", value)
            assert told in await refusal_of(nats_server().url(name))

        within(scenario)

    def test_a_key_that_was_deleted_has_no_value(self) -> None:
        """The tools of NATS delete keys this way."""

        async def scenario() -> None:
            name = new_name()
            async with opened(nats_server(), name):
                pass
            client = await nats.connect(f"nats://127.0.0.1:{nats_server().port}")
            bucket = await client.jetstream().key_value(f"{name}_META")
            await bucket.put(meta.LOADING, b"token")
            await bucket.delete(meta.LOADING)
            await client.close()
            async with opened(nats_server(), name) as (log,):
                assert await log.append(chain(1), expected=EMPTY_TIP) == chain(1)[0].tip

        within(scenario)
