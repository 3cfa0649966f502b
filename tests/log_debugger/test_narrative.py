"""A commit as one line for people."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from broker.errors import UsageError
from events.commands import AdoptPolicy, Command, Disconnect, EnterQueue, LeaveQueue, LeaveRoom, MatchDue, NextPartner
from events.events import RoomClosed
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from events.text import RedactedText
from log_debugger.reading.iterate import ENDS_KEPT, Conversations, conversations_after, iterate
from log_debugger.reading.short_names import ShortNames, shown_name
from log_debugger.reading.sources import open_source
from log_debugger.reading.times import clock, span
from log_debugger.telling.narrative import narrative, ordinal, quoted
from projections.state import fold
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    DAN,
    NEXT_ROOM,
    ROOM,
    Script,
    by_interests,
    conversation,
    dumped,
    trimmed,
)

SPANS = {
    999: "999 ms",
    1_000: "1.0 s",
    1_149: "1.1 s",
    1_150: "1.2 s",
    59_949: "59.9 s",
    59_950: "1 min 0 s",
    370_499: "6 min 10 s",
    370_500: "6 min 11 s",
    3_599_499: "59 min 59 s",
    3_599_500: "1 h 0 min",
    3_629_999: "1 h 0 min",
    3_630_000: "1 h 1 min",
    86_369_999: "23 h 59 min",
    86_370_000: "1 d 0 h",
    88_199_999: "1 d 0 h",
    88_200_000: "1 d 1 h",
}
"""What is shown of a duration in ms, here and on the page of a report."""


def narrated(tmp_path: Path, script: Script) -> list[str]:
    """Return every commit of `script` as a sentence."""
    source = open_source(dumped(tmp_path / "log.jsonl", script.commits))
    names = ShortNames([ANN, BOB, CAT], [ROOM, NEXT_ROOM])
    sentences = [narrative(names, entry.step, entry.conversations) for entry in iterate(source, source.tip().position)]
    source.close()
    return sentences


def test_interests_and_patience_are_told(tmp_path: Path) -> None:
    """A match is told with its shared interests, or with the name of the member whose patience ended."""
    names = {"Ann·6f5d6": "Ann·6f5d", "Dan·6f5d9": "Dan·6f5d9"}
    assert narrated(tmp_path, by_interests()) == [
        "the policy changes: messages_per_10s_max from 20 to 5, matching from first-come to interests",
        f"{names['Ann·6f5d6']} enters the queue (interests: chess) and waits, alone",
        "Cat·0a1b enters the queue (interests: go, tea) and waits, 2nd of 2",
        "Dan·6f5d9 enters the queue (interests: go, tea) and meets Cat·0a1b, who waited 1.0 s and shares go, tea, "
        "in r_2370",
        "Bob·b6cd enters the queue (interests: film) and waits, 2nd of 2",
        "Ann·6f5d has held out long enough (15.0 s): after 15.0 s they meet Bob·b6cd, who waited 12.0 s, in r_91aa",
        "Dan·6f5d9 leaves Cat·0a1b in r_2370 (0 messages in 17.0 s)",
    ]


@pytest.mark.parametrize(
    ("reason", "at_ms", "grace"),
    [
        ("timeout", 90_000, "no call for 1 min 30 s (idle_grace_queue_ms)"),
        ("disconnected", 30_000, "no stream for 30.0 s (stream_grace_ms)"),
        ("disconnected", 200, "their call was cut off before it was answered"),
    ],
)
def test_whoever_is_taken_out_had_a_grace(tmp_path: Path, reason: str, at_ms: int, grace: str) -> None:
    """The line names the grace that had ended, with its length."""
    script = Script().enters(0, ANN, "Ann").add(at_ms, Disconnect(ANN, reason, 1))
    assert narrated(tmp_path, script)[1] == f"Ann·6f5d is taken out of the queue after {span(at_ms)}: {grace}"


def test_the_grace_of_an_attended_connection_is_that_of_its_entry(tmp_path: Path) -> None:
    """A window is taken out after the grace stored with its entry, and the narrative says so."""
    script = Script().add(0, EnterQueue(ANN, "Ann", (), 45_000)).add(45_000, Disconnect(ANN, "timeout", 1))
    assert narrated(tmp_path, script)[1] == (
        "Ann·6f5d is taken out of the queue after 45.0 s: no call for 45.0 s (the idle grace of its entry)"
    )


def test_graces_are_those_of_the_logs_policy(tmp_path: Path) -> None:
    """The reader's own settings do not matter."""
    script = Script().add(0, AdoptPolicy(Policy(idle_grace_room_ms=2_000))).enters(0, ANN, "Ann")
    script.enters(1, BOB, "Bob", room=ROOM).add(2_001, Disconnect(BOB, "timeout", 3))
    assert narrated(tmp_path, script)[-1] == (
        "Bob·b6cd is taken out of r_2370, which closes it for Ann·6f5d too (0 messages in 2.0 s): "
        "no call for 2.0 s (idle_grace_room_ms)"
    )


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        (LeaveRoom(BOB, ROOM), "whose partner has left r_2370"),
        (NextPartner(BOB, ROOM), "whose partner has left r_2370 for somebody else"),
        (Disconnect(BOB, "timeout", 2), "whose partner in r_2370 has timed out"),
        (Disconnect(BOB, "disconnected", 2), "whose partner in r_2370 has disconnected"),
        (LeaveRoom(ANN, ROOM), "who has left r_2370"),
    ],
)
def test_who_looks_for_somebody_else_after_the_end_is_told_with_the_reason(
    tmp_path: Path, ending: Command, why: str
) -> None:
    """The reason is that the partner left or vanished, or that they left themselves; each is named once."""
    script = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM).add(400_000, ending)
    if isinstance(ending, NextPartner):
        script.add(400_001, LeaveQueue(BOB))
    script.add(500_000, NextPartner(ANN, ROOM), NEXT_ROOM)
    assert narrated(tmp_path, script)[-1] == f"Ann·6f5d, {why}, enters the queue and waits, alone"


def test_of_an_end_that_was_trimmed_the_room_is_told(tmp_path: Path) -> None:
    """The reason for its end is unknown then."""
    script = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM).add(2, LeaveRoom(BOB, ROOM))
    script.add(3, NextPartner(ANN, ROOM), NEXT_ROOM)
    log = trimmed(tmp_path / "log.db", script, fold(script.commits[:3]))
    with closing(open_source(log)) as source:
        (entry,) = iterate(source, 4)
    assert narrative(ShortNames([ANN], [ROOM]), entry.step, entry.conversations) == (
        "Ann·6f5d, who was in r_2370 until it closed, enters the queue and waits, alone"
    )


def test_only_the_newest_ends_are_kept(tmp_path: Path) -> None:
    """However long a log is: at least the newest half of `ENDS_KEPT`, never more than all of it."""
    conversations, commit = Conversations(), conversation().commits[5]
    for number in range(3 * ENDS_KEPT):
        closed = RoomClosed(RoomId(f"r_{number}"), ANN, BOB, "left")
        conversations = conversations_after(conversations, msgspec.structs.replace(commit, events=(closed,)))
        kept = [
            n
            for n in (number - ENDS_KEPT, number - ENDS_KEPT // 2 + 1, number)
            if conversations.end_of(RoomId(f"r_{n}"))
        ]
        assert kept == [n for n in (number - ENDS_KEPT // 2 + 1, number) if n >= 0]


def test_who_was_left_may_look_for_somebody_else(tmp_path: Path) -> None:
    """`next_partner` after the partner has gone closes no room."""
    script = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM)
    script.add(2_000, NextPartner(BOB, ROOM), NEXT_ROOM).add(3_000, LeaveQueue(BOB))
    script.add(4_000, NextPartner(ANN, ROOM), NEXT_ROOM)
    assert narrated(tmp_path, script)[2:] == [
        "Bob·b6cd leaves Ann·6f5d in r_2370 for somebody else (0 messages in 2.0 s), enters the queue and waits, alone",
        "Bob·b6cd leaves the queue after 1.0 s",
        "Ann·6f5d, whose partner has left r_2370 for somebody else, enters the queue and waits, alone",
    ]


def test_patience_may_end_for_the_one_who_came_later(tmp_path: Path) -> None:
    """The impatient one comes first in the sentence, whatever the order in the room."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests", interest_patience_ms=5_000)))
    script.enters(0, ANN, "Ann").enters(1_000, BOB, "Bob").add(6_000, MatchDue(BOB), ROOM)
    assert narrated(tmp_path, script)[-1] == (
        "Bob·b6cd has held out long enough (5.0 s): after 5.0 s they meet Ann·6f5d, who waited 6.0 s, in r_2370"
    )


def test_a_look_after_a_change_of_policy_is_not_patience(tmp_path: Path) -> None:
    """First come, first served has no patience; those whom the old matching left waiting are paired."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests")))
    script.enters(0, ANN, "Ann").enters(1_000, BOB, "Bob").add(2_000, AdoptPolicy(Policy()))
    script.add(3_000, MatchDue(BOB), ROOM)
    assert narrated(tmp_path, script)[-1].startswith(
        "Bob·b6cd is looked at again, under first come, first served: after 2"
    )


def test_short_names_are_as_long_as_they_must_be() -> None:
    """They have four digits, or as many as distinguish an id from all others."""
    names = ShortNames([ANN, BOB, DAN], [ROOM, "r_2370d88192c52a48572ac5a0364508ff"])
    assert names.person(ANN, "Ann") == "Ann·6f5d6"
    assert names.person(BOB, "Anonymous") == "Anonymous·b6cd"
    assert names.person("c_b6cd", None) == "?·b6cd"
    assert names.room(ROOM) == "r_2370d88192c52a48572ac5a03645081"[:33]
    assert names.connection_of(names.person(ANN, "Ann")) == ANN
    assert names.room_of(names.room(ROOM)) == ROOM


def test_a_whole_id_is_meant_even_if_another_begins_with_it() -> None:
    """An exact id is never ambiguous."""
    names = ShortNames(["c_an", "c_ann"], [])
    assert names.connection_of("an") == "c_an"
    assert names.connection_of("c_ann") == "c_ann"
    with pytest.raises(UsageError, match="more than one connection"):
        names.connection_of("a")


def test_ids_that_no_broker_makes_are_harmless() -> None:
    """A dump can hold any text in the place of an id."""
    assert ShortNames(["c_\x1b[31mred"], []).person(ConnectionId("c_\x1b[31mred"), "Ann") == 'Ann·"c_\\u001b[31"'


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("O'Brien-2.0", "O'Brien-2.0"),
        ("Zoë", "Zoë"),
        ("C++ & C#/R", "C++ & C#/R"),
        ("O\u2019Brien", "O\u2019Brien"),
        ("", '""'),
        ("Ann·6f5d", '"Ann·6f5d"'),
        ("a\nb", '"a\\nb"'),
        ("a\u202eb", '"a\\u202eb"'),
        ("x" * 41, f'"{"x" * 40}"…'),
    ],
)
def test_a_name_can_not_pose_as_more(name: str, shown: str) -> None:
    """A name valid for a broker is shown as it is, all others in quotes."""
    assert shown_name(name) == shown


def test_texts_are_quoted_or_counted() -> None:
    """They are in full on request."""
    assert quoted('"hi"\x07') == '"\\"hi\\"\\u0007"'
    assert quoted("a" * 101) == f'"{"a" * 100}"… (101 characters)'
    assert quoted("a" * 101, None) == f'"{"a" * 101}"'
    assert quoted(RedactedText(1_234, "0" * 64)) == "[redacted 1,234 bytes]"


def test_times_are_written_for_people() -> None:
    """Short spans to the tenth of a second, long ones roughly; rounded to the nearest, halves up."""
    assert [span(ms) for ms in (0, 7, 41_249, 41_250, 200_000, 7_500_000, 360_000_000, -5_000)] == [
        "0 s",
        "7 ms",
        "41.2 s",
        "41.3 s",
        "3 min 20 s",
        "2 h 5 min",
        "4 d 4 h",
        "-5.0 s",
    ]
    assert [span(ms) for ms in SPANS] == list(SPANS.values())
    assert [clock(ms) for ms in (0, 3_661_001, 360_000_000, -1)] == [
        "00:00:00.000",
        "01:01:01.001",
        "100:00:00.000",
        "-00:00:00.001",
    ]
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 22, 113, 1_001)] == [
        "1st",
        "2nd",
        "3rd",
        "4th",
        "11th",
        "22nd",
        "113th",
        "1,001st",
    ]
