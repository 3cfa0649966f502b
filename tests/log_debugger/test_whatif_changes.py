"""`whatif` without commits, under other policies, and for a part of a log."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import broker
import projections
from broker.matching import OWN_MATCHINGS
from events.commands import (
    AdoptPolicy,
    BlockPartner,
    Disconnect,
    EnterQueue,
    ForgetNames,
    LeaveQueue,
    LeaveRoom,
    MatchDue,
    ReportPartner,
    SendMessage,
)
from events.commit import Commit
from events.events import RoomClosed
from events.policy import Policy
from log_debugger.commands.whatif import changes_of
from log_debugger.whatif.changes import OF_PROCESS, Changes
from log_debugger.whatif.comparison import Comparison
from tests.log_debugger.crowds import FAIR_LITTLE, LITTLE, crowd, rechained, states_of, with_events
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    DAN,
    FAIR,
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
from tests.log_debugger.test_own_matching import MISSING, NAME, NEWEST, decided, installed
from tests.log_debugger.test_whatif import INTERESTS, changed, pair, pairs_of

FAIR_INTERESTS = msgspec.structs.replace(FAIR_LITTLE, matching="interests", interest_patience_ms=4_000)
POLICIES = (None, LITTLE, FAIR_LITTLE, FAIR_INTERESTS)


def without(path: Path, commits: Sequence[Commit], *positions: int, after: int | None = None) -> Comparison:
    """Return the effect of leaving these commits out."""
    return changed(path, commits, Changes(without=frozenset(positions)), after)


# Nothing changes.


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(POLICIES), st.booleans(), st.floats(0, 0.9), st.floats(0, 1))
def test_a_change_without_an_effect_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    policy: Policy | None,
    has_peers: bool,
    begin: float,
    end: float,
) -> None:
    """Setting a policy's field to its present value changes nothing, from any position to any later one."""
    commits = crowd(seed, 150, policy=policy, has_peers=has_peers)
    state = states_of(commits)[-1]
    field = f"messages_per_10s_max={state.policy.messages_per_10s_max}"
    after = int(begin * len(commits))
    last = after + 1 + int(end * (len(commits) - after - 1))
    found = changed(tmp_path_factory.mktemp("log"), commits, changes_of(None, [field]), after, last)
    assert found.is_same, found
    assert found.commits == last - after


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(POLICIES), st.floats(0, 0.9))
@example(4970, FAIR_INTERESTS, 0.0)  # a look of the log while another's is awaited
def test_a_limit_that_is_never_reached_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, seed: int, policy: Policy | None, begin: float
) -> None:
    """Here each command is decided again, and patience ends in the run by itself."""
    commits = crowd(seed, 150, policy=policy)
    after = int(begin * len(commits))
    found = changed(tmp_path_factory.mktemp("log"), commits, changes_of(None, ["rooms_open_max=99"]), after)
    assert found.is_same, found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from((None, LITTLE, INTERESTS)), st.data())
def test_a_commit_that_nothing_depends_on_changes_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, seed: int, policy: Policy | None, data: st.DataObject
) -> None:
    """A message left out is one message less, unless a match waits for it as a sign of life."""
    commits = crowd(seed, 150, policy=policy)
    message = data.draw(st.sampled_from([one for one in commits if isinstance(one.command, SendMessage)]))
    found = without(tmp_path_factory.mktemp("log"), commits, message.position)
    assert found.after == msgspec.structs.replace(found.before, messages=found.before.messages - 1)
    assert (found.pairs.lost, found.pairs.new, found.pairs.moved) == ([], [], [])
    assert (found.longer, found.shorter, found.refused) == ([], [], 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(POLICIES), st.data())
def test_any_commit_can_be_left_out(
    tmp_path_factory: pytest.TempPathFactory, seed: int, policy: Policy | None, data: st.DataObject
) -> None:
    """The first, the last, and several can be; before the first of them there is no difference."""
    commits = crowd(seed, 120, policy=policy, has_peers=True)
    positions = data.draw(st.sets(st.integers(1, len(commits)), min_size=1, max_size=5))
    found = without(tmp_path_factory.mktemp("log"), commits, *positions)
    assert [one.position for one in found.left_out] == sorted(positions)
    first = min(positions)
    assert all(one.moment.position >= first for one in (*found.pairs.lost, *found.pairs.new))
    assert all(one.before.position >= first for one in found.pairs.moved)


def test_a_stored_look_came_a_moment_late(tmp_path: Path) -> None:
    """A broker's timer is late; as long as patience is as in the log, the run looks at the broker's moment."""
    policy = Policy(matching="interests", interest_patience_ms=2_000)
    script = Script().add(0, AdoptPolicy(policy)).enters(0, ANN, "Ann", "chess").enters(100, BOB, "Bob", "go")
    script.add(2_003, MatchDue(ANN), ROOM)
    assert changed(tmp_path, script.commits, changes_of("interests")).is_same
    found = changed(tmp_path, script.commits, changes_of("interests", patience_ms="1900"))
    assert [(one.after.position, one.after.is_after) for one in found.pairs.moved] == [(3, True)]


def test_an_abandoned_match_is_missed_in_the_run_too(tmp_path: Path) -> None:
    """Bob, without a client for his handle, has missed it, and Ann waits again."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, ANN, "Ann").enters(1_000, BOB, "Bob", room=ROOM)
    script.add(2_000, Disconnect(BOB, "disconnected", 3, is_abandoned=True))
    [closed, _] = script.commits[-1].events
    assert isinstance(closed, RoomClosed)
    assert closed.missed_by == (BOB,)
    found = changed(tmp_path, script.commits, changes_of(None, ["rooms_open_max=99"]))
    assert found.is_same
    assert found.after.missed == 1


# Without a commit.


def test_who_had_not_entered_meets_nobody(tmp_path: Path) -> None:
    """Without the entry and its match, Ann waits for Cat; Bob's later commands have no effect."""
    found = without(tmp_path, conversation().commits, 2)
    assert pairs_of(found.pairs.lost) == [pair(ANN, BOB), pair(BOB, CAT)]
    assert pairs_of(found.pairs.new) == [pair(ANN, CAT)]
    [new] = found.pairs.new
    assert (new.moment.position, new.moment.is_after) == (5, False)
    assert (found.before.messages, found.after.messages) == (2, 0)  # Ann is not in a room when she answers
    [left_out] = found.left_out
    assert (left_out.position, left_out.command, left_out.connection_id) == (2, "enter_queue", BOB)


def test_the_last_commit_left_out(tmp_path: Path) -> None:
    """Bob left the queue by it, so he waits on."""
    found = without(tmp_path, conversation().commits, 9)
    assert (found.before.gave_up, found.after.gave_up) == (1, 0)
    assert (found.before.left_waiting, found.after.left_waiting) == ([], [BOB])


def test_without_a_policy_the_one_before_stays(tmp_path: Path) -> None:
    """Each period of the log is listed with that of the run."""
    script = by_interests()
    found = without(tmp_path, script.commits, 1)
    assert [(one.first, one.last, one.policy.matching, one.run.matching) for one in found.periods] == [
        (1, 7, "interests", "first-come")
    ]
    assert pairs_of(found.pairs.new) == [pair(ANN, CAT), pair(BOB, DAN)]


def test_without_a_block_they_may_meet_again(tmp_path: Path) -> None:
    """Without a report they may meet too; the room it would close stays open."""
    for command in (BlockPartner(ANN, ROOM), ReportPartner(ANN, ROOM, "spam")):
        policy = msgspec.structs.replace(FAIR, rematch_after_ms=0)
        script = Script().add(0, AdoptPolicy(policy)).enters(0, ANN, "Ann").enters(0, BOB, "Bob", room=ROOM)
        script.says(1_000, ANN, "hm").says(1_000, BOB, "hm").add(2_000, command)
        script.enters(3_000, ANN, "Ann").enters(4_000, BOB, "Bob")
        found = without(tmp_path, script.commits, 6)
        assert (found.before.left_waiting, found.after.left_waiting) == ([ANN, BOB], [])
        assert pairs_of(found.pairs.new) == [pair(ANN, BOB)]  # both move on from the room, and meet again


def test_without_a_match_due_the_wait_goes_on(tmp_path: Path) -> None:
    """The broker did not look again: Ann waits, and so does Bob."""
    script = by_interests()
    found = without(tmp_path, script.commits, 6)
    [moved] = found.pairs.moved
    assert (moved.pair, moved.after.position, moved.after.is_after) == (pair(ANN, BOB), 6, True)
    assert moved.after.at_ms == START_MS + 19_000, "when patience ends for Bob, who came later"
    found = changed(tmp_path, script.commits, Changes(without=frozenset({6})), last=6)
    assert (found.before.left_waiting, found.after.left_waiting) == ([], [ANN, BOB])


def test_without_a_missed_match_the_room_stays_open(tmp_path: Path) -> None:
    """Bob's absence was not noticed, so Ann does not wait again, and Cat stays without a match."""
    found = without(tmp_path, fair_company().commits, 4)
    assert (found.before.missed, found.after.missed) == (1, 0)
    assert pair(ANN, CAT) in pairs_of(found.pairs.lost)


@pytest.mark.parametrize("kind", ["position", "id", "beginning"])
def test_a_commit_is_named_by_its_position_or_its_id(kind: str, tmp_path: Path) -> None:
    """The id has at least four digits; the heading shows the commit."""
    commits = conversation().commits
    commit_id = commits[2].commit_id
    named = {
        "position": "3",
        "id": commit_id,
        "beginning": next(commit_id[:n] for n in range(6, 32) if not commit_id[:n].isdigit()),
    }
    lines = run_ok("whatif", filed(tmp_path / "log.db", commits), "--without", named[kind]).lines
    assert lines[1] == "without 3, 00:00:42.255: send_message of Bob·b6cd"
    assert "messages                                 2             1" in lines


def test_the_beginning_of_an_id_may_be_all_digits(tmp_path: Path) -> None:
    """It is taken for a position only if the log has that one."""
    commits = crowd(1, 200)
    named = next(one for one in commits if one.commit_id[:4].isdecimal() and int(one.commit_id[:4]) > len(commits))
    log, digits = dumped(tmp_path / "log.jsonl", commits), named.commit_id[:4]
    assert run_ok("whatif", log, "--without", digits).lines[1].startswith(f"without {named.position}, ")
    missing = next(f"{number}" for number in range(1_000, 9_999) if not _begins_an_id(commits, f"{number}"))
    assert f"there is no commit at position {missing} in" in run_command("whatif", log, "--without", missing).err


def _begins_an_id(commits: Sequence[Commit], digits: str) -> bool:
    return any(one.commit_id.startswith(digits) for one in commits)


# Another policy.


def test_every_period_is_named_with_what_the_run_has_in_its_place(tmp_path: Path) -> None:
    """This includes one before the first change, and one where the change has no visible effect."""
    script = Script().enters(0, ANN, "Ann").enters(1_000, BOB, "Bob", room=ROOM)
    script.add(2_000, AdoptPolicy(Policy(matching="interests"))).says(3_000, ANN, "hi")
    script.add(4_000, AdoptPolicy(Policy(matching="interests", messages_per_10s_max=5))).says(5_000, BOB, "hi")
    name = dumped(tmp_path / "dump.jsonl", script.commits)
    lines = run_ok("whatif", name, "--policy", "messages-per-10s-max=5", "--policy", "interest_patience_ms=1m").lines
    assert lines[:7] == [
        "6 commits decided again: positions 1 to 6",
        "policy of positions 1 to 2: matching first-come",
        "  in the run: messages_per_10s_max 5, interest_patience_ms 60000",
        "policy of positions 3 to 4: matching interests, interest_patience_ms 15000",
        "  in the run: messages_per_10s_max 5, interest_patience_ms 60000",
        "policy of positions 5 to 6: matching interests, interest_patience_ms 15000, messages_per_10s_max 5",
        "  in the run: interest_patience_ms 60000",
    ]
    assert "nothing would have been different" in lines


def test_a_limit_refuses_in_the_run(tmp_path: Path) -> None:
    """Here, two of three messages are refused."""
    script = Script().enters(0, ANN, "Ann").enters(0, BOB, "Bob", room=ROOM)
    script.says(1_000, ANN, "one").says(1_100, ANN, "two").says(1_200, ANN, "three")
    lines = run_ok(
        "whatif", dumped(tmp_path / "dump.jsonl", script.commits), "--policy", "messages_per_10s_max=1"
    ).lines
    assert "messages                                 3             1" in lines
    assert "2 commands would have been refused" in lines


def test_a_field_that_no_decision_reads_is_named(tmp_path: Path) -> None:
    """Without the line, an unchanged outcome would be taken for an answer about it."""
    name = dumped(tmp_path / "dump.jsonl", conversation().commits)
    lines = run_ok("whatif", name, "--policy", "idle_grace_room_ms=1h").lines
    assert lines[-1] == ("assumed: no decision reads idle_grace_room_ms: what a broker does by it happens when it did")


def test_the_fields_that_no_decision_reads_are_those() -> None:
    """Decisions, matchings and the state name all others, and none of these."""
    modules = [Path(str(broker.__file__)).parent / f"{name}.py" for name in ("decide", "conduct", "matching")]
    modules += Path(str(projections.__file__)).parent.glob("*.py")
    source = "".join(path.read_text() for path in modules if path.name != "invariants.py")
    read = {field for field in Policy.__struct_fields__ if f"policy.{field}" in source}
    assert read == {*Policy.__struct_fields__} - OF_PROCESS


# A part of a log.


def test_a_part_begins_with_the_log_s_true_state(tmp_path: Path) -> None:
    """Cat waits at position 5 in either case; times are as good as positions."""
    name = filed(tmp_path / "log.db", conversation().commits)
    interests = ("--matching", "interests", "--patience-ms", "60000")
    by_position = run_ok("whatif", name, *interests, "--from", "5", "--to", "6").lines
    assert by_position[0] == "1 commit decided again: position 6"
    assert by_position == run_ok("whatif", name, *interests, "--from", "+50s", "--to", "+60s").lines
    assert "  - Anonymous·0a1b and Bob·b6cd at 6 (00:01:00.000)" in by_position


def test_who_waited_before_still_avoids_the_same(tmp_path: Path) -> None:
    """The facts of a search before the beginning hold for the looks of the run."""
    policy = msgspec.structs.replace(FAIR, matching="interests", interest_patience_ms=5_000)
    script = Script().add(0, AdoptPolicy(policy)).enters(0, ANN, "Ann", "tea")
    script.add(21_000, EnterQueue(CAT, "Cat", ("go",)), avoid=(ANN,)).add(30_000, LeaveQueue(CAT))
    for after in (1, 2, 3):
        found = changed(tmp_path, script.commits, changes_of(None, ["rooms_open_max=99"]), after=after)
        assert found.is_same, after


def test_a_wait_counts_from_its_entry_where_more_has_happened_since(tmp_path: Path) -> None:
    """Ann reports Bob while she waits."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, ANN, "Ann").enters(0, BOB, "Bob", room=ROOM)
    script.add(1_000, LeaveRoom(ANN, ROOM)).enters(2_000, ANN, "Ann").add(8_000, ReportPartner(ANN, ROOM, "spam"))
    script.enters(9_000, CAT, "Cat", room=NEXT_ROOM)
    found = changed(tmp_path, script.commits, changes_of(None, ["rooms_open_max=99"]), after=6)
    assert found.before.all_met_within_ms == found.after.all_met_within_ms == 7_000


def test_a_trimmed_log_begins_at_its_base(tmp_path: Path) -> None:
    """A beginning before it is refused, and so is a trimmed commit."""
    script = conversation()
    name = trimmed(tmp_path / "log.db", script, states_of(script.commits)[4])
    assert run_ok("whatif", name, "--without", "5").lines[0] == "5 commits decided again: positions 5 to 9"
    for options, says in (
        (("--matching", "interests", "--from", "3"), "has states from position 4 to 9, and none at 3"),
        (("--without", "4"), "there is no commit at position 4 in"),
        (("--without", "4"), "it has those from position 5 to 9"),
    ):
        answer = run_command("whatif", name, *options)
        assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert says in answer.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "say what would have been different: another --matching, --policy NAME=VALUE"),
        (("--without", "0"), "there is no commit at position 0 in"),
        (("--without", "10"), "it has those from position 1 to 9"),
        (("--without", "-1"), "--without"),
        (("--without", "abc"), "--without takes a position, or a commit's id or at least the first 4 digits"),
        (("--without", "deadbeefdeadbeef"), "there is no commit with the id deadbeefdeadbeef in"),
        (("--without", "x\x1b[2J"), 'not "x\\u001b[2J"'),
        (("--without", "3", "--from", "3"), "is not after --from, position 3, and is part of the state"),
        (("--without", "7", "--to", "6"), "is after --to, position 6, where the run has ended"),
        (("--from", "6", "--to", "3"), "--from has to be before --to"),
        (("--from", "3", "--to", "3"), "--from has to be before --to"),
        (("--from", "9"), "there are no commits after position 9 up to 9"),
        (("--from", "10"), "has states from position 0 to 9, and none at 10"),
        (("--from", "noon"), "is no position and no time"),
        (("--to", "+9h"), "is outside the log"),
        (("--policy", "messages_per_10s_max"), "--policy takes NAME=VALUE"),
        (("--policy", "mesages_per_10s_max=3"), "is no field of a policy; did you mean messages_per_10s_max?"),
        (("--policy", "=3"), "is no field of a policy; the fields are stream_grace_ms"),
        (("--policy", "messages_per_10s_max=0"), "messages_per_10s_max is a whole number of at least 1, not"),
        (("--policy", "messages_per_10s_max=-1"), "is a whole number of at least 1"),
        (("--policy", "messages_per_10s_max=many"), 'not "many"; in an empty log it is 20'),
        (("--policy", "rematch_after_ms=-1"), "at least 0 of milliseconds, or a duration as in 30s"),
        (("--policy", f"queue_connections_max={'9' * 16}"), "is a whole number of at least 1"),
        (("--policy", "matching=best"), "the matching is one of first-come, interests"),
        (("--policy", "matching=interests", "--matching", "interests"), "matching is given twice"),
        (("--policy", "stream_grace_ms=1", "--policy", "stream_grace_ms=2"), "stream_grace_ms is given twice"),
        (("--patience-ms", "5", "--policy", "interest_patience_ms=5"), "interest_patience_ms is given twice"),
    ],
)
def test_what_can_t_be_asked_is_one_line(options: Sequence[str], says: str, tmp_path: Path) -> None:
    """The error is one line, with exit status 2 and an empty standard output."""
    answer = run_command("whatif", dumped(tmp_path / "dump.jsonl", conversation().commits), *options)
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert says in answer.err, answer.err


def test_a_damaged_log_is_refused(tmp_path: Path) -> None:
    """The damage may be before the beginning or after it."""
    commits = conversation().commits
    altered = msgspec.structs.replace(commits[3], at_ms=commits[3].at_ms + 1)
    name = dumped(tmp_path / "dump.jsonl", [*commits[:3], altered, *commits[4:]])
    for options in (("--without", "9"), ("--without", "9", "--from", "6"), ("--without", commits[8].commit_id)):
        answer = run_command("whatif", name, *options)
        assert (answer.status, answer.out) == (2, "")
        assert answer.err.startswith("chat-broker: the commit at position 4 was altered; ")


def test_a_log_that_can_t_be_folded_is_refused(tmp_path: Path) -> None:
    """Its chain is whole, but a room closes without an opening; before the beginning, and after it."""
    commits = conversation().commits
    closed = msgspec.structs.replace(commits[5].events[0], room_id=NEXT_ROOM, closed_by=DAN)
    name = dumped(tmp_path / "dump.jsonl", with_events(commits, 5, closed))
    for options in (("--without", "9"), ("--without", "9", "--from", "7"), ("--without", "9", "--from", "3")):
        answer = run_command("whatif", name, *options)
        assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
        assert "the commit at position 5 doesn't fit what stands before it" in answer.err


def test_a_name_is_forgotten_up_to_a_position_to_come(tmp_path: Path) -> None:
    """No broker writes such a command, and it does no harm."""
    script = fair_company()
    last = script.commits[-1]
    assert isinstance(last.command, ForgetNames)
    late = msgspec.structs.replace(last, command=msgspec.structs.replace(last.command, through=99_999))
    commits = rechained([*script.commits[:-1], late])
    assert changed(tmp_path, commits, changes_of(None, ["rooms_open_max=99"])).refused == 0


def test_an_empty_log_has_no_commit_to_leave_out(tmp_path: Path) -> None:
    """It has no commit to decide again either."""
    name = filed(tmp_path / "log.db", [])
    assert "it has none" in run_command("whatif", name, "--without", "1").err
    assert run_ok("whatif", name, "--matching", "interests").lines[0] == "0 commits decided again"


# A log decided by one's own matching.


def test_a_log_s_own_matching_decides_what_is_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is imported, or its absence is one line; another matching makes it needless."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    with patch.dict(OWN_MATCHINGS, clear=True), patch.dict(sys.modules):
        name = dumped(tmp_path / "dump.jsonl", decided(tmp_path))
        answer = run_command("whatif", name, "--without", "5")
        assert (answer.status, answer.out, answer.err) == (2, "", MISSING)
        assert run_ok("whatif", name, "--without", "5", "--matching", "first-come").lines[0].startswith("6 commits")
        installed(tmp_path, NEWEST)
        lines = run_ok("whatif", name, "--without", "5").lines
        assert lines[2].startswith(f"policy of positions 1 to 6: matching {NAME}, interest_patience_ms 15000")
        assert lines[3] == "  in the run: the same"
        found = json.loads(run_ok("whatif", name, "--policy", "queue_connections_max=9", "--to", "5", "--json").out)
        assert found["before"] == found["after"]
