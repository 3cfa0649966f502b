"""Missed matches, blocks, reports, forgotten names and excluded partners, as commands show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from events.codec import encode_commit, redact_line
from events.commands import (
    AdoptPolicy,
    BlockPartner,
    CancelMatch,
    EnterQueue,
    LeaveQueue,
    LeaveRoom,
    MatchDue,
    NextPartner,
)
from events.commit import Facts, commit_after
from events.events import QueueEntered, RoomOpened
from events.policy import Policy
from projections.state import fold
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    DAN,
    FAIR,
    NEXT_ROOM,
    ROOM,
    Script,
    dumped,
    fair_company,
    run_command,
    run_ok,
    trimmed,
)

INDENT = " " * 23


@pytest.fixture
def log(tmp_path: Path) -> str:
    """Write a dump of the fair company; return its name."""
    return dumped(tmp_path / "log.jsonl", fair_company().commits)


def dump_of(tmp_path: Path, script: Script) -> str:
    """Write a dump of `script`; return its name."""
    return dumped(tmp_path / "log.jsonl", script.commits)


def told(log: str) -> list[str]:
    """Return the narrative of each commit, without position and time."""
    return [line[23:] for line in run_ok("replay", log).out.partition("\n\n")[0].splitlines()]


def pair_of(log: str, one: str, other: str) -> list[str]:
    """Return the reasons against a match of two, and the last lines."""
    lines = run_ok("trace", log, "--pair", one, other).lines
    return [line.strip() for line in lines if "do not meet" in line or not line[:7].strip().isdecimal()][1:]


def test_each_is_told_in_plain_words(log: str) -> None:
    """The lines tell of a missed match, a report with its note, a block, and forgotten names."""
    lines = told(log)
    assert [lines[number] for number in (3, 8, 9, 13, 15)] == [
        "Bob·b6cd gave no sign of life within 25.0 s (confirm_grace_ms), so the match with Ann·6f5d6 in r_2370 "
        "was missed, and Ann·6f5d6 waits again in the old place, alone",
        "Ann·6f5d6 has waited long enough to meet someone again (20.0 s): after 20.0 s they meet Cat·0a1b, "
        "who waited 21.0 s, in r_e5e5",
        'Ann·6f5d6 reports Cat·0a1b in r_e5e5 (spam; positions 9 to 10): "sells watches", blocks them '
        "and leaves r_e5e5 (0 messages in 1.0 s)",
        "Dan·6f5d9 blocks Ann·6f5d6 and leaves r_dada (0 messages in 10.0 s)",
        "the names and interests of Anonymous·b6cd, Anonymous·6f5d9 are forgotten",
    ]


def test_the_wait_goes_on_from_the_old_place(log: str) -> None:
    """A connection requeued after a missed match has waited since it came, before later ones."""
    assert "meets Ann·6f5d6, who waited 30.0 s, in r_91aa" in told(log)[4]
    state = run_ok("replay", log, "--to", "4", "--json").objects[-1]["state"]
    assert [(one["connection_id"], one["entered_position"], one["waited_ms"]) for one in state["queue"]] == [
        (ANN, 2, 26_500)
    ]


def test_a_match_that_both_missed_requeues_neither(tmp_path: Path) -> None:
    """The absence of both members is told too; both may enter again later."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, ANN, "Ann").enters(1_000, BOB, "Bob", room=ROOM)
    script.add(27_000, CancelMatch(ROOM, (BOB, ANN), is_other_present=False))
    script.add(28_000, NextPartner(ANN, ROOM), NEXT_ROOM).enters(29_000, BOB, "Bob", room=NEXT_ROOM)
    script.add(56_000, CancelMatch(NEXT_ROOM, (BOB,), is_other_present=False))
    script.add(57_000, NextPartner(ANN, NEXT_ROOM))
    assert told(dump_of(tmp_path, script))[3:] == [
        "neither Bob·b6cd nor Ann·6f5d gave a sign of life within 25.0 s (confirm_grace_ms), "
        "so their match in r_2370 was missed",
        "Ann·6f5d, who has missed the match in r_2370, enters the queue and waits, alone",
        "Bob·b6cd enters the queue and meets Ann·6f5d, who waited 1.0 s, in r_91aa",
        "Bob·b6cd gave no sign of life within 25.0 s (confirm_grace_ms), so the match with Ann·6f5d in r_91aa "
        "was missed, and Ann·6f5d does not wait again",
        "Ann·6f5d, whose partner has missed the match in r_91aa, enters the queue and waits, alone",
    ]


def test_who_waits_again_is_looked_at_at_once(tmp_path: Path) -> None:
    """Another connection came meanwhile: the following match is a commit of its own."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, ANN, "Ann").enters(1_000, BOB, "Bob", room=ROOM)
    script.enters(2_000, CAT, "Cat").add(26_000, CancelMatch(ROOM, (BOB,), is_other_present=True))
    script.add(26_001, MatchDue(ANN), NEXT_ROOM)
    log = dump_of(tmp_path, script)
    assert told(log)[4:] == [
        "Bob·b6cd gave no sign of life within 25.0 s (confirm_grace_ms), so the match with Ann·6f5d in r_2370 "
        "was missed, and Ann·6f5d waits again in the old place, 1st of 2",
        "Ann·6f5d is looked at again, after a missed match: after 26.0 s they meet Cat·0a1b, who waited 24.0 s, "
        "in r_91aa",
    ]


def test_a_trace_says_who_was_passed_over_and_why(log: str) -> None:
    """The reasons are a recent match, a block, or a former partner's peer; before a second match, both were patient."""
    lines = [line.removeprefix(INDENT) for line in run_ok("trace", log, "--connection", "Ann").lines]
    assert "1 other waited whom they may not meet: Cat·0a1b (met 1.0 s ago)" in lines
    assert (
        "they had met 21.0 s ago, but both had waited 20.0 s (rematch_patience_ms), and there was no other to meet"
    ) in lines
    assert "1 other waited whom they may not meet: Cat·0a1b (blocked by Ann·6f5d6)" in lines
    assert ("first come, first served: of those whom Dan·6f5d9 may meet, Ann·6f5d6 had waited longest, 9.0 s") in lines
    assert "1 other waited too: Cat·0a1b (10.0 s, of a peer that was met lately)" in lines
    assert not [line for line in lines if "other rules" in line]
    assert "    met          Cat·0a1b 13 min 58 s, Anonymous·6f5d9 13 min 30 s before" in lines
    assert "    has blocked  Cat·0a1b" in lines


def test_json_has_the_reasons_too(log: str) -> None:
    """Each passed-over connection has its reason, and so has a second match."""
    whys: dict[int, Any] = {
        one["position"]: one["why"] for one in run_ok("trace", log, "--connection", "Ann", "--json").objects[:-1]
    }
    assert whys[5]["in_spite_of"] is None
    assert whys[9]["in_spite_of"] == {"reason": "met", "blockers": [], "met_ago_ms": 21_000, "impatient": []}
    assert whys[13]["others"][0]["passed_over"]["reason"] == "peer"
    detail = run_ok("replay", log, "--connection", "Ann", "--json").objects[-1]["state"]["connection"]
    assert (detail["blocked"], [one["connection_id"] for one in detail["met"]]) == ([CAT], [CAT, DAN])


def test_a_pair_has_each_moment_at_which_it_could_have_met(log: str) -> None:
    """The moments go from the first room to the block; each search that passed one of them over has its reason."""
    lines = run_ok("trace", log, "--pair", "Ann", "Cat").lines
    assert lines[0] == f"why {ANN} and {CAT} met, or did not"
    assert [line[:7].strip() for line in lines if line[:7].strip().isdecimal()] == [
        "5",
        "7",
        "8",
        "9",
        "10",
        "12",
        "13",
    ]
    assert pair_of(log, "Ann", "Cat") == [
        "first come, first served: Ann·6f5d6 was the head of the queue, with 30.0 s",
        "nobody else waited",
        "Ann·6f5d6 and Cat·0a1b do not meet: their last room had closed 1.0 s before, not 10 min 0 s "
        "(rematch_after_ms), and Ann·6f5d6 has only just come",
        "first come, first served: Cat·0a1b was the head of the queue, with 21.0 s",
        "they had met 21.0 s ago, but both had waited 20.0 s (rematch_patience_ms), and there was no other to meet",
        "nobody else waited",
        "Ann·6f5d6 and Cat·0a1b do not meet: Ann·6f5d6 has blocked Cat·0a1b",
        "Ann·6f5d6 and Cat·0a1b do not meet: Ann·6f5d6 has blocked Cat·0a1b",
        "",
        "Ann·6f5d6 and Cat·0a1b met 2 times; for 29.0 s both waited",
    ]


def test_a_pair_that_never_waited_together_has_its_waits(log: str) -> None:
    """The waits show by how much they missed each other; a match at once is no wait."""
    assert pair_of(log, "Bob", "Cat") == [
        "",
        "Anonymous·b6cd and Cat·0a1b did not meet; they never waited together",
        "Anonymous·b6cd waited from 00:00:02.000 to 00:00:02.000",
        "Cat·0a1b waited from 00:00:31.000 to 00:00:31.000, from 00:00:40.000 to 00:01:01.000, "
        "from 00:01:10.000 to 00:01:31.000",
    ]


def test_patience_and_peers_keep_a_pair_apart(tmp_path: Path) -> None:
    """Bob avoids Cat's peer address from his entry until she leaves."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, CAT, "Cat")
    script.add(9_000, EnterQueue(BOB, "Bob", ()), avoid=(CAT,)).add(14_000, LeaveQueue(CAT))
    peer = "Bob·b6cd and Cat·0a1b do not meet: Cat·0a1b is of a peer that Bob·b6cd met lately"
    assert pair_of(dump_of(tmp_path, script), "Bob", "Cat")[:2] == [
        f"{peer}, and Bob·b6cd has only just come",
        f"{peer}, and Cat·0a1b and Bob·b6cd had not waited 20.0 s yet (rematch_patience_ms)",
    ]


def test_another_partner_comes_before_one_who_was_met(tmp_path: Path) -> None:
    """Ann and Bob were patient, but Cat came, and Ann had not met Cat before."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, ANN, "Ann").enters(1_000, BOB, "Bob", room=ROOM)
    script.add(2_000, LeaveRoom(BOB, ROOM)).enters(3_000, ANN, "Ann").enters(4_000, BOB, "Bob")
    log = dump_of(tmp_path, script.add(40_000, EnterQueue(CAT, "Cat", ()), NEXT_ROOM))
    assert pair_of(log, "Ann", "Bob")[-4:-2] == [
        "Ann·6f5d and Bob·b6cd do not meet: their last room had closed 2.0 s before, not 10 min 0 s "
        "(rematch_after_ms), and Bob·b6cd has only just come",
        "Ann·6f5d and Bob·b6cd do not meet: their last room had closed 38.0 s before, not 10 min 0 s "
        "(rematch_after_ms), and there was another to meet",
    ]
    assert (
        pair_of(log, "Cat", "Bob")[0] == "Cat·0a1b and Bob·b6cd do not meet: Ann·6f5d had waited longer than Bob·b6cd"
    )


def test_interests_keep_a_pair_apart(tmp_path: Path) -> None:
    """They share less than another pair does, or nothing while both still hold out for more."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests"))).enters(0, ANN, "Ann", "film")
    script.enters(1_000, BOB, "Bob", "go", "tea").enters(2_000, CAT, "Cat", "film", "go", "tea", room=ROOM)
    log = dump_of(tmp_path, script)
    apart = "Ann·6f5d and Bob·b6cd do not meet: they share no interest, and neither had waited 15.0 s"
    assert pair_of(log, "Ann", "Bob")[:2] == [f"{apart} (interest_patience_ms)"] * 2
    assert pair_of(log, "Ann", "Cat")[0] == "Ann·6f5d and Cat·0a1b do not meet: Bob·b6cd shares more with Cat·0a1b"


def test_who_waits_again_beside_another_is_a_moment_of_the_pair(tmp_path: Path) -> None:
    """Ann is back in the queue; Cat, blocked by her, came meanwhile."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, ANN, "Ann").enters(0, CAT, "Cat", room=ROOM)
    script.add(1_000, BlockPartner(ANN, ROOM)).enters(2_000, ANN, "Ann").enters(3_000, BOB, "Bob", room=NEXT_ROOM)
    script.enters(4_000, CAT, "Cat").add(28_000, CancelMatch(NEXT_ROOM, (BOB,), is_other_present=True))
    assert pair_of(dump_of(tmp_path, script), "Ann", "Cat")[2:] == [
        "Ann·6f5d and Cat·0a1b do not meet: Ann·6f5d has blocked Cat·0a1b",
        "",
        "Ann·6f5d and Cat·0a1b met 1 time; they never waited together",
    ]


def test_where_the_rules_give_no_reason_that_is_said(tmp_path: Path) -> None:
    """In a log made under other rules, the first come is passed over."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests"))).enters(0, ANN, "Ann").enters(0, BOB, "Bob")
    script.add(1_000, AdoptPolicy(Policy()))
    events = QueueEntered(CAT, "Cat", ()), RoomOpened(ROOM, BOB, CAT, "Bob", "Cat")
    facts = Facts(script.state.at_ms + 1, ROOM)
    script.store(commit_after(script.state.tip, EnterQueue(CAT, "Cat", ()), facts, events))
    assert pair_of(dump_of(tmp_path, script), "Ann", "Cat")[0] == (
        "Ann·6f5d and Cat·0a1b do not meet: the rules give no reason"
    )


def test_json_of_a_pair_has_each_moment_and_the_waits(log: str) -> None:
    """Each line is a commit with the reason for the match or against it; the last one has the totals."""
    *moments, last = run_ok("trace", log, "--pair", "Ann", "Cat", "--json").objects
    assert [one["position"] for one in moments if one["why"] is not None] == [5, 9]
    assert [(one["position"], one["why_not"]["passed_over"]["reason"]) for one in moments if one["why_not"]] == [
        (8, "met"),
        (12, "blocked"),
        (13, "blocked"),
    ]
    assert (last["totals"]["rooms"], last["totals"]["both_waited_ms"]) == (2, 29_000)
    assert len(last["totals"]["waits"]) == 7


def test_a_pair_of_a_trimmed_log_begins_at_the_base(tmp_path: Path) -> None:
    """A connection waiting at the base has waited since it came."""
    script = fair_company()
    log = trimmed(tmp_path / "log.db", script, fold(script.commits[:8]))
    lines = run_ok("trace", log, "--pair", "Ann", "Cat").lines
    assert lines[1] == "the log was trimmed up to position 8"
    both = "Ann·6f5d6 and Cat·0a1b"
    assert lines[-1] == f"after position 8, {both} met 1 time; for 29.0 s both waited; they had met before"
    base, *_, last = run_ok("trace", log, "--pair", "Ann", "Cat", "--json").objects
    assert base == {"base": {"position": 8, "had_met": True}}
    assert [one["to_ms"] - one["from_ms"] for one in last["totals"]["waits"][:1]] == [20_000]


@pytest.mark.parametrize("position", [2, 3, 4])
def test_a_trimmed_log_does_not_say_that_a_pair_never_met(tmp_path: Path, position: int) -> None:
    """A room at the base, open or closed, shows that they had met; nothing is said of a pair without one."""
    script = Script().enters(0, ANN, "Ann").enters(0, BOB, "Bob", room=ROOM).enters(1_000, CAT, "Cat")
    script.add(2_000, LeaveRoom(BOB, ROOM)).add(3_000, LeaveQueue(CAT))
    log = trimmed(tmp_path / "log.db", script, fold(script.commits[:position]))
    for other, before in (("Bob·b6cd", "; they had met before"), ("Cat·0a1b", "")):
        pair = ("--pair", "Ann", other[:3])
        lines = run_ok("trace", log, *pair).lines
        apart = f"Ann·6f5d and {other} did not meet; they never waited together{before}"
        assert f"after position {position}, {apart}" in lines
        assert run_ok("trace", log, *pair, "--json").objects[0]["base"]["had_met"] is bool(before)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("Ann", "c_6f5d6"), '"Ann" and "c_6f5d6" are one connection; name two'),
        (("Ann", "Zoe"), "there is no connection"),
        (("Ann",), "expected 2 arguments"),
    ],
)
def test_a_pair_is_two_connections(log: str, arguments: tuple[str, ...], says: str) -> None:
    """Both must be in the log."""
    names = [name.replace("c_6f5d6", ANN[:7]) for name in arguments]
    answer = run_command("trace", log, "--pair", *names)
    assert answer.status == 2
    assert says in answer.err


def test_redacted_interests_may_have_decided(tmp_path: Path) -> None:
    """Without the interests, the choice is neither explained nor called against the rules."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests"))).enters(0, ANN, "Ann", "film")
    script.enters(1_000, BOB, "Bob", "go", "tea").enters(2_000, CAT, "Cat", "go", "tea", room=ROOM)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(redact_line(encode_commit(commit)) + b"\n" for commit in script.commits))
    hidden = "interests decided, and some of them are redacted"
    assert pair_of(str(path), "c_6f", "c_0a")[0] == f"[redacted]·6f5d and [redacted]·0a1b do not meet: {hidden}"
    assert "other rules" not in run_ok("trace", str(path), "--room", ROOM).out


def test_redacted_names_and_interests_are_told_as_such(tmp_path: Path) -> None:
    """Each is still shown with its id; without an interest, none is told."""
    script = fair_company()
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(redact_line(encode_commit(commit)) + b"\n" for commit in script.commits))
    lines = told(str(path))
    assert lines[1] == "[redacted]·6f5d6 enters the queue and waits, alone"
    assert lines[9].startswith(
        "[redacted]·6f5d6 reports [redacted]·0a1b in r_e5e5 (spam; positions 9 to 10): [redacted 13"
    )
    assert lines[12].startswith("[redacted]·6f5d9 enters the queue (interests: [redacted]) and meets [redacted]·6f5d6")
    for position in (4, 9, 10, 12, 13, 16):
        assert run_command("test", str(path), "--to", str(position)).status == 0
    state = run_ok("replay", str(path), "--to", "12", "--json").objects[-1]["state"]
    assert {(one["display_name"], *one["interests"]) for one in state["queue"]} == {("[redacted]",)}
    assert run_ok("replay", str(path), "--rejection").out.startswith("no commit is like that")
