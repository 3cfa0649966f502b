"""`trace`: the life of one connection or one room, and where each message went."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import apsw
import msgspec
import pytest

from broker.errors import HOW_FAR
from broker.record_buffer import FLUSH_MS
from events.commands import AdoptPolicy, EnterQueue
from events.commit import Facts, commit_after
from events.events import QueueEntered, RoomOpened
from events.log import DeliveryRecord, OperationRecord
from events.policy import Policy
from events.sqlite.file import SqliteFile
from log_debugger.reading.deliveries import NOT_NOTED, NOT_NOTED_HERE
from log_debugger.reading.operations import RECORD_DELAY_MS_MAX
from projections.state import fold
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    DAN,
    LAST_ROOM,
    ROOM,
    START_MS,
    Script,
    by_interests,
    conversation,
    dumped,
    filed,
    run_command,
    run_ok,
    trimmed,
)
from tests.support.process import killed, serving

HANDINGS = [
    DeliveryRecord(2, ANN, "get", START_MS + 41_203),
    DeliveryRecord(2, BOB, "result", START_MS + 41_201),
    DeliveryRecord(3, ANN, "get", START_MS + 42_258),
    DeliveryRecord(3, ANN, "result", START_MS + 43_600),
    DeliveryRecord(6, ANN, "listen", START_MS + 60_001),
    DeliveryRecord(6, CAT, "inbox", START_MS + 61_000),
]
FETCHED = "most likely no stream of theirs was open, and no call of theirs has fetched it since"


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Write a conversation with delivery records into a broker's file; return its name."""
    return filed(tmp_path / "log.db", conversation().commits, HANDINGS)


def test_a_room_has_its_messages_and_where_they_went(log: str) -> None:
    """The life has the match with its reason, each message with its time and deliveries, and the end."""
    assert (
        run_ok("trace", log, "--room", "2370").out
        == f"""\
the life of {ROOM}
      2  00:00:41.200  Bob·b6cd enters the queue and meets Ann·6f5d, who waited 41.2 s, in r_2370
                       first come, first served: Ann·6f5d was the head of the queue, with 41.2 s
                       nobody else waited
                       handed to Ann·6f5d: the GET stream of a session after 3 ms
                       handed to Bob·b6cd: a tool's result after 1 ms
      3  00:00:42.255  Bob·b6cd tells Ann·6f5d in r_2370: "Hello, stranger." (m1)
                       handed to Ann·6f5d: the GET stream of a session after 3 ms, a tool's result after 1.3 s
      4  00:00:44.000  Ann·6f5d tells Bob·b6cd in r_2370: "Hello!"
                       no note that it was handed to Bob·b6cd: {FETCHED}
      6  00:01:00.000  Bob·b6cd leaves Ann·6f5d in r_2370 for somebody else (2 messages in 18.8 s), \
enters the queue and meets Anonymous·0a1b, who waited 15.0 s, in r_91aa
                       handed to Ann·6f5d: a subscriptions/listen stream after 1 ms

in all
  2 messages (1 by Bob·b6cd, 1 by Ann·6f5d; 1 handed over) in 18.8 s
  r_2370 is r_2370d88192c52a48572ac5a03645081a
    members      Ann·6f5d, who waited longer, and Bob·b6cd
    opened       position 2
    closed       position 6
    message ids  1 remembered
"""
    )


def test_a_connection_has_each_stay_and_each_room_in_turn(log: str) -> None:
    """A life goes from place to place, and adds up."""
    lines = run_ok("trace", log, "--connection", "b6cd").lines
    places = [line for line in lines if line.startswith("in ")]
    assert places == ["in r_2370 with Ann·6f5d", "in r_91aa with Anonymous·0a1b", "in the queue", "in all"]
    assert [line[:7].strip() for line in lines if line[:7].strip().isdecimal()] == ["2", "3", "4", "6", "7", "8", "9"]
    assert "that was 2 messages (1 by Bob·b6cd, 1 by Ann·6f5d; 1 handed over)" in lines[lines.index(places[1]) - 2]
    assert lines[lines.index("in all") + 1] == (
        "  3 stays in the queue (9.0 s); 2 rooms; 2 messages (1 by Bob·b6cd, 1 by Ann·6f5d; 1 handed over)"
    )


def test_only_the_part_of_a_commit_that_is_theirs_counts(log: str) -> None:
    """The partner left behind is not in the next room."""
    answer = run_ok("trace", log, "--connection", "6f5d")
    assert "1 stay in the queue (41.2 s); 1 room; 2 messages" in answer.out
    assert "handed to Anonymous" not in answer.out


def test_a_dump_says_that_it_has_no_notes(tmp_path: Path) -> None:
    """Without delivery records, no delivery is mentioned."""
    answer = run_ok("trace", dumped(tmp_path / "log.jsonl", conversation().commits), "--room", "2370")
    assert answer.lines[1] == NOT_NOTED
    assert "handed to" not in answer.out


def test_a_lost_note_is_not_taken_for_a_lost_message(tmp_path: Path) -> None:
    """A connection with a later delivery has read past the message."""
    delivery_records = [DeliveryRecord(7, BOB, "result", START_MS + 430_000)]
    answer = run_ok("trace", filed(tmp_path / "log.db", conversation().commits, delivery_records), "--room", "2370")
    assert (
        "no note that it was handed to Bob·b6cd, though something later was: "
        "most likely they fetched from a later cursor on, or the note was lost"
    ) in answer.out
    assert f"no note that it was handed to Ann·6f5d: {FETCHED}" in answer.out


def test_of_the_last_second_nothing_is_concluded(tmp_path: Path) -> None:
    """Records come up to a second late, so a missing one means nothing yet."""
    script = conversation()
    script.enters(440_000, ANN, "Ann").enters(441_000, BOB, "Bob", room=LAST_ROOM)
    script.says(442_000, BOB, "Hello again.", LAST_ROOM).says(443_500, ANN, "And to you!", LAST_ROOM)
    log = filed(tmp_path / "log.db", script.commits, HANDINGS)
    lines = run_ok("trace", log, "--room", "e5e5").lines
    after = {line.split('"')[1]: below.strip() for line, below in pairwise(lines) if line.endswith('"')}
    assert after == {
        "Hello again.": f"no note that it was handed to Ann·6f5d: {FETCHED}",
        "And to you!": "no note yet that it was handed to Bob·b6cd: "
        "it is of the last second of the log, and notes come up to a second late",
    }


@pytest.mark.parametrize("is_told_later", [False, True])
@pytest.mark.parametrize("ended", ["stopped", "killed", "never known"])
def test_before_an_unclean_end_nothing_is_concluded(tmp_path: Path, ended: str, is_told_later: bool) -> None:
    """This is so in the last second before the end; after an orderly end, and long before, conclusions are as usual."""
    first, stop = OperationRecord("started", START_MS, 0), OperationRecord("stopped", START_MS + 44_100, 4)
    second = OperationRecord("started", START_MS + 44_900, 4)
    notes = {"stopped": [first, stop, second], "killed": [first, second], "never known": [second]}[ended]
    later = [DeliveryRecord(7, BOB, "result", START_MS + 430_000)] * is_told_later
    lines = run_ok("trace", filed(tmp_path / "log.db", conversation().commits, later, notes), "--room", "2370").lines
    after = {line.split('"')[1]: below.strip() for line, below in pairwise(lines) if '"' in line}
    assert after["Hello, stranger."] == f"no note that it was handed to Ann·6f5d: {FETCHED}"
    if ended == "stopped":
        assert after["Hello!"].startswith("no note that it was handed to Bob·b6cd")
        assert ("something later was" in after["Hello!"]) is is_told_later
    else:
        assert after["Hello!"] == (
            "no conclusion whether it was handed to Bob·b6cd: "
            "the broker ended without storing its last notes, up to a second of them"
        )


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_real_broker_s_end_is_known(tmp_path: Path, is_killed: bool) -> None:
    """Killed right after a delivery, its log claims nothing of it; stopped, it knows of it."""
    log = f"sqlite:{tmp_path / 'log.db'}"

    async def scenario() -> None:
        async with serving("--log", log) as broker:
            crowd = broker.people()
            one, other = await crowd.pair()
            await one.say("Last words.")
            await other.hear()
            if is_killed:
                await killed(broker.process)
            else:
                await crowd.close()
                assert (await broker.terminate())[0] == 0
            if is_killed:
                await crowd.close()
        async with serving("--log", log) as broker:
            assert (await broker.terminate())[0] == 0

    asyncio.run(scenario())
    with closing(SqliteFile(tmp_path / "log.db", "write")) as file:  # the log goes on, minutes later
        state = fold(file.read(0, 100))
        file.append(Script(state).enters(state.at_ms - START_MS + 100_000, CAT, "Cat").commits, expected=state.tip)
    room = next(
        one["events"][-1]["room_id"] for one in run_ok("replay", log, "--type", "room_opened", "--json").objects
    )
    lines = run_ok("trace", log, "--room", room).lines
    told = next(below.strip() for line, below in pairwise(lines) if "Last words." in line)
    assert told.startswith(("no conclusion", "handed to") if is_killed else "handed to"), told


def test_a_file_that_was_loaded_has_notes_of_what_came_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deliveries of the dump's commits are unknown, except for those made since."""
    script = conversation()
    dump = Path(dumped(tmp_path / "dump.jsonl", script.commits[:4]))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(dump.read_bytes())))
    log = f"sqlite:{tmp_path / 'log.db'}"
    run_ok("log", "load", log)
    answer = run_ok("trace", log, "--room", "2370")
    assert answer.out == run_ok("trace", str(dump), "--room", "2370").out.replace(NOT_NOTED, NOT_NOTED_HERE)
    assert "handed to" not in answer.out
    with closing(SqliteFile(tmp_path / "log.db", "write")) as broker:
        broker.append(script.commits[4:], expected=script.commits[3].tip)
        broker.record([DeliveryRecord(4, BOB, "inbox", START_MS + 60_000)])
    not_noted = "is not noted: the notes of this log begin after position 4"
    assert [line.strip() for line in run_ok("trace", log, "--room", "2370").lines if "handed" in line] == [
        f"whether it was handed to Ann·6f5d {not_noted}",
        f"whether it was handed to Bob·b6cd {not_noted}",
        f"whether it was handed to Ann·6f5d {not_noted}",
        "handed to Bob·b6cd: a reading of their inbox after 16.0 s",
        f"no note that it was handed to Ann·6f5d: {FETCHED}",
        "2 messages (1 by Bob·b6cd, 1 by Ann·6f5d; 1 handed over, 1 not noted) in 18.8 s",
    ]
    *commits, last = run_ok("trace", log, "--room", "2370", "--json").objects
    assert [one["handed"] for commit in commits for one in commit["told"]] == [
        None,
        None,
        None,
        [{"to": "inbox", "at_ms": START_MS + 60_000}],
        [],
    ]
    assert (last["totals"]["messages_handed"], last["totals"]["messages_not_noted"]) == (1, 1)


def test_a_note_is_no_later_than_is_reckoned_with() -> None:
    """The broker buffers it for a while."""
    assert RECORD_DELAY_MS_MAX > FLUSH_MS


def test_shared_interests_are_the_reason(tmp_path: Path) -> None:
    """The reason names the shared interests, the others in the queue, and their shared interests."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests"))).enters(0, ANN, "Ann", "chess")
    script.enters(1_000, CAT, "Cat", "go", "tea").enters(3_000, DAN, "Dan", "film", "go", "tea", room=ROOM)
    lines = run_ok("trace", dumped(tmp_path / "log.jsonl", script.commits), "--room", "2370").lines
    assert lines[3:5] == [
        "                       by interests: Cat·0a1b shares go, tea with Dan·6f5d9, and nobody else shared any",
        "                       1 other waited too: Ann·6f5d6 (3.0 s, shares nothing)",
    ]


def test_patience_is_the_reason_where_nothing_is_shared(tmp_path: Path) -> None:
    """The reason names the member whose patience had ended, and its length."""
    lines = run_ok("trace", dumped(tmp_path / "log.jsonl", by_interests().commits), "--connection", "b6").lines
    assert (
        "                       1 other waited, but none shared an interest with them, "
        "and nobody's patience (15.0 s) had ended"
    ) in lines
    assert (
        "                       by interests: nobody shared any with Ann·6f5d6, but the patience of Ann·6f5d6 "
        "had ended (15.0 s) after 15.0 s, and Bob·b6cd had waited longest"
    ) in lines


def test_json_has_the_reason_and_the_handings(log: str) -> None:
    """Each line is a commit; the last one has the totals."""
    objects = run_ok("trace", log, "--room", "2370", "--json").objects
    assert [one.get("position") for one in objects] == [2, 3, 4, 6, None]
    assert objects[0]["why"]["matching"] == "first-come"
    assert (objects[0]["why"]["seeker"], objects[0]["why"]["met"]) == (BOB, ANN)
    assert objects[1]["told"][0]["handed"] == [
        {"to": "get", "at_ms": START_MS + 42_258},
        {"to": "result", "at_ms": START_MS + 43_600},
    ]
    assert objects[2]["told"] == [{"connection_id": BOB, "method": "message.received", "handed": []}]
    assert [one["connection_id"] for one in objects[3]["told"]] == [ANN]
    assert objects[-1]["totals"]["messages_handed"] == 1
    room = objects[-1]["state"]["room"]
    assert (room["first_name"], room["second_name"], room["closed_position"]) == ("Ann", "Bob", 6)


def test_json_of_a_dump_does_not_know_of_handings(tmp_path: Path) -> None:
    """`null` is not noted; an empty list would be never."""
    log = dumped(tmp_path / "log.jsonl", conversation().commits)
    objects = run_ok("trace", log, "--connection", "b6", "--json").objects
    assert {one["handed"] for line in objects[:-1] for one in line["told"]} == {None}
    assert objects[-1]["totals"]["messages_handed"] is None


def test_a_trimmed_life_begins_at_the_base(tmp_path: Path) -> None:
    """The life has the remaining commits, after the state at the base."""
    script = conversation()
    log = trimmed(tmp_path / "log.db", script, fold(script.commits[:3]))
    lines = run_ok("trace", log, "--room", "2370").lines
    assert lines[:3] == [
        f"the life of {ROOM}",
        "the log was trimmed up to position 3, where this was known:",
        f"  r_2370 is {ROOM}",
    ]
    assert [line[:7].strip() for line in lines if line[:7].strip().isdecimal()] == ["4", "6"]
    assert "in all, after position 3" in lines
    assert run_ok("trace", log, "--room", "2370", "--json").objects[0]["base"]["room"]["opened_position"] == 2


def test_a_broken_log_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    """The commits before it are told, and one line names the position."""
    commits = conversation().commits
    commits[5] = msgspec.structs.replace(commits[5], at_ms=commits[5].at_ms + 1)
    answer = run_command("trace", dumped(tmp_path / "log.jsonl", commits), "--room", "2370")
    assert answer.status == 2
    assert answer.lines[-1].endswith('"Hello!"')
    assert answer.err == f"chat-broker: the commit at position 6 was altered; {HOW_FAR}\n"


def _changed(path: Path, statement: str) -> str:
    """Write a broker's file and apply `statement` to it; return its name."""
    log = filed(path, conversation().commits)
    db = apsw.Connection(str(path))
    db.execute(statement)
    db.close()
    return log


DAMAGES: dict[str, Callable[[Path], str]] = {
    "cut off": lambda path: dumped(path, conversation().commits[:1], b'{"schema":2,"position":2,'),
    "a line that is gone": lambda path: dumped(path, [conversation().commits[0], *conversation().commits[2:4]]),
    "a row that is gone": lambda path: _changed(path, "DELETE FROM commits WHERE position = 2"),
    "a row of nonsense": lambda path: _changed(path, "UPDATE commits SET body = 'x' WHERE position = 2"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("asked_for", [("--room", "r_1"), ("--connection", "Zoe")])
def test_what_damage_may_hide_is_not_said_to_be_missing(tmp_path: Path, damage: str, asked_for: Sequence[str]) -> None:
    """A missing name may be in the unreadable part of the log, so the error is the one of `replay`."""
    log = DAMAGES[damage](tmp_path / "log")
    answer = run_command("trace", log, *asked_for)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == run_command("replay", log).err != ""


def test_exactly_one_life_is_asked_for(log: str) -> None:
    """It is the life of one existing connection or room."""
    assert run_command("trace", log).status == 2
    assert run_command("trace", log, "--room", "23", "--connection", "b6").status == 2
    assert "there is no room" in run_command("trace", log, "--room", "b6").err


def test_a_meeting_that_the_rules_do_not_give_is_marked(tmp_path: Path) -> None:
    """A log made under other rules says so at that match."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests"))).enters(0, ANN, "Ann", "chess")
    tip = script.enters(1_000, CAT, "Cat", "go").state.tip
    events = QueueEntered(DAN, "Dan", ("go",)), RoomOpened(ROOM, ANN, DAN, "Ann", "Dan")
    facts = Facts(START_MS + 2_000, ROOM)
    script.store(commit_after(tip, EnterQueue(DAN, "Dan", ("go",)), facts, events))
    lines = run_ok("trace", dumped(tmp_path / "log.jsonl", script.commits), "--room", "23").lines
    assert lines[3:6] == [
        "                       by interests: they share none, and the patience of neither had ended (15.0 s)",
        "                       asked again, the matching names somebody else: the log was made under other rules",
        "                       1 other waited too: Cat·0a1b (1.0 s, shares go)",
    ]
