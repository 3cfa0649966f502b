"""`tail`: each commit as it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from unittest import mock

import apsw
import pytest

from events.commit import EMPTY_TIP, Commit
from events.ids import ConnectionId
from events.log import LogUnavailableError, OperationRecord, Snapshot
from events.sqlite.file import SqliteFile
from log_debugger.commands.tail import PAGES_A_LOOK
from log_debugger.reading.following import Follower
from log_debugger.reading.short_names import names_of
from log_debugger.reading.sources import SqliteSource, open_source
from log_debugger.reading.store_source import LogTrimmedError
from projections.snapshots import STATE_CODEC
from projections.state import fold
from tests.log_debugger.logs import (
    BOB,
    NEXT_ROOM,
    START_MS,
    Script,
    conversation,
    dumped,
    filed,
    run_command,
    run_ok,
    trimmed,
)
from tests.log_debugger.tails import running_tail, tailed

COMMITS = conversation().commits


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Write a broker's file with the first five commits; return its name."""
    return filed(tmp_path / "log.db", COMMITS[:5])


def appends(path: Path, commits: Sequence[Commit]) -> Callable[[], None]:
    """Return a function for appending `commits` as a running broker does."""

    def append() -> None:
        with SqliteFile(path / "log.db", "share") as broker:
            broker.append(commits, expected=fold(COMMITS[: commits[0].position - 1]).tip)

    return append


def test_new_commits_are_told_in_the_lines_of_replay(tmp_path: Path, log: str) -> None:
    """Each commit after the end of the log is told once, in order."""
    answer = tailed(log, meanwhile=[appends(tmp_path, COMMITS[5:7]), lambda: None, appends(tmp_path, COMMITS[7:])])
    assert (answer.status, answer.err) == (0, "")
    replayed = run_ok("replay", log).lines[5:9]
    assert answer.lines[1:] == replayed[1:]
    assert answer.lines[0] == replayed[0].replace("(2 messages in 18.8 s)", "(0 messages or more)")


def test_an_earlier_place_can_be_named(tmp_path: Path, log: str) -> None:
    """It is named by its position, or by a time: the first commit from then on."""
    replayed = run_ok("replay", log).lines
    for where, first in (("4", 4), ("+44s", 4), ("14:14:03.5", 4), ("1", 1), ("0", 1), ("+0s", 1), ("6", 6)):
        told = tailed(log, "--from", where, meanwhile=[]).lines
        assert told == replayed[first - 1 : 5], where
    more = tailed(log, "--from", "5", meanwhile=[appends(tmp_path, COMMITS[5:])]).lines
    assert [line[:7].strip() for line in more] == ["5", "6", "7", "8", "9"]


def test_a_place_before_the_trim_begins_where_the_log_does(tmp_path: Path) -> None:
    """The first line says so, as that of replay; a later place has no such line."""
    log = trimmed(tmp_path / "log.db", conversation(), fold(COMMITS[:3]))
    replayed = run_ok("replay", log).lines
    assert "the log begins here: what was before is gone" in replayed[0]
    assert tailed(log, "--from", "2", meanwhile=[]).lines == replayed[:7]
    assert [line[:7].strip() for line in tailed(log, "--from", "5", meanwhile=[]).lines] == ["5", "6", "7", "8", "9"]
    assert tailed(log, meanwhile=[]).lines == []
    assert tailed(log, "--from", "2", "--json", meanwhile=[]).objects[0]["base"]["position"] == 3


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("7", "goes up to position 5, so there is no position 7 yet"),
        ("15:00:00", '"15:00:00" is outside the log, which goes from 2026-09-21T14:13:20.000Z'),
        ("soon", '"soon" is no position and no time: write a number, or a time as in 14:03:22'),
    ],
)
def test_a_place_that_is_not_there_is_refused(log: str, where: str, says: str) -> None:
    """The refusal is one line."""
    answer = run_command("tail", log, "--from", where)
    assert (answer.status, answer.out) == (2, "")
    assert says in answer.err
    assert answer.err.count("\n") == 1


def test_filters_are_those_of_replay(tmp_path: Path, log: str) -> None:
    """An expression works, and so do the short flags."""
    answer = tailed(log, "--when", "person == Bob and wait > 1s", meanwhile=[appends(tmp_path, COMMITS[5:])])
    assert [line[:7].strip() for line in answer.lines] == ["6", "9"]
    flags = ("--type", "room_closed", "--type", "queue_left", "--connection", "Bob", "--room", "91")
    assert [line[:7].strip() for line in tailed(log, "--from", "6", *flags, meanwhile=[]).lines] == ["6", "7"]
    assert "did you mean ==" in run_command("tail", log, "--when", "waiting = 1").err


def test_a_filter_may_name_any_time_up_to_now(tmp_path: Path, log: str) -> None:
    """The log goes on, so its last commit is no bound."""
    answer = tailed(log, "--when", "time > 2026-09-21T14:20:21Z", meanwhile=[appends(tmp_path, COMMITS[5:])])
    assert [line[:7].strip() for line in answer.lines] == ["9"]


def test_programs_get_the_objects_of_replay(tmp_path: Path, log: str) -> None:
    """Each commit is one object, without a state."""
    objects = tailed(log, "--json", "--from", "5", meanwhile=[appends(tmp_path, COMMITS[5:])]).objects
    replayed = run_ok("replay", log, "--json").objects[4:9]
    assert [one | {"story": ""} for one in objects] == [one | {"story": ""} for one in replayed]


def test_a_new_connection_has_the_name_that_other_commands_print(tmp_path: Path, log: str) -> None:
    """A new id with the same beginning as another makes the short names of both longer."""
    eve = ConnectionId("c_0a1b99999999999999999999999999ff")
    commits = Script(fold(COMMITS[:5])).enters(50_000, eve, "Eve", room=NEXT_ROOM).commits
    (line,) = tailed(log, meanwhile=[appends(tmp_path, commits)]).lines
    assert line == run_ok("replay", log).lines[5]
    assert "Eve\u00b70a1b9 " in line


def test_an_empty_log_begins_with_its_first_commit(tmp_path: Path) -> None:
    """Times count from that commit."""
    log = filed(tmp_path / "log.db", [])

    def begin() -> None:
        with SqliteFile(tmp_path / "log.db", "share") as broker:
            broker.append(COMMITS[:2], expected=EMPTY_TIP)

    assert tailed(log, meanwhile=[begin]).lines == run_ok("replay", log).lines[:2]


def test_nothing_is_written(log: str) -> None:
    """The file is the same, byte for byte."""
    path = Path(log.removeprefix("sqlite:"))
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    assert tailed(log, "--from", "1", meanwhile=[lambda: None]).lines
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_dump_is_refused(tmp_path: Path) -> None:
    """It does not grow; the line names the kinds of logs to follow."""
    dump = dumped(tmp_path / "log.jsonl", COMMITS)
    for name in (dump, "-", "https://127.0.0.1:1/log.jsonl"):
        answer = run_command("tail", name)
        assert (answer.status, answer.out) == (2, "")
        assert "is a dump, and does not grow: replay tells it; tail follows sqlite:PATH" in answer.err


def test_notes_are_told_between_the_commits_as_they_come(tmp_path: Path, log: str) -> None:
    """Lines and objects are those of `replay`; what was there before is not told, and nothing twice."""
    notes = [
        OperationRecord("started", START_MS - 100, 0),
        OperationRecord("stopped", START_MS + 46_000, 5),
        OperationRecord("started", START_MS + 47_000, 5),
        OperationRecord("refused", START_MS + 61_000, 6, BOB, "send_message", "room_not_found"),
        OperationRecord("refused", START_MS + 61_000, 6, BOB, "send_message", "room_not_found"),
        OperationRecord("started", START_MS + 62_000, 6),
    ]

    def noted(some: Sequence[OperationRecord]) -> Callable[[], None]:
        def note() -> None:
            with SqliteFile(tmp_path / "log.db", "share") as broker:
                broker.record((), some)

        return note

    noted(notes[:2])()
    look: list[Callable[[], None]] = [lambda: None] * PAGES_A_LOOK
    meanwhile = [noted(notes[2:3]), *look, appends(tmp_path, COMMITS[5:6]), noted(notes[3:4]), noted(notes[4:5])]
    told = tailed(log, meanwhile=[*meanwhile, noted(notes[5:]), *look, appends(tmp_path, COMMITS[6:])], lines=8)
    replayed = run_ok("replay", log).lines
    assert told.lines == [line.replace("2 messages in 18.8 s", "0 messages or more") for line in replayed[7:15]]
    assert told.lines[4].endswith("the broker starts, with no note of an orderly end before")
    objects = tailed(log, "--json", "--from", "1", meanwhile=[], lines=15).objects
    assert [one.get("note") for one in objects[1:]] == [
        one.get("note") for one in run_ok("replay", log, "--json").objects[1:-1]
    ]
    bobs = run_ok("replay", log, "--connection", "Bob").lines
    assert tailed(log, "--from", "1", "--connection", "Bob", meanwhile=[], lines=8).lines == bobs[: bobs.index("")]
    assert sum(line.endswith("is refused send_message: room_not_found") for line in bobs) == 2


def test_notes_of_a_log_without_commits_wait_for_the_first(tmp_path: Path) -> None:
    """Times count from the first commit."""
    log = filed(tmp_path / "log.db", [], (), [OperationRecord("started", START_MS - 100, 0)])

    def begin() -> None:
        with SqliteFile(tmp_path / "log.db", "share") as broker:
            broker.append(COMMITS[:1], expected=EMPTY_TIP)

    told = tailed(log, "--from", "0", meanwhile=[lambda: None, begin], lines=2).lines
    assert told == tailed(log, "--from", "1", meanwhile=[], lines=2).lines == run_ok("replay", log).lines[:2]


def test_a_store_that_goes_away_is_waited_for_and_told_once(tmp_path: Path, log: str) -> None:
    """Nothing is lost, nothing comes twice; the second time it is told again."""
    is_away = [True, True, False, True, False]

    def tip(self: SqliteSource) -> object:
        if is_away and is_away.pop(0):
            raise LogUnavailableError(f"{self.name}: locked")
        return real(self)

    real = SqliteSource.tip
    outage = mock.patch.object(SqliteSource, "tip", tip)
    appended = appends(tmp_path, COMMITS[5:])
    answer = tailed(log, meanwhile=[outage.start, lambda: None, appended, lambda: None, lambda: None], lines=4)
    outage.stop()
    assert [line[:7].strip() for line in answer.lines] == ["6", "7", "8", "9"]
    assert answer.err == f"chat-broker: {log}: locked; waiting for it\n" * 2
    assert answer.status == 0


def test_a_log_that_was_trimmed_too_soon_is_an_error(tmp_path: Path, log: str) -> None:
    """Some commits were trimmed before they were told."""
    state = fold(COMMITS[:8])
    with closing(open_source(log)) as source:
        follower = Follower(source, names_of(source), 5, lambda error: None)
        appends(tmp_path, COMMITS[5:])()
        with SqliteFile(tmp_path / "log.db", "share") as file:
            file.compact(Snapshot(state.tip, state), STATE_CODEC)
        with pytest.raises(LogTrimmedError, match="was trimmed up to position 8"):
            list(next(follower.pages()))


def test_a_log_that_ends_earlier_than_before_is_an_error(log: str) -> None:
    """It was rolled back; going on would mix two histories."""
    shorter = fold(COMMITS[:3]).tip
    patch = mock.patch.object(SqliteSource, "tip", return_value=shorter)
    answer = tailed(log, meanwhile=[patch.start])
    patch.stop()
    assert answer.status == 2
    assert "ends at position 3, and no longer holds the commit at position 5 that was read before" in answer.err


def test_a_commit_that_does_not_follow_ends_it(tmp_path: Path, log: str) -> None:
    """The commit before it is still told."""

    def damage() -> None:
        appends(tmp_path, COMMITS[5:])()
        with closing(apsw.Connection(str(tmp_path / "log.db"))) as db:
            db.execute("UPDATE commits SET body = replace(body, 'timeout', 'disconnected') WHERE position = 7")

    answer = tailed(log, meanwhile=[damage])
    assert answer.status == 2
    assert [line[:7].strip() for line in answer.lines] == ["6"]
    assert "the commit at position 7 was altered" in answer.err


@pytest.mark.slow
def test_an_interrupt_ends_a_process_in_order(tmp_path: Path, log: str) -> None:
    """Lines come at once, also into a pipe; Ctrl-C is no failure, and says nothing."""
    with running_tail(log, "--from", "5") as tail:
        assert tail.line().startswith("      5  00:00:45.000  Anonymous")
        appends(tmp_path, COMMITS[5:6])()
        assert tail.line().startswith("      6  00:01:00.000  Bob")
        assert tail.interrupt() == (0, "")
