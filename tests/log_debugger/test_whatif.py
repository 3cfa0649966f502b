"""`whatif`: the matches under another matching or policy, or without a commit."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from broker.matching import Seeker
from events.commands import AdoptPolicy, BlockPartner, CancelMatch, LeaveQueue, LeaveRoom, MatchDue, NextPartner
from events.commit import Commit
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from log_debugger.commands.whatif import changes_of
from log_debugger.reading.sources import open_source
from log_debugger.whatif.changes import Changes
from log_debugger.whatif.comparison import Comparison, PairMeeting, compare
from log_debugger.whatif.match_stats import MatchedPair
from projections.state import State
from tests.log_debugger.crowds import FAIR_LITTLE, LITTLE, crowd, states_of
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
    dumped,
    run_command,
    run_ok,
    trimmed,
)

FAIR_INTERESTS = msgspec.structs.replace(FAIR_LITTLE, matching="interests", interest_patience_ms=4_000)
INTERESTS = msgspec.structs.replace(LITTLE, matching="interests", interest_patience_ms=4_000)


def compared(path: Path, script: Script, rule: str, patience_ms: int | None = None) -> Comparison:
    """Return the changes in a log under `rule`."""
    patience = str(patience_ms) if patience_ms is not None else None
    return changed(path, script.commits, changes_of(rule, patience_ms=patience))


def changed(
    path: Path, commits: Sequence[Commit], changes: Changes, after: int | None = None, last: int | None = None
) -> Comparison:
    """Return the effect of `changes`."""
    with closing(open_source(dumped(path / "dump.jsonl", commits))) as source:
        return compare(source, changes, after, last)


def matchings_of(found: Comparison) -> list[str]:
    """Return the log's matching in each period."""
    return [period.policy.matching for period in found.periods]


def pairs_of(meetings: Sequence[PairMeeting]) -> list[MatchedPair]:
    """Return the pairs alone, in the order of their matches."""
    return [one.pair for one in meetings]


def pair(one: ConnectionId, other: ConnectionId) -> tuple[ConnectionId, ConnectionId]:
    """Return the two in the order of their ids."""
    return min(one, other), max(one, other)


def four(*last: str) -> Script:
    """Return a log: Ann (chess) meets Bob (go), then Cat (go) and Dan (chess) come and meet."""
    script = Script().enters(0, ANN, "Ann", "chess").enters(1_000, BOB, "Bob", "go", room=ROOM)
    return script.enters(2_000, CAT, "Cat", "go").enters(3_000, DAN, "Dan", *last or ("chess",), room=NEXT_ROOM)


def test_pairs_and_waiting_times_are_compared(tmp_path: Path) -> None:
    """Under interests, Ann would have waited for Dan and Bob for Cat."""
    found = compared(tmp_path, four(), "interests")
    assert matchings_of(found) == ["first-come"]
    assert pairs_of(found.pairs.lost) == [pair(ANN, BOB), pair(CAT, DAN)]
    assert pairs_of(found.pairs.new) == [pair(BOB, CAT), pair(ANN, DAN)]
    assert (found.pairs.kept, found.before.pairs, found.after.pairs) == (0, 2, 2)
    assert (found.before.half_met_within_ms, found.before.all_met_within_ms) == (0, 1_000)
    assert (found.after.half_met_within_ms, found.after.all_met_within_ms) == (0, 3_000)
    changes = {c.connection_id: (c.before_ms, c.after_ms) for c in (*found.longer, *found.shorter)}
    assert changes == {ANN: (1_000, 3_000), BOB: (0, 1_000), CAT: (1_000, 0)}
    assert (found.alike, found.refused) == (1, 0)


@pytest.mark.parametrize(
    ("rule", "policy"),
    [
        ("first-come", None),
        ("first-come", LITTLE),
        ("interests", INTERESTS),
        ("first-come", FAIR_LITTLE),
        ("interests", FAIR_INTERESTS),
    ],
)
def test_the_log_s_own_matching_changes_nothing(rule: str, policy: Policy | None, tmp_path: Path) -> None:
    """The run over a random crowd's log gives the same matches."""
    commits = crowd(11, 600, policy=policy)
    path = dumped(tmp_path / "dump.jsonl", commits)
    source = open_source(path)
    found = compare(source, changes_of(rule))
    source.close()
    assert found.before == found.after
    assert found.is_same
    assert found.pairs.kept == found.before.pairs > 20


def test_who_missed_a_match_is_absent_in_any_world(tmp_path: Path) -> None:
    """Bob met Ann and never looked; under interests he would still have waited, and is then taken out."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, ANN, "Ann", "chess").enters(1_000, BOB, "Bob", room=ROOM)
    script.add(14_000, CancelMatch(ROOM, (BOB,), is_other_present=True)).enters(20_000, CAT, "Cat", room=NEXT_ROOM)
    found = compared(tmp_path, script, "interests")
    assert (found.before.missed, found.after.missed) == (1, 0)
    assert (found.before.gave_up, found.after.gave_up) == (0, 1)
    assert pairs_of(found.pairs.lost) == [pair(ANN, BOB)]
    assert found.pairs.kept == 1
    lines = run_ok("whatif", dumped(tmp_path / "dump.jsonl", script.commits), "--matching", "interests").lines
    assert "matches missed                           1             0" in lines


def test_another_partner_than_in_the_log_waits_again(tmp_path: Path) -> None:
    """Under interests Bob meets Cat; his missed match with Ann does not matter."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, ANN, "Ann", "chess")
    script.enters(1_000, BOB, "Bob", "go", room=ROOM)
    script.enters(2_000, CAT, "Cat", "go").add(26_000, CancelMatch(ROOM, (BOB,), is_other_present=False))
    found = compared(tmp_path, script, "interests")
    assert (found.before.left_waiting, found.after.left_waiting) == ([CAT], [ANN, CAT])


def test_a_block_is_about_the_same_partner_or_else_the_present_one(tmp_path: Path) -> None:
    """Ann never met Bob under interests, so she leaves Dan, and does not meet him again."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(1_000, ANN, "Ann", "chess")
    script.enters(2_000, BOB, "Bob", "go", room=ROOM).enters(3_000, CAT, "Cat", "go")
    script.enters(4_000, DAN, "Dan", "chess", room=NEXT_ROOM).add(5_000, BlockPartner(ANN, ROOM))
    script.enters(6_000, ANN, "Ann", "chess").add(7_000, NextPartner(DAN, NEXT_ROOM), RoomId("r_third"))
    found = compared(tmp_path, script, "interests")
    assert (pairs_of(found.pairs.lost), pairs_of(found.pairs.new)) == (
        [pair(ANN, BOB), pair(CAT, DAN)],
        [pair(BOB, CAT)],
    )
    assert found.before.left_waiting == []
    assert found.after.left_waiting == [ANN, DAN]
    assert found.refused == 0


def test_first_come_of_a_log_by_interests_drops_its_match_due(tmp_path: Path) -> None:
    """First come has no patience, so there is no search to repeat."""
    found = compared(tmp_path, by_interests(), "first-come")
    assert matchings_of(found) == ["interests"]
    assert pairs_of(found.pairs.new) == [pair(ANN, CAT), pair(BOB, DAN)]
    assert found.after.all_met_within_ms == 1_000


def test_patience_ends_at_its_moment_before_the_next_command(tmp_path: Path) -> None:
    """Ann holds out for two seconds, then meets Cat without a shared interest; Dan comes too late for her."""
    script = Script().enters(0, ANN, "Ann", "chess").enters(500, CAT, "Cat", "go", room=ROOM)
    script.add(600, LeaveRoom(CAT, ROOM)).enters(2_000, DAN, "Dan", "chess")
    found = compared(tmp_path, script, "interests", 2_000)
    assert [period.run.interest_patience_ms for period in found.periods] == [2_000]
    assert pairs_of(found.pairs.new) == [pair(ANN, DAN)]  # # Cat left the queue by leaving a room she was not in
    found = compared(
        tmp_path,
        Script()
        .enters(0, ANN, "Ann", "chess")
        .enters(500, CAT, "Cat", "go", room=ROOM)
        .enters(9_000, DAN, "Dan", "chess"),
        "interests",
        2_000,
    )
    assert (found.pairs.kept, found.after.all_met_within_ms) == (1, 2_000)
    assert found.after.left_waiting == [DAN]


def test_whoever_goes_goes_from_wherever_they_are(tmp_path: Path) -> None:
    """A waiting member leaves the queue; a member of another room leaves that room."""
    script = four().add(4_000, LeaveRoom(ANN, ROOM)).add(5_000, NextPartner(CAT, NEXT_ROOM), RoomId("r_third"))
    found = compared(tmp_path, script, "interests")
    # # Cat moves on from Bob and finds an empty queue; in the log she moved on from Dan, and it was empty too.
    assert (found.before.left_waiting, found.after.left_waiting) == ([CAT], [CAT])
    waits = four("tea").add(4_000, LeaveRoom(ANN, ROOM))
    found = compared(tmp_path, waits, "interests")
    assert pairs_of(found.pairs.new) == [pair(BOB, CAT)]
    assert (found.before.gave_up, found.after.gave_up) == (0, 1)
    assert found.after.left_waiting == [DAN]


def test_giving_up_waiting_while_in_a_room_ends_the_conversation(tmp_path: Path) -> None:
    """Under first come, Ann would have met Bob; when she gave up, she is assumed to have gone."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests")))
    script.enters(1_000, ANN, "Ann", "chess").enters(2_000, BOB, "Bob", "go").add(3_000, LeaveQueue(ANN))
    found = compared(tmp_path, script, "first-come")
    assert pairs_of(found.pairs.new) == [pair(ANN, BOB)]
    assert (found.before.gave_up, found.after.gave_up) == (1, 0)
    assert (found.before.left_waiting, found.after.left_waiting) == ([BOB], [])


def test_a_trimmed_log_is_replayed_from_its_base_on(tmp_path: Path) -> None:
    """A connection waiting at the base waits in both runs, for as long."""
    script = four()
    source = open_source(trimmed(tmp_path / "log.db", script, states_of(script.commits)[3]))
    found = compare(source, changes_of("first-come"))
    source.close()
    assert (found.commits, found.pairs.kept) == (1, 1)
    assert found.after.all_met_within_ms == 1_000


def test_who_waits_in_the_base_has_patience_too(tmp_path: Path) -> None:
    """Their patience counts from their entry."""
    script = by_interests()
    source = open_source(trimmed(tmp_path / "log.db", script, states_of(script.commits)[3]))
    found = compare(source, changes_of("interests", patience_ms="9000"))
    source.close()
    assert (found.before.all_met_within_ms, found.after.all_met_within_ms) == (15_000, 9_000)


def test_what_the_other_world_has_no_place_for_is_refused(tmp_path: Path) -> None:
    """Under interests two would have had to wait, and only one may."""
    script = Script().add(0, AdoptPolicy(Policy(queue_connections_max=1)))
    script.enters(1_000, ANN, "Ann", "chess").enters(2_000, BOB, "Bob", "go", room=ROOM)
    name = dumped(tmp_path / "dump.jsonl", script.commits)
    assert "1 command would have been refused" in run_ok("whatif", name, "--matching", "interests").lines


def test_patience_that_ends_while_there_is_no_room_is_looked_at_again(tmp_path: Path) -> None:
    """It is looked at each second, as by a broker; here until Dan leaves."""
    policy = Policy(matching="interests", interest_patience_ms=2_000, rooms_open_max=1)
    script = Script().add(0, AdoptPolicy(policy)).enters(0, ANN, "Ann", "chess").enters(100, BOB, "Bob", "go")
    script.enters(200, CAT, "Cat", "tea").enters(300, DAN, "Dan", "tea", room=ROOM)
    script.add(5_500, LeaveRoom(DAN, ROOM)).add(6_000, MatchDue(ANN), NEXT_ROOM)
    found = compared(tmp_path, script, "interests")
    assert (found.pairs.kept, found.pairs.lost, found.pairs.new) == (2, [], [])
    assert found.after == found.before


def test_the_answer_for_people_names_what_is_different(tmp_path: Path) -> None:
    """A table comes first, then each difference with its size, and the assumptions."""
    lines = run_ok("whatif", dumped(tmp_path / "dump.jsonl", four().commits), "--matching", "interests").lines
    assert lines[:3] == [
        "4 commits decided again: positions 1 to 4",
        "policy of positions 1 to 4: matching first-come",
        "  in the run: matching interests",
    ]
    assert lines[3:12] == [
        "                                    before         after",
        "pairs                                    2             2",
        "those who met had waited at most",
        "  half of them                         0 s           0 s",
        "  nine in ten of them                1.0 s         3.0 s",
        "  all of them                        1.0 s         3.0 s",
        "gave up                                  0             0",
        "wait at the end                          0             0",
        "messages                                 0             0",
    ]
    assert "  - Ann·6f5d6 and Bob·b6cd at 2 (00:00:01.000)" in lines
    met = lines[lines.index("pairs that stay 0, that are not (-) 2, that are new (+) 2") + 3]
    assert met in ("  + Bob·b6cd and Cat·0a1b at 3 (00:00:02.000)", "  + Cat·0a1b and Bob·b6cd at 3 (00:00:02.000)")
    assert "  > Ann·6f5d6 3.0 s instead of 1.0 s" in lines
    assert "  < Cat·0a1b 0 s instead of 1.0 s" in lines
    assert [line.startswith("assumed: ") for line in lines[-3:]] == [False, True, True]
    assert max(map(len, lines)) <= 120


def test_the_answer_for_programs_is_all_of_it(tmp_path: Path) -> None:
    """It is one JSON object."""
    name = dumped(tmp_path / "dump.jsonl", four().commits)
    found = json.loads(run_ok("whatif", name, "--matching", "interests", "--patience-ms", "5000", "--json").out)
    [period] = found["periods"]
    assert (period["first"], period["last"], period["policy"]["matching"]) == (1, 4, "first-come")
    assert (period["run"]["matching"], period["run"]["interest_patience_ms"]) == ("interests", 5_000)
    assert found["pairs"]["lost"] == [
        {"pair": [*pair(ANN, BOB)], "moment": {"position": 2, "is_after": False, "at_ms": START_MS + 1_000}},
        {"pair": [*pair(CAT, DAN)], "moment": {"position": 4, "is_after": False, "at_ms": START_MS + 3_000}},
    ]
    assert found["names"][ANN] == "Ann"
    assert len(found["assumed"]) == 2


def test_many_differences_are_counted_and_some_are_shown(tmp_path: Path) -> None:
    """Ten of each are shown, the greatest first."""
    name = dumped(tmp_path / "dump.jsonl", crowd(4, 600, people=40))
    lines = run_ok("whatif", name, "--matching", "interests").lines
    assert sum(line.startswith("  - ") for line in lines) == 11
    assert [line for line in lines if line.startswith("  - and ") and line.endswith(" more; --json has them all")]


# Matchings of one's own.


def last_come(state: State, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Return the newest one in the queue."""
    waiting = [who for _, who in state.queue.entries.items() if who != seeker.connection_id]
    return waiting[-1] if waiting else None


def nobody(state: State, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Return no partner."""
    return None


def themselves(state: State, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Return the seeker, a forbidden choice."""
    return seeker.connection_id


def a_ghost(state: State, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Return a connection that does not wait."""
    return ConnectionId("c_\x1b[2J")


def everybody(state: State, seeker: Seeker, at_ms: int) -> list[ConnectionId]:
    """Return a value of another kind."""
    return list(state.queue.entered)


def broken(state: State, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Fail with two lines of text."""
    raise LookupError("no\nluck")


def unlucky(state: State, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Fail for players of go alone."""
    return next(iter(())) if "go" in seeker.interests else None


def test_a_matching_of_one_s_own_is_imported(tmp_path: Path) -> None:
    """It is named by its dotted path, with a colon or a dot before the function."""
    by_dot = compared(tmp_path, by_interests(), f"{__name__}.last_come")
    assert pairs_of(by_dot.pairs.new) == [pair(ANN, CAT), pair(DAN, BOB)]
    assert compared(tmp_path, by_interests(), f"{__name__}:last_come").pairs.new == by_dot.pairs.new
    assert compared(tmp_path, by_interests(), f"{__name__}:nobody").after.left_waiting == [ANN, CAT, BOB]


def test_a_matching_is_found_in_the_directory_that_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new script in the working directory can be imported."""
    (tmp_path / "mymatcher.py").write_text("def rule(state, seeker, at_ms):\n    return None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    found = compared(tmp_path, four(), "mymatcher:rule")
    assert ([period.run.matching for period in found.periods], found.after.pairs) == (["mymatcher:rule"], 0)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("best", "the matching is one of first-come, interests, or package.module:function"),
        ("no.such.module:f", "can't import no.such.module:f: ModuleNotFoundError"),
        ("broker.matching:nothing", "can't import broker.matching:nothing: AttributeError"),
        ("broker.matching:MATCHINGS", "is no function"),
        ("os; import x", "the matching is one of"),
        ("broker.decide:decide", "is no matching: it gives back something else than a ConnectionId or None"),
        ("broker.matching:patience_steps_ms", "takes other arguments than (state, seeker, at_ms)"),
        (f"{__name__}:pair", "takes other arguments than (state, seeker, at_ms)"),
        (f"{__name__}:everybody", "is no matching: it gives back something else"),
        (f"{__name__}:themselves", "is no matching: in a trial, asked for a newcomer while nobody waits, "),
        (f"{__name__}:a_ghost", 'named "c_\\u001b[2J", who does not wait'),
        (f"{__name__}:broken", f"the matching {__name__}:broken failed: LookupError"),
        (f"{__name__}:unlucky", f"asked for the command at position 2, the matching {__name__}:unlucky failed: "),
    ],
)
def test_a_matching_that_can_t_be_used_is_one_line(rule: str, says: str, tmp_path: Path) -> None:
    """The line names the fault; exit status 2."""
    answer = run_command("whatif", dumped(tmp_path / "dump.jsonl", four().commits), "--matching", rule)
    assert (answer.status, answer.out) == (2, "")
    assert says in answer.err
    assert answer.err.count("\n") == 1


def test_patience_means_nothing_to_the_first_come(tmp_path: Path) -> None:
    """It would change nothing, so its use is a mistake."""
    name = dumped(tmp_path / "dump.jsonl", four().commits)
    answer = run_command("whatif", name, "--matching", "first-come", "--patience-ms", "5")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == "chat-broker: under --matching first-come nobody holds out: leave --patience-ms out\n"


@pytest.mark.parametrize("patience", ["0", "-1", "1.5", "x", "9" * 16, "\u0661"])
def test_patience_is_a_whole_number(patience: str, tmp_path: Path) -> None:
    """It is at least one millisecond."""
    name = dumped(tmp_path / "dump.jsonl", four().commits)
    answer = run_command("whatif", name, "--matching", "interests", f"--patience-ms={patience}")
    assert answer.status == 2
    assert "--patience-ms must be a whole number" in answer.err
