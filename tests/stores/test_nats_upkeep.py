"""The upkeep of a log in NATS: streams that an operator deletes, purges or edits while a broker runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import nats
import pytest
from structlog.testing import capture_logs

from events.commit import EMPTY_TIP
from events.ids import ConnectionId
from events.log import DeliveryRecord, LogUnavailableError, Snapshot, UnusableLogError
from events.nats import meta, upkeep
from events.nats.layout import Layout
from events.nats.log import NatsLog
from events.nats.open import open_reader
from events.nats.requests import api
from tests.stores.broker_pairs import until
from tests.stores.nats_logs import new_name, opened, within
from tests.support.engines.nats import nats_server
from tests.support.log_contract import all_of, another_after, chain

BOB = ConnectionId("c_bob")


async def asked(*requests: tuple[str, Mapping[str, Any] | None]) -> list[Any]:
    """Send requests to JetStream, as the tools of an operator do; return the answers."""
    client = await nats.connect(f"nats://127.0.0.1:{nats_server().port}")
    try:
        return [await api(client, subject, request) for subject, request in requests]
    finally:
        await client.close()


async def deleted(*streams: str) -> None:
    """Delete streams."""
    await asked(*((f"STREAM.DELETE.{stream}", None) for stream in streams))


async def edited(stream: str, **settings: Any) -> None:
    """Change settings of a stream."""
    (found,) = await asked((f"STREAM.INFO.{stream}", None))
    await asked((f"STREAM.UPDATE.{stream}", {**found["config"], **settings}))


def delivery(position: int) -> DeliveryRecord:
    """Return the record of a delivery to Bob, at the beginning of time."""
    return DeliveryRecord(position, BOB, "listen", 1)


async def looked(log: NatsLog) -> list[str]:
    """Let the log look after its streams twice, to be sure; return the events of its log lines."""
    with capture_logs() as lines:
        await log._upkeep.look()
        await log._upkeep.look()
    return [line["event"] for line in lines]


class TestMissing:
    """Streams that are gone."""

    def test_streams_beside_the_log_are_made_anew(self) -> None:
        """A running broker keeps session records, snapshots and deliveries again, and a line says so once."""

        async def scenario() -> None:
            name = new_name()
            layout, commits = Layout(name), chain(3)
            async with opened(nats_server(), name) as (log,):
                await log.append(commits, expected=EMPTY_TIP)
                await deleted(*(stream for stream in layout.streams if stream not in _essential(layout)))
                with pytest.raises(LogUnavailableError):
                    await log.session_records.keep("key", {"a": b"1"}, until_ms=2**40)
                with capture_logs() as lines:
                    await log._upkeep.look()
                assert not lines  # a server that has just begun may not know them yet
                assert await looked(log) == ["streams_made_anew"]
                await log.session_records.keep("key", {"a": b"1"}, until_ms=2**40)
                await log.save(Snapshot(commits[-1].tip, {"a": 1}))
                found = await log.newest_snapshot()
                assert found is not None
                assert found.tip == commits[-1].tip
                async with log.turn(0):
                    pass  # the line of turns is made anew for the next one
                async with log.turn(0) as missed:
                    assert list(missed) == commits
                assert await looked(log) == []

        within(scenario)

    def test_it_happens_by_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A broker looks now and then; a server that does not answer is looked at again."""
        monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.01)

        async def scenario() -> None:
            name, looks = new_name(), 0
            look = upkeep.Upkeep.look

            async def first_in_vain(self: upkeep.Upkeep) -> None:
                nonlocal looks
                looks += 1
                if looks == 1:
                    raise LogUnavailableError("NATS does not answer in time")
                await look(self)

            monkeypatch.setattr(upkeep.Upkeep, "look", first_in_vain)
            with capture_logs() as lines:
                async with opened(nats_server(), name):
                    await deleted(f"KV_{name}_SESSIONS")
                    await until(lambda: bool(lines))
            assert lines[0]["streams"] == [f"KV_{name}_SESSIONS"]

        within(scenario)

    @pytest.mark.parametrize("how", ["deleted", "purged", "a key"])
    def test_lost_values_are_put_back(self, how: str) -> None:
        """They are those that the log had: its epoch, its secret, its base and the rest; the next start finds them."""

        async def scenario() -> None:
            name = new_name()
            layout, commits = Layout(name), chain(4)
            bucket = f"KV_{layout.meta_bucket}"
            async with opened(nats_server(), name) as (log,):
                await log.append(commits[:3], expected=EMPTY_TIP)
                await log.redact([1], done_to=2)
                await log.compact(Snapshot(commits[1].tip, {"a": 1}))
                assert await looked(log) == []
                before = await log._aside.ask(lambda nats: meta.values(nats, layout))
                requests: Mapping[str, tuple[str, Mapping[str, Any] | None]] = {
                    "deleted": (f"STREAM.DELETE.{bucket}", None),
                    "purged": (f"STREAM.PURGE.{bucket}", {}),
                    "a key": (f"STREAM.PURGE.{bucket}", {"filter": f"$KV.{layout.meta_bucket}.secret"}),
                }
                await asked(requests[how])
                await log.append(commits[3:], expected=commits[2].tip)
                assert (await looked(log))[-1] == "values_restored"
                assert await log._aside.ask(lambda nats: meta.values(nats, layout)) == before
            async with opened(nats_server(), name) as (again,):
                assert (again.epoch, again.session_records.secret) == (log.epoch, log.session_records.secret)
                assert (again.base, again.redacted_to) == (commits[1].tip, 2)
                assert await all_of(again) == commits[2:]

        within(scenario)

    def test_nothing_is_made_in_the_place_of_a_log_that_is_gone(self) -> None:
        """A broker that has folded its commits ends."""

        async def scenario() -> None:
            name = new_name()
            async with opened(nats_server(), name) as (log,):
                await log.append(chain(1), expected=EMPTY_TIP)
                await deleted(*Layout(name).streams)
                assert await looked(log) == []
                (found,) = await asked(("STREAM.NAMES", {"subject": f"{name}.>"}))
                assert not found["streams"]

        within(scenario)


class TestEdited:
    """Streams with other settings."""

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"max_msgs": 2, "discard": "old"}, "max_msgs 2 instead of -1"),
            ({"max_bytes": 900, "discard": "old"}, "max_bytes 900 instead of -1"),
            ({"max_age": 10**12}, "max_age 1000000000000 instead of 0"),
            ({"max_msgs_per_subject": 1}, "max_msgs_per_subject 1 instead of -1"),
        ],
    )
    def test_a_log_that_drops_commits_takes_none(self, settings: Mapping[str, Any], told: str) -> None:
        """Nothing more is acknowledged and dropped; the line says what to set back, and then the log goes on."""

        async def scenario() -> None:
            name = new_name()
            async with opened(nats_server(), name) as (log,):
                commits = chain(1)
                await log.append(commits, expected=EMPTY_TIP)
                await edited(f"{name}_LOG", **settings)
                assert await looked(log) == ["stream_changed"]
                for call in (
                    lambda: log.append([another_after(commits)], expected=commits[-1].tip),
                    log.tip,
                    log.probe,
                ):
                    with pytest.raises(UnusableLogError) as refused:
                        await call()
                    assert f"{name}_LOG drops stored commits ({told}); set it back" in str(refused.value)
                await edited(f"{name}_LOG", **dict.fromkeys(settings, -1) | {"discard": "new", "max_age": 0})
                assert await looked(log) == []
                assert await log.tip() == commits[-1].tip

        within(scenario)

    def test_another_change_is_a_line(self) -> None:
        """A limit that refuses new commits drops none; it is told once, and again when it is another."""

        async def scenario() -> None:
            name = new_name()
            async with opened(nats_server(), name) as (log,):
                for limit in (10, 20):
                    await edited(f"{name}_LOG", max_msgs=limit)
                    with capture_logs() as lines:
                        await log._upkeep.look()
                        await log._upkeep.look()
                    (line,) = lines
                    assert (line["event"], line["stream"]) == ("stream_changed", f"{name}_LOG")
                    assert line["fault"] == f"max_msgs {limit} instead of -1"
                await log.append(chain(1), expected=EMPTY_TIP)

        within(scenario)


class TestLostDeliveries:
    """Deliveries that are gone prove nothing about the messages of that time."""

    @pytest.mark.parametrize("how", ["deleted", "purged"])
    def test_the_log_is_read_without_them(self, how: str) -> None:
        """No reader takes an older message for one that was not delivered, before and after the stream is made anew."""

        async def scenario() -> None:
            name = new_name()
            layout, commits = Layout(name), chain(4)
            url = nats_server().url(name)
            async with opened(nats_server(), name) as (log,):
                await log.append(commits[:3], expected=EMPTY_TIP)
                await log.record([delivery(1), delivery(2)])
                if how == "deleted":
                    await deleted(layout.deliveries_stream, layout.operations_stream)
                else:
                    await asked((f"STREAM.PURGE.{layout.deliveries_stream}", {}))
                reader = await open_reader(url)
                assert reader.recorded_after == 3
                assert list(await reader.delivery_records(after=0, last=3, connection_id=None)) == []
                assert await reader.operation_records() == (None if how == "deleted" else [])
                await looked(log)
                await log.append(commits[3:], expected=commits[2].tip)
                await log.record([delivery(4)])
                again = await open_reader(url)
                for one in (reader, again):
                    found: Sequence[DeliveryRecord] = await one.delivery_records(after=0, last=4, connection_id=None)
                    assert [record.position for record in found] == [4]
                assert again.recorded_after >= 3
                for one in (reader, again):
                    await one.close()

        within(scenario)

    def test_a_start_that_makes_their_stream_anew_knows_of_it(self) -> None:
        """A new log has lost none."""

        async def scenario() -> None:
            name = new_name()
            layout = Layout(name)
            async with opened(nats_server(), name) as (log,):
                await log.append(chain(3), expected=EMPTY_TIP)
            reader = await open_reader(nats_server().url(name))
            assert reader.recorded_after == 0
            await reader.close()
            await deleted(layout.deliveries_stream)
            async with opened(nats_server(), name):
                reader = await open_reader(nats_server().url(name))
                assert reader.recorded_after == 3
                await reader.close()

        within(scenario)


def _essential(layout: Layout) -> tuple[str, str]:
    return layout.log_stream, f"KV_{layout.meta_bucket}"
