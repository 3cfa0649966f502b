"""`log diff`: the first difference between two logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import encode_commit
from events.commands import AdoptPolicy, EnterQueue, LeaveQueue
from events.commit import Commit, redact
from events.log import Snapshot
from events.policy import Policy
from events.sqlite.file import SqliteFile
from projections.snapshots import STATE_CODEC
from tests.core.test_codec import GOLDEN
from tests.log_debugger.crowds import FAIR_LITTLE, crowd, states_of
from tests.log_debugger.logs import (
    ANN,
    BOB,
    DAN,
    CommandResult,
    Script,
    by_interests,
    conversation,
    dumped,
    filed,
    run_command,
    run_ok,
    trimmed,
)


def parted(*arguments: str) -> CommandResult:
    """Return the answer about two diverging logs."""
    answer = run_command("log", "diff", *arguments)
    assert (answer.status, answer.err) == (1, "")
    return answer


def forked(position: int) -> tuple[Sequence[Commit], Sequence[Commit]]:
    """Return the conversation and a copy of it up to a position, continued with Dan's entry."""
    script = conversation()
    other = Script(states_of(script.commits)[position])
    other.commits += script.commits[:position]
    return script.commits, other.enters(999_000, DAN, "Dan", "tea").commits


def test_equal_logs_are_equal_wherever_they_are(tmp_path: Path) -> None:
    """A file equals its dump; two files may differ in their epochs."""
    commits = conversation().commits
    name, dump = filed(tmp_path / "log.db", commits), dumped(tmp_path / "dump.jsonl", commits)
    copy = filed(tmp_path / "copy.db", commits)
    with SqliteFile(tmp_path / "log.db", "read") as one, SqliteFile(tmp_path / "copy.db", "read") as other:
        assert one.epoch != other.epoch
    for other_name in (dump, copy, name):
        lines = run_ok("log", "diff", name, other_name).lines
        assert lines == [
            f"A is {name}: positions 1 to 9",
            f"B is {other_name}: positions 1 to 9",
            "they are the same up to position 9, where both end",
        ]


def test_a_log_that_ends_earlier_is_the_beginning_of_the_other(tmp_path: Path) -> None:
    """Further commits of the longer one are told as by replay."""
    commits = conversation().commits
    whole, part = dumped(tmp_path / "whole.jsonl", commits), filed(tmp_path / "part.db", commits[:5])
    lines = run_ok("log", "diff", whole, part).lines
    assert lines[2:4] == ["they are the same up to position 5, where B ends", "A goes on for 4 commits:"]
    replayed = run_ok("replay", whole).lines
    assert lines[4:] == replayed[5:9]
    found = json.loads(run_ok("log", "diff", part, whole, "--json").out)
    assert (found["relation"], found["last_common"], found["b"]["commits_after"]) == ("a_is_prefix", 5, 4)
    assert [one["position"] for one in found["b"]["next"]] == [6, 7, 8, 9]
    assert found["b"]["next"][0]["commit_id"] == commits[5].commit_id
    assert found["a"]["next"] == []


def test_the_last_common_position_is_named_and_what_each_has_next(tmp_path: Path) -> None:
    """Up to five commits of each are told, in the lines of replay."""
    one, other = forked(3)
    a, b = dumped(tmp_path / "a.jsonl", one), dumped(tmp_path / "b.jsonl", other)
    lines = parted(a, b).lines
    assert lines[2] == "they part after position 3"
    assert lines[3] == "A goes on for 6 commits:"
    assert lines[4:9] == run_ok("replay", a).lines[3:8]
    assert lines[9:11] == ["         and 1 more", "B goes on for 1 commit:"]
    assert lines[11:] == run_ok("replay", b).lines[3:4]


def test_two_logs_may_have_nothing_in_common(tmp_path: Path) -> None:
    """Their first commits differ already."""
    other = Script().enters(0, BOB, "Bob")
    a, b = dumped(tmp_path / "a.jsonl", conversation().commits), filed(tmp_path / "b.db", other.commits)
    lines = parted(a, b).lines
    assert lines[2] == "they part at the first commit: they are two logs, or one was redacted by log dump --redact"
    assert lines[4:9] == run_ok("replay", a).lines[:5]
    found = json.loads(parted(a, b, "--json").out)
    assert (found["relation"], found["last_common"]) == ("parted", 0)


def test_a_redacted_dump_is_told_by_its_times(tmp_path: Path) -> None:
    """A broker's log begins with a policy, which is in both; so they part only after it."""
    whole, other = dumped(tmp_path / "a.jsonl", by_interests().commits), str(tmp_path / "b.jsonl")
    run_ok("log", "dump", "--redact", whole, "-o", other)
    says = "they part after position 1; they go on at the same times: one was redacted by log dump --redact"
    assert run_command("log", "diff", whole, other).lines[2] == says
    apart = Script().add(0, AdoptPolicy(Policy(matching="interests", messages_per_10s_max=5)))
    apart.enters(1_500, ANN, "Ann", "chess")
    assert run_command("log", "diff", whole, dumped(tmp_path / "c.jsonl", apart.commits)).lines[2] == (
        "they part after position 1"
    )


def test_redacted_texts_are_no_parting(tmp_path: Path) -> None:
    """They keep the chain; the side without them is named."""
    commits = [*conversation().commits]
    short = [redact(one) if one.position in (3, 4) else one for one in commits]
    whole, redacted = dumped(tmp_path / "a.jsonl", commits), dumped(tmp_path / "b.jsonl", short)
    lines = run_ok("log", "diff", whole, redacted).lines
    assert lines[2:] == [
        "they are the same up to position 9, where both end",
        "redacted in B alone: texts of 2 commits, positions 3 to 4",
    ]
    found = json.loads(run_ok("log", "diff", redacted, whole, "--json").out)
    assert found["a"]["redacted"] == {"commits": 2, "first": 3, "last": 4}
    assert found["b"]["redacted"] is None
    assert len(run_ok("log", "diff", redacted, redacted).lines) == 3


def test_a_text_that_was_altered_is_an_error_that_names_the_log(tmp_path: Path) -> None:
    """The id belongs to another text."""
    commits = [*conversation().commits]
    says = commits[2]
    commits[2] = msgspec.structs.replace(says, command=msgspec.structs.replace(says.command, text="Bye"))
    a, b = dumped(tmp_path / "a.jsonl", conversation().commits), dumped(tmp_path / "b.jsonl", commits)
    answer = run_command("log", "diff", a, b)
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert answer.err.startswith(f"chat-broker: {b}: the commit at position 3 was altered")


@pytest.mark.parametrize("golden", ["commits.jsonl", "commits-2.jsonl"])
def test_an_altered_commit_of_an_older_schema_is_an_error_that_names_the_log(golden: str, tmp_path: Path) -> None:
    """It is noticed as soon as its line is decoded."""
    stored = (GOLDEN / golden).read_text()
    forged = tmp_path / "forged.jsonl"
    forged.write_text(stored.replace('"Ann"', '"Eve"'))
    answer = run_command("log", "diff", f"{GOLDEN / golden}", f"{forged}")
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert answer.err.startswith(f"chat-broker: {forged}: the commit at position 2 was altered")


def test_a_trimmed_log_is_compared_from_its_base_on(tmp_path: Path) -> None:
    """The commit there has to be the same."""
    script = conversation()
    whole = dumped(tmp_path / "whole.jsonl", script.commits)
    short = trimmed(tmp_path / "short.db", script, states_of(script.commits)[4])
    lines = run_ok("log", "diff", whole, short).lines
    assert lines[1:] == [
        f"B is {short}: positions 5 to 9; what was up to 4 is trimmed",
        "compared after position 4, where the later one begins",
        "they are the same up to position 9, where both end",
    ]
    assert json.loads(run_ok("log", "diff", short, whole, "--json").out)["bases_differ"] is True
    other = Script().enters(0, DAN, "Dan")
    for number in range(1, 6):
        other.add(number, LeaveQueue(DAN) if number % 2 else EnterQueue(DAN, "Dan", ()))
    lines = parted(dumped(tmp_path / "other.jsonl", other.commits), short).lines
    assert lines[3] == "they part at position 4 or before: they have other commits there"


def test_a_log_that_ends_before_the_other_begins_can_t_be_compared(tmp_path: Path) -> None:
    """It may be the beginning of the other or not."""
    script = conversation()
    short = trimmed(tmp_path / "short.db", script, states_of(script.commits)[6])
    part = dumped(tmp_path / "part.jsonl", script.commits[:5])
    lines = parted(part, short).lines
    assert lines[2] == "nothing to compare: A ends at position 5, and B begins after 6"
    assert lines[3] == "B goes on for 3 commits:"
    joining = dumped(tmp_path / "joining.jsonl", script.commits[:6])
    assert "they are the same up to position 6, where A ends" in run_ok("log", "diff", joining, short).lines


def test_snapshots_that_say_different_things_are_named(tmp_path: Path) -> None:
    """Both begin after the same commit; in one, a name was forgotten."""
    script = conversation()
    state = states_of(script.commits)[8]
    a = trimmed(tmp_path / "a.db", script, state)
    folding = state.mutate()
    folding.connections.forget_name(BOB)
    other = folding.finish()
    filed(tmp_path / "b.db", script.commits)
    with SqliteFile(tmp_path / "b.db", "share") as file:
        file.compact(Snapshot(other.tip, other), STATE_CODEC)
    lines = run_ok("log", "diff", a, f"sqlite:{tmp_path / 'b.db'}").lines
    assert "the snapshots at position 8 say different things; one may be redacted" in lines


def test_empty_logs(tmp_path: Path) -> None:
    """They are equal, and the beginning of any other."""
    empty, other = filed(tmp_path / "a.db", []), filed(tmp_path / "b.db", [])
    assert run_ok("log", "diff", empty, other).lines[2] == "they are the same up to position 0, where both end"
    whole = dumped(tmp_path / "dump.jsonl", conversation().commits)
    assert run_ok("log", "diff", empty, whole).lines[2:4] == [
        "they are the same up to position 0, where A ends",
        "B goes on for 9 commits:",
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.booleans())
def test_any_parting_is_found(
    tmp_path_factory: pytest.TempPathFactory, seed: int, common: int, is_redacted: bool
) -> None:
    """The two logs have the same beginning, possibly redacted in one."""
    path = tmp_path_factory.mktemp("log")
    commits = crowd(seed, 60, policy=FAIR_LITTLE)[:common]
    state = states_of(commits)[-1]
    one, other = (crowd(seed + n, 10, base=state) for n in (1, 2))
    shown = [redact(commit) if is_redacted else commit for commit in commits]
    a, b = dumped(path / "a.jsonl", [*commits, *one]), dumped(path / "b.jsonl", [*shown, *other])
    shared = 0
    while shared < min(len(one), len(other)) and one[shared].commit_id == other[shared].commit_id:
        shared += 1
    found = json.loads(run_command("log", "diff", a, b, "--json").out)
    assert found["last_common"] == len(commits) + shared
    assert found["a"]["commits_after"] == len(one) - shared
    assert found["b"]["commits_after"] == len(other) - shared
    assert found["a"]["redacted"] is None


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ("-", "-", "A and B can't both be standard input"),
        ("dump.jsonl", "none.jsonl", "can't read none.jsonl"),
        ("none.jsonl", "dump.jsonl", "can't read none.jsonl"),
        ("dump.jsonl", "cut.jsonl", "ends in the middle of position 4"),
        ("dump.jsonl", "sqlite:none.db", "none.db"),
    ],
)
def test_what_can_t_be_compared_is_one_line(
    a: str, b: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit status is 2."""
    monkeypatch.chdir(tmp_path)
    commits = conversation().commits
    dumped(tmp_path / "dump.jsonl", commits)
    dumped(tmp_path / "cut.jsonl", commits[:3], encode_commit(commits[3])[:50])
    answer = run_command("log", "diff", a, b)
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert says in answer.err
