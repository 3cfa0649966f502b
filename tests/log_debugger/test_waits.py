"""`waits`: the stays in the queue, and how each ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.commands import Disconnect
from projections.state import fold
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    NEXT_ROOM,
    START_MS,
    by_interests,
    conversation,
    dumped,
    fair_company,
    filed,
    run_command,
    run_ok,
    trimmed,
)

WAITS = """\
      2       41.2 s  Ann\u00b76f5d from 00:00:00.000: met Bob\u00b7b6cd in r_2370
      6       15.0 s  Anonymous\u00b70a1b from 00:00:45.000: met Bob\u00b7b6cd in r_91aa
      9        9.0 s  Bob\u00b7b6cd from 00:07:01.000: left the queue
3 waits
"""


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Write a dump of a conversation; return its name."""
    return dumped(tmp_path / "log.jsonl", conversation().commits)


def test_each_stay_in_the_queue_has_a_line(log: str) -> None:
    """The line has its length, its owner, its beginning and its end with the position; an instant match is no stay."""
    assert run_ok("waits", log).out == WAITS


def test_the_longest_come_first(log: str, tmp_path: Path) -> None:
    """Ten are listed, or as many as asked for; the last line counts all."""
    lines = run_ok("waits", log, "--longest", "2").lines
    assert [line[:7].strip() for line in lines[:2]] == ["2", "6"]
    assert lines[2] == "2 of 3 waits"
    many = conversation()
    for number in range(12):
        many.enters(500_000 + 100_000 * number, ANN, "Ann").add(
            500_000 + 100_000 * number + 1_000 * (number + 1), Disconnect(ANN, "timeout", many.state.position + 1)
        )
    lines = run_ok("waits", dumped(tmp_path / "many.jsonl", many.commits), "--longest").lines
    assert len(lines) == 11
    assert [line[9:20].strip() for line in lines[:4]] == ["41.2 s", "15.0 s", "12.0 s", "11.0 s"]
    assert lines[2].endswith("was taken out of the queue (timeout)")
    assert lines[10] == "10 of 15 waits"


def test_who_still_waits_is_told_last(tmp_path: Path) -> None:
    """The wait counts up to the last commit of the log."""
    commits = conversation().enters(500_000, CAT, "Cat").commits
    lines = run_ok("waits", dumped(tmp_path / "log.jsonl", commits)).lines
    assert lines[-2:] == [
        "     10          0 s  Cat\u00b70a1b from 00:08:20.000: still waits",
        "4 waits, 1 of them not over",
    ]


def test_programs_get_an_object_for_each(log: str) -> None:
    """The object has the partner and the room of a match."""
    first, _, last = run_ok("waits", log, "--json").objects
    assert first == {
        "connection_id": ANN,
        "since_ms": START_MS,
        "until_ms": START_MS + 41_200,
        "lasted_ms": 41_200,
        "position": 2,
        "ending": "met",
        "room_id": "r_2370d88192c52a48572ac5a03645081a",
        "partner": BOB,
    }
    assert (last["ending"], last["room_id"], last["partner"]) == ("left", None, None)


def test_a_match_that_was_missed_ends_a_wait_and_the_next_counts_from_the_same_entry(tmp_path: Path) -> None:
    """Ann waits for 30 seconds in all."""
    log = dumped(tmp_path / "log.jsonl", fair_company().commits)
    lines = run_ok("waits", log).lines
    assert lines[0].split("  ")[-1].startswith("Ann\u00b7")
    assert any("30.0 s" in line and NEXT_ROOM[:6] in line for line in lines)


def test_those_who_waited_before_a_log_begins_count(tmp_path: Path) -> None:
    """A trimmed log knows since when."""
    script = by_interests()
    log = trimmed(tmp_path / "log.db", script, fold(script.commits[:3]))
    assert any("Ann\u00b76f5d6" in line and "15.0 s" in line for line in run_ok("waits", log).lines)


def test_an_empty_log_has_none(tmp_path: Path) -> None:
    """An empty log is no error."""
    assert run_ok("waits", filed(tmp_path / "log.db", [])).lines == ["nobody waited"]


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "9999999999"])
def test_a_number_that_is_none_is_refused(log: str, number: str) -> None:
    """The refusal is one line."""
    answer = run_command("waits", log, f"--longest={number}")
    assert (answer.status, answer.out) == (2, "")
    assert "write a whole number of at least 1" in answer.err
