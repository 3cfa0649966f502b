"""The log in a file: the contract, and the guarantees beyond its process."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Protocol, cast

import apsw
import pytest

from events.commit import EMPTY_TIP, Commit, Tip
from events.ids import Position
from events.log import DeliveryRecord, EventLog, LogUnavailableError, Snapshot, UnusableLogError
from events.session_records import SessionRecords
from events.sqlite import log as sqlite_log
from events.sqlite.file import SqliteFile
from events.sqlite.log import SqliteLog
from events.sqlite.open import Mode
from events.sqlite.reader import SqliteReader
from events.sqlite.snapshots import SNAPSHOTS_MAX
from events.sqlite.wakeup import Wakeup, wakeup_path, watch
from projections.state import fold
from tests.support.disk import Disk, watched_disk
from tests.support.fake_clock import settle
from tests.support.limits import HUNG_SECONDS
from tests.support.log_contract import LogContract, PickledStates, chain, conversation
from tests.support.logs import run
from tests.support.people import ANN

STATES = PickledStates()
COMMITS = chain(12)
NEVER_SECONDS = 3_600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path for a log."""
    return tmp_path / "chat.db"


@asynccontextmanager
async def opened(path: Path, mode: Mode = "write", **options: Any) -> AsyncIterator[SqliteLog]:
    """Open the log at `path`, and wait for the work of its start."""
    log = SqliteLog(path, STATES, mode=mode, **options)
    try:
        await log._on(log._writing, lambda: None)
        yield log
    finally:
        await log.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a write lock as another process."""
    with closing(apsw.Connection(str(path))) as other:
        other.set_busy_timeout(1_000)
        other.execute("BEGIN IMMEDIATE")
        yield


def at(position: int) -> Snapshot:
    """Return the snapshot of `COMMITS` at a position."""
    return Snapshot(COMMITS[position - 1].tip, fold(COMMITS[:position]))


class Logs(LogContract):
    """The contract for logs in files, closed after the test."""

    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path) -> Iterator[None]:
        self.directory, self.logs = tmp_path, list[SqliteLog]()
        yield
        for log in reversed(self.logs):
            asyncio.run(log.close())

    def log_at(self, path: Path, mode: Mode) -> SqliteLog:
        """Open a log without polling: only wake-ups reach it."""
        self.logs.append(SqliteLog(path, STATES, mode=mode, poll_seconds=NEVER_SECONDS))
        return self.logs[-1]


class TestSqliteLog(Logs):
    """The contract for a broker's log."""

    async def make(self) -> EventLog:
        """Return an empty log."""
        return self.log_at(self.directory / f"{len(self.logs)}.db", "write")


class TestSharedSqliteLog(Logs):
    """The contract for two logs at one file: one writes, the other reads."""

    async def make(self) -> EventLog:
        """Return an empty log, made by the writer."""
        path = self.directory / f"{len(self.logs)}.db"
        return TwoLogs(self.log_at(path, "write"), self.log_at(path, "share"))


class TwoLogs:
    """An `EventLog` of two; see `TestSharedSqliteLog`."""

    is_shared = is_contended = never_waits = False
    coordination = None
    keeps_delivery_records = True
    keeps_operation_records = True

    def __init__(self, writer: SqliteLog, other: SqliteLog) -> None:
        self._writer, self._other = writer, other
        self.epoch, self.survives = other.epoch, writer.survives
        self.append, self.save, self.compact, self.turn = writer.append, writer.save, writer.compact, writer.turn
        self.record, self.redact = writer.record, writer.redact
        self.read, self.follow, self.newest_snapshot = other.read, other.follow, other.newest_snapshot

    @property
    def session_records(self) -> SessionRecords:
        """The writer's records."""
        return self._writer.session_records

    @property
    def redacted_to(self) -> Position:
        """The writer's position."""
        return self._writer.redacted_to

    @property
    def base(self) -> Tip:
        """The base, new at once for the writer, and with the next read for the reader."""
        return self._writer.base

    async def tip(self) -> Tip:
        """Return the common tip."""
        tip = await self._other.tip()
        assert (await self._writer.tip(), self._writer.base) == (tip, self._other.base)
        return tip

    async def probe(self) -> None:
        """Probe the writer's."""
        await self._writer.probe()

    async def close(self) -> None:
        """Close both."""
        await self._other.close()
        await self._writer.close()


class TestRestart:
    """A restarted broker has all answered commands."""

    def test_a_log_goes_on_where_it_was(self, path: Path) -> None:
        """Epoch, commits, base and snapshots survive a restart."""

        async def scenario() -> None:
            async with opened(path) as log:
                epoch = log.epoch
                await log.append(COMMITS[:9], expected=EMPTY_TIP)
                await log.compact(at(3))
                await log.save(at(6))
                await log.redact([], done_to=7)
            async with opened(path) as log:
                assert (log.epoch, log.base, log.redacted_to) == (epoch, COMMITS[2].tip, 7)
                assert await log.newest_snapshot() == at(6)
                assert await log.read(0, 100) == COMMITS[3:9]
                await log.append(COMMITS[9:], expected=COMMITS[8].tip)
                assert await log.tip() == COMMITS[-1].tip

        run(scenario)

    def test_what_was_answered_survives_a_kill(self, path: Path) -> None:
        """Answered appends survive a kill at any moment, and the next broker can start at once."""
        with running(APPEND_ON_AND_ON, path) as child:
            answered = [int(child.stdout.readline()) for _ in range(20)][-1]
            child.send_signal(signal.SIGKILL)
            answered = max([answered, *(int(line) for line in child.stdout.read().split())])

        async def scenario() -> None:
            async with opened(path) as log:
                commits = await log.read(0, 1_000_000)
                assert len(commits) >= answered
                fold(commits)

        run(scenario)

    def test_an_append_whose_answer_was_lost_is_done_once(self, path: Path) -> None:
        """A repeated append is done once, also after a restart."""

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(COMMITS[:5], expected=EMPTY_TIP)
            async with opened(path) as log:
                assert await log.append(COMMITS[:5], expected=EMPTY_TIP) == COMMITS[4].tip
                assert await log.read(0, 100) == COMMITS[:5]

        run(scenario)

    def test_a_trim_that_was_cut_short_is_finished(self, path: Path) -> None:
        """The next start finishes a trim, and its commits count as gone meanwhile."""

        async def scenario() -> None:
            with SqliteFile(path) as file:
                file.append(COMMITS, expected=EMPTY_TIP)
                file.compact(at(6), STATES)
            async with opened(path) as log:
                assert await log.read(0, 100) == COMMITS[6:]
            with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)) as db:
                assert db.execute("SELECT min(position) FROM commits").fetchone() == (7,)

        run(scenario)

    def test_a_log_that_can_not_be_opened_leaves_nothing_open(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A failed opening leaves no thread and no lock."""
        path.write_bytes(b"something else")
        threads = threading.active_count()
        with pytest.raises(UnusableLogError):
            SqliteLog(path, STATES)
        path.unlink()
        monkeypatch.setattr("events.sqlite.log.SqliteReader", failing)
        with pytest.raises(LogUnavailableError):
            SqliteLog(path, STATES)
        monkeypatch.undo()
        assert threading.active_count() == threads
        run(SqliteLog(path, STATES).close)


class TestManyAtOnce:
    """Concurrent work does not wait without need."""

    def test_a_slow_disk_stalls_nobody_but_the_writer(self, path: Path) -> None:
        """During a slow append, reads and the event loop go on."""

        async def scenario(disk: Disk) -> None:
            async with opened(path) as log:
                await log.append(COMMITS[:5], expected=EMPTY_TIP)
                disk.is_ready.clear()
                appending = asyncio.ensure_future(log.append(COMMITS[5:6], expected=COMMITS[4].tip))
                assert await asyncio.to_thread(disk.is_asked.wait, 5)
                for _ in range(20):
                    assert await log.read(0, 100) == COMMITS[:5]
                    assert await log.tip() == COMMITS[4].tip
                assert not appending.done()
                disk.is_ready.set()
                assert await appending == COMMITS[5].tip

        with watched_disk() as disk:
            run(lambda: scenario(disk))

    def test_a_lock_that_lasts_is_an_error_and_then_all_is_well(self, path: Path) -> None:
        """A lasting lock fails an append that stores nothing, and later ones work."""

        async def scenario() -> None:
            async with opened(path) as log:
                with locked(path):
                    began = time.monotonic()
                    with pytest.raises(LogUnavailableError, match="another process keeps it locked"):
                        await log.append(COMMITS[:1], expected=EMPTY_TIP)
                    assert time.monotonic() - began < 3
                assert await log.append(COMMITS[:1], expected=EMPTY_TIP) == COMMITS[0].tip

        run(scenario)

    def test_an_append_whose_caller_is_gone_leaves_a_whole_log(self, path: Path) -> None:
        """A cancelled append is stored completely or not at all, and followers get it."""

        async def scenario() -> None:
            async with opened(path, poll_seconds=NEVER_SECONDS) as log:
                append, begun = log._file.append, threading.Event()
                log._file.append = lambda *args, **kwargs: begun.set() or append(*args, **kwargs)
                heard = asyncio.ensure_future(first_of(log, 0))
                with locked(path):
                    appending = asyncio.ensure_future(log.append(COMMITS[:1], expected=EMPTY_TIP))
                    await asyncio.to_thread(begun.wait, 5)
                    appending.cancel()
                    await asyncio.gather(appending, return_exceptions=True)
                assert await asyncio.wait_for(heard, HUNG_SECONDS) == COMMITS[0]
                assert await log.append(COMMITS[1:2], expected=COMMITS[0].tip) == COMMITS[1].tip

        run(scenario)

    def test_appends_go_on_while_a_snapshot_is_written(self, path: Path) -> None:
        """Appends go on during a long snapshot, and closing does not wait for it."""
        encoding, go_on = threading.Event(), threading.Event()

        class Slow(PickledStates):
            """A codec for a large state."""

            def encode(self, state: object) -> Iterator[bytes]:
                """Block in the middle."""
                yield b'"' + b"0" * 300_000 + b'"'
                encoding.set()
                go_on.wait(10)
                yield b'"00"'

        async def scenario() -> None:
            log = SqliteLog(path, Slow())
            await log.append(COMMITS[:3], expected=EMPTY_TIP)
            saving = asyncio.ensure_future(log.save(at(2)))
            await asyncio.to_thread(encoding.wait, 10)
            await log.append(COMMITS[3:], expected=COMMITS[2].tip)
            assert await log.newest_snapshot() is None
            closing = asyncio.ensure_future(log.close())
            await settle(1)
            go_on.set()
            await asyncio.gather(saving, closing)
            with SqliteFile(path) as file:
                assert (file.snapshot_tips(), file.tip()) == ([], COMMITS[-1].tip)

        run(scenario)

    def test_a_log_is_trimmed_while_a_broker_serves_from_it(self, path: Path) -> None:
        """During a trim by another process, appends go on and the base moves."""
        commits = conversation(*("x" * 500 for _ in range(9_000)))
        half = 6_000

        async def scenario() -> None:
            async with opened(path) as log, opened(path, "share") as operators:
                await log.append(commits[:half], expected=EMPTY_TIP)
                snapshot = Snapshot(commits[half - 101].tip, fold(commits[: half - 100]))
                trimming = asyncio.ensure_future(operators.compact(snapshot))
                for commit in commits[half:]:
                    await log.append([commit], expected=Tip(commit.position - 1, commit.previous_id))
                    if trimming.done():
                        break
                await trimming
                assert (await log.read(0, 10_000))[:100] == commits[half - 100 : half]
                assert log.base == operators.base == snapshot.tip  # as of that read
                assert await log.newest_snapshot() == snapshot

        run(scenario)

    def test_a_snapshot_that_finds_no_space_is_no_error(self, path: Path) -> None:
        """A snapshot without space is no error for `save`, and one for `compact`."""

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(COMMITS, expected=EMPTY_TIP)
                log._file._db.execute("PRAGMA max_page_count = 1")
                large = Snapshot(COMMITS[5].tip, list(range(100_000)))
                await log.save(large)
                with pytest.raises(LogUnavailableError, match="the disk is full"):
                    await log.compact(large)
                assert (log.base, await log.newest_snapshot()) == (EMPTY_TIP, None)
                log._file._db.execute("PRAGMA max_page_count = 1000000")
                await log.compact(large)
                assert await log.newest_snapshot() == large

        run(scenario)

    def test_a_trim_that_fails_on_its_way_is_told_of(self, path: Path) -> None:
        """A failing trim is an error; the commits count as gone, and the rest is deleted later."""

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(COMMITS, expected=EMPTY_TIP)
                purge, log._file.purge = log._file.purge, failing
                with pytest.raises(LogUnavailableError):
                    await log.compact(at(6))
                assert await log.read(0, 100) == COMMITS[6:]
                log._file.purge = purge
                await log.compact(at(6))
                assert not log._file.purge()

        run(scenario)

    def test_a_trim_that_meets_damage_is_told_of(self, path: Path) -> None:
        """Damage during a trim is an error, not an endless wait."""

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(COMMITS, expected=EMPTY_TIP)
                with closing(apsw.Connection(str(path))) as other:
                    other.execute("DROP TABLE handings")
                with pytest.raises(UnusableLogError, match="no such table: handings"):
                    await asyncio.wait_for(log.compact(at(6)), HUNG_SECONDS)
                assert await log.read(0, 100) == COMMITS[6:]

        run(scenario)

    def test_a_trim_ends_when_the_log_is_closed(self, path: Path) -> None:
        """Closing the log ends a trim."""

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(COMMITS, expected=EMPTY_TIP)
                begun = asyncio.Event()
                loop = asyncio.get_running_loop()
                log._file.purge = lambda: not loop.call_soon_threadsafe(begun.set).cancelled()
                trimming = asyncio.ensure_future(log.compact(at(6)))
                await asyncio.wait_for(begun.wait(), HUNG_SECONDS)
                await log.close()
                with pytest.raises(LogUnavailableError, match=rf"^{path}: the log is closed$"):
                    await asyncio.wait_for(trimming, HUNG_SECONDS)

        run(scenario)

    def test_a_closed_log_says_so(self, path: Path) -> None:
        """Calls on a closed log raise an error, except those whose work may be lost."""

        async def scenario() -> None:
            log = SqliteLog(path, STATES)
            await log.append(COMMITS, expected=EMPTY_TIP)
            await log.close()
            await log.close()
            await log.record([DeliveryRecord(1, ANN, "get", 1)])
            await log.save(at(3))
            for attempt in (log.tip(), log.read(0, 1), log.append(COMMITS, expected=EMPTY_TIP), log.compact(at(3))):
                with pytest.raises(LogUnavailableError, match=rf"^{path}: the log is closed$"):
                    await attempt

        run(scenario)


class TestRedaction:
    """Texts can be removed for good."""

    def test_no_byte_of_it_is_left(self, path: Path) -> None:
        """No byte of a redacted text is in any file, even with the log open and read."""

        async def scenario() -> None:
            commits = conversation("a secret", "no secret " + "x" * 5_000, "a secret " + "x" * 10_000)
            async with opened(path) as log, opened(path, "read") as reader:
                await log.append(commits, expected=EMPTY_TIP)
                await reader.read(0, 100)
                await log.redact([3, 5], done_to=5)
                left = b"".join(file.read_bytes() for file in path.parent.glob("chat.db*"))
                assert left.count(b"a secret") == 0
                assert left.count(b"no secret") == 2  # in the command, and in the event
                assert fold(await reader.read(0, 100)) == fold(commits)

        run(scenario)

    def test_bytes_that_can_not_be_removed_are_told_of(self, path: Path) -> None:
        """A reader that keeps the WAL makes redaction an error, and a retry works later."""

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(conversation("a secret"), expected=EMPTY_TIP)
                with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)) as slow:
                    slow.execute("BEGIN")
                    slow.execute("SELECT * FROM commits").fetchone()
                    kept = "the texts are replaced, but another process keeps them in its WAL"
                    with pytest.raises(LogUnavailableError, match=f"^{path}: {kept}; end that one, and do it again$"):
                        await log.redact([3], done_to=3)
                await log.redact([3], done_to=3)
                assert b"a secret" not in b"".join(file.read_bytes() for file in path.parent.glob("chat.db*"))

        run(scenario)


class TestDeliveryRecords:
    """Delivery records for debugging."""

    def test_they_are_in_the_file_afterwards(self, path: Path) -> None:
        """A reader finds the records."""
        some = [DeliveryRecord(1 + n % 12, ANN, "get", n) for n in range(1_000)]

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(COMMITS, expected=EMPTY_TIP)
                await log.record(some)
                with SqliteFile(path, "read") as reader:
                    found = reader.delivery_records(after=0, last=12, connection_id=ANN)
                assert sorted(found, key=lambda one: one.at_ms) == some

        run(scenario)

    def test_those_that_can_not_be_stored_are_lost(self, path: Path) -> None:
        """Records that can't be stored are lost without an error, and later ones are stored."""

        async def scenario() -> None:
            async with opened(path) as log:
                with locked(path):
                    await log.record([DeliveryRecord(1, ANN, "get", 1)])
                assert await in_file(log) == []
                await log.record([DeliveryRecord(1, ANN, "get", 2)])
                assert await in_file(log) == [DeliveryRecord(1, ANN, "get", 2)]

        run(scenario)


class TestFollowing:
    """Followers get commits of this process and of others."""

    def test_a_follower_hears_another_process(self, path: Path) -> None:
        """A wake-up brings another process's commit long before the next poll."""

        async def scenario(child: Child) -> None:
            async with opened(path, "read", poll_seconds=NEVER_SECONDS) as log:
                following = log.follow(0)
                async with aclosing(following):
                    for number in range(1, 4):
                        hearing = asyncio.ensure_future(anext(following))
                        await listening(log)
                        child.stdin.write(b"\n")
                        child.stdin.flush()
                        assert (await asyncio.wait_for(hearing, HUNG_SECONDS)).position == number

        with running(APPEND_WHEN_TOLD, path) as child:
            assert child.stdout.readline() == b"ready\n"
            run(lambda: scenario(child))

    @pytest.mark.parametrize("mode", ["write", "share", "read"])
    def test_a_follower_looks_by_itself_where_it_hears_nothing(self, path: Path, mode: Mode) -> None:
        """Without wake-ups, a follower polls."""

        async def scenario() -> None:
            await SqliteLog(path, STATES).close()
            async with opened(path, mode, poll_seconds=0.01) as log:
                os.unlink(wakeup_path(str(path)))
                hearing = asyncio.ensure_future(first_of(log, 0))
                for _ in range(3):
                    await log.tip()  # after its first read
                with SqliteFile(path, "share") as other:  # without a wake-up
                    other.append(COMMITS[:1], expected=EMPTY_TIP)
                assert await asyncio.wait_for(hearing, HUNG_SECONDS) == COMMITS[0]

        run(scenario)

    @pytest.mark.parametrize("mode", ["write", "share", "read"])
    def test_one_listens_for_all_followers_where_others_may_store(self, path: Path, mode: Mode) -> None:
        """All followers share one watcher, and a broker has none."""

        async def scenario() -> None:
            SqliteFile(path).close()
            async with opened(path, mode) as log:
                followers = [log.follow(0) for _ in range(2)]
                listening = set[object]()
                for follower in followers:
                    hearing = asyncio.ensure_future(anext(follower))
                    await settle(1)
                    listening.add(log._watching)
                    hearing.cancel()
                    await asyncio.gather(hearing, return_exceptions=True)
                assert len(listening) == 1
                assert (log._watching is None) == (mode == "write")

        run(scenario)

    def test_followers_of_a_loop_that_is_over_are_not_waited_for(self, path: Path) -> None:
        """The log works in another event loop after the first has ended."""
        log = SqliteLog(path, STATES)

        async def follow() -> None:
            await log.append(COMMITS[:1], expected=EMPTY_TIP)
            assert await first_of(log, 0) == COMMITS[0]

        async def go_on() -> None:
            assert await log.append(COMMITS[1:2], expected=COMMITS[0].tip) == COMMITS[1].tip

        for part in (follow, go_on, log.close):
            run(part)

    def test_a_follower_is_told_when_the_log_fails(self, path: Path) -> None:
        """A follower raises the error of a damaged log."""

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(COMMITS, expected=EMPTY_TIP)
                with closing(apsw.Connection(str(path))) as db:
                    db.execute("DELETE FROM commits WHERE position = 5")
                with pytest.raises(UnusableLogError):
                    await first_of(log, 3)

        run(scenario)

    def test_a_follower_is_told_when_the_log_does_not_answer(self, path: Path) -> None:
        """A follower raises the error of an unavailable log, but ends quietly with a closing one."""

        async def scenario() -> None:
            async with opened(path) as log:
                log._reader.read = failing
                with pytest.raises(LogUnavailableError):
                    await first_of(log, 0)

                async def closed_meanwhile(after: Position, limit: int) -> Sequence[Commit]:
                    await log.close()
                    raise LogUnavailableError

                log.read = closed_meanwhile
                assert [commit async for commit in log.follow(0)] == []

        run(scenario)

    def test_a_wakeup_file_that_can_not_be_made_is_not_missed(self, tmp_path: Path) -> None:
        """A wake-up file that can't be made or watched is no error."""
        nowhere = str(tmp_path / "nowhere" / "chat.db")
        wakeup = Wakeup(nowhere)
        wakeup.notify()
        wakeup.close()
        run(lambda: watch(nowhere, lambda: None))

    @pytest.mark.parametrize("mode", ["write", "share", "read"])
    def test_followers_end_with_the_log_whatever_they_do(self, path: Path, mode: Mode) -> None:
        """Closing ends followers that wait, read or watch."""

        async def scenario() -> None:
            SqliteFile(path).close()
            log = SqliteLog(path, STATES, mode=mode)

            async def follow() -> list[Commit]:
                return [commit async for commit in log.follow(0)]

            followers = [asyncio.ensure_future(follow()) for _ in range(3)]
            for _ in range(3):
                await log.tip()
            late = asyncio.ensure_future(follow())
            await settle(1)
            await log.close()
            assert await asyncio.wait_for(asyncio.gather(*followers, late), HUNG_SECONDS) == [[], [], [], []]

        run(scenario)


def failing(*_: object) -> Any:
    """Raise as an unavailable file."""
    raise LogUnavailableError


async def in_file(log: SqliteLog) -> Sequence[DeliveryRecord]:
    """Return the delivery records in the file, after all pending work."""
    return await log._on(log._writing, lambda: log._file.delivery_records(after=0, last=100, connection_id=None))


async def first_of(log: SqliteLog, after: Position) -> Commit:
    """Return the first commit of a follower."""
    async with aclosing(log.follow(after)) as following:
        return await anext(following)


async def listening(log: SqliteLog) -> None:
    """Wait until `log` reacts to a wake-up: earlier ones are lost before its watcher runs."""
    grown, wakeup = log._grown, Wakeup(log._file.path)
    while True:
        wakeup.notify()
        with suppress(TimeoutError):
            await asyncio.wait_for(grown.wait(), 0.05)
            break
    wakeup.close()


class Child(Protocol):
    """A child process with pipes."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        ...


@contextmanager
def running(program: str, path: Path) -> Iterator[Child]:
    """Run `program` on the log at `path` in a process that ends with the test."""
    child = subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        try:
            yield cast("Child", child)
        finally:
            child.kill()


LOOK_AND_GO = """
import sqlite3, sys
log = sqlite3.connect(sys.argv[1])
print(log.execute("SELECT count(*) FROM commits").fetchone()[0])
log.close()
"""


def test_a_look_with_another_sqlite_costs_nothing(path: Path) -> None:
    """A visit with the `sqlite3` shell leaves the WAL to the processes that use it."""

    async def scenario() -> None:
        async with opened(path) as log:
            await log.append(COMMITS[:4], expected=EMPTY_TIP)
            looked = subprocess.run([sys.executable, "-c", LOOK_AND_GO, path], capture_output=True, check=True)  # noqa: ASYNC221 - nothing else has to go on
            assert looked.stdout.strip() == b"4"
            await log.append(COMMITS[4:], expected=COMMITS[3].tip)
            with closing(SqliteReader(path, "read")) as another:
                assert another.tip() == COMMITS[-1].tip

    run(scenario)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not list its locks")
def test_a_log_that_is_open_is_locked_against_those_who_would_tidy_up(path: Path) -> None:
    """SQLite's lock lasts as long as the log is open, whatever else this process opens."""

    async def scenario() -> None:
        async with opened(path) as log:
            await log.append(COMMITS, expected=EMPTY_TIP)
            for _ in range(2):
                with closing(SqliteReader(path, "read")):
                    pass
            assert f":{path.stat().st_ino} " in Path("/proc/locks").read_text()  # noqa: ASYNC240 - no disk is waited for

    run(scenario)


def test_a_wal_that_was_taken_away_is_noticed(path: Path) -> None:
    """An append with a removed WAL is an error, since its content would be lost."""

    async def scenario() -> None:
        async with opened(path) as log:
            await log.append(COMMITS[:1], expected=EMPTY_TIP)
            path.with_name(f"{path.name}-wal").unlink()
            with pytest.raises(LogUnavailableError, match="was moved, removed or replaced"):
                await log.append(COMMITS[1:2], expected=COMMITS[0].tip)

    run(scenario)


def test_a_file_with_two_names_is_refused(path: Path) -> None:
    """A file with a hard link is refused, since each name would have its own lock and WAL."""
    SqliteFile(path).close()
    path.with_name("other.db").hardlink_to(path)
    with pytest.raises(UnusableLogError, match="has another name"):
        SqliteFile(path)


_CHILD = """
import asyncio, sys
from events.commit import EMPTY_TIP
from events.sqlite.log import SqliteLog
from tests.support.disk import Disk, watched_disk
from tests.support.log_contract import PickledStates, chain

async def main():
    log = SqliteLog(sys.argv[1], PickledStates())
    tip = EMPTY_TIP
    {before}
    for commit in chain({length}):
        {each}
        tip = await log.append([commit], expected=tip)
        {after}

asyncio.run(main())
"""
APPEND_ON_AND_ON = _CHILD.format(before="", length=5_000, each="", after="print(tip.position, flush=True)")
APPEND_WHEN_TOLD = _CHILD.format(
    before='print("ready", flush=True)', length=3, each="await asyncio.to_thread(sys.stdin.readline)", after=""
)


class TestThreads:
    """Each kind of work has its own thread, and none is left over."""

    def test_each_has_a_name(self, path: Path) -> None:
        """The threads have names."""

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(COMMITS, expected=EMPTY_TIP)
                await log.save(at(6))
                await log.read(0, 1)
                names = {thread.name.rpartition("_")[0] for thread in threading.enumerate()}
                assert {"log-write", "log-read", "log-snapshot"} <= names

        run(scenario)

    def test_each_kind_of_work_is_done_in_its_own(self, path: Path) -> None:
        """Each kind of work runs in its thread, so a connection has one transaction at a time."""
        seen: dict[str, set[str]] = {}

        def watch(part: object, *names: str) -> None:
            for name in names:
                setattr(part, name, watched(name, getattr(part, name)))

        def watched(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                seen.setdefault(threading.current_thread().name.rpartition("_")[0], set()).add(name)
                return work(*arguments, **named)

            return call

        writes = ("append", "redact", "record", "purge", "checkpoint")
        parts = ("begin_snapshot", "add_snapshot_part", "finish_snapshot")

        async def scenario() -> None:
            async with opened(path) as log:
                watch(log._file, *writes, *parts, "save", "compact")
                watch(log._reader, "tip", "read", "load_snapshot")
                await log.append(COMMITS, expected=EMPTY_TIP)
                await log.save(at(3))
                await log.compact(at(6))
                await log.redact([9], done_to=9)
                await log.record([DeliveryRecord(9, ANN, "get", 1)])
                await log.tip()
                await log.read(0, 1)
                await log.newest_snapshot()

        run(scenario)
        assert seen == {
            "log-write": {*writes, *parts},
            "log-snapshot": {"save", "compact"},
            "log-read": {"tip", "read", "load_snapshot"},
        }

    @pytest.mark.parametrize("mode", ["write", "share", "read"])
    def test_it_reads_through_a_connection_that_only_reads(self, path: Path, mode: Mode) -> None:
        """Reads use a read-only connection, and only a writing log has a wake-up file."""
        SqliteFile(path).close()

        async def scenario() -> None:
            async with opened(path, mode, synchronous="NORMAL") as log:
                assert log._reader._db.execute("PRAGMA query_only").fetchone() == (1,)
                assert (f"{path.name}.wake" in os.listdir(path.parent)) == (mode != "read")
                await log.record([DeliveryRecord(1, ANN, "get", 1)])
                found = log._reader.delivery_records(after=0, last=100, connection_id=None)
                assert len(found) == (mode != "read")
                if mode != "read":
                    assert log._file._db.execute("PRAGMA synchronous").fetchone() == (1,)

        run(scenario)

    def test_a_follower_that_waits_does_nothing(self, path: Path) -> None:
        """A waiting follower reads nothing until it is woken."""

        async def scenario() -> None:
            async with opened(path) as log:
                reads: list[int] = []
                read = log._reader.read

                def counted(after: Position, limit: int) -> list[Commit]:
                    reads.append(after)
                    return read(after, limit)

                log._reader.read = counted
                following = log.follow(0)
                async with aclosing(following):
                    hearing = asyncio.ensure_future(anext(following))
                    for _ in range(20):
                        await log.tip()  # queued in the same thread
                    assert reads == [0]
                    await log.append(COMMITS[:1], expected=EMPTY_TIP)
                    assert await hearing == COMMITS[0]

        run(scenario)

    def test_a_snapshot_that_can_not_be_kept_is_no_error(self, path: Path) -> None:
        """A failure to save a snapshot is no error."""

        async def scenario() -> None:
            async with opened(path) as log:
                for error in (LogUnavailableError(), UnusableLogError()):

                    def fails(*_: object, error: Exception = error) -> None:
                        raise error

                    log._file.save = fails
                    await log.save(at(3))

        run(scenario)

    def test_what_a_snapshot_replaces_goes_with_it(self, path: Path) -> None:
        """Saving snapshots purges the dropped ones."""

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(COMMITS, expected=EMPTY_TIP)
                for _ in range(SNAPSHOTS_MAX):
                    await log.save(at(6))
                await log._on(log._writing, lambda: None)
                while await log._on(log._writing, log._writing._work_queue.qsize):
                    pass
                kept = len(log._file.snapshot_tips())
                assert kept < SNAPSHOTS_MAX
                assert log._file._db.execute("SELECT count(DISTINCT snapshot) FROM snapshot_parts").fetchone() == (
                    kept,
                )

        run(scenario)

    def test_a_trim_empties_the_wal(self, path: Path) -> None:
        """A trim empties the WAL."""

        async def scenario() -> None:
            async with opened(path) as log:
                await log.append(COMMITS, expected=EMPTY_TIP)
                await log.compact(at(6))
                assert path.with_name("chat.db-wal").stat().st_size == 0

        run(scenario)

    def test_a_closed_log_is_deaf(self, path: Path) -> None:
        """A closed log has no watcher, and records no deliveries."""

        async def scenario() -> None:
            SqliteFile(path).close()
            log = SqliteLog(path, STATES, mode="share")
            following = log.follow(0)
            hearing = asyncio.ensure_future(anext(following))
            await settle(1)
            await log.tip()
            await log.close()
            with suppress(StopAsyncIteration):
                await hearing
            assert log._watching is not None
            with pytest.raises(asyncio.CancelledError):
                await log._watching
            await log.record([DeliveryRecord(1, ANN, "get", 1)])
            with SqliteFile(path, "read") as reader:
                assert reader.delivery_records(after=0, last=100, connection_id=None) == []

        run(scenario)

    @pytest.mark.parametrize("mode", ["write", "share", "read"])
    def test_a_closed_log_holds_nothing(self, path: Path, mode: Mode) -> None:
        """A closed log holds no file, thread or lock, and closing again is no error."""
        SqliteFile(path).close()
        gc.collect()
        files = len(os.listdir("/proc/self/fd"))

        async def scenario() -> None:
            before = set(threading.enumerate())
            log = SqliteLog(path, STATES, mode=mode)
            await log.tip()
            await log.close()
            await log.close()
            left = {thread.name for thread in set(threading.enumerate()) - before}
            assert not [name for name in left if name.startswith("log-")]

        run(scenario)
        assert len(os.listdir("/proc/self/fd")) == files
        SqliteFile(path).close()

    def test_whoever_shares_a_log_leaves_its_broker_half_of_the_time(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In the mode `share` a trim rests after each piece for as long as the piece took; a broker's does not."""
        now, slept = [100.0], list[float]()

        def perf_counter() -> float:
            now[0] += 0.25
            return now[0]

        monkeypatch.setattr(sqlite_log, "time", SimpleNamespace(perf_counter=perf_counter, sleep=slept.append))

        async def scenario(mode: Mode) -> None:
            async with opened(path, mode) as log:
                await log.compact(at(6 if mode == "write" else 9))

        with SqliteFile(path) as file:
            file.append(COMMITS, expected=EMPTY_TIP)
        run(lambda: scenario("write"))
        assert slept == []
        run(lambda: scenario("share"))
        assert set(slept) == {0.25}

    @pytest.mark.parametrize("sees", ["writer", "reader"])
    def test_its_base_is_the_newest_that_it_has_seen(self, path: Path, sees: str) -> None:
        """The base is the newest seen by writing or reading."""

        async def scenario() -> None:
            async with opened(path) as log, opened(path, "share") as other:
                await log.append(COMMITS, expected=EMPTY_TIP)
                await other.tip()
                await log.compact(at(6))
                assert log.base == COMMITS[5].tip
                assert other.base == EMPTY_TIP
                if sees == "writer":
                    await other.append(COMMITS[-1:], expected=COMMITS[-2].tip)
                else:
                    await other.read(0, 1)
                assert other.base == COMMITS[5].tip

        run(scenario)

    def test_a_follower_looks_afresh_every_second(self) -> None:
        """The default poll interval is a second."""
        assert inspect.signature(SqliteLog).parameters["poll_seconds"].default == 1
