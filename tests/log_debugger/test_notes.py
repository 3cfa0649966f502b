"""Notes of a broker beside its log are told between the commits, and are never taken for commits."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.ids import ConnectionId
from events.log import RUNNING_EVERY_MS, OperationRecord
from log_debugger.reading.operations import SILENT_MS, Note, notes_of
from tests.log_debugger.logs import ANN, BOB, START_MS, conversation, dumped, filed, run_ok

STRANGER = ConnectionId("c_e1e1000000000000000000000000e1e1")
RECORDS = [
    OperationRecord("started", START_MS - 100, 0),
    OperationRecord("refused", START_MS + 42_300, 3, ANN, "send_message", "room_not_found"),
    OperationRecord("started", START_MS + 44_500, 4),
    OperationRecord("refused", START_MS + 44_600, 4, STRANGER, "enter_queue", "rate_limited"),
    OperationRecord("refused", START_MS + 44_650, 4, None, "get_status", "unknown_handle"),
    OperationRecord("refused", START_MS + 44_700, 4, times=1_200),
    OperationRecord("log_unavailable", START_MS + 50_000, 5),
    OperationRecord("log_available", START_MS + 55_000, 5),
    OperationRecord("stopped", START_MS + 440_000, 9),
]
ANN_S = "   note  00:00:42.300  Ann·6f5d is refused send_message: room_not_found"
OUTAGE = ("50.000  the log takes no commits any more", "55.000  the log takes commits again")
RESTART = "   note  00:00:44.500  the broker starts, with no note of an orderly end before"


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Write a conversation with notes of every kind into a broker's file; return its name."""
    return filed(tmp_path / "log.db", conversation().commits, (), RECORDS)


def notes_in(lines: list[str]) -> list[str]:
    """Return the lines of notes."""
    return [line for line in lines if line.startswith("   note")]


def test_replay_tells_each_note_between_its_commits(log: str) -> None:
    """A note comes before the next commit in the order of time; it has no position."""
    lines = run_ok("replay", log).lines
    assert lines[4:10] == [
        ANN_S,
        lines[5],
        RESTART,
        "   note  00:00:44.600  ?·e1e1 is refused enter_queue: rate_limited",
        "   note  00:00:44.650  an unknown caller is refused get_status: unknown_handle",
        "   note  00:00:44.700  1,200 more refused, too many to note each",
    ]
    assert lines[5].startswith("      4  00:00:44.000")
    assert [line[23:] for line in notes_in(lines)[-3:]] == [
        "the log takes no commits any more",
        "the log takes commits again",
        "the broker stops in good order",
    ]
    commits = [line for line in lines if not line.startswith("   note")]
    assert commits == run_ok("replay", log, "--when", "position > 0").lines


def test_replay_ends_with_the_notes_of_its_end(log: str) -> None:
    """Notes after a later commit are not told."""
    assert notes_in(run_ok("replay", log, "--to", "3").lines)[1:] == [ANN_S]
    assert notes_in(run_ok("replay", log, "--to", "2").lines)[1:] == []


def test_replay_up_to_a_time_has_no_later_note(log: str) -> None:
    """A note has its own time, also where no commit lies between that and the time asked for."""
    assert notes_in(run_ok("replay", log, "--at", "+42.299s").lines)[1:] == []
    assert notes_in(run_ok("replay", log, "--at", "+42.3s").lines)[1:] == [ANN_S]


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (("--connection", ANN), [ANN_S]),
        (("--connection", BOB), []),
        (("--room", "2370"), []),
        (("--when", "person == Ann"), []),
        (("--state-only",), []),
    ],
)
def test_a_filter_leaves_out_what_it_can_t_match(log: str, chosen: tuple[str, ...], told: list[str]) -> None:
    """A connection has its refusals; a room and an expression are about commits."""
    assert notes_in(run_ok("replay", log, *chosen).lines) == told


def test_a_note_is_an_object_of_its_own_kind(log: str) -> None:
    """Programs tell it from a commit by its only key."""
    objects = run_ok("replay", log, "--json").objects
    notes = [one["note"] for one in objects if "note" in one]
    assert [note["kind"] for note in notes] == [record.kind for record in RECORDS]
    assert all([*one] == ["note"] for one in objects if "note" in one)
    assert [note["is_unclean"] for note in notes if note["kind"] == "started"] == [False, True]
    assert notes[1] == RECORDS[1]._asdict()


def test_a_life_has_its_refusals_and_the_restarts_in_it(log: str) -> None:
    """A restart counts while the person waits or talks; others' refusals do not."""
    lines = run_ok("trace", log, "--connection", ANN).lines
    assert notes_in(lines)[:2] == [ANN_S, RESTART]
    assert not any("e1e1" in line or "1,200" in line for line in lines)
    assert not any("stops in good order" in line for line in lines)  # Ann is idle by then
    notes = [
        one["note"]["kind"] for one in run_ok("trace", log, "--connection", ANN, "--json").objects if "note" in one
    ]
    assert notes[:2] == ["refused", "started"]
    assert notes_in(run_ok("trace", log, "--connection", ANN, "--when", "position > 0").lines) == []


def test_a_room_has_the_refusals_of_its_members_and_the_restarts(log: str) -> None:
    """They count while it is open; those of others and of unknown callers do not."""
    lines = run_ok("trace", log, "--room", "2370").lines
    told = [ANN_S, RESTART, *(f"   note  00:00:{line}" for line in OUTAGE)]
    assert notes_in(lines) == told
    assert lines.index(ANN_S) == lines.index(next(line for line in lines if line.startswith("      4  "))) - 1
    objects = run_ok("trace", log, "--room", "2370", "--json").objects
    assert [one["note"]["kind"] for one in objects if "note" in one] == [
        "refused",
        "started",
        "log_unavailable",
        "log_available",
    ]
    assert notes_in(run_ok("trace", log, "--room", "2370", "--when", "position > 0").lines) == []
    assert notes_in(run_ok("trace", log, "--room", "91aa").lines) == []


def test_a_dump_has_no_notes(tmp_path: Path) -> None:
    """They stay in the broker's own file."""
    assert notes_in(run_ok("replay", dumped(tmp_path / "log.jsonl", conversation().commits)).lines) == []


def test_a_silent_broker_has_ended_once_others_are_heard_long_after() -> None:
    """Not before three of their signs of life, and not if its own last note is an orderly end."""
    started = [OperationRecord("started", 0, 0, broker=broker) for broker in ("a", "b")]
    stopped = OperationRecord("stopped", 5, 0, broker="b")
    for others_ms, is_ended in ((SILENT_MS, False), (SILENT_MS + 1, True)):
        records = [*started, stopped, OperationRecord("running", others_ms, 0, broker="c")]
        lost = [Note(OperationRecord("running", 0, 0, broker="a"), is_unclean=True)] if is_ended else []
        notes = list(notes_of(records))
        assert [note for note in notes if note.is_unclean] == lost
        assert [note.record for note in notes if not note.is_unclean] == [*started, stopped]
    assert SILENT_MS == 3 * RUNNING_EVERY_MS
