"""`log trim`: the oldest commits are deleted, a snapshot replaces them, and no trace of them is left on the disk."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from events.codec import encode_commit
from events.commands import AdoptPolicy, ReportPartner
from events.log import LogUnavailableError, Snapshot
from events.policy import Policy
from events.sqlite.file import SqliteFile
from events.sqlite.reader import SqliteReader
from log_debugger.reading.sources import open_source
from projections.snapshots import STATE_CODEC
from projections.state import INITIAL_STATE, digest
from tests.log_debugger.crowds import LITTLE, crowd, states_of
from tests.log_debugger.logs import ANN, BOB, ROOM, START_MS, Script, conversation, dumped, filed, run_command, run_ok

SAID = conversation().commits
STATES = states_of(SAID)


def lines_of(log: str) -> list[bytes]:
    """Return the remaining lines of the log."""
    source = open_source(log)
    try:
        return list(source.lines(source.base.tip.position))
    finally:
        source.close()


def on_disk(path: Path) -> bytes:
    """Return every byte of a log's files."""
    return b"".join(one.read_bytes() for one in path.parent.iterdir() if one.name.startswith(path.name))


def test_what_stands_before_a_position_goes_and_the_rest_is_sound(tmp_path: Path) -> None:
    """One line gives both numbers; the fold is the same."""
    log = filed(tmp_path / "log.db", SAID)
    answer = run_ok("log", "trim", log, "--before", "5")
    assert answer.out == "trimmed 4 commits, up to position 4; 5 commits left, from position 5 to 9\n"
    assert lines_of(log) == [encode_commit(commit) for commit in SAID[4:]]
    assert run_ok("verify", log).out == f"every promise holds: 5 commits, position 9, digest {digest(STATES[9])}\n"


def test_what_went_is_gone_from_the_disk(tmp_path: Path) -> None:
    """They are overwritten in the file, and are not in its WAL either."""
    path = tmp_path / "log.db"
    log = filed(path, SAID)
    assert b"Hello, stranger." in on_disk(path)
    run_ok("log", "trim", log, "--before", "4")
    assert b"Hello, stranger." not in on_disk(path)
    assert b"Hello!" in on_disk(path)


def test_a_log_can_be_trimmed_again_and_whole(tmp_path: Path) -> None:
    """The last trim goes past the end of the log; the next commit follows the trimmed ones."""
    log = filed(tmp_path / "log.db", SAID)
    run_ok("log", "trim", log, "--before", "3")
    assert run_ok("log", "trim", log, "--before", "6").out.startswith(
        "trimmed 3 commits, up to position 5; 4 commits left"
    )
    assert (
        run_ok("log", "trim", log, "--before", "10").out == "trimmed 4 commits, up to position 9; no commits are left\n"
    )
    assert run_ok("verify", log).out == f"every promise holds: 0 commits, position 9, digest {digest(STATES[9])}\n"
    more = Script(STATES[9]).enters(900_000, ANN, "Ann")
    with contextlib.closing(SqliteFile(tmp_path / "log.db")) as file:
        file.append(more.commits, expected=STATES[9].tip)
    assert run_ok("verify", log).out.startswith("every promise holds: 1 commits, position 10,")


def test_nothing_is_trimmed_twice(tmp_path: Path) -> None:
    """Without old enough commits, no commit is trimmed either."""
    log = filed(tmp_path / "log.db", SAID)
    run_ok("log", "trim", log, "--before", "4")
    before = lines_of(log)
    for before_position in ("1", "3", "4"):
        answer = run_ok("log", "trim", log, "--before", before_position)
        assert answer.out == "nothing to trim: 6 commits left, from position 4 to 9\n"
    assert lines_of(log) == before


@pytest.mark.parametrize(
    ("older_than", "now_s", "left"),
    [("7d", 7 * 86_400 + 60, 7), ("1h", 3_600 + 430, 10), ("12h", 43_200, 2), ("90s", 80, None)],
)
def test_what_is_older_than_some_time_goes(
    older_than: str, now_s: int, left: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The age is by the clock and the times of the commits; exactly that age is old enough."""
    log = filed(tmp_path / "log.db", SAID)
    monkeypatch.setattr(time, "time", lambda: START_MS / 1_000 + now_s)
    answer = run_ok("log", "trim", log, "--older-than", older_than)
    if left is None:
        assert answer.out == "nothing to trim: 9 commits left, from position 1 to 9\n"
        return
    assert lines_of(log) == [encode_commit(commit) for commit in SAID[left - 1 :]]


def test_what_a_clock_ahead_has_stamped_is_not_older_than_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The present clock counts, not the newest commit: new messages stay, and a line says why."""
    log = filed(tmp_path / "log.db", SAID)
    monkeypatch.setattr(time, "time", lambda: START_MS / 1_000 - 86_400)
    said, rest = run_ok("log", "trim", log, "--older-than", "1h").out.splitlines()
    assert said.startswith("the last commit is dated 1 d 0 h ahead of this machine's clock: ")
    assert "--before" in said
    assert rest == "nothing to trim: 9 commits left, from position 1 to 9"


def test_a_broker_goes_on_while_its_log_is_trimmed(tmp_path: Path) -> None:
    """It appends after the same tip as before, and reads the remaining commits."""
    path = tmp_path / "log.db"
    with contextlib.closing(SqliteFile(path, "write")) as broker:
        broker.append(SAID[:8], expected=INITIAL_STATE.tip)
        run_ok("log", "trim", f"sqlite:{path}", "--before", "6")
        broker.append(SAID[8:], expected=SAID[7].tip)
        assert [commit.position for commit in broker.read(0, 100)] == [6, 7, 8, 9]
    assert run_command("verify", f"sqlite:{path}").status == 0


def test_a_reader_that_stands_in_the_way_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commits are gone for all readers, but perhaps not yet from the disk."""
    log = filed(tmp_path / "log.db", SAID)
    monkeypatch.setattr(SqliteFile, "checkpoint", lambda self: False)
    answer = run_ok("log", "trim", log, "--before", "5")
    assert "until the next checkpoint" in answer.lines[1]
    assert len(lines_of(log)) == 5


def test_a_log_that_is_trimmed_under_a_reader_is_not_told_with_a_gap(tmp_path: Path) -> None:
    """The unread commits are gone, in part or all of them: one line says so, and what to do."""
    path = tmp_path / "log.db"
    commits = crowd(42, 3_600, policy=LITTLE)
    log = filed(path, commits)
    for before in (1_200, len(commits) + 1):
        with contextlib.closing(open_source(log)) as source:
            first = source.base.tip.position
            lines = source.lines(first)
            assert next(lines)
            assert run_ok("log", "trim", log, "--before", str(before)).status == 0
            gone = f"{log} was trimmed up to position {before - 1} while it was read; start again"
            with pytest.raises(LogUnavailableError, match=gone):
                list(lines)


def test_a_long_log_is_trimmed_in_pieces_and_its_snapshots_stay(tmp_path: Path) -> None:
    """The remaining snapshots are those after the new base."""
    commits = crowd(41, 3_600, policy=LITTLE)
    path = tmp_path / "log.db"
    log = filed(path, commits)
    states = states_of(commits)
    with contextlib.closing(SqliteFile(path, "share")) as file:
        for at in (1_000, 2_300):
            file.save(Snapshot(states[at].tip, states[at]), STATE_CODEC)
    run_ok("log", "trim", log, "--before", "2201")
    source = open_source(log)
    assert list(source.snapshots()) == [2_200, 2_300]
    source.close()
    with SqliteReader(path, "read") as reader:
        assert reader.base == states[2_200].tip
    assert run_ok("verify", log).out.endswith(f"digest {digest(states[-1])}\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--before", "0"), "ends at position 9, so --before is from 1 to 10"),
        (("--before", "11"), "ends at position 9, so --before is from 1 to 10"),
        (("--before", "x"), "a position is a whole number"),
        (("--older-than", "7"), "--older-than takes a time as in 7d"),
        (("--older-than", "0d"), "--older-than takes a time as in 7d"),
        ((), "one of the arguments --before --older-than is required"),
        (("--before", "3", "--older-than", "7d"), "not allowed with"),
    ],
)
def test_what_can_t_be_trimmed_is_an_error_of_use(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    """The error is one line with exit status 2, and the log stays as it was."""
    log = filed(tmp_path / "log.db", SAID)
    answer = run_command("log", "trim", log, *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert says in answer.err
    assert len(lines_of(log)) == 9


def test_an_act_before_the_trim_is_told_as_gone(tmp_path: Path) -> None:
    """Cat's entry at 5 is gone, her timeout at 7 is not her act; the JSON has no act."""
    log = filed(tmp_path / "log.db", SAID)
    run_ok("log", "trim", log, "--before", "6")
    for command in ("replay", "trace"):
        lines = [line.strip() for line in run_ok(command, log, "--connection", "0a1b").lines]
        assert "last active  position 5 or before, which is gone from the log" in lines
        state = run_ok(command, log, "--connection", "0a1b", "--json").objects[-1]["state"]
        assert state["connection"]["last_act"] is None


def test_a_log_of_which_nothing_is_left_is_told_as_one(tmp_path: Path) -> None:
    """A request for more gets the answer that there is no more."""
    log = filed(tmp_path / "log.db", SAID)
    run_ok("log", "trim", log, "--before", "10")
    assert "ends at position 9, so --before is from 1 to 10" in run_command("log", "trim", log, "--before", "9999").err
    assert run_ok("trace", log, "--connection", "b6cd").lines == [
        f"the life of {BOB}",
        "the log was trimmed up to position 9, where this was known:",
        f"  Bob·b6cd is {BOB}",
        "    place        idle",
        "    interests    none",
        "    last active  position 9 or before, which is gone from the log",
        "    told         4 times",
        "    rate limit   may speak now, may enter the queue now",
        "",
        "nothing has happened since",
    ]
    assert [*run_ok("trace", log, "--connection", "b6cd", "--json").objects[1]] == ["totals", "state"]
    for position in ("0", "9"):
        expected = f"there are no commits in {log}, so there is nothing to reproduce"
        assert run_command("test", log, "--to", position).err == f"chat-broker: {expected}\n"


def test_only_a_log_in_a_file_is_trimmed(tmp_path: Path) -> None:
    """A dump is nobody's log, and a log in memory its broker's."""
    for log in (dumped(tmp_path / "dump.jsonl", SAID), "memory:", f"sqlite:{tmp_path / 'nothing.db'}"):
        answer = run_command("log", "trim", log, "--before", "3")
        assert (answer.status, answer.out) == (2, "")
        assert answer.err.count("\n") == 1


def test_a_log_that_was_altered_is_not_trimmed(tmp_path: Path) -> None:
    """Its snapshot would hold a false state."""
    other = Script(STATES[2]).says(42_255, BOB, "Goodbye.", call="m1").commits
    log = filed(tmp_path / "log.db", [*SAID[:2], *other, *SAID[3:]])
    answer = run_command("log", "trim", log, "--before", "7")
    assert answer.status == 2
    assert "position 4 does not follow" in answer.err
    assert len(lines_of(log)) == 9


def test_held_evidence_that_goes_is_counted(tmp_path: Path) -> None:
    """Evidence of a report is kept for a while, but a trim deletes it all the same, and says so."""
    policy = Policy(blocks_per_connection_max=9, reports_per_10min_max=9, evidence_keep_ms=10**12)
    script = Script().add(0, AdoptPolicy(policy)).enters(1, ANN, "Ann").enters(2, BOB, "Bob", room=ROOM)
    script.add(3, ReportPartner(ANN, ROOM, "spam"))
    log = filed(tmp_path / "log.db", script.commits)
    answer = run_ok("log", "trim", log, "--before", "4")
    assert "evidence" not in answer.out
    answer = run_ok("log", "trim", log, "--before", "5")
    assert "1 report went with them whose evidence was still held (--evidence-keep-ms)\n" in answer.out
