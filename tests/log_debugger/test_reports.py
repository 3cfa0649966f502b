"""`reports`: reports by members, with the conversations, for the operator."""

from __future__ import annotations

import gzip
import io
import json
import sys
from contextlib import closing
from pathlib import Path

import pytest

from events.commands import BlockPartner, LeaveRoom, ReportPartner
from events.commit import redact
from events.sqlite.file import SqliteFile
from log_debugger.commands.reports import FORMAT
from tests.log_debugger.crowds import states_of
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    NEXT_ROOM,
    ROOM,
    Script,
    dumped,
    filed,
    run_command,
    run_ok,
    trimmed,
)

LISTED = """\
      6  2026-09-21T14:13:25.000Z  harassment  Ann·6f5d reported Bob·b6cd in r_2370; 2 messages
      9  2026-09-21T14:13:28.000Z  other       Cat·0a1b reported Bob·b6cd in r_91aa; 0 messages
     10  2026-09-21T14:13:29.000Z  spam        Bob·b6cd reported Ann·6f5d in r_2370; 2 messages
"""


def reported() -> Script:
    """Return a log with three reports: Bob by Ann, Bob by Cat after they met, and Ann by Bob."""
    script = Script().enters(0, ANN, "Ann").enters(1_000, BOB, "Bob", room=ROOM)
    script.says(2_000, BOB, "You fool.\x1b[2J").says(3_000, ANN, "Stop it!").add(4_000, LeaveRoom(BOB, ROOM))
    script.add(5_000, ReportPartner(ANN, ROOM, "harassment", "he was\nrude"))
    script.enters(6_000, CAT, "Cat").enters(7_000, BOB, "Bob", room=NEXT_ROOM)
    script.add(8_000, ReportPartner(CAT, NEXT_ROOM, "other"))
    return script.add(9_000, ReportPartner(BOB, ROOM, "spam", "she began"))


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Write a broker's file with three reports; return its name."""
    return filed(tmp_path / "log.db", reported().commits)


def test_each_report_has_a_line(log: str) -> None:
    """The line has its id, time and category, both members, the room, and how much of the conversation is readable."""
    assert run_ok("reports", log).out == LISTED


def test_a_running_broker_is_not_disturbed(tmp_path: Path, log: str) -> None:
    """Its file is read while it is open for writing."""
    with closing(SqliteFile(tmp_path / "log.db", "write")):
        assert run_ok("reports", log).out == LISTED


def test_a_dump_has_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dump may be plain, compressed, or in standard input."""
    dump = Path(dumped(tmp_path / "log.jsonl", reported().commits))
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(dump.read_bytes()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(dump.read_bytes())))
    for name in (str(dump), f"{dump}.gz", "-"):
        assert run_ok("reports", name).out == LISTED


def test_one_report_is_shown_with_its_conversation(log: str) -> None:
    """All messages of the room, in order, with times and names, and no control character."""
    assert (
        run_ok("reports", log, "--show", "6").out
        == f"""\
report 6, 2026-09-21T14:13:25.000Z: harassment
  by         Ann·6f5d, {ANN}
  about      Bob·b6cd, {BOB}
  room       {ROOM}, positions 2 to 5
  note       "he was\\nrude"
  evidence   2 messages
      2  2026-09-21T14:13:21.000Z  Ann·6f5d and Bob·b6cd meet
      3  2026-09-21T14:13:22.000Z  Bob·b6cd: "You fool.\\u001b[2J"
      4  2026-09-21T14:13:23.000Z  Ann·6f5d: "Stop it!"
      5  2026-09-21T14:13:24.000Z  Bob·b6cd ends it: left
"""
    )
    assert run_ok("reports", log, "--show", "9").lines[4:] == [
        "  note       none",
        "  evidence   0 messages",
        "      8  2026-09-21T14:13:27.000Z  Cat·0a1b and Bob·b6cd meet",
        "      9  2026-09-21T14:13:28.000Z  Cat·0a1b reports the other: other",
        "      9  2026-09-21T14:13:28.000Z  Cat·0a1b ends it: left",
    ]


def test_all_can_be_exported(tmp_path: Path, log: str) -> None:
    """The document names its log and is readable by its owner alone."""
    path, tip = tmp_path / "reports.json", reported().commits[-1]
    assert run_ok("reports", log, "--export", str(path)).out == f"{path}: 3 reports\n"
    assert path.stat().st_mode & 0o777 == 0o600
    document = json.loads(path.read_text())
    assert document["format"] == FORMAT
    assert document["log"] == {"position": 10, "commit_id": tip.commit_id, "trimmed_to": 0}
    assert [report["id"] for report in document["reports"]] == [6, 9, 10]


def test_one_report_is_exported_with_what_checks_it(log: str) -> None:
    """The ids of the commits, texts as they are, and every position of the room."""
    document = json.loads(run_ok("reports", log, "--show", "6", "--export", "-").out)
    commits = reported().commits
    (report,) = document["reports"]
    conversation = report.pop("conversation")
    assert report == {
        "id": 6,
        "commit_id": commits[5].commit_id,
        "at": "2026-09-21T14:13:25.000Z",
        "category": "harassment",
        "note": "he was\nrude",
        "reporter": {"connection_id": ANN, "display_name": "Ann"},
        "reported": {"connection_id": BOB, "display_name": "Bob"},
        "room_id": ROOM,
        "first_position": 2,
        "last_position": 5,
        "is_trimmed": False,
        "redacted_messages": 0,
    }
    assert [(each["position"], each["commit_id"], each["what"]) for each in conversation] == [
        (commits[n].position, commits[n].commit_id, what)
        for n, what in ((1, "opened"), (2, "message"), (3, "message"), (4, "closed"))
    ]
    assert conversation[1] | {"text": "You fool.\x1b[2J", "sender": BOB} == conversation[1]
    assert conversation[3] | {"by": BOB, "reason": "left"} == conversation[3]
    (second,) = json.loads(run_ok("reports", log, "--show", "9", "--export", "-").out)["reports"]
    assert second["conversation"][1] | {"what": "reported", "by": CAT} == second["conversation"][1]


def test_nothing_is_exported_over_the_log(tmp_path: Path, log: str) -> None:
    """The log stays as it is."""
    answer = run_command("reports", log, "--export", str(tmp_path / "log.db"))
    assert (answer.status, "is the log itself" in answer.err) == (2, True)
    assert run_ok("reports", log).out == LISTED


def test_what_was_redacted_is_gone(tmp_path: Path) -> None:
    """The list counts redacted messages; texts and names are marked as redacted, and the export has their hashes."""
    commits = [redact(commit) if commit.position in (2, 3, 6) else commit for commit in reported().commits]
    log = dumped(tmp_path / "log.jsonl", commits)
    assert run_ok("reports", log).lines[0].endswith("; 2 messages, 1 of them redacted: the texts are gone")
    shown = run_ok("reports", log, "--show", "6").lines
    assert shown[4] == "  note       [redacted 11 bytes]"
    assert shown[7].endswith("[redacted]·b6cd: [redacted 13 bytes]")
    (report,) = json.loads(run_ok("reports", log, "--show", "6", "--export", "-").out)["reports"]
    note = commits[5].events[0].note
    assert report["note"] == {"redacted_bytes": 11, "salted_sha256": note.sha256}
    assert report["redacted_messages"] == 1


def test_what_was_trimmed_is_gone(tmp_path: Path) -> None:
    """The list names the trimmed part; a room from before it has its remaining messages."""
    script, name = reported(), tmp_path / "log.db"
    log = trimmed(name, script, states_of(script.commits)[3])
    lines = run_ok("reports", log).lines
    assert lines[0] == "the commits up to position 3 were trimmed, with any report in them"
    assert lines[1].endswith("in r_2370; its beginning was trimmed from the log, 1 message left")
    assert run_ok("reports", log, "--show", "6").lines[1] == f"  by         ?·6f5d, {ANN}"
    answer = run_command("reports", log, "--show", "2")
    assert "the commits up to position 3 were trimmed from" in answer.err


@pytest.mark.parametrize(("count", "why"), [(1, "; there are no reports yet"), (10, "; there are 6, 9, 10")])
def test_an_unknown_id_is_an_error(count: int, why: str, tmp_path: Path) -> None:
    """The error names the existing ids."""
    log = dumped(tmp_path / "log.jsonl", reported().commits[:count])
    answer = run_command("reports", log, "--show", "7")
    assert (answer.status, answer.err) == (2, f"chat-broker: there is no report 7 in {log}{why}\n")


def test_of_many_reports_the_newest_are_named(tmp_path: Path) -> None:
    """An error stays one short line."""
    script = Script()
    for number in range(0, 110_000, 10_000):
        script.enters(number, ANN, "Ann").enters(number, BOB, "Bob", room=(room := f"r_{number:032}"))
        script.add(number, ReportPartner(ANN, room, "spam"))
    answer = run_command("reports", dumped(tmp_path / "log.jsonl", script.commits), "--show", "1")
    assert answer.err.endswith("; the newest are 6, 9, 12, 15, 18, 21, 24, 27, 30, 33\n")


def test_a_log_without_reports_says_so(tmp_path: Path) -> None:
    """A block is no report."""
    script = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM).add(2, BlockPartner(ANN, ROOM))
    assert run_ok("reports", dumped(tmp_path / "log.jsonl", script.commits)).out == "no reports yet\n"


@pytest.mark.parametrize(("words", "position"), [("You fool.", 3), ("rude", 6)])
def test_altered_evidence_is_an_error(words: str, position: int, tmp_path: Path) -> None:
    """An altered message or note is neither shown nor exported."""
    dump = Path(dumped(tmp_path / "log.jsonl", reported().commits))
    dump.write_text(dump.read_text().replace(words, "I will find you"))
    for arguments in ((), ("--show", "6"), ("--export", "-")):
        failed = run_command("reports", str(dump), *arguments)
        assert (failed.status, failed.out) == (2, "")
        assert f"the commit at position {position} was altered" in failed.err


def test_a_dump_may_be_spaced_as_other_programs_write_json(tmp_path: Path) -> None:
    """Its commits are the same, as `verify` says, and so are their reports."""
    lines = Path(dumped(tmp_path / "log.jsonl", reported().commits)).read_text().splitlines()
    spaced = tmp_path / "spaced.jsonl"
    spaced.write_text("".join(f"{json.dumps(json.loads(line))}\n" for line in lines))
    assert run_ok("verify", str(spaced)).out.startswith("every promise holds")
    assert run_ok("reports", str(spaced)).out == LISTED


@pytest.mark.parametrize("asked", ["0", "-1"])
def test_nothing_was_trimmed_before_the_first_position(asked: str, log: str) -> None:
    """An impossible id is told as any other unknown one."""
    failed = run_command("reports", log, f"--show={asked}")
    assert failed.status == 2
    assert f"there is no report {asked} in " in failed.err


def test_an_export_without_a_path_is_refused(log: str) -> None:
    """An empty variable of the shell gives such a path; the option is named as it was written."""
    answer = run_command("reports", log, "--export", "")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == ("chat-broker: the path is missing behind --export; name a file, or - for standard output\n")
