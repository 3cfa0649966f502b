"""`test`: a situation of a log as a runnable test, as small as possible."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.verification import reduction
from broker.verification.delta_debugging import ddmin
from events.commands import AdoptPolicy, EnterQueue, MatchDue, NextPartner
from events.commit import Commit, Facts
from events.events import MessageSent, RoomOpened
from events.policy import Policy
from tests.log_debugger.crowds import FAIR_LITTLE, LITTLE, crowd, rechained, states_of, with_events
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    DAN,
    FAIR,
    NEXT_ROOM,
    ROOM,
    Script,
    by_interests,
    conversation,
    dumped,
    fair_company,
    run_command,
    run_ok,
    trimmed,
)

REPOSITORY = Path(__file__).parents[2]
SAID_IN_LOGS = ("Anonymous", "stranger", "Hello", "sells", "Watches")
INTERESTS = msgspec.structs.replace(LITTLE, matching="interests", interest_patience_ms=4_000)


def case_at(log: str, position: int, *more: str) -> str:
    """Return the test written for a position."""
    return run_ok("test", log, "--to", str(position), *more).out


def outcome(module: str) -> AssertionError | None:
    """Run the module as pytest would: its one function named `test_...`; return its failure, if any."""
    names: dict[str, object] = {}
    exec(compile(module, "case.py", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 1
    try:
        tests[0]()
    except AssertionError as error:
        return error
    return None


def past_of(module: str) -> list[str]:
    """Return the commands given in it."""
    calls = [one for one in ast.walk(ast.parse(module)) if isinstance(one, ast.Call)]
    [given_] = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "given"]
    return [ast.unparse(step.elts[1]) for step in given_.args if isinstance(step, ast.Tuple)]


def test_the_whole_test_reads_like_one_that_somebody_wrote(tmp_path: Path) -> None:
    """Bob moves on from Ann to Cat; their messages before do not matter."""
    assert (
        case_at(dumped(tmp_path / "dump.jsonl", conversation().commits), 6)
        == '''\
"""A situation from the log of a chat broker, at its position 6.

Written by `chat-broker test`: who, where and what was said are made up.
"""

from broker.decide import decide
from broker.decision import Rejection
from events.commands import EnterQueue, NextPartner
from events.commit import Facts, commit_after
from events.events import QueueEntered, RoomClosed, RoomOpened
from projections.state import INITIAL_STATE, evolve

NOON_MS = 1_790_000_000_000


def given(*past):
    """The state after commands: each with its time in ms, its room, whom to avoid."""
    state = INITIAL_STATE
    for after_ms, command, room_id, *avoid in past:
        facts = Facts(NOON_MS + after_ms, room_id, avoid=tuple(avoid))
        events = decide(state, command, facts)
        assert events, command
        assert not isinstance(events, Rejection), (command, events)
        facts = Facts(facts.at_ms, room_id, "salt", facts.avoid)
        state = evolve(state, commit_after(state.tip, command, facts, events))
    return state


def test_position_6():
    """Bob wants someone else, leaves Ann and meets Cat."""
    state = given(
        (0, EnterQueue("ann", "Ann", ()), None),
        (0, EnterQueue("bob", "Bob", ()), "r_1"),
        (0, EnterQueue("cat", "Cat", ()), None),
    )

    events = decide(state, NextPartner("bob", "r_1"), Facts(NOON_MS, "r_2"))

    assert events == [
        RoomClosed("r_1", "bob", "ann", "next"),
        QueueEntered("bob", "Bob", ()),
        RoomOpened("r_2", "cat", "bob", "Cat", "Bob"),
    ]
'''
    )


@pytest.mark.parametrize("script", [conversation(), by_interests(), fair_company()])
def test_every_position_has_a_test_that_passes(script: Script, tmp_path: Path) -> None:
    """The log's own words, names and ids are not in it."""
    log = dumped(tmp_path / "dump.jsonl", script.commits)
    for commit in script.commits:
        module = case_at(log, commit.position)
        assert outcome(module) is None, module
        assert not [word for word in (*SAID_IN_LOGS, "c_", ROOM, NEXT_ROOM, "m1") if word in module]


@pytest.mark.parametrize("policy", [LITTLE, INTERESTS, FAIR_LITTLE])
def test_whatever_many_people_do_can_be_tested(policy: Policy, tmp_path: Path) -> None:
    """The cases of a random crowd pass, also where limits apply, and from a base on."""
    commits = crowd(21, 160, policy=policy, has_peers=True)
    log = dumped(tmp_path / "dump.jsonl", commits)
    for commit in commits[::7]:
        module = case_at(log, commit.position)
        assert outcome(module) is None, module
        assert len(past_of(module)) <= 8, module


@pytest.mark.slow
def test_what_is_written_is_formatted_and_without_a_fault(tmp_path: Path) -> None:
    """`ruff format` changes nothing at its own line length or at ours; pytest runs it from any directory."""
    log = dumped(tmp_path / "dump.jsonl", crowd(22, 120, policy=INTERESTS))
    for position in (1, 2, 30, 60, 90):
        run_ok("test", log, "--to", str(position), "-o", str(tmp_path / f"test_case_{position}.py"))
    for line_length in ("88", "120"):
        ruff(tmp_path, "format", "--check", "--line-length", line_length)
    ruff(tmp_path, "check", "--select", "E,F,I,W", "--config", "lint.isort.known-first-party=['broker']")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert "5 passed" in ran.stdout


def ruff(path: Path, *arguments: str) -> None:
    """Check that `ruff` has no complaint about the modules in `path`."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--isolated", "--no-cache", *map(str, path.glob("*.py"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


# # Only the necessary parts.


def test_a_policy_is_there_where_it_matters_and_what_matters_of_it(tmp_path: Path) -> None:
    """Patience matters, and the limit on messages does not; for a message, neither does."""
    log = dumped(tmp_path / "dump.jsonl", by_interests().commits)
    due = case_at(log, 6)
    assert past_of(due)[0] == "AdoptPolicy(Policy(matching='interests'))"
    assert 'MatchDue("ann"), Facts(NOON_MS + 15_000, "r_1")' in due
    assert "AdoptPolicy" not in case_at(log, 7)


def test_time_passes_only_where_it_has_to(tmp_path: Path) -> None:
    """Time passes where a member may speak again because of it; otherwise everything happens at noon."""
    policy = Policy(messages_per_10s_max=1)
    script = Script().add(0, AdoptPolicy(policy)).enters(1_000, ANN, "Ann").enters(2_000, BOB, "Bob", room=ROOM)
    script.says(3_000, ANN, "one").says(14_000, ANN, "two").says(15_000, BOB, "three")
    log = dumped(tmp_path / "dump.jsonl", script.commits)
    assert past_of(case_at(log, 5)) == ["EnterQueue('ann', 'Ann', ())", "EnterQueue('bob', 'Bob', ())"]
    assert "NOON_MS +" not in case_at(log, 5).split("def test_")[1]


def test_interests_and_message_ids_stay_where_they_matter(tmp_path: Path) -> None:
    """They are renamed, and shared as they were."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests")))
    script.enters(1_000, CAT, "Cat", "secret").enters(2_000, ANN, "Ann", "private", "secret", room=ROOM)
    module = case_at(dumped(tmp_path / "dump.jsonl", script.commits), 3)
    assert outcome(module) is None
    assert "secret" not in module
    assert "private" not in module


def test_a_missed_match_has_the_place_and_the_time_that_it_has_become(tmp_path: Path) -> None:
    """The requeued member waits again in the place of a shorter log."""
    module = case_at(dumped(tmp_path / "dump.jsonl", fair_company().commits), 4)
    assert outcome(module) is None
    assert past_of(module) == [
        "AdoptPolicy(Policy(confirm_grace_ms=25000, requeue_on_missed_match=1))",
        "EnterQueue('ann', 'Ann', ())",
        "EnterQueue('bob', 'Bob', ())",
    ]
    assert 'CancelMatch("r_1", missed_by=("bob",), is_other_present=True)' in module
    assert 'QueueEntered("ann", "Ann", (), earlier=QueueEntry(2, NOON_MS))' in module
    assert '"""The broker cancels a match, Bob missed it and Ann waits again."""' in module


def test_whom_a_search_has_to_avoid_stays_where_it_matters(tmp_path: Path) -> None:
    """Bob meets Cat once both have been patient; but for her peer address he would have met her when he came."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(0, CAT, "Cat").enters(0, ANN, "Ann", room=ROOM)
    script.add(1_000, NextPartner(CAT, ROOM)).add(2_000, EnterQueue(BOB, "Bob", ()), NEXT_ROOM, avoid=(CAT,))
    script.add(30_000, MatchDue(BOB), NEXT_ROOM, avoid=(CAT,))
    module = case_at(dumped(tmp_path / "dump.jsonl", script.commits), 6)
    assert outcome(module) is None
    assert '(0, EnterQueue("bob", "Bob", ()), None, "ann"),' in module


def test_a_report_has_the_evidence_of_a_shorter_log(tmp_path: Path) -> None:
    """The note of a report is made up, like all texts."""
    module = case_at(dumped(tmp_path / "dump.jsonl", fair_company().commits), 10)
    assert 'PartnerReported("r_1", "bob", "ann", "spam", 3, last=4, note="hello")' in module
    assert outcome(module) is None


def test_an_absence_is_since_the_position_that_it_has_become(tmp_path: Path) -> None:
    """Positions are others in a shorter log."""
    script = conversation()
    module = case_at(dumped(tmp_path / "dump.jsonl", script.commits), 7)
    assert 'Disconnect("ann", "timeout", since=2)' in module
    assert outcome(module) is None


def test_whoever_moved_on_came_by_entering_where_the_room_before_does_not_matter(tmp_path: Path) -> None:
    """Bob met Cat by leaving Ann; their messages do not depend on Ann."""
    script = conversation()
    commits = [*script.commits[:6]]
    talk = Script(states_of(commits)[-1]).says(61_000, CAT, "hi", room=NEXT_ROOM)
    module = case_at(dumped(tmp_path / "dump.jsonl", [*commits, *talk.commits]), 7)
    assert past_of(module) == ["EnterQueue('ann', 'Ann', ())", "EnterQueue('bob', 'Bob', ())"]
    assert outcome(module) is None


def test_a_room_is_told_up_to_its_last_event(tmp_path: Path) -> None:
    """The beginning of its id is enough, and events after `--to` do not count."""
    log = dumped(tmp_path / "dump.jsonl", conversation().commits)
    assert case_at(log, 9, "--room", "r_2370") == case_at(log, 6)
    assert case_at(log, 5, "--room", "2370") == case_at(log, 4)
    assert case_at(log, 9, "--room", NEXT_ROOM) == case_at(log, 7)


def test_what_was_trimmed_is_made_up_from_the_base(tmp_path: Path) -> None:
    """Commands lead to the rooms and waiting people of the base."""
    script = conversation()
    states = states_of(script.commits)
    for base, position in ((3, 4), (5, 6), (6, 7), (8, 9)):
        log = trimmed(tmp_path / f"{base}.db", script, states[base])
        module = case_at(log, position)
        assert outcome(module) is None, module
        assert len(past_of(module)) <= 3


# # Parts kept on request.


def test_the_whole_policy_can_be_kept(tmp_path: Path) -> None:
    """The limit on messages is kept too, although the end of patience does not depend on it."""
    log = dumped(tmp_path / "dump.jsonl", by_interests().commits)
    module = case_at(log, 6, "--keep", "policy")
    assert past_of(module)[0] == "AdoptPolicy(Policy(messages_per_10s_max=5, matching='interests'))"
    assert outcome(module) is None


def test_interests_can_be_kept(tmp_path: Path) -> None:
    """The interests of the people in the case are kept, renamed."""
    log = dumped(tmp_path / "dump.jsonl", by_interests().commits)
    module = case_at(log, 6, "--keep", "interests")
    entries = ["EnterQueue('ann', 'Ann', ('chess',))", "EnterQueue('bob', 'Bob', ('film',))"]
    assert past_of(module) == ["AdoptPolicy(Policy(matching='interests'))", *entries]
    assert "Facts(NOON_MS + 15_000" in module
    assert outcome(module) is None


def test_the_interests_of_the_target_itself_can_be_kept(tmp_path: Path) -> None:
    """A single entry under first come keeps its interests on request."""
    log = dumped(tmp_path / "dump.jsonl", Script().enters(0, ANN, "Ann", "secret").commits)
    assert 'EnterQueue("ann", "Ann", ())' in case_at(log, 1)
    assert 'EnterQueue("ann", "Ann", ("chess",))' in case_at(log, 1, "--keep", "interests")


def test_bystanders_can_be_kept(tmp_path: Path) -> None:
    """Cat and Dan chat meanwhile, and all waiting people wait."""
    log = dumped(tmp_path / "dump.jsonl", by_interests().commits)
    module = case_at(log, 6, "--keep", " bystanders , policy")
    assert [command.split("'")[1] for command in past_of(module)[1:]] == ["ann", "bob", "cat", "dan"]
    assert outcome(module) is None


@pytest.mark.parametrize("keep", ["policy", "interests", "bystanders", "policy,interests,bystanders"])
def test_whatever_many_people_do_can_be_kept(keep: str, tmp_path: Path) -> None:
    """Every case passes with the requested parts in it, also from a base on."""
    commits = crowd(23, 60, policy=FAIR_LITTLE, has_peers=True)
    log = dumped(tmp_path / "dump.jsonl", commits)
    for commit, before in [*zip(commits, states_of(commits), strict=False)][5::9]:
        module = case_at(log, commit.position, "--keep", keep)
        assert outcome(module) is None, module
        waiting = sum(1 for _ in before.queue.entries.items())
        if "bystanders" in keep:
            assert len(past_of(module)) >= waiting + 2 * before.rooms.open_count


@pytest.mark.parametrize(
    ("keep", "wrong"), [("room", "room"), ("", ""), ("policy,", ""), ("policy,x\x1b[2J", "x\\u001b[2J")]
)
def test_what_can_t_be_kept_is_an_error_of_use(keep: str, wrong: str, tmp_path: Path) -> None:
    """The error names the possible words."""
    answer = run_command("test", dumped(tmp_path / "d.jsonl", conversation().commits), "--to", "6", "--keep", keep)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == (
        f'chat-broker: --keep takes policy, interests, bystanders, separated by commas, not "{wrong}"\n'
    )


def test_what_the_log_can_t_bring_about_is_not_kept(tmp_path: Path) -> None:
    """A base has Ann's room open without her interests."""
    commits = conversation().commits
    entry = msgspec.structs.replace(commits[0].events[0], interests=("chess",))
    log = dumped(tmp_path / "dump.jsonl", with_events(commits, 1, entry))
    assert outcome(case_at(log, 4)) is None
    answer = run_command("test", log, "--to", "4", "--keep", "interests")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.endswith("from what the log holds, with all that --keep names: keep less\n")


# A damaged log.


@pytest.mark.parametrize("position", [2, 6, 8])
def test_a_damaged_log_is_refused_before_anything_is_written(position: int, tmp_path: Path) -> None:
    """The damage may be at any position, also after the commit in question."""
    commits = conversation().commits
    altered = msgspec.structs.replace(commits[position - 1], at_ms=commits[position - 1].at_ms + 1)
    log = dumped(tmp_path / "dump.jsonl", [*commits[: position - 1], altered, *commits[position:]])
    answer = run_command("test", log, "--to", "6", "-o", str(tmp_path / "case.py"))
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert answer.err.startswith(f"chat-broker: the commit at position {position} was altered; ")
    assert not (tmp_path / "case.py").exists()


def test_a_log_that_can_t_be_folded_is_refused(tmp_path: Path) -> None:
    """Its chain is whole, but the last commit closes a room without an opening."""
    commits = conversation().commits
    closed = msgspec.structs.replace(commits[5].events[0], room_id=NEXT_ROOM, closed_by=DAN)
    answer = run_command("test", dumped(tmp_path / "dump.jsonl", with_events(commits, 9, closed)), "--to", "2")
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "the commit at position 9 doesn't fit what stands before it" in answer.err


# # A log beyond the present code.


def faulty(position: int) -> list[Commit]:
    """Return the conversation with a fault at `position` that no broker makes."""
    commits = conversation().commits
    if position == 2:
        return with_events(commits, 2, commits[1].events[0], RoomOpened(ROOM, BOB, ANN, "Bob", "Ann"))
    if position == 4:
        return with_events(commits, 4, MessageSent(ROOM, ANN, BOB, "Goodbye!", None))
    if position == 3:
        return with_events(commits, 3, MessageSent(ROOM, BOB, BOB, "Hello, stranger.", None))
    late = msgspec.structs.replace(
        commits[3], at_ms=commits[5].at_ms, facts=msgspec.structs.replace(commits[3].facts, at_ms=commits[5].at_ms)
    )
    return rechained([*commits[:6], late])


@pytest.mark.parametrize(
    ("position", "decided"),
    [
        (2, 'RoomOpened("r_1", "ann", "bob", "Ann", "Bob")'),
        (3, 'MessageSent("r_1", "bob", "ann", "hello", client_message_id=None)'),
        (4, 'MessageSent("r_1", "ann", "bob", "hello", client_message_id=None)'),
        (7, 'Rejection("chat_ended")'),
    ],
)
def test_what_was_stored_is_asserted_where_the_present_code_decides_otherwise(
    position: int, decided: str, tmp_path: Path
) -> None:
    """The test fails and has both results; the command warns of it."""
    answer = run_command("test", dumped(tmp_path / "dump.jsonl", faulty(position)), "--to", str(position))
    assert answer.status == 0
    assert answer.err == f"the present code decides otherwise than was stored at {position}: the test fails\n"
    assert "# This is what was stored. The present code decides otherwise:" in answer.out
    assert decided in " ".join(answer.out.replace("#", "").split()) or decided in answer.out, answer.out
    assert outcome(answer.out) is not None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--to", "0"), "position 0 is the empty log: the first commit to reproduce is 1"),
        (("--to", "10"), "none at 10"),
        (("--to", "-1"), "none at -1"),
        (("--to", "x"), "a position is a whole number"),
        ((), "--to"),
        (("--to", "9", "--room", "r_none"), "there is no room"),
        (("--to", "1", "--room", ROOM), "up to position 1 nothing happens in that room"),
        (
            ("--to", "1", "-o", "/nowhere/case.py"),
            "can't write /nowhere/case.py: No such file or directory; name a file in",
        ),
    ],
)
def test_what_can_t_be_tested_is_an_error_of_use(arguments: Sequence[str], says: str, tmp_path: Path) -> None:
    """The error is one line, with exit status 2."""
    answer = run_command("test", dumped(tmp_path / "dump.jsonl", conversation().commits), *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert says in answer.err
    assert answer.err.count("\n") == 1


def test_what_no_commands_lead_to_is_an_error_of_use(tmp_path: Path) -> None:
    """The error covers a state that the stored commands do not give, and a command without a decision."""
    commits = conversation().commits
    entry = msgspec.structs.replace(commits[0].events[0], display_name="Eve")
    answer = run_command("test", dumped(tmp_path / "dump.jsonl", with_events(commits, 1, entry)), "--to", "2")
    assert (answer.status, answer.out) == (2, "")
    assert "what led to position 2 can't be brought about again" in answer.err
    roomless = msgspec.structs.replace(commits[1], facts=Facts(commits[1].at_ms))
    answer = run_command("test", dumped(tmp_path / "dump.jsonl", rechained([commits[0], roomless])), "--to", "2")
    assert (answer.status, answer.out) == (2, "")
    assert "is none that can be decided again" in answer.err


def test_a_search_that_takes_too_long_ends_with_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is sufficient, and a line warns that it may not be the shortest."""
    monkeypatch.setattr(reduction, "WORK_MAX", 3)
    answer = run_command("test", dumped(tmp_path / "dump.jsonl", conversation().commits), "--to", "6")
    assert answer.status == 0
    assert answer.err == "there was more to leave out than could be tried: the test may not be the shortest\n"
    assert outcome(answer.out) is None


# Shrinking.


@given(st.sets(st.integers(0, 40), max_size=6), st.integers(41, 60))
def test_shrinking_leaves_what_matters_and_nothing_else(matters: set[int], length: int) -> None:
    """The kept things are in their order."""
    assert ddmin(range(length), lambda some: matters <= set(some)) == sorted(matters)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(0, 40))
def test_neither_one_nor_two_can_be_left_out(things: list[int], least: int) -> None:
    """The kept part is minimal for any predicate: here, an even count and a sum."""

    def is_enough(some: Sequence[int]) -> bool:
        return sum(some) >= least and len(some) % 2 == 0

    if not is_enough(things):
        return
    kept = ddmin(things, is_enough)
    assert is_enough(kept)
    assert not [pair for pair in combinations(kept, 2) if sum(kept) - sum(pair) >= least]


def test_few_tries_find_few_things_among_many() -> None:
    """Here, two of ten thousand are found."""
    tries: list[int] = []

    def is_enough(some: Sequence[int]) -> bool:
        tries.append(len(some))
        return {77, 7_777} <= set(some)

    assert ddmin(range(10_000), is_enough) == [77, 7_777]
    assert len(tries) < 120
