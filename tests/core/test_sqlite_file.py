"""A log's file: its content, the questions to it, and refusals that leave it untouched."""

from __future__ import annotations

import errno
import gc
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from fnmatch import fnmatchcase as fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any, cast, get_args

import apsw
import pytest

from events.codec import encode_commit
from events.commit import EMPTY_TIP, BrokenChainError, Commit, Tip, redact
from events.ids import CommitId
from events.log import Conflict, DeliveryRecord, LogUnavailableError, OperationRecord, Snapshot, UnusableLogError
from events.sqlite import open as sqlite_open
from events.sqlite import snapshots as sqlite_snapshots
from events.sqlite.errors import RESTORE, RESTORE_OR_NEWER
from events.sqlite.file import SqliteFile, _vacuum
from events.sqlite.open import Mode, SynchronousMode
from events.sqlite.snapshots import SNAPSHOTS_MAX
from projections.state import fold
from tests.support.disk import watched_disk
from tests.support.log_contract import PickledStates, another_after, chain, conversation
from tests.support.people import ANN, BOB
from tests.support.plants import KINDS, is_untouched, plant

STATES = PickledStates()
COMMITS = chain(12)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path for a log."""
    return tmp_path / "chat.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteFile]:
    """Return a log with `COMMITS`."""
    with SqliteFile(path) as file:
        file.append(COMMITS, expected=EMPTY_TIP)
        yield file


def stored(path: Path, commits: list[Commit] = COMMITS) -> Path:
    """Return a closed log with `commits`."""
    with SqliteFile(path) as file:
        file.append(commits, expected=EMPTY_TIP)
    return path


def at(position: int) -> Snapshot:
    """Return the snapshot of `COMMITS` at a position."""
    return Snapshot(COMMITS[position - 1].tip, fold(COMMITS[:position]))


def copied(path: Path, directory: Path, *suffixes: str) -> Path:
    """Return a copy in another directory of the log at `path` and its files with `suffixes`."""
    directory.mkdir(exist_ok=True)
    for name in (path.name, *(path.name + suffix for suffix in suffixes)):
        shutil.copy(path.parent / name, directory)
    return directory / path.name


def by_hand(path: Path, sql: str) -> None:
    """Change the file as with a separate tool."""
    with closing(apsw.Connection(str(path))) as db:
        db.execute(sql)


def purge(file: SqliteFile) -> None:
    """Delete everything due for deletion."""
    while file.purge():
        pass


class TestKeeping:
    """A stored log is the same after opening it again."""

    def test_a_log_is_the_same_after_it_was_closed(self, path: Path) -> None:
        """Commits and epoch are the same after closing and opening."""
        with SqliteFile(path) as file:
            epoch = file.epoch
            file.append(COMMITS, expected=EMPTY_TIP)
        with SqliteFile(path) as file:
            assert (file.epoch, file.tip(), file.read(0, 100)) == (epoch, COMMITS[-1].tip, COMMITS)
        assert os.listdir(path.parent) == ["chat.db"]

    def test_a_log_needs_no_farewell(self, log: SqliteFile, path: Path, tmp_path: Path) -> None:
        """A copy of the open files is a complete log, as after a power failure.

        Closing then leaves it in one file.
        """
        with SqliteFile(copied(path, tmp_path / "there", "-wal")) as file:
            assert (file.epoch, file.read(0, 100)) == (log.epoch, COMMITS)
        assert os.listdir(tmp_path / "there") == ["chat.db"]

    @pytest.mark.parametrize(("synchronous", "number"), [("FULL", 2), ("NORMAL", 1)])
    def test_the_disk_is_waited_for_as_was_asked(self, path: Path, synchronous: SynchronousMode, number: int) -> None:
        """The synchronous setting holds, also after work that does not wait for the disk."""
        with SqliteFile(path, synchronous=synchronous) as log:
            for _ in range(2):
                assert log._db.execute("PRAGMA synchronous").fetchone() == (number,)
                log.record([DeliveryRecord(1, ANN, "get", 1)])
        with SqliteFile(path) as log:
            assert log._db.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_the_disk_is_waited_for_only_where_something_would_be_lost(self, path: Path) -> None:
        """Work that can be lost or repeated does not wait for the disk."""
        with watched_disk() as disk, SqliteFile(path) as log:
            log.append(COMMITS, expected=EMPTY_TIP)
            snapshots: list[int] = []

            def waits(work: Callable[[], object]) -> bool:
                before = disk.syncs
                work()
                return disk.syncs > before

            assert not waits(lambda: log.record([DeliveryRecord(9, ANN, "get", 1)]))
            assert not waits(lambda: snapshots.append(log.begin_snapshot(at(6).tip)))
            assert not waits(lambda: log.add_snapshot_part(snapshots[0], 0, "lines"))
            assert not waits(lambda: snapshots.append(log.begin_snapshot(at(6).tip)))
            assert not waits(lambda: log.drop_snapshot(snapshots[1]))
            assert waits(lambda: log.finish_snapshot(snapshots[0], at(6).tip, "digest", is_base=True))
            assert not waits(lambda: purge(log))
            assert waits(log.finish_loading)
            assert waits(lambda: log.redact([9], done_to=9))
            assert waits(lambda: log.append([another_after(COMMITS)], expected=COMMITS[-1].tip))

    @pytest.mark.parametrize(
        ("mode", "settings"),
        [
            ("read", {"query_only": 1}),
            ("share", {"query_only": 0, "secure_delete": 1, "journal_size_limit": 16_777_216}),
            ("write", {"query_only": 0, "secure_delete": 1, "journal_size_limit": 16_777_216}),
        ],
    )
    def test_a_connection_is_what_a_log_needs(self, path: Path, mode: Mode, settings: dict[str, int]) -> None:
        """A connection trusts no schema, deletes securely, and waits 0.8 s for locks."""
        always = {"trusted_schema": 0, "cell_size_check": 1, "temp_store": 2, "busy_timeout": 800, "auto_vacuum": 2}
        with SqliteFile(stored(path), mode) as log:
            for name, value in (always | {"journal_mode": "wal"} | settings).items():
                assert log._db.execute(f"PRAGMA {name}").fetchone() == (value,), name

    @pytest.mark.parametrize("mode", ["write", "share"])
    def test_a_log_that_was_copied_with_sql_is_one(self, path: Path, tmp_path: Path, mode: Mode) -> None:
        """A copy without a WAL is opened and gets one."""
        copy = tmp_path / "copy.db"
        by_hand(stored(path), f"VACUUM INTO '{copy}'")
        late = another_after(COMMITS)
        with SqliteFile(copy, mode) as log, closing(apsw.Connection(str(copy), apsw.SQLITE_OPEN_READONLY)) as slow:
            slow.execute("BEGIN")
            slow.execute("SELECT * FROM commits").fetchone()
            assert log.append([late], expected=COMMITS[-1].tip) == late.tip

    def test_a_log_counts_how_often_it_was_written_to(self, path: Path) -> None:
        """Each opening for writing is counted, and the epoch is 64 random bits in hexadecimal."""
        for mode in ("write", "share", "read", "write"):
            with SqliteFile(path, mode) as log:
                assert re.fullmatch("[0-9a-f]{16}", log.epoch)
                assert log.redacted_to == log.recorded_after == 0
        with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)) as db:
            found = dict(db.execute("SELECT name, value FROM meta").fetchall())
            assert re.fullmatch("[0-9a-f]{64}", found.pop("secret"))
            assert found == {"epoch": log.epoch, "openings": "3", "redacted_to": "0"}
            assert db.execute("PRAGMA application_id").fetchone() == (1_667_785_076,)
            assert db.execute("PRAGMA user_version").fetchone() == (1,)

    @pytest.mark.parametrize("suffix", ["", "-journal", "-wal", "-shm"])
    def test_what_a_start_that_was_cut_off_has_left_is_out_of_the_way(self, path: Path, suffix: str) -> None:
        """Leftovers of a start cut short are removed, and a new log is on the disk before use."""
        path.with_name(f"chat.db.new{suffix}").write_bytes(b"half")
        with SqliteFile(path) as log:
            assert log.tip() == EMPTY_TIP
            assert sorted(os.listdir(path.parent)) == ["chat.db", "chat.db-shm", "chat.db-wal", "chat.db.lock"]

    def test_a_new_log_is_on_the_disk_with_its_name(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Creating a log syncs its directory, and leaves no file open."""
        synced: list[str] = []
        sync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), sync(fd)))
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        SqliteFile(path).close()
        assert synced == [str(path.parent)]
        assert len(os.listdir("/proc/self/fd")) == before

    def test_only_its_owner_may_read_it(self, log: SqliteFile, path: Path) -> None:
        """The log and the files beside it are readable by their owner alone."""
        files = os.listdir(path.parent)
        assert sorted(files) == ["chat.db", "chat.db-shm", "chat.db-wal", "chat.db.lock"]
        assert {os.stat(path.parent / name).st_mode & 0o777 for name in files} == {0o600}

    def test_a_row_is_the_line_of_a_dump(self, log: SqliteFile, path: Path) -> None:
        """A row's body is the line of a dump, open to SQL."""
        with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)) as db:
            rows = db.execute("SELECT position, commit_id, json_extract(body, '$.at_ms'), body FROM commits").fetchall()
        assert rows == [(c.position, c.commit_id, c.at_ms, encode_commit(c).decode()) for c in COMMITS]

    def test_a_dump_can_be_loaded_as_it_is(self, log: SqliteFile, tmp_path: Path) -> None:
        """The lines of a dump are stored unchanged, and a line that is no commit is refused."""
        lines = log.lines(0, 100)
        with SqliteFile(tmp_path / "other.db") as other:
            assert other.append_lines(lines[:5], expected=EMPTY_TIP) == COMMITS[4].tip
            with pytest.raises(Conflict):
                other.append_lines(lines[6:], expected=COMMITS[5].tip)
            other.append_lines(lines[5:], expected=COMMITS[4].tip)
            assert other.lines(0, 100) == lines
            assert other.epoch != log.epoch

    def test_old_lines_are_kept_as_they_are(self, path: Path) -> None:
        """A line of an older schema is stored unchanged, since its id is the hash of that form."""
        lines = Path("tests/golden/commits.jsonl").read_bytes().splitlines()
        whole = [line for line in lines if json.loads(line)["position"] == 1][:1]
        with SqliteFile(path) as file:
            file.append_lines(whole, expected=EMPTY_TIP)
            assert file.lines(0, 10) == whole
            altered = whole[0].replace(b'"at_ms":', b'"at_ms":1')
            with pytest.raises(BrokenChainError):
                file.append_lines([altered], expected=file.tip())

    def test_what_counts_as_gone_is_no_append_that_had_landed(self, log: SqliteFile) -> None:
        """A repeated append of trimmed commits is a conflict, even while their rows exist."""
        log.compact(at(6), STATES)
        with pytest.raises(Conflict):
            log.append(COMMITS[5:6], expected=COMMITS[4].tip)
        assert log.append(COMMITS[6:8], expected=COMMITS[5].tip) == COMMITS[-1].tip

    def test_redacting_passes_over_what_is_not_there(self, log: SqliteFile) -> None:
        """Redaction skips missing positions, and returns the number of changed commits."""
        commits = conversation("one", "two")
        with SqliteFile(Path(log.path).with_name("other.db")) as other:
            other.append(commits, expected=EMPTY_TIP)
            assert other.redact([99, 3], done_to=3) == 1
            assert other.redact([3, 4]) == 1
            expected = [redact(commit) if commit.position > 2 else commit for commit in commits]
            assert (other.read(0, 10), other.redacted_to) == (expected, 3)

    def test_a_failed_append_leaves_nothing_behind(self, log: SqliteFile) -> None:
        """After a failed append no transaction is open, and the next append works."""
        with pytest.raises(Conflict):
            log.append([another_after(COMMITS[:4])], expected=COMMITS[3].tip)
        late = another_after(COMMITS)
        assert log.append([late], expected=COMMITS[-1].tip) == late.tip


class TestAsking:
    """The debugger's questions, also to a log in use."""

    @pytest.fixture
    def reader(self, log: SqliteFile, path: Path) -> Iterator[SqliteFile]:
        """Return a reader beside a writer."""
        with SqliteFile(path, "read") as reader:
            yield reader

    def test_a_reader_sees_what_is_stored_meanwhile(self, reader: SqliteFile, log: SqliteFile) -> None:
        """A reader sees new commits, and takes no lock."""
        assert (reader.tip(), reader.epoch, reader.base) == (COMMITS[-1].tip, log.epoch, EMPTY_TIP)
        late = another_after(COMMITS)
        log.append([late], expected=COMMITS[-1].tip)
        assert (reader.tip(), reader.read(12, 5)) == (late.tip, [late])
        assert reader.lines(10, 2) == [encode_commit(c) for c in COMMITS[10:12]]

    def test_a_reader_moves_nothing(self, log: SqliteFile, path: Path, tmp_path: Path) -> None:
        """A reader leaves the WAL of a killed broker as it is."""
        there = copied(path, tmp_path / "there", "-wal")
        before = {file.name: file.read_bytes() for file in there.parent.glob("*")}
        with SqliteFile(there, "read") as reader:
            assert reader.read(0, 100) == COMMITS
        assert {name: (there.parent / name).read_bytes() for name in before} == before

    def test_a_reader_leaves_nothing_behind(self, path: Path) -> None:
        """A reader of a closed log leaves no files beside it."""
        before = {file.name: file.read_bytes() for file in stored(path).parent.glob("*")}
        with SqliteFile(path, "read") as reader:
            assert reader.tip() == COMMITS[-1].tip
        assert {file.name: file.read_bytes() for file in path.parent.glob("*")} == before

    def test_a_reader_writes_nothing(self, reader: SqliteFile, log: SqliteFile) -> None:
        """Every writing method of a reader fails."""
        for attempt in (
            lambda: reader.append([another_after(COMMITS)], expected=COMMITS[-1].tip),
            lambda: reader.redact([1], done_to=1),
            lambda: reader.save(at(3), STATES),
            lambda: reader.record([DeliveryRecord(1, ANN, "get", 1)]),
        ):
            with pytest.raises(LogUnavailableError, match="it can't be written"):
                attempt()
        assert log.read(0, 100) == COMMITS

    @pytest.mark.parametrize("base", [0, 5])
    def test_a_time_is_turned_into_a_position(self, reader: SqliteFile, log: SqliteFile, base: int) -> None:
        """A time gives the last position at or before it, or the base."""
        if base:
            log.compact(at(base), STATES)
        for commit in COMMITS[base:]:
            assert reader.position_at(commit.at_ms) == commit.position
            assert reader.position_at(commit.at_ms - 1) == commit.position - 1
        assert (reader.position_at(0), reader.position_at(2**60)) == (base, 12)

    def test_handings_are_found_by_position_and_connection(self, reader: SqliteFile, log: SqliteFile) -> None:
        """Deliveries are found by position and connection, each once, in order."""
        first, second, third, fourth = (
            DeliveryRecord(2, BOB, "result", 70),
            DeliveryRecord(2, BOB, "get", 80),
            DeliveryRecord(3, ANN, "listen", 75),
            DeliveryRecord(4, BOB, "inbox", 90),
        )
        log.record([fourth, third, second])
        log.record([second, first])
        assert reader.delivery_records(after=0, last=12, connection_id=None) == [first, second, third, fourth]
        assert reader.delivery_records(after=1, last=3, connection_id=BOB) == [first, second]
        assert reader.delivery_records(after=2, last=12, connection_id=None) == [third, fourth]
        log.compact(at(3), STATES)
        assert reader.delivery_records(after=0, last=12, connection_id=None) == [fourth]

    def test_operation_records_are_kept_in_order_and_trimmed_with_their_commits(
        self, reader: SqliteFile, log: SqliteFile
    ) -> None:
        """Operation records come back as they were recorded; those before the base's commit go, none in a whole log."""
        started, stopped = OperationRecord("started", 1, 0), OperationRecord("stopped", 9, 5)
        refused = OperationRecord("refused", 2, 3, ANN, "send_message", "room_not_found")
        log.record([], [started, refused])
        log.record([DeliveryRecord(1, ANN, "get", 1)], [refused, stopped])
        for base, kept in ((0, [started, refused, refused, stopped]), (3, [refused, refused, stopped]), (4, [stopped])):
            if base:
                log.compact(at(base), STATES)
            while log.purge():
                pass
            assert reader.operation_records() == kept

    def test_only_the_newest_operation_records_are_kept(
        self, reader: SqliteFile, log: SqliteFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Refusals make room for refusals, and never for starts."""
        monkeypatch.setattr("events.sqlite.file.OPERATIONS_KEPT", 3)
        refusals = [OperationRecord("refused", n, 1, ANN, "enter_queue", "rate_limited") for n in range(10)]
        starts = [OperationRecord("started", n, 1) for n in range(5)]
        log.record([], [*starts[:2], *refusals[:6]])
        log.record([], [*refusals[6:], *starts[2:]])
        assert reader.operation_records() == [*refusals[7:], *starts[2:]]

    def test_a_file_of_an_earlier_version_has_no_operation_records(self, path: Path, log: SqliteFile) -> None:
        """They are unknown then, which is not the same as none; the next broker makes room for them."""
        log.close()
        by_hand(path, "DROP TABLE operations")
        with SqliteFile(path, "share") as other:
            assert other.operation_records() is None
            other.purge()
        with SqliteFile(path, "write") as broker:
            assert broker.operation_records() == []

    def test_the_newest_snapshot_before_a_position_is_found(self, reader: SqliteFile, log: SqliteFile) -> None:
        """The newest snapshot at or below a position is found, so looking at any moment folds little."""
        for position in (3, 6, 9):
            log.save(at(position), STATES)
        assert reader.snapshot_tips() == [COMMITS[n - 1].tip for n in (3, 6, 9)]
        assert reader.load_snapshot(8, STATES) == at(6)
        assert reader.load_snapshot(6, STATES) == at(6)
        assert reader.load_snapshot(None, STATES) == at(9)
        assert reader.load_snapshot(2, STATES) is None

    def test_a_gap_is_noticed_where_it_is_read(self, reader: SqliteFile, log: SqliteFile, path: Path) -> None:
        """A gap is an error for `read`, and ends `lines` after the commits before it."""
        missing = rf"^{path} is damaged \(after position 4 commits are missing\); {RESTORE}$"
        by_hand(path, "DELETE FROM commits WHERE position = 5")
        assert reader.read(0, 4) == COMMITS[:4]
        for after in (0, 2):
            with pytest.raises(UnusableLogError, match=missing):
                reader.read(after, 10)
            assert reader.lines(after, 10) == [encode_commit(commit) for commit in COMMITS[after:4]]
        with pytest.raises(UnusableLogError, match=missing):
            reader.lines(4, 10)
        by_hand(path, "DELETE FROM commits WHERE position IN (6, 7)")
        with pytest.raises(
            UnusableLogError, match=rf"^{path} is damaged \(the commit at position \d is missing\); {RESTORE}$"
        ):
            reader.position_at(COMMITS[4].at_ms)

    def test_a_row_of_another_commit_is_noticed_where_it_is_read(
        self, reader: SqliteFile, log: SqliteFile, path: Path
    ) -> None:
        """A commit in the row of another ends `lines` before it, and later rows can be read."""
        by_hand(path, "UPDATE commits SET commit_id = 'x' WHERE position = 5")
        words = f"^{path} is damaged \\(at position 5 stands another commit\\); {RESTORE}$"
        assert len(reader.lines(0, 100)) == 4
        with pytest.raises(UnusableLogError, match=words):
            reader.lines(4, 100)
        assert len(reader.lines(5, 100)) == 7

    def test_a_body_that_is_no_commit_is_named(self, reader: SqliteFile, path: Path) -> None:
        """An unreadable body is an error with its position for `read`, and is returned as it is by `lines`."""
        for harm in ("substr(body, 2)", "'{\"x\":' || printf('%.*c', 5000, '[')"):
            by_hand(path, f"UPDATE commits SET body = {harm} WHERE position = 6")
            words = rf"^{path}: the commit at position 6 can't be read \([^N].*\); {RESTORE_OR_NEWER}$"
            for attempt in (lambda: reader.read(0, 10), lambda: reader.position_at(COMMITS[5].at_ms)):
                with pytest.raises(UnusableLogError, match=words):
                    attempt()
            assert len(reader.lines(0, 100)) == 12

    def test_what_can_not_be_redacted_changes_nothing(self, log: SqliteFile, path: Path) -> None:
        """A redaction with an unreadable commit changes no commit."""
        by_hand(path, "UPDATE commits SET body = substr(body, 2) WHERE position = 6")
        lines = log.lines(0, 100)
        words = rf"^{path}: the commit at position 6 can't be read \([^N].*\); {RESTORE_OR_NEWER}$"
        with pytest.raises(UnusableLogError, match=words):
            log.redact([1, 6], done_to=6)
        assert (log.lines(0, 100), log.redacted_to) == (lines, 0)


class TestSnapshots:
    """Many snapshots, damaged ones, and the base."""

    def test_a_large_one_comes_back_as_it_was(self, log: SqliteFile) -> None:
        """A snapshot of several parts comes back unchanged."""
        large = Snapshot(COMMITS[0].tip, list(range(300_000)))
        log.save(large, STATES)
        assert log.load_snapshot(None, STATES) == large

    @pytest.mark.parametrize("harm", ["UPDATE snapshot_parts SET lines = 'x'", "DELETE FROM snapshot_parts"])
    def test_the_next_older_stands_in_for_a_damaged_one(self, log: SqliteFile, path: Path, harm: str) -> None:
        """A damaged snapshot is skipped for the next older one, or for the beginning."""
        for position in (3, 6, 9):
            log.save(at(position), STATES)
        by_hand(path, f"{harm} WHERE snapshot = (SELECT max(id) FROM snapshots)")
        assert log.load_snapshot(None, STATES) == at(6)
        by_hand(path, harm)
        assert log.load_snapshot(None, STATES) is None

    def test_one_whose_pages_are_damaged_is_passed_over(self, log: SqliteFile, monkeypatch: pytest.MonkeyPatch) -> None:
        """A snapshot on damaged pages is skipped, but a disk that does not answer is an error."""
        errors: list[Exception] = [apsw.CorruptError(), apsw.IOError()]
        load = sqlite_snapshots.load

        def load_late(*arguments: Any) -> Snapshot:
            if errors:
                raise errors.pop(0)
            return load(*arguments)

        for position in (3, 6):
            log.save(at(position), STATES)
        monkeypatch.setattr(sqlite_snapshots, "load", load_late)
        with pytest.raises(LogUnavailableError, match="the disk reports an error"):
            log.load_snapshot(None, STATES)
        errors.append(apsw.CorruptError())
        assert log.load_snapshot(None, STATES) == at(3)

    def test_one_that_its_codec_does_not_know_is_passed_over(self, log: SqliteFile) -> None:
        """A snapshot of a newer program is skipped."""

        class Newer(PickledStates):
            """Another codec."""

            def encode(self, state: object) -> Iterator[bytes]:
                """Return lines that are not hexadecimal."""
                yield b'"state"'

        log.save(at(3), STATES)
        log.save(at(6), Newer())
        assert log.load_snapshot(None, STATES) == at(3)

    def test_nothing_stands_in_for_a_damaged_base(self, log: SqliteFile, path: Path) -> None:
        """A damaged base makes a log unusable, unless a newer snapshot exists."""
        log.compact(at(6), STATES)
        log.save(at(9), STATES)
        by_hand(path, "UPDATE snapshot_parts SET lines = 'x' WHERE snapshot = (SELECT min(id) FROM snapshots)")
        assert log.load_snapshot(None, STATES) == at(9)
        trimmed = "the commits up to position 6 were trimmed, and the snapshot in their place can't be read"
        for at_most in (8, 6):
            with pytest.raises(UnusableLogError) as caught:
                log.load_snapshot(at_most, STATES)
            assert str(caught.value) == f"{path}: {trimmed}; {RESTORE_OR_NEWER}"
        assert log.load_snapshot(5, STATES) is None

    def test_they_thin_out_towards_the_past(self, path: Path) -> None:
        """Older snapshots thin out, the newest and the base stay, and dropped ones are purged."""
        commits = chain(3 * SNAPSHOTS_MAX)
        with SqliteFile(path) as log:
            log.append(commits, expected=EMPTY_TIP)
            log.compact(Snapshot(commits[0].tip, "base"), STATES)
            for commit in commits[1:]:
                log.save(Snapshot(commit.tip, commit.position), STATES)
                assert len(log.snapshot_tips()) < SNAPSHOTS_MAX
            positions = [tip.position for tip in log.snapshot_tips()]
            gaps = [b - a for a, b in pairwise(positions)]
            assert (positions[0], positions[-1]) == (1, len(commits))
            assert max(gaps[: len(gaps) // 4]) > max(gaps[-5:])
            purge(log)
            with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)) as db:
                assert db.execute("SELECT count(*) FROM snapshot_parts").fetchone() == (len(positions),)

    def test_one_that_was_cut_short_never_counts(self, path: Path) -> None:
        """An unfinished snapshot never counts, and the next start of a broker deletes it."""

        class Failing(PickledStates):
            """A codec that fails after its first parts."""

            def encode(self, state: object) -> Iterator[bytes]:
                """Return more than one part, then fail."""
                yield b'"' + b"x" * 300_000 + b'"'
                raise LogUnavailableError

        with SqliteFile(path) as log:
            log.append(COMMITS, expected=EMPTY_TIP)
            with pytest.raises(LogUnavailableError):
                log.save(at(6), Failing())
            log.add_snapshot_part(log.begin_snapshot(at(6).tip), 0, "half")
            assert (log.snapshot_tips(), log.load_snapshot(None, STATES)) == ([], None)
        with SqliteFile(path) as log:
            purge(log)
        with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)) as db:
            assert db.execute("SELECT * FROM snapshots").fetchall() == []
            assert db.execute("SELECT * FROM snapshot_parts").fetchall() == []

    def test_one_that_somebody_dropped_is_no_base(self, log: SqliteFile, path: Path) -> None:
        """Compacting with a snapshot that was dropped meanwhile is an error, and keeps the commits."""
        snapshot = log.begin_snapshot(at(6).tip)
        log.drop_snapshot(snapshot)
        words = rf"^{path}: the snapshot was dropped while it was written; try again$"
        with pytest.raises(LogUnavailableError, match=words):
            log.finish_snapshot(snapshot, at(6).tip, "digest", is_base=True)
        assert (log.base, log.read(0, 100)) == (EMPTY_TIP, COMMITS)

    def test_one_that_the_base_has_passed_is_dropped(self, log: SqliteFile, path: Path) -> None:
        """A snapshot below a base that moved meanwhile is dropped."""
        snapshot = log.begin_snapshot(at(3).tip)
        log.compact(at(6), STATES)
        log.finish_snapshot(snapshot, at(3).tip, "digest", is_base=False)
        assert (log.snapshot_tips(), log.load_snapshot(None, STATES)) == ([at(6).tip], at(6))
        assert count(path, "snapshots") == 1
        purge(log)
        log.finish_snapshot(log.begin_snapshot(at(6).tip), at(6).tip, "digest", is_base=True)
        assert (log.load_snapshot(None, STATES), count(path, "snapshots")) == (at(6), 1)

    @pytest.mark.parametrize("position", [6, 5])
    def test_one_that_is_no_newer_than_the_base_is_not_even_begun(
        self, log: SqliteFile, path: Path, position: int
    ) -> None:
        """A snapshot at or below the base is not encoded at all."""
        log.compact(at(6), STATES)

        class Unasked(PickledStates):
            """A codec that must not be called."""

            def encode(self, state: object) -> Iterator[bytes]:
                """Fail."""
                raise AssertionError

        log.save(at(position), Unasked())
        log.compact(at(position), Unasked())
        assert (log.base, count(path, "snapshots")) == (COMMITS[5].tip, 1)

    def test_an_empty_state_is_one(self, log: SqliteFile) -> None:
        """A state without lines can be stored."""

        class Silent(PickledStates):
            """A codec without lines."""

            def encode(self, state: object) -> Iterator[bytes]:
                """Return no lines."""
                yield from ()

            def decode(self, lines: Iterable[bytes]) -> object:
                """Return the state for no lines."""
                return list(lines)

        log.save(at(3), Silent())
        assert log.load_snapshot(None, Silent()) == Snapshot(at(3).tip, [])

    def test_one_of_another_log_is_a_bug(self, log: SqliteFile) -> None:
        """Saving a snapshot of another log fails an assertion."""
        for tip in (Tip(6, CommitId("f" * 32)), Tip(13, COMMITS[5].commit_id)):
            with pytest.raises(AssertionError):
                log.compact(Snapshot(tip, None), STATES)
            with pytest.raises(AssertionError):
                log.save(Snapshot(tip, None), STATES)


def count(path: Path, table: str) -> int:
    """Return the number of rows in a table."""
    with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)) as db:
        found: Any = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        return int(found[0])


class TestTrimming:
    """Trimmed commits are gone at once for readers, and piece by piece from the disk."""

    def test_a_large_log_shrinks(self, path: Path) -> None:
        """A trimmed log shrinks in pieces, and a copy between two pieces is sound."""
        commits = conversation(*("x" * 2_000 for _ in range(6_000)))
        with SqliteFile(path) as log:
            log.append(commits, expected=EMPTY_TIP)
            assert log.checkpoint()
            before = path.stat().st_size
            log.compact(Snapshot(commits[-2].tip, "base"), STATES)
            assert log.purge()
        with SqliteFile(path) as log:
            assert (log.base, log.read(0, 100)) == (commits[-2].tip, commits[-1:])
            purge(log)
            assert log.checkpoint()
            assert path.stat().st_size < before / 5
            assert log.append([], expected=commits[-1].tip) == commits[-1].tip

    def test_it_goes_in_little_pieces(self, path: Path) -> None:
        """A piece is a thousand commits, a thousand delivery records, or four parts, with appends in between."""
        commits = chain(1_500)
        with SqliteFile(path) as log:
            log.append(commits, expected=EMPTY_TIP)
            log.record([DeliveryRecord(n, ANN, "get", n) for n in range(1, 1_501)])
            for position in (3, 4, 5):
                log.save(Snapshot(commits[position].tip, list(range(60_000))), STATES)
            log.compact(Snapshot(commits[1_399].tip, "base"), STATES)
            assert count(path, "snapshot_parts") == 7
            left = []
            while log.purge():
                left.append(tuple(count(path, table) for table in ("commits", "handings", "snapshot_parts")))
            assert left[:6] == [
                (500, 1_500, 7),
                (100, 1_500, 7),
                (100, 500, 7),
                (100, 100, 7),
                (100, 100, 3),
                (100, 100, 1),
            ]
            assert log.read(0, 2_000) == commits[1_400:]

    def test_space_goes_back_in_little_pieces_too(self, path: Path) -> None:
        """Space is returned a megabyte at a time, while more than that and a quarter of the file is free."""
        with SqliteFile(path) as log:
            log.append(conversation(*("x" * 2_000 for _ in range(1_000))), expected=EMPTY_TIP)
            by_hand(path, "DELETE FROM commits WHERE position < 950")
            free = []
            while True:
                free.append(log._db.execute("PRAGMA freelist_count").fetchone()[0])
                if not log.purge():
                    break
            assert len(free) > 3
            assert {before - after for before, after in pairwise(free)} == {250}

    @pytest.mark.parametrize(
        ("free", "pages", "is_much"), [(250, 300, False), (251, 300, True), (300, 1_200, False), (301, 1_200, True)]
    )
    def test_some_free_space_is_kept(self, free: int, pages: int, is_much: bool) -> None:
        """A megabyte, or a quarter of a larger file, stays free."""
        asked: list[str] = []

        class Database:
            """A database with `free` bytes of space."""

            def execute(self, sql: str, _: tuple[()] = ()) -> Database:
                """Record the statement."""
                asked.append(sql)
                return self

            def fetchone(self) -> tuple[int]:
                """Return the answer to the last statement."""
                return ({"PRAGMA freelist_count": free, "PRAGMA page_count": pages}[asked[-1]],)

            def fetchall(self) -> None:
                """Return nothing."""

        assert _vacuum(cast("apsw.Connection", Database())) == is_much
        assert ("PRAGMA incremental_vacuum(250)" in asked) == is_much

    def test_no_byte_is_left_of_what_was_trimmed(self, path: Path) -> None:
        """No byte of trimmed commits is left in free pages or the WAL."""
        commits = conversation(*(f"secret {n:03} " + "x" * (n % 7) * 400 for n in range(400)))
        with SqliteFile(path) as log:
            log.append(commits, expected=EMPTY_TIP)
            log.compact(Snapshot(commits[301].tip, "base"), STATES)
            purge(log)
            assert log.checkpoint()
            left = path.read_bytes() + path.with_name("chat.db-wal").read_bytes()
        assert [n for n in range(400) if b"secret %03d" % n in left] == list(range(300, 400))

    def test_no_byte_is_left_of_what_was_redacted(self, path: Path) -> None:
        """No byte of redacted texts is left, long or short, adjacent or scattered."""
        commits = conversation(*(f"secret {n:03} " + "x" * (n % 7) * 900 for n in range(300)))
        gone = {*range(20, 90), *range(0, 300, 13)}
        with SqliteFile(path) as log:
            log.append(commits, expected=EMPTY_TIP)
            assert log.redact([3 + n for n in gone]) == len(gone)
            assert log.redact([23, 9_999]) == 0
            assert log.checkpoint()
            left = path.read_bytes() + path.with_name("chat.db-wal").read_bytes()
            assert fold(log.read(0, 1_000)) == fold(commits)
        assert [n for n in range(300) if b"secret %03d" % n not in left] == sorted(gone)

    def test_a_reader_may_keep_the_wal_from_being_emptied(self, log: SqliteFile, path: Path) -> None:
        """A checkpoint returns false while a reader keeps the WAL, since old bytes are in it."""
        with closing(apsw.Connection(str(path), apsw.SQLITE_OPEN_READONLY)) as slow:
            slow.execute("BEGIN")
            slow.execute("SELECT * FROM commits").fetchone()
            assert not log.checkpoint()
        assert log.checkpoint()


class TestLoading:
    """A log loaded from a dump."""

    def test_it_may_begin_behind_a_snapshot(self, path: Path) -> None:
        """A loaded log may start from a snapshot, as a trimmed one."""
        with SqliteFile(path) as log:
            log.start_from(at(4), STATES)
            assert log.base == log.tip() == COMMITS[3].tip
            log.append(COMMITS[4:], expected=COMMITS[3].tip)
            assert log.read(0, 100) == COMMITS[4:]
            assert log.load_snapshot(None, STATES) == at(4)

    def test_one_that_is_not_empty_has_begun(self, log: SqliteFile) -> None:
        """Starting a log with commits from a snapshot is a conflict."""
        with pytest.raises(Conflict):
            log.start_from(at(4), STATES)
        assert (log.base, log.read(0, 100)) == (EMPTY_TIP, COMMITS)

    def test_it_keeps_in_mind_what_was_loaded(self, log: SqliteFile, path: Path) -> None:
        """The end of the loaded commits is stored, and a second call replaces it."""
        assert log.recorded_after == 0
        log.finish_loading()
        assert log.recorded_after == 12
        log.append([another_after(COMMITS)], expected=COMMITS[-1].tip)
        log.finish_loading()
        assert log.recorded_after == 13
        with SqliteFile(path, "read") as reader:
            assert reader.recorded_after == 13


class TestTrouble:
    """A temporarily unwritable file: nothing is stored, and it works again later."""

    def test_a_full_disk_is_not_for_ever(self, path: Path) -> None:
        """A failed append on a full disk stores nothing, and works once there is space."""
        log = SqliteFile(path)
        commits = conversation(*("x" * 1_000 for _ in range(100)))
        log._db.execute("PRAGMA max_page_count = 1")  # as many as there are
        with pytest.raises(LogUnavailableError, match="the disk is full"):  # noqa: PT012 - some free space is left
            for commit in commits:
                log.append([commit], expected=log.tip())
        reached = log.tip().position
        assert reached < len(commits)
        log._db.execute("PRAGMA max_page_count = 1000000")
        log.append(commits[reached:], expected=log.tip())
        assert log.read(0, 1_000) == commits
        log.close()

    def test_a_lock_that_lasts_is_an_error_within_a_second(self, log: SqliteFile, path: Path) -> None:
        """A lasting lock fails an append within a second, and reads go on."""
        late = [another_after(COMMITS)]
        with closing(apsw.Connection(str(path))) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailableError, match="another process keeps it locked"):
                log.append(late, expected=COMMITS[-1].tip)
            assert log.read(0, 100) == COMMITS
        assert log.append(late, expected=COMMITS[-1].tip) == late[0].tip

    def test_whatever_fails_names_the_log(self, log: SqliteFile, path: Path) -> None:
        """Every error names the log."""
        log._db.close()
        for attempt in (log.checkpoint, log.purge, log.tip):
            with pytest.raises(LogUnavailableError, match=f"^{path}: "):
                attempt()

    def test_a_transaction_that_could_not_be_rolled_back_is_out_of_the_way(self, log: SqliteFile) -> None:
        """A transaction that failed to roll back is not stored with the next one."""
        late = another_after(COMMITS)
        log._db.execute("BEGIN; INSERT INTO commits VALUES (13, 'x', 'x')")
        assert log.append([late], expected=COMMITS[-1].tip) == late.tip
        assert log.read(12, 5) == [late]

    def test_a_file_that_is_gone_takes_no_commits(self, log: SqliteFile, path: Path, tmp_path: Path) -> None:
        """Appending to a removed or replaced file is an error."""
        late = [another_after(COMMITS)]
        path.rename(tmp_path / "moved")
        words = f"{path} was moved, removed or replaced; put it back, or start again"
        with pytest.raises(LogUnavailableError, match=f"^{words}$"):
            log.append(late, expected=COMMITS[-1].tip)
        (tmp_path / "moved").rename(path)
        assert log.append(late, expected=COMMITS[-1].tip) == late[0].tip

    def test_a_probe_says_why_the_log_takes_nothing_and_names_no_path(
        self, log: SqliteFile, path: Path, tmp_path: Path
    ) -> None:
        """The reason is gone, replaced, locked or full; the next probe after it succeeds, and leaves nothing behind."""
        there = tmp_path / "moved"

        def refused() -> str:
            with pytest.raises(LogUnavailableError) as error:
                log.probe()
            assert str(tmp_path) not in str(error.value)
            return str(error.value)

        log.probe()
        pages = log._db.execute("PRAGMA page_count").fetchone()
        path.rename(there)
        assert refused() == "the log was moved or removed; put it back, or start again"
        shutil.copyfile(there, path)
        assert refused() == "the log was replaced by another file; put it back, or start again"
        there.replace(path)
        log.probe()
        with closing(apsw.Connection(str(path))) as other:
            other.execute("BEGIN IMMEDIATE")
            assert refused().startswith("the log: another process keeps it locked")
        assert log._db.execute("PRAGMA page_count").fetchone() == pages
        assert log._db.execute("SELECT 1 FROM meta WHERE name = 'probe'").fetchone() is None
        assert log.read(0, 100) == COMMITS

    def test_a_probe_notices_a_full_disk(self, path: Path) -> None:
        """It needs about as much space as an append."""
        with SqliteFile(path) as log:
            log._db.execute("PRAGMA max_page_count = 1")  # as many as there are
            with pytest.raises(LogUnavailableError, match=r"^the log: the disk is full; free some space$"):
                log.probe()
            log._db.execute("PRAGMA max_page_count = 1000000")
            log.probe()

    def test_a_probe_notices_another_log_in_the_same_file(self, log: SqliteFile) -> None:
        """A copy in its place has another epoch."""
        log._db.execute("UPDATE meta SET value = '0123456789abcdef' WHERE name = 'epoch'")
        with pytest.raises(LogUnavailableError, match=r"^the log was replaced by another one; "):
            log.probe()

    def test_a_probe_notices_damage(self, log: SqliteFile) -> None:
        """And does not name the file."""
        log._db.execute("DROP TABLE meta")
        with pytest.raises(UnusableLogError, match=r"^the log is damaged "):
            log.probe()

    @pytest.mark.parametrize("suffix", ["-wal", "-shm"])
    def test_a_link_in_the_place_of_a_file_of_sqlite_is_not_followed(
        self, path: Path, tmp_path: Path, suffix: str
    ) -> None:
        """Another user may have put it there; its target is unchanged."""
        stored(path)
        victim = tmp_path / "victim"
        victim.write_text("precious")
        Path(f"{path}{suffix}").symlink_to(victim)
        with pytest.raises(UnusableLogError):
            SqliteFile(path)
        assert victim.read_text() == "precious"

    def test_a_file_that_vanishes_while_it_is_opened_is_no_log(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file that is removed during opening is refused, and no lock is kept."""
        connect = sqlite_open._connect

        def connect_late(real: str, mode: Mode) -> apsw.Connection:
            db = connect(real, mode)
            path.unlink()
            return db

        stored(path)
        monkeypatch.setattr(sqlite_open, "_connect", connect_late)
        with pytest.raises(UnusableLogError, match="No such file or directory"):
            SqliteFile(path)
        monkeypatch.undo()
        SqliteFile(path).close()

    @pytest.mark.parametrize("mode", ["write", "share", "read"])
    def test_a_file_that_vanishes_before_it_is_opened_is_not_made_anew(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
    ) -> None:
        """A file that is removed before opening is not replaced by an empty one."""
        connect = sqlite_open._connect

        def connect_late(real: str, mode: Mode) -> apsw.Connection:
            path.unlink()
            return connect(real, mode)

        stored(path)
        monkeypatch.setattr(sqlite_open, "_connect", connect_late)
        with pytest.raises(UnusableLogError, match="it can't be opened"):
            SqliteFile(path, mode)
        assert not path.exists()

    def test_damage_is_not_taken_for_an_empty_place(self, path: Path) -> None:
        """A damaged page is an error, not the end of the log."""
        size = stored(path, conversation(*("x" * 3_000 for _ in range(40)))).stat().st_size
        with open(path, "r+b") as file:
            file.seek(size // 2 // 4096 * 4096)
            file.write(b"\xa5" * 4096)
        with SqliteFile(path) as log, pytest.raises(UnusableLogError, match=r"is damaged|can't be read"):
            log.read(0, 100)


class TestRefusals:
    """An unfit file is left as it is, and one line gives the reason."""

    @staticmethod
    def refuses(path: Path, words: str, mode: Mode = "write", *, leaves: tuple[str, ...] = ()) -> None:
        """Check the text of a refusal, and that it leaves the file and nothing but these empty files."""

        def seen() -> dict[str, bytes]:
            return {file.name: file.read_bytes() for file in path.parent.glob("*") if file.is_file()}

        before = seen()
        with pytest.raises(UnusableLogError) as caught:
            SqliteFile(path, mode)
        assert "\n" not in str(caught.value)
        assert fnmatch(str(caught.value), words.replace("LOG", str(path)))
        assert seen() == before | dict.fromkeys(leaves, b"")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (
                b"",
                "LOG is empty, which not even a new log is; restore it from a backup, or remove it to begin a new log",
            ),
            (b"position,text\n" * 100, "LOG is no log of this program, nor any SQLite database; name another file"),
            (b"SQLite format 3\0" + b"\0" * 20, f"LOG is damaged (cut off within its first bytes); {RESTORE}"),
            (b"SQLite format 3\0" + b"\0" * 83, f"LOG is damaged (cut off within its first bytes); {RESTORE}"),
            (b"SQLite format 3\0" + b"\0" * 84, "LOG is an SQLite database of another program; name another file"),
        ],
    )
    @pytest.mark.parametrize("mode", ["write", "share", "read"])
    def test_something_else_is_no_log(self, path: Path, content: bytes, words: str, mode: Mode) -> None:
        """Any other file is refused and not overwritten."""
        path.write_bytes(content)
        self.refuses(path, words, mode)

    def test_another_programs_database_is_no_log(self, path: Path) -> None:
        """A database with another application id is refused."""
        by_hand(path, "CREATE TABLE friends (name)")
        self.refuses(path, "LOG is an SQLite database of another program; name another file")
        self.refuses(path, "LOG is an SQLite database of another program; name another file", "read")

    def test_a_newer_layout_is_not_guessed_at(self, path: Path) -> None:
        """A newer layout is refused with the known one."""
        by_hand(stored(path), "PRAGMA user_version = 2")
        self.refuses(path, "LOG has layout 2, and this program knows up to 1; use a newer version")
        self.refuses(path, "LOG has layout 2, and this program knows up to 1; use a newer version", "read")

    def test_a_file_that_was_cut_off_is_noticed(self, path: Path) -> None:
        """A file shorter than its page count is refused."""
        stored(path, conversation(*("x" * 3_000 for _ in range(40))))
        whole = path.stat().st_size
        for size in (whole - 1, whole // 2, 4096):
            os.truncate(path, size)
            self.refuses(path, f"LOG is damaged (cut off: {size:,} bytes of {whole:,} are left); {RESTORE}")

    @pytest.mark.parametrize(("begin", "mode"), [(4096, "write"), (100, "write"), (100, "read")])
    def test_damaged_pages_are_noticed(self, path: Path, begin: int, mode: Mode) -> None:
        """Damage in the pages that a start reads is refused."""
        size = stored(path).stat().st_size
        with open(path, "r+b") as file:
            file.seek(begin)
            file.write(b"\xa5" * (size - begin))
        self.refuses(path, f"LOG is damaged (*); {RESTORE}", mode)

    @pytest.mark.parametrize("mode", ["write", "share"])
    def test_damaged_snapshots_are_noticed(self, path: Path, mode: Mode) -> None:
        """Damage in the table of snapshots is refused before anything is written."""
        with closing(apsw.Connection(str(stored(path)))) as db:
            root: Any = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'snapshots'").fetchone()
        with open(path, "r+b") as file:
            file.seek((root[0] - 1) * 4096)
            file.write(b"\xa5" * 4096)
        self.refuses(path, f"LOG is damaged (*); {RESTORE}", mode)

    def test_a_network_file_system_is_refused(self, path: Path) -> None:
        """A file system without a WAL is refused, and no half-made log is left."""
        vfs = apsw.VFS("remote", "unix-none", makedefault=True)
        try:
            self.refuses(path, "LOG is on a file system where processes share no memory; put it on a local disk")
            assert os.listdir(path.parent) == []
        finally:
            vfs.unregister()

    def test_a_log_that_was_copied_to_one_is_refused(self, path: Path) -> None:
        """An existing log on such a file system is refused too."""
        by_hand(stored(path), "PRAGMA journal_mode = DELETE")
        vfs = apsw.VFS("remote", "unix-none", makedefault=True)
        try:
            self.refuses(path, "LOG is on a file system where processes share no memory; put it on a local disk")
        finally:
            vfs.unregister()

    @pytest.mark.parametrize(
        ("harm", "words"),
        [
            (
                "DELETE FROM commits WHERE position < 4",
                f"LOG is damaged (the commits from position 1 to 3 are missing); {RESTORE}",
            ),
            (
                "UPDATE commits SET body = 'x' WHERE position = 12",
                f"LOG: the commit at position 12 can't be read (not a commit: *); {RESTORE_OR_NEWER}",
            ),
            (
                """UPDATE commits SET body = replace(body, '"schema":3', '"schema":1') WHERE position = 12""",
                f"LOG: the commit at position 12 can't be read (* was altered); {RESTORE_OR_NEWER}",
            ),
            (
                "UPDATE commits SET commit_id = 'x' WHERE position = 12",
                f"LOG is damaged (at position 12 stands another commit); {RESTORE}",
            ),
            ("DELETE FROM meta WHERE name = 'epoch'", f"LOG is damaged (it has lost its epoch); {RESTORE}"),
            ("DROP TABLE snapshots", f"LOG is damaged (no such table: snapshots); {RESTORE}"),
            ("PRAGMA user_version = 0", f"LOG is damaged (layout 0); {RESTORE}"),
        ],
    )
    def test_a_log_that_lacks_something_is_noticed(self, path: Path, harm: str, words: str) -> None:
        """A log with missing parts is refused."""
        by_hand(stored(path), harm)
        self.refuses(path, words)

    @pytest.mark.parametrize("harm", ["DELETE FROM meta", "DROP TABLE meta"])
    def test_a_log_without_a_name_can_not_even_be_read(self, path: Path, harm: str) -> None:
        """A log without an epoch is refused for reading too."""
        by_hand(stored(path), harm)
        self.refuses(path, f"LOG is damaged (*); {RESTORE}", "read")

    def test_a_reader_that_is_locked_out_is_told(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A reader that can't get a lock is refused, and keeps nothing open."""

        def locked_out(*_: object) -> None:
            raise apsw.BusyError

        monkeypatch.setattr("events.sqlite.reader.first", locked_out)
        with pytest.raises(LogUnavailableError, match="keeps it locked"):
            SqliteFile(path)
        monkeypatch.undo()
        SqliteFile(path).close()

    def test_a_file_system_without_locks_is_named(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file system without locks is refused."""

        def no_locks(_: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr("events.sqlite.lock._lock", no_locks)
        why = "check the owners and modes of it and of its directory, and the space on its disk"
        # A process without the lock must not remove its file.
        self.refuses(path, f"LOG: No locks available; {why}", leaves=("chat.db.lock",))

    def test_a_damaged_log_can_still_be_looked_at(self, path: Path) -> None:
        """A damaged log can be opened for reading."""
        by_hand(stored(path), "UPDATE commits SET body = 'x' WHERE position = 12")
        with SqliteFile(path, "read") as reader:
            assert reader.read(0, 11) == COMMITS[:11]

    @pytest.mark.parametrize(
        ("harm", "words"),
        [
            ("UPDATE commits SET body = 'x' WHERE position = 12", "LOG: the commit at position 12 can't be read (*"),
            ("PRAGMA user_version = 2", "LOG has layout 2, and this program knows up to 1; use a newer version"),
        ],
    )
    def test_what_stands_in_the_wal_stays_there(
        self, log: SqliteFile, path: Path, tmp_path: Path, harm: str, words: str
    ) -> None:
        """A refused log keeps its WAL: there is not even a checkpoint."""
        by_hand(path, harm)
        there = copied(path, tmp_path / "there", "-wal")
        before = {file.name: file.read_bytes() for file in there.parent.glob("*")}
        with pytest.raises(UnusableLogError) as caught:
            SqliteFile(there)
        assert fnmatch(str(caught.value), words.replace("LOG", str(there)))
        assert {name: (there.parent / name).read_bytes() for name in before} == before

    def test_a_second_broker_is_told_of_the_first(self, log: SqliteFile, path: Path, tmp_path: Path) -> None:
        """A second broker is refused, also through a link; the other modes are not."""
        (tmp_path / "link.db").symlink_to(path)
        for name in ("chat.db", "link.db"):
            with pytest.raises(
                UnusableLogError, match=rf"{name} is in use by another broker \(process {os.getpid()}\)"
            ):
                SqliteFile(tmp_path / name)
        for mode in ("share", "read"):
            with SqliteFile(path, mode) as file:
                assert file.tip() == COMMITS[-1].tip
        log.close()
        with SqliteFile(path) as file:
            assert file.tip() == COMMITS[-1].tip

    @pytest.mark.parametrize("mode", ["share", "read"])
    def test_only_a_broker_makes_a_log(self, path: Path, mode: Mode) -> None:
        """Only the mode `write` makes a missing file."""
        self.refuses(path, "LOG does not exist; name a log that does", mode)

    @pytest.mark.parametrize("mode", ["write", "share"])
    def test_a_log_with_two_names_is_not_written(self, path: Path, mode: Mode) -> None:
        """A log with a hard link is refused for writing, and can be read."""
        os.link(stored(path), path.with_name("other.db"))
        self.refuses(path, "LOG has another name too, a hard link; remove one of them, or copy the log", mode)
        with SqliteFile(path, "read") as reader:
            assert reader.read(0, 100) == COMMITS

    @pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_another_user_has_put_beside_it_is_not_written_to(self, path: Path, suffix: str, kind: str) -> None:
        """SQLite would write into it: it is refused with its name, whether there is a log yet or not."""
        planted = Path(f"{path}{suffix}")
        victim = plant(kind, planted)
        with pytest.raises(UnusableLogError, match=f"chat.db{suffix} is not a file that a broker has made"):
            SqliteFile(path)
        planted.rename(path.with_name("elsewhere"))
        stored(path)
        path.with_name("elsewhere").rename(planted)
        for mode in ("write", "share"):
            with pytest.raises(UnusableLogError, match="is not a file that a broker has made"):
                SqliteFile(path, mode)
        assert is_untouched(victim)

    @pytest.mark.parametrize("mode", ["write", "share", "read"])
    def test_a_pipe_is_no_log(self, path: Path, mode: Mode) -> None:
        """The opening does not wait for a writer."""
        os.mkfifo(path)
        self.refuses(path, "LOG is a pipe or a device; name a file", mode)

    def test_a_directory_is_not_made(self, path: Path) -> None:
        """A missing directory, and a directory in place of a file, are refused."""
        self.refuses(path / "deep" / "chat.db", f"LOG: there is no directory {path}/deep; make it first")
        path.mkdir()
        self.refuses(path, "LOG is a directory; name a file in it")

    def test_a_start_that_was_cut_short_is_no_log_yet(self, path: Path) -> None:
        """A log is made under another name first, so an interrupted start leaves none."""
        path.with_name("chat.db.new").write_bytes(b"half")
        with SqliteFile(path) as file:
            assert file.tip() == EMPTY_TIP
        assert not path.with_name("chat.db.new").exists()


@contextmanager
def read_only(path: Path, *suffixes: str) -> Iterator[Path]:
    """Return the log at `path`, with its files of `suffixes`, in a read-only directory."""
    with tempfile.TemporaryDirectory() as directory:
        for file in copied(path, Path(directory), *suffixes).parent.iterdir():
            file.chmod(0o444)
        os.chmod(directory, 0o555)  # noqa: S103 - nobody may write is the point
        user = os.geteuid()
        try:
            if user == 0:  # no mode applies to root
                os.seteuid(65_534)
            yield Path(directory, path.name)
        finally:
            os.seteuid(user)
            os.chmod(directory, 0o700)


class TestReadOnly:
    """A log in a read-only directory."""

    def test_it_can_be_read(self, path: Path) -> None:
        """A closed log can be read."""
        with read_only(stored(path)) as there, SqliteFile(there, "read") as reader:
            assert (reader.read(0, 100), reader.tip()) == (COMMITS, COMMITS[-1].tip)

    def test_it_can_be_read_while_it_is_open(self, log: SqliteFile, path: Path) -> None:
        """An open or killed broker's log can be read with its WAL."""
        with read_only(path, "-wal", "-shm") as there, SqliteFile(there, "read") as reader:
            assert reader.read(0, 100) == COMMITS

    def test_commits_that_can_not_be_got_at_are_not_left_out(self, log: SqliteFile, path: Path) -> None:
        """A log with an unreadable WAL is refused, not read in part, and nothing is kept open."""
        with read_only(path, "-wal") as there:
            before = os.listdir("/proc/self/fd")
            with pytest.raises(UnusableLogError) as caught:
                SqliteFile(there, "read")
            assert os.listdir("/proc/self/fd") == before
            why = "check the owners and modes of it and of its directory, and the space on its disk"
            words = f"{there}: commits stand in its -wal, which can't be opened here; {why}"
            assert str(caught.value) == words

    @pytest.mark.parametrize("mode", ["write", "share"])
    def test_it_can_not_be_served_from(self, path: Path, mode: Mode) -> None:
        """Opening it for writing is refused at once."""
        with read_only(stored(path)) as there, pytest.raises(UnusableLogError, match="owners and modes") as caught:
            SqliteFile(there, mode)
        assert "\n" not in str(caught.value)


@contextmanager
def no_space_on_the_disk() -> Iterator[None]:
    """Keep all files from growing."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("exists", [True, False])
def test_a_full_disk_shows_at_the_start(path: Path, exists: bool) -> None:
    """Opening on a full disk is refused, and leaves the log as it was."""
    if exists:
        stored(path)
    before = {file.name: file.read_bytes() for file in path.parent.glob("*.db")}
    with no_space_on_the_disk(), pytest.raises(UnusableLogError, match="disk") as caught:
        SqliteFile(path)
    assert "\n" not in str(caught.value)
    assert {file.name: file.read_bytes() for file in path.parent.glob("*.db")} == before
    assert not list(path.parent.glob("*.new*"))
    with SqliteFile(path) as file:
        assert file.read(0, 100) == (COMMITS if exists else [])


def test_there_are_three_ways_to_open_a_log_and_two_to_wait_for_the_disk() -> None:
    """The modes and the synchronous settings are exactly these."""
    assert (get_args(Mode), get_args(SynchronousMode)) == (("write", "share", "read"), ("FULL", "NORMAL"))
