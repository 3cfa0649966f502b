"""`replay`: one line for each commit, and the state at the end."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest

from broker.errors import HOW_FAR
from events.codec import decode_commit, encode_commit, redact_line
from events.commands import AdoptPolicy, EnterQueue, LeaveQueue, SendMessage
from events.commit import EMPTY_TIP, Commit, Facts, Tip, commit_after
from events.events import MessageSent, QueueEntered
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from events.sqlite.file import SqliteFile
from log_debugger.commands import replay
from log_debugger.reading import sources
from log_debugger.reading.sources import open_source
from log_debugger.terminal import Terminal
from projections.state import INITIAL_STATE, digest, fold
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    DAN,
    NEXT_ROOM,
    ROOM,
    START_MS,
    Script,
    by_interests,
    conversation,
    dumped,
    fair_company,
    filed,
    run_command,
    run_ok,
    trimmed,
)

CONVERSATION = """\
      1  00:00:00.000  Ann·6f5d enters the queue and waits, alone
      2  00:00:41.200  Bob·b6cd enters the queue and meets Ann·6f5d, who waited 41.2 s, in r_2370
      3  00:00:42.255  Bob·b6cd tells Ann·6f5d in r_2370: "Hello, stranger." (m1)
      4  00:00:44.000  Ann·6f5d tells Bob·b6cd in r_2370: "Hello!"
      5  00:00:45.000  Anonymous·0a1b enters the queue and waits, alone
      6  00:01:00.000  Bob·b6cd leaves Ann·6f5d in r_2370 for somebody else (2 messages in 18.8 s), \
enters the queue and meets Anonymous·0a1b, who waited 15.0 s, in r_91aa
      7  00:07:00.000  Anonymous·0a1b is taken out of r_91aa, which closes it for Bob·b6cd too \
(0 messages in 6 min 0 s): no call for 5 min 0 s (idle_grace_room_ms)
      8  00:07:01.000  Bob·b6cd enters the queue and waits, alone
      9  00:07:10.000  Bob·b6cd leaves the queue after 9.0 s

after position 9, 2026-09-21T14:20:30.000Z (00:07:10.000):
  queue        nobody waits
  rooms        none is open, 2 closed
  connections  3 known: 3 idle
  messages     2
  policy       as in an empty log
  digest       {digest}
"""


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Write a dump of a conversation; return its name."""
    return dumped(tmp_path / "log.jsonl", conversation().commits)


def test_a_conversation_reads_like_one(log: str) -> None:
    """Each commit is a sentence, and the state comes after them."""
    assert run_ok("replay", log).out == CONVERSATION.format(digest=digest(conversation().state))


def test_a_brokers_file_is_told_as_its_dump_is(tmp_path: Path, log: str) -> None:
    """The kind of the log makes no difference."""
    assert run_ok("replay", filed(tmp_path / "log.db", conversation().commits)).out == run_ok("replay", log).out


def test_the_end_has_those_who_wait_and_talk(tmp_path: Path) -> None:
    """The state is told in full: the queue in order, the rooms, and each unusual value of the policy."""
    log = dumped(tmp_path / "log.jsonl", by_interests().commits)
    assert run_ok("replay", log, "--to", "5").lines[-10:-1] == [
        "after position 5, 2026-09-21T14:13:24.000Z (00:00:04.000):",
        "  queue        2 waiting",
        "    1. Ann·6f5d6 since position 2, for 3.0 s, interests chess",
        "    2. Bob·b6cd since position 5, for 0 s, interests film",
        "  rooms        1 open",
        "    r_2370 Cat·0a1b and Dan·6f5d9 since position 4: 0 messages in 1.0 s",
        "  connections  4 known: 2 waiting, 2 chatting",
        "  messages     0",
        "  policy       messages_per_10s_max 5 (instead of 20), matching interests (instead of first-come)",
    ]


def test_position_0_is_before_anything_happened(log: str) -> None:
    """`--to 0` is the empty log."""
    answer = run_ok("replay", log, "--to", "0")
    assert answer.lines[:3] == ["nothing happened", "", "at position 0, before anything happened:"]
    assert answer.lines[-1].endswith(digest(INITIAL_STATE))


def test_an_empty_log_is_no_error(tmp_path: Path) -> None:
    """The output says that nothing happened."""
    empty = filed(tmp_path / "log.db", [])
    assert run_ok("replay", empty).lines[0] == "nothing happened"
    assert run_ok("replay", empty, "--json").objects[-1]["state"]["position"] == 0


def test_a_position_that_is_not_there_is_named(log: str) -> None:
    """The error names the available range."""
    answer = run_command("replay", log, "--to", "10")
    assert answer.status == 2
    assert "has states from position 0 to 9, and none at 10" in answer.err
    assert 'argument --to: a position is a whole number, not "+5s"' in run_command("replay", log, "--to", "+5s").err


@pytest.mark.parametrize(
    ("time", "position"),
    [
        ("+0s", 1),
        ("+42s", 2),
        ("+42s254ms", 2),
        ("+42s255ms", 3),
        ("+00:00:44.999", 4),
        ("14:14:04.999", 4),
        ("14:14:05", 5),
        ("14:14", 1),
        ("16:14:05+02:00", 5),
        ("+00:00:45.000", 5),
        ("+42.254s", 2),
        ("+42.255s", 3),
        ("+0.75m", 5),
        ("+1m", 6),
        ("2026-09-21T14:14:20Z", 6),
        ("2026-09-21T16:14:20+02:00", 6),
        ("2026-09-21 14:14:19.999", 5),
    ],
)
def test_a_time_stands_for_the_last_position_before_it(log: str, time: str, position: int) -> None:
    """Times are absolute, in UTC unless they name a zone, or counted from the first commit, as they are printed."""
    assert run_ok("replay", log, "--at", time, "--json").objects[-1]["state"]["position"] == position


@pytest.mark.parametrize("time", ["soon", "+", "+5", "+5x", "+-5s", "+.5s", "+1.2345s", "24:00", "+12:00", "\x1b[31m"])
def test_what_is_no_time_is_refused(log: str, time: str) -> None:
    """The one-line refusal gives the valid forms of a time."""
    answer = run_command("replay", log, "--at", time)
    assert answer.status == 2
    assert (
        "is no time: write it as in 14:03:22 or 2026-11-22T14:03:22Z, or since the log's beginning as in" in answer.err
    )
    assert "\x1b" not in answer.err


@pytest.mark.parametrize("time", ["2030-01-01", "1999-01-01", "+00:07:10.001", "00:00:44.999", "14:13:19"])
def test_a_time_outside_the_log_is_refused_with_its_span(log: str, time: str) -> None:
    """The refusal is one line; the end of the log is within the span."""
    answer = run_command("replay", log, "--at", time)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(
        f'chat-broker: "{time}" is outside the log, which goes from 2026-09-21T14:13:20.000Z '
        "to 2026-09-21T14:20:30.000Z"
    )
    assert "+00:00:44.999" in answer.err or time != "00:00:44.999"
    assert run_ok("replay", log, "--at", "+00:07:10", "--json").objects[-1]["state"]["position"] == 9
    assert answer.err == run_command("diff", log, time, "3").err


def test_the_state_alone_can_be_asked_for(log: str) -> None:
    """The output is the end of `replay`'s, with the details of a room and a connection."""
    for more in ((), ("--to", "5"), ("--at", "+1m", "--room", "91", "--connection", "Ann"), ("--json", "--to", "4")):
        alone = run_ok("replay", log, "--state-only", *more).out
        assert "enters the queue" not in alone
        assert alone
        assert run_ok("replay", log, *more).out.endswith(alone)


def test_the_state_alone_of_a_trimmed_log(tmp_path: Path) -> None:
    """The output does not mention the base."""
    log = trimmed(tmp_path / "log.db", conversation(), fold(conversation().commits[:4]))
    assert run_ok("replay", log, "--state-only", "--to", "4").lines[0].startswith("after position 4, ")


@pytest.mark.parametrize("flags", [("--when", "waiting > 1"), ("--type", "room_closed"), ("--rejection",), ("--step",)])
def test_the_state_alone_has_no_commits_to_choose(log: str, flags: tuple[str, ...]) -> None:
    """The refusal names the offending flag."""
    answer = run_command("replay", log, "--state-only", *flags)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == (
        f"chat-broker: --state-only prints no commits, and {flags[0]} is about them: leave one of them out\n"
    )


@pytest.mark.parametrize(
    ("filters", "positions"),
    [
        (("--connection", "c_6f5d"), [1, 2, 3, 4, 6]),
        (("--connection", "Anonymous·0a1b"), [5, 6, 7]),
        (("--connection", ANN), [1, 2, 3, 4, 6]),
        (("--room", "91"), [6, 7]),
        (("--room", "r_91aa"), [6, 7]),
        (("--type", "message_sent"), [3, 4]),
        (("--type", "MESSAGESENT"), [3, 4]),
        (("--type", "NextPartner", "--type", "disconnect"), [6, 7]),
        (("--type", "room_closed", "--connection", "6f5d"), [6]),
        (("--when", "waiting > 0"), [1, 5, 8]),
        (("--when", "messages == 1 or rooms_closed == 1"), [3, 6]),
        (("--rejection",), []),
    ],
)
def test_only_what_is_wanted_is_told(log: str, filters: tuple[str, ...], positions: list[int]) -> None:
    """Filters choose lines, by beginnings of ids and names of types; the state at the end is of the whole log."""
    objects = run_ok("replay", log, *filters, "--json").objects
    assert [one["position"] for one in objects[:-1]] == positions
    assert objects[-1]["state"]["position"] == 9


def test_the_one_that_is_asked_for_is_described(log: str) -> None:
    """The details of a connection and a room come at the end."""
    lines = run_ok("replay", log, "--connection", "b6", "--room", "91", "--to", "6").lines
    assert lines[-11:] == [
        "Bob·b6cd is c_b6cdb9584dcdbdfe5ccd9fdf41475920",
        "  place        in r_91aa",
        "  interests    none",
        "  last active  position 6, 0 s before",
        "  told         3 times",
        "  rate limit   may speak now, may enter the queue now",
        "r_91aa is r_91aa00000000000000000000000000bb",
        "  members      Anonymous·0a1b, who waited longer, and Bob·b6cd",
        "  opened       position 6",
        "  talk         0 messages in 0 s",
        "  message ids  0 remembered",
    ]


@pytest.mark.parametrize("options", [(), ("--state-only",), ("--when", "type == room_opened")])
@pytest.mark.parametrize(
    ("who", "to", "position", "before"),
    [("6f5d", 6, 4, "16.0 s"), ("0a1b", 6, 5, "15.0 s"), ("0a1b", 7, 5, "6 min 15 s"), ("b6cd", 4, 3, "1.7 s")],
)
def test_last_active_is_a_person_s_own_last_act(
    log: str, options: tuple[str, ...], who: str, to: int, position: int, before: str
) -> None:
    """Being left, matched, taken out of a room or written to is no act of theirs, whichever lines are printed."""
    asked = ("replay", log, "--connection", who, "--to", str(to), *options)
    assert f"  last active  position {position}, {before} before" in run_ok(*asked).lines
    if options != ("--state-only",):
        assert [
            one["state"]["connection"]["last_act"]["position"] for one in run_ok(*asked, "--json").objects[-1:]
        ] == [position]


def test_last_active_counts_reports_and_no_housekeeping(tmp_path: Path) -> None:
    """Ann is matched at 9 and reports Cat at 10; Bob is dropped from a match at 4 and forgotten at last."""
    log = filed(tmp_path / "log.db", fair_company().commits)
    for to, act in (("9", "8, 20.0 s"), ("10", "10, 0 s")):
        assert f"  last active  position {act} before" in run_ok("replay", log, "--connection", ANN, "--to", to).lines
    trace = run_ok("trace", log, "--connection", BOB).lines
    assert [line.split()[2:4] for line in trace if "last active" in line] == [["position", "3,"]]


@pytest.mark.parametrize(
    ("filters", "refusal"),
    [
        (("--connection", "ffff"), 'no connection "ffff" in this log; there are Ann·6f5d, Bob·b6cd, Anonymous·0a1b\n'),
        (("--connection", "c_"), 'there is no connection "c_" in this log'),
        (("--room", "\x1b[2J"), 'there is no room "\\u001b[2J" in this log; there are r_2370, r_91aa\n'),
        (("--type", "message"), "there are adopt_policy, block_partner, cancel_match, disconnect, enter_queue,"),
        (("--when", "waiting >"), "expected"),
    ],
)
def test_what_is_not_there_is_refused(log: str, filters: tuple[str, ...], refusal: str) -> None:
    """The one-line refusal names the available values."""
    answer = run_command("replay", log, *filters)
    assert (answer.status, answer.out) == (2, "")
    assert refusal in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("text", ["cb_sLYn2n0ArpncMJw3Mg97Jv4-RhM4eKe2", "cb_sLYn", "cb_"])
@pytest.mark.parametrize("flag", ["--connection", "--room"])
@pytest.mark.parametrize("command", ["replay", "trace"])
def test_a_handle_is_not_repeated(log: str, command: str, flag: str, text: str) -> None:
    """It is a secret and is not shown on a screen; the line says what to take instead."""
    answer = run_command(command, log, flag, text)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == (
        "chat-broker: that is a handle, which is a secret and in no log; take the connection_id (c_...) that was "
        "given with it\n"
    )


def test_the_beginning_of_two_ids_is_refused(tmp_path: Path) -> None:
    """Short names are as long as they must be to differ, and a shorter one is answered with both."""
    log = dumped(tmp_path / "log.jsonl", by_interests().commits)
    answer = run_command("replay", log, "--connection", "6f5d")
    assert answer.status == 2
    assert answer.err == (
        'chat-broker: more than one connection begins with "6f5d": Ann·6f5d6, Dan·6f5d9; give more of its id\n'
    )
    assert run_ok("replay", log, "--connection", "Dan·6f5d9", "--type", "room_closed").lines[0].endswith("17.0 s)")


def test_a_name_will_do_where_only_one_had_it(tmp_path: Path) -> None:
    """The case does not matter, and names of the base count; but an id, or the beginning of one, has precedence."""
    script = conversation().enters(440_000, DAN, "b6")
    for log in (
        dumped(tmp_path / "log.jsonl", script.commits),
        trimmed(tmp_path / "l.db", script, fold(script.commits[:5])),
    ):
        assert run_ok("replay", log, "--connection", "bOB").out == run_ok("replay", log, "--connection", "b6cd").out
        assert run_ok("trace", log, "--connection", "ANN").out == run_ok("trace", log, "--connection", "6f5d6").out
        assert run_ok("replay", log, "--connection", "b6").out == run_ok("replay", log, "--connection", "b6cd").out


def test_a_name_that_several_had_is_refused_with_all_of_them(tmp_path: Path) -> None:
    """At most ten short names are listed, also of people renamed later."""
    script = Script()
    for number in range(12):
        who = ConnectionId(f"c_{number:04x}{'0' * 28}")
        script.enters(10_000 * number, who, "Ida").add(10_000 * number + 1, LeaveQueue(who))
    script.enters(200_000, ConnectionId(f"c_0000{'0' * 28}"), "Olga")
    log = dumped(tmp_path / "log.jsonl", script.commits)
    answer = run_command("replay", log, "--connection", "ida")
    ten = ", ".join(f"Ida·{number:04x}" for number in range(10))
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == (
        f'chat-broker: more than one connection is called "ida": {ten} and 2 more; give the beginning of an id\n'
    )
    assert (
        run_ok("replay", log, "--connection", "Olga", "--type", "queue_entered").lines[1].endswith("and waits, alone")
    )
    unknown = run_command("trace", log, "--connection", "Ruth").err
    assert unknown == f'chat-broker: there is no connection "Ruth" in this log; there are {ten} and 2 more\n'
    long = run_command("trace", log, "--connection", "00").err
    assert f'more than one connection begins with "00": {ten.replace("Ida·0000", "Olga·0000")} and 2 more;' in long


def test_json_holds_what_is_stored_and_who_is_told(log: str) -> None:
    """A commit's line has its command and events as they are stored, and each notification."""
    commit = conversation().commits[1]
    second = run_ok("replay", log, "--json").objects[1]
    stored = json.loads(encode_commit(commit))
    assert {name: second[name] for name in ("position", "at_ms", "command", "events", "facts")} == {
        name: stored[name] for name in ("position", "at_ms", "command", "events", "facts")
    }
    assert second["relative_ms"] == 41_200
    assert second["told"] == [{"connection_id": who, "method": "chatroom.found"} for who in (ANN, BOB)]


def test_the_state_as_json_has_everyone(tmp_path: Path) -> None:
    """The last line has the data of the lines for people."""
    log = dumped(tmp_path / "log.jsonl", by_interests().commits)
    state = run_ok("replay", log, "--json", "--to", "5", "--room", "23").objects[-1]["state"]
    assert [(one["connection_id"], one["waited_ms"]) for one in state["queue"]] == [(ANN, 3_000), (BOB, 0)]
    assert [(one["room_id"], one["messages"]) for one in state["rooms"]] == [(ROOM, 0)]
    assert state["policy"] == {"matching": "interests", "messages_per_10s_max": 5}
    assert state["digest"] == digest(fold(by_interests().commits[:5]))
    assert state["room"]["first"] == CAT


def test_a_redacted_text_is_told_by_its_length(tmp_path: Path) -> None:
    """The text itself is gone, and the chain holds."""
    lines = [redact_line(encode_commit(commit)) for commit in conversation().commits]
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert (
        run_ok("replay", str(path))
        .lines[2]
        .endswith("[redacted]·b6cd tells [redacted]·6f5d in r_2370: [redacted 16 bytes] (m1)")
    )


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    """The line stays readable."""
    script = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM).says(2, BOB, "ab" * 2_000)
    line = run_ok("replay", dumped(tmp_path / "log.jsonl", script.commits)).lines[2]
    assert line.endswith(f'"{"ab" * 50}"… (4,000 characters)')


def test_strangers_words_are_never_obeyed(tmp_path: Path) -> None:
    """Invalid names and texts come out harmless, on one line, in both forms."""
    nasty = "\x1b[2J\u202eevil\n\x9b31m\u2028"
    script = Script().store(_stored(EMPTY_TIP, 0, QueueEntered(ANN, f"Ann\n{nasty}", (nasty,))))
    script.enters(1, BOB, "Bob meets Ann·6f5d, and leaves", room=ROOM).says(2, ANN, nasty)
    log = dumped(tmp_path / "log.jsonl", script.commits)
    for arguments in (("replay", log), ("trace", log, "--room", "2370"), ("diff", log, "0", "2")):
        answer = run_ok(*arguments)
        assert all(one.isprintable() for one in answer.out.replace("\n", ""))
    assert '"\\u001b[2J\\u202eevil\\n\\u009b31m\\u2028"' in run_ok("replay", log).lines[2]
    assert '"Bob meets Ann·6f5d, and leaves"·b6cd' in run_ok("replay", log).lines[1]
    answer = run_ok("replay", log, "--json")
    assert answer.out.isascii()
    assert answer.objects[2]["command"]["text"] == nasty


def test_ids_that_no_broker_made_are_never_obeyed(tmp_path: Path) -> None:
    """A dump from somewhere else can hold anything in the place of an id."""
    who, room = ConnectionId("c_\x1b[2J\x9b31m"), RoomId("r_\u202e\n")
    script = Script().enters(0, who, "Ann").enters(1, BOB, "Bob", room=room).says(2, who, "hi", room, call="\x1b[2J")
    log = dumped(tmp_path / "log.jsonl", script.commits)
    for arguments in (
        ("replay", log, "--connection", who, "--room", room),
        ("trace", log, "--room", room),
        ("trace", log, "--connection", who),
        ("diff", log, "0", "3"),
    ):
        assert all(one.isprintable() for one in run_ok(*arguments).out.replace("\n", ""))


def test_a_commit_that_was_altered_ends_the_story(tmp_path: Path) -> None:
    """The commits before it are told, and one line names the position."""
    commits = conversation().commits
    command = msgspec.structs.replace(commits[3].command, text="Goodbye!")
    commits[3] = msgspec.structs.replace(commits[3], command=command)
    answer = run_command("replay", dumped(tmp_path / "log.jsonl", commits))
    assert (answer.status, len(answer.lines)) == (2, 3)
    assert answer.err == f"chat-broker: the commit at position 4 was altered; {HOW_FAR}\n"


def test_a_commit_that_is_missing_ends_the_story(tmp_path: Path) -> None:
    """The chain is checked while it is told."""
    commits = conversation().commits
    answer = run_command("replay", dumped(tmp_path / "log.jsonl", commits[:3] + commits[4:]))
    assert (answer.status, len(answer.lines)) == (2, 3)
    assert answer.err == f"chat-broker: expected the commit at position 4, found 5; {HOW_FAR}\n"


def test_a_line_that_is_no_commit_ends_the_story(tmp_path: Path) -> None:
    """One line names the position of the unreadable line."""
    path = tmp_path / "log.jsonl"
    lines = [encode_commit(commit) for commit in conversation().commits]
    lines[3] = lines[3][:-20] + b"}" * 20
    path.write_bytes(b"\n".join(lines) + b"\n")
    for arguments in (("replay", str(path)), ("replay", str(path), "--json")):
        answer = run_command(*arguments)
        assert (answer.status, len(answer.lines)) == (2, 3)
        assert answer.err.startswith("chat-broker: the commit at position 4 can't be read: ")


def test_a_commit_of_another_log_ends_the_story(tmp_path: Path) -> None:
    """A valid hash with an absent connection is a fault in the log, and no crash."""
    tip = conversation().commits[-1].tip
    event = MessageSent(ROOM, ConnectionId("c_nobody"), ANN, "boo", None)
    strange = _stored(tip, 500_000, event)
    answer = run_command("replay", dumped(tmp_path / "log.jsonl", [*conversation().commits, strange]))
    assert (answer.status, len(answer.lines)) == (2, 9)
    assert "the commit at position 10 doesn't fit what stands before it" in answer.err


def test_a_trimmed_log_begins_from_its_base(tmp_path: Path) -> None:
    """It tells of the missing beginning and of its result."""
    script = conversation()
    log = trimmed(tmp_path / "log.db", script, fold(script.commits[:4]))
    lines = run_ok("replay", log).lines
    assert lines[0] == (
        "      4  -00:00:01.000  the log begins here: what was before is gone, and left 0 waiting and 1 room open"
    )
    assert lines[2].endswith(
        "leaves Ann·6f5d in r_2370 for somebody else (0 messages or more), "
        "enters the queue and meets Anonymous·0a1b, who waited 15.0 s, in r_91aa"
    )
    assert lines[-1].endswith(digest(script.state))
    assert run_ok("replay", log, "--json").objects[0]["base"]["position"] == 4
    assert "states from position 4 to 9, and none at 0" in run_command("replay", log, "--to", "0").err


def test_a_decision_that_would_not_be_made_again_is_found(tmp_path: Path) -> None:
    """`--rejection` shows stored commands that today's rules refuse or decide otherwise."""
    script = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM)
    said = MessageSent(ROOM, BOB, ANN, "too much", None)
    limited = script.add(2, AdoptPolicy(Policy(messages_per_10s_max=1))).says(3, BOB, "hello").state
    facts = Facts(START_MS + 4, None, "salt")
    script.store(commit_after(limited.tip, SendMessage(BOB, ROOM, "too much", None), facts, [said]))
    lines = run_ok("replay", dumped(tmp_path / "log.jsonl", script.commits), "--rejection").lines
    assert lines[:2] == ['      5  00:00:00.004  Bob·b6cd tells Ann·6f5d in r_2370: "too much"', ""]


def test_a_log_that_is_written_meanwhile_is_told_up_to_its_tip(tmp_path: Path) -> None:
    """A running broker is not disturbed, and the output ends at the log's tip at its start."""
    script = conversation()
    with SqliteFile(tmp_path / "log.db", "write") as broker:
        broker.append(script.commits[:3], expected=EMPTY_TIP)
        assert len(run_ok("replay", f"sqlite:{tmp_path}/log.db", "--json").objects) == 4
        broker.append(script.commits[3:], expected=script.commits[2].tip)
        assert len(run_ok("replay", f"sqlite:{tmp_path}/log.db", "--json").objects) == 10


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    """`replay LOG | head -1` ends quietly."""
    script = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM)
    for number in range(3_000):
        script.says(1_000 * number + 2, BOB, "so much to say " * 20)
    command = [sys.executable, "-m", "mcp_facade.main", "replay", dumped(tmp_path / "log.jsonl", script.commits)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as replay:
        assert replay.stdout is not None
        assert replay.stderr is not None
        assert b"Ann" in replay.stdout.readline()
        replay.stdout.close()
        assert replay.stderr.read() == b""
        assert replay.wait() == 0


def test_a_step_through_needs_a_terminal(log: str) -> None:
    """It needs one for its keys."""
    answer = run_command("replay", log, "--step")
    assert answer.status == 2
    assert "--step needs a terminal" in answer.err
    assert "leave one of them out" in run_command("replay", log, "--step", "--json").err


def _stored(tip: Tip, at_ms: int, event: QueueEntered | MessageSent) -> Commit:
    """Return a commit of no broker."""
    return commit_after(
        tip,
        EnterQueue(ANN, "Ann", ()),
        Facts(START_MS + at_ms, NEXT_ROOM, "salt"),
        [event],
    )


@pytest.mark.parametrize(
    ("who", "to", "line"),
    [
        (CAT, "4", "  not known at position 4: not there yet, or forgotten"),
        (CAT, "5", "  place        in the queue, 1st of 1, for 0 s"),
        (ANN, "6", "  place        idle"),
    ],
)
def test_a_connection_is_described_wherever_it_is(log: str, who: str, to: str, line: str) -> None:
    """Its place may be none yet, the queue, or idle."""
    assert line in run_ok("replay", log, "--connection", who, "--to", to).lines
    place = run_ok("replay", log, "--connection", who, "--to", to, "--json").objects[-1]["state"]["connection"]
    assert (place is None) == ("not known" in line)


def test_a_room_that_is_not_there_yet_is_described_as_such(log: str) -> None:
    """The log knows it, the state doesn't."""
    assert "  not known at position 1: not opened yet, or forgotten since it was closed" in (
        run_ok("replay", log, "--room", "91", "--to", "1").lines
    )
    assert run_ok("replay", log, "--room", "91", "--to", "1", "--json").objects[-1]["state"]["room"] is None


@pytest.mark.parametrize(("filters", "is_shown"), [((), False), (("--type", "room_closed"), True)])
def test_progress_is_shown_where_the_story_is_not(log: str, filters: tuple[str, ...], is_shown: bool) -> None:
    """Progress is shown on a terminal, during commits that are not told."""

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    err = Screen()
    assert replay.run(parser.parse_args([log, *filters]), Terminal(io.StringIO(), err)) == 0
    assert bool(err.getvalue()) == is_shown


def test_no_calendar_reaches_every_time(tmp_path: Path) -> None:
    """A time beyond the calendar is told as its number."""
    script = Script().enters(10**17, ANN, "Ann")
    log = dumped(tmp_path / "log.jsonl", script.commits)
    assert f"after position 1, {START_MS + 10**17} ms (00:00:00.000):" in run_ok("replay", log).lines


def test_a_gap_in_a_brokers_file_is_named_where_it_is(tmp_path: Path) -> None:
    """The commits before it are told, as in any incomplete log."""
    log = filed(tmp_path / "log.db", conversation().commits)
    db = apsw.Connection(str(tmp_path / "log.db"))
    db.execute("DELETE FROM commits WHERE position = 5")
    db.close()
    for command in (("replay", log), ("trace", log, "--room", "2370")):
        answer = run_command(*command)
        assert answer.status == 2
        assert any(line.endswith('"Hello!"') for line in answer.lines[-2:])
        assert "after position 4 commits are missing" in answer.err


def test_what_was_trimmed_is_not_told_twice(tmp_path: Path) -> None:
    """A request from below the base gets each commit from the base on once."""
    commits = conversation().commits
    log = trimmed(tmp_path / "log.db", conversation(), fold(commits[:4]))
    with pytest.MonkeyPatch.context() as patch, closing(open_source(log)) as source:
        patch.setattr(sources, "PAGE_COMMITS", 2)
        for after in (0, 3, 4):
            assert [decode_commit(line).position for line in source.lines(after)] == [5, 6, 7, 8, 9]
        assert [decode_commit(line).position for line in source.lines(6)] == [7, 8, 9]
