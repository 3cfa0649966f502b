"""Reading a log in Redis for tools, and loading one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from events.codec import encode_commit
from events.commit import EMPTY_TIP, Commit, Tip, redact
from events.ids import CommitId
from events.log import Conflict, DeliveryRecord, LogUnavailableError, Snapshot, UnusableLogError
from events.redis import loader as loader_module
from events.redis import log as log_module
from events.redis import reader as reader_module
from events.redis.loader import RedisLoader
from events.redis.log import RedisLog
from events.redis.open import open_loading, open_log, open_reader
from events.redis.reader import RedisReader
from projections.state import fold
from tests.core.test_codec import GOLDEN
from tests.stores.redis_logs import new_name, opened, within
from tests.support.engines.redis import RedisServer
from tests.support.fake_clock import settle
from tests.support.log_contract import PickledStates, all_of, chain, conversation
from tests.support.people import ANN, BOB

READING = "~{%s}:* +@read +@connection"


@asynccontextmanager
async def log_and_reader(
    server: RedisServer, commits: Sequence[Commit], name: str | None = None
) -> AsyncIterator[tuple[RedisLog, RedisReader, str]]:
    """Store `commits` in a new log, and open a reader of it as a user with the right to read alone."""
    name = name if name is not None else new_name()
    rights = (READING % name).split()
    server.client.execute_command("ACL", "SETUSER", f"reader-{name}", "reset", "on", ">secret", *rights)
    async with opened(server, name) as (log,):
        await log.append(commits, expected=EMPTY_TIP)
        reader = await open_reader(server.url(name, user=f"reader-{name}:secret@"))
        try:
            yield log, reader, name
        finally:
            await reader.close()


def lines_of(commits: Sequence[Commit]) -> list[bytes]:
    """Return the lines of a dump."""
    return [encode_commit(commit) for commit in commits]


def snapshot_of(commits: Sequence[Commit]) -> Snapshot:
    """Return the snapshot after `commits`."""
    return Snapshot(commits[-1].tip, fold(commits))


class TestReading:
    """Reading while a broker writes."""

    def test_lines_and_tip(self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """The lines are the commits', with their texts, in pages of any size."""
        monkeypatch.setattr(reader_module, "LINES_AT_ONCE", 3)

        async def scenario() -> None:
            commits = conversation(*(f"text {number}" for number in range(8)))
            async with log_and_reader(redis_server, commits) as (_, reader, _):
                assert await reader.tip() == commits[-1].tip
                assert await reader.lines(0, 100) == lines_of(commits)
                assert await reader.lines(2, 4) == lines_of(commits[2:6])
                assert await reader.lines(9, 4) == lines_of(commits[9:])
                assert await reader.lines(99, 4) == []
                assert reader.base == EMPTY_TIP

        within(scenario)

    def test_an_empty_log(self, redis_server: RedisServer) -> None:
        """It has no lines, deliveries or snapshots."""

        async def scenario() -> None:
            async with log_and_reader(redis_server, []) as (_, reader, _):
                assert (await reader.tip(), await reader.lines(0, 9), await reader.position_at(10**15)) == (
                    EMPTY_TIP,
                    [],
                    0,
                )
                assert await reader.load_snapshot(None, PickledStates()) is None
                assert await reader.delivery_records(after=0, last=9, connection_id=None) == []

        within(scenario)

    def test_redacted_and_trimmed_commits(self, redis_server: RedisServer) -> None:
        """Lines have no texts after a redaction, and begin after the base."""

        async def scenario() -> None:
            commits = conversation("one", "two", "three")
            async with log_and_reader(redis_server, commits) as (log, reader, _):
                await log.redact([3], done_to=3)
                assert await reader.lines(0, 9) == lines_of([redact(c) if c.position == 3 else c for c in commits])
                await log.compact(snapshot_of(commits[:3]))
                assert await reader.lines(0, 9) == lines_of(commits[3:])
                assert reader.base == commits[2].tip
                assert await reader.position_at(0) == 3
                assert await reader.tip() == commits[-1].tip
                await log.compact(snapshot_of(commits))
                assert await reader.tip() == commits[-1].tip

        within(scenario)

    def test_the_position_at_a_time(self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is found by O(log n) questions."""

        async def scenario() -> None:
            commits = chain(200)
            async with log_and_reader(redis_server, commits) as (_, reader, _):
                asked, call_all = 0, reader._client.call_all

                async def counted(commands: Any) -> Any:
                    nonlocal asked
                    asked += 1
                    return await call_all(commands)

                monkeypatch.setattr(reader._client, "call_all", counted)
                for wanted in (commits[0], commits[99], commits[-1]):
                    assert await reader.position_at(wanted.at_ms) == wanted.position
                    assert await reader.position_at(wanted.at_ms - 1) == wanted.position - 1
                assert asked < 6 * 12

        within(scenario)

    def test_snapshots(self, redis_server: RedisServer) -> None:
        """All finished ones from the base on are listed; the newest readable one at or below a position is loaded."""

        async def scenario() -> None:
            commits, codec = chain(8), PickledStates()
            async with log_and_reader(redis_server, commits) as (log, reader, name):
                for length in (2, 4, 6):
                    await log.save(snapshot_of(commits[:length]))
                assert await reader.snapshot_tips() == [commits[n].tip for n in (1, 3, 5)]
                for at_most, length in ((None, 6), (6, 6), (5, 4), (2, 2)):
                    assert await reader.load_snapshot(at_most, codec) == snapshot_of(commits[:length])
                assert await reader.load_snapshot(1, codec) is None
                await log.compact(snapshot_of(commits[:3]))
                assert await reader.snapshot_tips() == [commits[n].tip for n in (2, 3, 5)]
                assert await reader.load_snapshot(2, codec) is None
                redis = redis_server.client
                for key in redis.zrange(f"{{{name}}}:snapshots", 0, -1):
                    redis.lset(key, 0, b"damaged\n")
                with pytest.raises(UnusableLogError, match="up to position 3 were trimmed"):
                    await reader.load_snapshot(None, codec)
                with pytest.raises(UnusableLogError, match="up to position 3 were trimmed"):
                    await log.newest_snapshot()
                for key in redis.zrange(f"{{{name}}}:snapshots", 0, -1):
                    redis.rpush(key, b"damaged")
                assert await reader.snapshot_tips() == []

        within(scenario)

    def test_deliveries(self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are found by position and time, of one recipient or all; each once."""
        monkeypatch.setattr(reader_module, "RECORDS_AT_ONCE", 2)

        async def scenario() -> None:
            records = [
                DeliveryRecord(3, ANN, "get", 30),
                DeliveryRecord(2, BOB, "listen", 20),
                DeliveryRecord(3, BOB, "inbox", 10),
                DeliveryRecord(1, ANN, "result", 5),
            ]
            async with log_and_reader(redis_server, conversation("one")) as (log, reader, _):
                for record in (*records, records[0]):
                    await log.record([record])
                await log.record(records)
                found = await reader.delivery_records(after=1, last=3, connection_id=None)
                assert found == [records[1], records[2], records[0]]
                assert await reader.delivery_records(after=0, last=9, connection_id=ANN) == [records[3], records[0]]
                assert reader.recorded_after == 0

        within(scenario)

    def test_old_deliveries_make_room(self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only the newest are kept, and the reader knows up to which position some may be missing."""
        monkeypatch.setattr(log_module, "DELIVERY_RECORDS_KEPT", 100)

        async def scenario() -> None:
            async with log_and_reader(redis_server, conversation("one")) as (log, reader, name):
                for number in range(1, 151):
                    await log.record([DeliveryRecord(number, ANN, "get", at_ms) for at_ms in range(10)])
                kept = await reader.delivery_records(after=0, last=1_000, connection_id=None)
                assert 100 <= len(kept) < 1_500
                assert kept[-1].position == 150
                assert reader.recorded_after >= kept[0].position - 1 > 0
                other = await open_reader(redis_server.url(name))
                assert other.recorded_after == reader.recorded_after
                await other.close()

        within(scenario)

    def test_damage_is_said_with_its_position(self, redis_server: RedisServer) -> None:
        """Commits may be missing or unreadable; those before are returned."""

        async def scenario() -> None:
            commits = chain(6)
            async with log_and_reader(redis_server, commits) as (log, reader, name):
                redis, key = redis_server.client, f"{{{name}}}:log"
                redis.xdel(key, "3-0")
                assert await reader.lines(0, 9) == lines_of(commits[:2])
                with pytest.raises(UnusableLogError, match="before position 4 are missing"):
                    await reader.lines(2, 9)
                with pytest.raises(UnusableLogError, match="before position 4 are missing"):
                    await reader.position_at(commits[2].at_ms)
                redis.delete(key)
                redis.xadd(key, {"i": "x", "c": "no commit", "t": ""}, id="1-0")
                redis.hset(f"{{{name}}}:texts", "1", "[}")
                for call in (reader.lines(0, 1), log.read(0, 1), reader.position_at(0)):
                    with pytest.raises(UnusableLogError, match="position 1 can't be read"):
                        await call
                redis.xadd(f"{{{name}}}:handings", {"m": 1, "r": "x"}, id="1-0")
                with pytest.raises(UnusableLogError, match="deliveries are damaged"):
                    await reader.delivery_records(after=0, last=9, connection_id=None)

        within(scenario)

    def test_a_reader_needs_a_log(self, redis_server: RedisServer) -> None:
        """It makes no log; other keys and unfinished loads are refused."""

        async def scenario() -> None:
            name = new_name()
            with pytest.raises(UnusableLogError, match=f"no log '{name}'"):
                await open_reader(redis_server.url(name))
            redis_server.client.set(f"{{{name}}}:meta", "x")
            with pytest.raises(UnusableLogError, match="no log of this program"):
                await open_reader(redis_server.url(name))
            async with log_and_reader(redis_server, []) as (_, reader, name):
                redis_server.client.delete(f"{{{name}}}:meta")
                with pytest.raises(LogUnavailableError, match="gone"):
                    await reader.tip()

        within(scenario)

    def test_a_user_without_the_right_to_read_is_refused(self, redis_server: RedisServer) -> None:
        """The text has the rights of a reader."""
        name = new_name()
        redis_server.client.execute_command("ACL", "SETUSER", name, "reset", "on", ">secret", "+@connection")
        with pytest.raises(UnusableLogError, match=r"\+@read \+@connection"):
            asyncio.run(open_reader(redis_server.url(name, user=f"{name}:secret@")))


async def finished(loader: RedisLoader, lines: Sequence[bytes]) -> None:
    """Load the whole dump `lines`."""
    await loader.append_lines(lines, expected=EMPTY_TIP)
    await loader.finish()


class TestLoading:
    """A dump becomes a log, whole or not at all."""

    @pytest.mark.parametrize("file", sorted(GOLDEN.glob("commits*.jsonl")), ids=lambda file: file.stem)
    def test_a_dump_of_any_schema_comes_back(
        self, redis_server: RedisServer, file: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reader gives the same lines; a broker has its commits."""
        monkeypatch.setattr(loader_module, "LINES_AT_ONCE", 4)
        lines = file.read_bytes().splitlines()

        async def scenario() -> None:
            name = new_name()
            await finished(await open_loading(redis_server.url(name), PickledStates()), lines)
            reader = await open_reader(redis_server.url(name))
            assert await reader.lines(0, 100) == lines
            assert reader.recorded_after == len(lines)
            await reader.close()
            async with opened(redis_server, name) as (log,):
                commits = await all_of(log)
                assert fold(commits).tip == commits[-1].tip == await log.tip()
                async with log.turn(len(lines) - 1) as missed:
                    assert list(missed) == commits[-1:]

        within(scenario)

    def test_a_trimmed_log_and_snapshots(self, redis_server: RedisServer) -> None:
        """It begins at its base."""

        async def scenario() -> None:
            commits, name = chain(8), new_name()
            loader = await open_loading(redis_server.url(name), PickledStates())
            await loader.start_from(snapshot_of(commits[:3]))
            with pytest.raises(Conflict):
                await loader.start_from(snapshot_of(commits[:3]))
            assert await loader.append_lines(lines_of(commits[3:5]), expected=commits[2].tip) == commits[4].tip
            await loader.save(snapshot_of(commits[:5]))
            with pytest.raises(Conflict):
                await loader.append_lines(lines_of(commits[3:5]), expected=commits[2].tip)
            await loader.append_lines(lines_of(commits[5:]), expected=commits[4].tip)
            await loader.finish()
            async with opened(redis_server, name) as (log,):
                assert log.base == commits[2].tip
                assert await all_of(log) == commits[3:]
                assert await log.newest_snapshot() == snapshot_of(commits[:5])

        within(scenario)

    def test_before_it_is_finished_it_is_no_log(self, redis_server: RedisServer) -> None:
        """A broker and a reader refuse it; another load throws it away, and the first one is told."""

        async def scenario() -> None:
            commits, name = conversation("one", "two"), new_name()
            url = redis_server.url(name)
            first = await open_loading(url, PickledStates())
            await first.append_lines(lines_of(commits), expected=EMPTY_TIP)
            await first.save(snapshot_of(commits))
            for opening in (open_log(url, PickledStates()), open_reader(url)):
                with pytest.raises(UnusableLogError, match="was not loaded to its end; load it again"):
                    await opening
            second = await open_loading(url, PickledStates())
            for call in (first.append_lines(lines_of(commits), expected=commits[-1].tip), first.finish()):
                with pytest.raises(UnusableLogError, match="another load"):
                    await call
            await first.abandon()
            await finished(second, lines_of(commits[:3]))
            await second.abandon()
            async with opened(redis_server, name) as (log,):
                assert await all_of(log) == commits[:3]
                assert await log.newest_snapshot() is None

        within(scenario)

    def test_a_broker_of_the_empty_log_can_not_write_meanwhile(self, redis_server: RedisServer) -> None:
        """Its commit is refused, so that it is not lost with the load; it goes on after the load."""

        async def scenario() -> None:
            commits, name = conversation("one", "two"), new_name()
            async with opened(redis_server, name) as (log,):
                loader = await open_loading(redis_server.url(name), PickledStates())
                with pytest.raises(LogUnavailableError, match="is being loaded"):
                    await log.append(commits[:1], expected=EMPTY_TIP)
                await finished(loader, lines_of(commits[:-1]))
                await log.append(commits[-1:], expected=commits[-2].tip)
                assert await all_of(log) == commits

        within(scenario)

    def test_an_abandoned_load_leaves_nothing(self, redis_server: RedisServer) -> None:
        """No key of it is left."""

        async def scenario() -> None:
            commits, name = conversation("one"), new_name()
            loader = await open_loading(redis_server.url(name), PickledStates())
            await loader.append_lines(lines_of(commits), expected=EMPTY_TIP)
            await loader.save(snapshot_of(commits))
            await loader.abandon()
            assert redis_server.client.keys(f"{{{name}}}:*") == []

        within(scenario)

    def test_only_an_empty_log_is_loaded_into(self, redis_server: RedisServer) -> None:
        """It gets a new epoch; one with commits, or other keys, are kept."""

        async def scenario() -> None:
            commits, name = chain(2), new_name()
            url = redis_server.url(name)
            async with opened(redis_server, name) as (log,):
                epoch = log.epoch
            await finished(await open_loading(url, PickledStates()), lines_of(commits))
            async with opened(redis_server, name) as (log,):
                assert log.epoch != epoch
                with pytest.raises(UnusableLogError, match="is not empty; load into another name"):
                    await open_loading(url, PickledStates())
                assert await all_of(log) == commits
            redis_server.client.set(f"{{{name}-2}}:log", "x")
            with pytest.raises(UnusableLogError, match="no log of this program"):
                await open_loading(redis_server.url(f"{name}-2"), PickledStates())
            with pytest.raises(UnusableLogError, match="user or the password"):
                await open_loading(redis_server.url(name, user="nobody:secret@"), PickledStates())

        within(scenario)

    def test_lines_that_are_no_commits_are_refused(self, redis_server: RedisServer) -> None:
        """Nothing of them is stored."""

        async def scenario() -> None:
            loader = await open_loading(redis_server.url(new_name()), PickledStates())
            with pytest.raises(Exception, match="not a commit"):
                await loader.append_lines([*lines_of(chain(2)), b"{}"], expected=EMPTY_TIP)
            assert await loader.append_lines(lines_of(chain(2)), expected=EMPTY_TIP) == chain(2)[-1].tip
            await loader.abandon()

        within(scenario)


class TestMemory:
    """The memory of a log in the engine."""

    def test_redaction_and_trimming_free_what_they_remove(self, redis_server: RedisServer) -> None:
        """No word is left in any key; the texts of trimmed commits go too."""

        async def scenario() -> None:
            words = [f"secret-{number}" for number in range(10)]
            commits = conversation(*words)
            async with log_and_reader(redis_server, commits) as (log, _, name):
                redis = redis_server.client
                assert not any("secret" in str(entry) for entry in redis.xrange(f"{{{name}}}:log"))
                assert redis.hlen(f"{{{name}}}:texts") == len(commits)
                await log.redact(range(1, 7), done_to=6)
                assert redis.hlen(f"{{{name}}}:texts") == 6
                await log.compact(snapshot_of(commits[:9]))
                assert redis.hlen(f"{{{name}}}:texts") == redis.xlen(f"{{{name}}}:log") == 3
                await log.compact(snapshot_of(commits))
                assert redis.hlen(f"{{{name}}}:texts") == redis.xlen(f"{{{name}}}:log") == 0

        within(scenario)

    def test_a_message_is_small(self, redis_server: RedisServer) -> None:
        """It takes less than a kilobyte, with its text."""

        async def scenario() -> None:
            commits = conversation(*(f"hello number {number}, how are you?" for number in range(500)))
            async with log_and_reader(redis_server, commits) as (_, _, name):
                used = sum(redis_server.client.memory_usage(f"{{{name}}}:{part}") for part in ("log", "texts"))
                assert used / len(commits) < 1_000

        within(scenario)

    def test_snapshots_are_thinned_out(self, redis_server: RedisServer) -> None:
        """A few are kept, the newest and the base among them; their parts go with them."""

        async def scenario() -> None:
            commits = chain(40)
            async with log_and_reader(redis_server, commits) as (log, reader, name):
                await log.compact(snapshot_of(commits[:2]))
                for length in range(3, 41):
                    await log.save(snapshot_of(commits[:length]))
                tips = await reader.snapshot_tips()
                assert len(tips) <= 9
                assert (tips[0], tips[-1]) == (commits[1].tip, commits[-1].tip)
                assert len(redis_server.client.keys(f"{{{name}}}:snapshot:*")) == len(tips)

        within(scenario)

    def test_an_unfinished_snapshot_goes_by_itself(self, redis_server: RedisServer) -> None:
        """A cancelled one has a time limit, and does not count."""

        class Endless(PickledStates):
            def encode(self, state: Any) -> Any:
                yield b"x" * 300_000
                saving.cancel()
                yield b"x" * 300_000
                yield b"x"

        async def scenario() -> None:
            nonlocal saving
            name = new_name()
            log = await open_log(redis_server.url(name), Endless())
            commits = chain(2)
            await log.append(commits, expected=EMPTY_TIP)
            saving = asyncio.ensure_future(log.save(snapshot_of(commits)))
            await asyncio.gather(saving, return_exceptions=True)
            assert saving.cancelled()
            assert await log.newest_snapshot() is None
            await log.close()
            keys = redis_server.client.keys(f"{{{name}}}:snapshot:*")
            assert [0 < redis_server.client.ttl(key) <= 3_600 for key in keys] == [True]

        saving: Any = None
        within(scenario)

    def test_a_snapshot_of_another_past_is_refused(self, redis_server: RedisServer) -> None:
        """Its commit is not in this log."""

        async def scenario() -> None:
            commits = chain(3)
            async with log_and_reader(redis_server, commits) as (log, _, name):
                other = Snapshot(Tip(2, CommitId("f" * 32)), fold(commits))
                await log.save(other)
                assert await log.newest_snapshot() is None
                with pytest.raises(Exception, match="no commit ffff"):
                    await log.compact(other)
                assert await all_of(log) == commits
                assert redis_server.client.keys(f"{{{name}}}:snapshot:*") == []

        within(scenario)

    def test_a_snapshot_from_before_a_redaction_does_not_come_later(self, redis_server: RedisServer) -> None:
        """Another broker was still writing it."""

        async def scenario() -> None:
            commits = conversation("one", "two")
            async with log_and_reader(redis_server, commits) as (log, _, _):
                await log.redact([3], done_to=3, snapshots_before=4)
                await log.save(snapshot_of(commits[:3]))
                assert await log.newest_snapshot() is None
                await log.save(snapshot_of(commits))
                assert (await log.newest_snapshot()) == snapshot_of(commits)

        within(scenario)

    def test_redacted_words_leave_the_file(self, redis_server: RedisServer) -> None:
        """The append-only file is rewritten without them."""

        async def scenario() -> None:
            commits = conversation("a-very-secret-word")
            async with log_and_reader(redis_server, commits) as (log, _, _):
                while True:
                    await log.redact([3], done_to=3)
                    await wait_for_rewrite(redis_server)
                    if not log._is_rewrite_due:
                        break
                files = [file.read_bytes() for file in redis_server.path.rglob("*.aof")]
                assert files
                assert not any(b"a-very-secret-word" in content for content in files)

        within(scenario)


async def wait_for_rewrite(server: RedisServer) -> None:
    """Return once the engine does not rewrite its file."""
    while server.client.info("persistence")["aof_rewrite_in_progress"]:
        await settle(1)


def test_a_note_that_is_too_long_is_a_bug(redis_server: RedisServer) -> None:
    """An assertion says so."""

    async def scenario() -> None:
        async with opened(redis_server, new_name()) as (log,):
            with pytest.raises(AssertionError):
                await log.coordination.publish(b"x" * 5_001)

    within(scenario)
