"""`diff`: changes between two positions."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from broker.errors import HOW_FAR
from events.commands import AdoptPolicy, LeaveRoom
from events.ids import ConnectionId
from events.policy import Policy
from log_debugger.telling.describe import ROWS_MAX
from projections.state import fold
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    ROOM,
    Script,
    by_interests,
    conversation,
    dumped,
    run_command,
    run_ok,
    trimmed,
)


@pytest.fixture
def log(tmp_path: Path) -> str:
    """A dump of a conversation."""
    return dumped(tmp_path / "log.jsonl", conversation().commits)


def test_what_came_and_went_is_told(log: str) -> None:
    """The queue, the rooms with their messages, and all moves of connections are compared."""
    assert run_ok("diff", log, "1", "6").lines == [
        "from position 1 to 6: 5 commits, 1 min 0 s later",
        "  at 00:00:00.000, then at 00:01:00.000",
        "queue: 1 waiting, then 0 waiting",
        "  - Ann·6f5d was 1st, for 0 s; now idle",
        "rooms open: 0, then 1",
        "    r_2370 Ann·6f5d and Bob·b6cd: opened at position 2, closed at position 6 by Bob·b6cd (next), "
        "2 messages in between",
        "  + r_91aa Anonymous·0a1b and Bob·b6cd: opened at position 6, 0 messages in between",
        "connections: 1 known, then 3 known",
        "  + Anonymous·0a1b new, in r_91aa",
        "  ~ Ann·6f5d was in the queue, now idle",
        "  + Bob·b6cd new, in r_91aa",
        "messages: 0, then 2",
        "policy: the same",
    ]


def test_it_goes_backwards_too(log: str) -> None:
    """With the later position first, additions become removals and the other way round."""
    assert run_ok("diff", log, "6", "2").lines == [
        "from position 6 back to 2: 4 commits, 18.8 s earlier",
        "  at 00:01:00.000, then at 00:00:41.200",
        "queue: 0 waiting",
        "rooms open: 1",
        "  + r_2370 Ann·6f5d and Bob·b6cd: closed at position 6 by Bob·b6cd (next), 2 messages in between",
        "  - r_91aa Anonymous·0a1b and Bob·b6cd: opened at position 6, 0 messages in between",
        "connections: 3 known, then 2 known",
        "  ~ Ann·6f5d was idle, now in r_2370",
        "  ~ Bob·b6cd was in r_91aa, now in r_2370",
        "  - Anonymous·0a1b was in r_91aa, not there yet",
        "messages: 2, then 0",
        "policy: the same",
    ]


def test_a_position_does_not_differ_from_itself(log: str) -> None:
    """No change is listed, and the state is summed up."""
    assert run_ok("diff", log, "5", "5").lines == [
        "from position 5 to 5: 0 commits, 0 s later",
        "  at 00:00:45.000, then at 00:00:45.000",
        "queue: 1 waiting",
        "rooms open: 1",
        "connections: 3 known",
        "messages: 2",
        "policy: the same",
    ]


def test_a_room_that_stayed_open_has_what_was_said(log: str) -> None:
    """Only messages between the two positions count."""
    assert "  ~ r_2370 Ann·6f5d and Bob·b6cd: 1 message in between" in run_ok("diff", log, "3", "5").lines


def test_those_who_move_up_in_the_queue_are_told(tmp_path: Path) -> None:
    """A changed place in the queue is shown for people who still wait."""
    script = by_interests()
    lines = run_ok("diff", dumped(tmp_path / "log.jsonl", script.commits), "3", "5").lines
    assert lines[2:5] == [
        "queue: 2 waiting",
        "  - Cat·0a1b was 2nd, for 0 s; now in r_2370",
        "  + Bob·b6cd 2nd, for 0 s",
    ]
    lines = run_ok("diff", dumped(tmp_path / "log.jsonl", script.commits), "0", "2").lines
    assert lines[0] == "from position 0 to 2: 2 commits"
    assert lines[-3:] == [
        "policy: changed",
        "  ~ messages_per_10s_max 20, then 5",
        "  ~ matching first-come, then interests",
    ]


def test_the_forgotten_are_told(tmp_path: Path) -> None:
    """Forgotten connections are listed with their last place."""
    script = Script().add(0, AdoptPolicy(Policy(connections_kept=1))).enters(0, ANN, "Ann")
    script.enters(1, BOB, "Bob", room=ROOM).says(2, BOB, "bye")
    before = script.state.position
    script.add(3, LeaveRoom(BOB, ROOM))
    lines = run_ok("diff", dumped(tmp_path / "log.jsonl", script.commits), str(before), str(before + 1)).lines
    assert [line for line in lines if "forgotten" in line] == ["  - Bob·b6cd was in r_2370, forgotten"]


def test_json_has_the_same(log: str) -> None:
    """One object, with whole ids."""
    (changes,) = run_ok("diff", log, "2", "6", "--json").objects
    assert (changes["from"]["position"], changes["to"]["position"], changes["time_passed_ms"]) == (2, 6, 18_800)
    assert [(room["change"], room["messages"], room["closed_by"]) for room in changes["rooms"]] == [
        ("-", 2, BOB),
        ("+", 0, None),
    ]
    assert [(one["change"], one["connection_id"]) for one in changes["connections"]] == [
        ("+", CAT),
        ("~", ANN),
        ("~", BOB),
    ]
    assert changes["policy"] == {}


def test_long_lists_are_cut_for_people(tmp_path: Path) -> None:
    """People get a screen's worth and the number of further rows; JSON has all rows."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests")))
    for number in range(ROWS_MAX + 7):
        script.enters(number, ConnectionId(f"c_{number:032x}"), "Anonymous")
    log = dumped(tmp_path / "log.jsonl", script.commits)
    assert run_ok("diff", log, "0", "58").lines.count("  and 7 more; --json has them all") == 2
    assert len(run_ok("diff", log, "0", "58", "--json").objects[0]["queue"]) == ROWS_MAX + 7


@pytest.mark.parametrize("positions", [("0", "10"), ("10", "0"), ("10", "11")])
def test_positions_that_are_not_there_are_refused(log: str, positions: tuple[str, str]) -> None:
    """The one-line refusal names the available range."""
    answer = run_command("diff", log, *positions)
    assert (answer.status, answer.out) == (2, "")
    assert "has states from position 0 to 9" in answer.err


def test_a_time_may_stand_for_a_position(log: str) -> None:
    """A time is accepted as printed, after a `+`, or as in `replay --at`."""
    assert run_ok("diff", log, "+00:00:00.000", "+1m").out == run_ok("diff", log, "1", "6").out
    assert run_ok("diff", log, "9", "14:14:20").out == run_ok("diff", log, "9", "6").out


def test_what_is_no_position_is_refused(log: str) -> None:
    """A position is a number, and none is below 0."""
    answer = run_command("diff", log, "1", "two")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith('chat-broker: "two" is no position and no time: write a number, or a time as in 14:03')
    assert run_command("diff", log, "1").status == 2
    assert run_command("diff", log, "1", "-1").status == 2


def test_a_broken_log_is_refused(tmp_path: Path) -> None:
    """A log with an altered commit is compared only before it."""
    commits = conversation().commits
    commits[3] = msgspec.structs.replace(commits[3], at_ms=commits[3].at_ms + 1)
    log = dumped(tmp_path / "log.jsonl", commits)
    assert run_command("diff", log, "1", "6").err == f"chat-broker: the commit at position 4 was altered; {HOW_FAR}\n"
    assert run_ok("diff", log, "1", "3").lines[0].startswith("from position 1 to 3")


def test_a_trimmed_log_is_compared_from_its_base(tmp_path: Path) -> None:
    """Positions from the base on can be compared, and trimmed ones are refused."""
    script = conversation()
    log = trimmed(tmp_path / "log.db", script, fold(script.commits[:4]))
    assert run_ok("diff", log, "4", "9").lines[0] == "from position 4 to 9: 5 commits, 6 min 26 s later"
    assert "none at 3" in run_command("diff", log, "3", "9").err
    run_ok("log", "trim", log, "--before", "10")
    assert "has one state, at position 9, and none at 4" in run_command("diff", log, "4", "9").err
