"""A log decided by an operator's own matching: the debugger's output with it, and without it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from unittest.mock import patch

import pytest

from broker.matching import OWN_MATCHINGS, MatchingError
from broker.own_matching import provide_matching
from broker.testing import check_history
from broker.verification import checking
from events.commands import AdoptPolicy, MatchDue
from events.commit import Commit
from events.policy import Policy
from log_debugger.reading.sources import open_source
from tests.log_debugger.logs import ANN, BOB, CAT, DAN, NEXT_ROOM, ROOM, Script, dumped, run_command, run_ok
from tests.log_debugger.test_case import outcome
from tests.log_debugger.test_stepper import seen

NAME = "newcomers:talkative"
NEWEST = """
    def talkative(state, seeker, at_ms):
        others = [who for _, who in state.queue.entries.items() if who != seeker.connection_id]
        return others[-1] if others and (seeker.interests or seeker.waited_ms) else None
"""
OLDEST = NEWEST.replace("[-1]", "[0]")
FAILING = """
    def talkative(state, seeker, at_ms):
        return state.queue.nothing
"""
MISSING = (
    f"chat-broker: this log is decided by the matching {NAME}, and can't import {NAME}: ModuleNotFoundError: "
    "\"No module named 'newcomers'\"; install it, or name its directory in PYTHONPATH\n"
)


@pytest.fixture(autouse=True)
def _own_matchings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget the registrations and imports of a test."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    with patch.dict(OWN_MATCHINGS, clear=True), patch.dict(sys.modules):
        yield


def installed(directory: Path, source: str) -> None:
    """Write the module of the matching, and put its directory on Python's path."""
    (directory / "newcomers.py").write_text(dedent(source))
    sys.path.insert(0, str(directory))


def decided(directory: Path) -> list[Commit]:
    """Return a log where Cat, with an interest, meets Bob, who came after Ann; Dan meets Ann after a while.

    The matching is not known afterwards.
    """
    policy = Policy(matching=NAME, messages_per_10s_max=10_000)
    with patch.dict(OWN_MATCHINGS), patch.dict(sys.modules), patch.object(sys, "path", [*sys.path]):
        installed(directory, NEWEST)
        provide_matching(policy)
        script = Script().add(0, AdoptPolicy(policy))
        script.enters(1_000, ANN, "Ann").enters(2_000, BOB, "Bob").enters(3_000, CAT, "Cat", "tea", room=ROOM)
        script.enters(4_000, DAN, "Dan").add(5_000, MatchDue(DAN), NEXT_ROOM)
    (directory / "newcomers.py").unlink()
    return script.commits


def dump(tmp_path: Path) -> str:
    """Write a dump of that log; return its name."""
    return dumped(tmp_path / "dump.jsonl", decided(tmp_path))


def test_a_log_is_checked_by_its_own_matching(tmp_path: Path) -> None:
    """The matching is imported from Python's path."""
    log = dump(tmp_path)
    installed(tmp_path, NEWEST)
    assert run_ok("verify", log).out.startswith("every promise holds: 6 commits")


def test_code_that_decides_otherwise_breaks_a_promise(tmp_path: Path) -> None:
    """The stored pair is not the one named by the code."""
    log = dump(tmp_path)
    installed(tmp_path, OLDEST)
    answer = run_command("verify", log)
    assert answer.status == 1
    assert answer.lines[0] == (
        f"promise 3 is broken at position 4: paired were {BOB} with {CAT}, to be paired {ANN} with {CAT}"
    )


@pytest.mark.parametrize("command", [("verify",), ("test", "--to", "4"), ("replay", "--rejection")])
def test_what_must_decide_is_refused_in_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    """The refusal covers a missing matching and a failing one."""
    name, *options = command
    log = dump(tmp_path)
    answer = run_command(name, log, *options)
    assert (answer.status, answer.out, answer.err) == (2, "", MISSING)
    installed(tmp_path, FAILING)
    answer = run_command(name, log, *options)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"chat-broker: the matching {NAME} failed: AttributeError: ")
    assert answer.err.count("\n") == 1


def test_a_long_log_is_refused_from_a_worker_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of the worker is reported by the main process."""
    commits = decided(tmp_path)
    monkeypatch.setattr(checking, "PORTION_COMMITS", 2)
    source = open_source(dumped(tmp_path / "dump.jsonl", commits))
    with pytest.raises(MatchingError, match=f"decided by the matching {NAME}"):
        checking.check_log(source, workers=2)
    source.close()


@pytest.mark.parametrize("command", ["replay", "diff", "report", "whatif"])
def test_what_decides_nothing_by_it_needs_none(command: str, tmp_path: Path) -> None:
    """The log is told without the matching."""
    log = dump(tmp_path)
    options = {
        "diff": ("1", "5"),
        "report": ("--output", str(tmp_path / "report.html")),
        "whatif": ("--matching", "interests"),
    }
    answer = run_ok(command, log, *options.get(command, ()))
    if command in ("replay", "whatif"):
        assert NAME in answer.out


def test_a_match_is_explained_as_far_as_it_can_be(tmp_path: Path) -> None:
    """The reasons are in the operator's code; without it, a line says so."""
    log = dump(tmp_path)
    explained = f"by the operator's own matching: {NAME} named Bob·b6cd for Cat·0a1b, after 1.0 s; they share nothing"
    without = run_ok("trace", log, "--connection", "Cat").out
    assert explained in without
    assert f"it can't be asked again: {MISSING.removeprefix('chat-broker: ').strip()}" in without
    installed(tmp_path, NEWEST)
    assert "asked again" not in run_ok("trace", log, "--connection", "Cat").out
    why = run_ok("trace", log, "--connection", "Dan").out
    assert f"1 other waited, and the matching {NAME} named none of them" in why
    pair = run_ok("trace", log, "--pair", "Ann", "Cat").out
    assert f"Ann·6f5d6 and Cat·0a1b do not meet: the matching {NAME} named Bob·b6cd for Cat·0a1b" in pair
    OWN_MATCHINGS.clear()
    sys.modules.pop("newcomers")
    (tmp_path / "newcomers.py").write_text(dedent(OLDEST) + "# other code\n")
    assert "asked again, the matching names somebody else" in run_ok("trace", log, "--connection", "Cat").out


def test_the_stepper_says_why_it_can_t_decide_again(tmp_path: Path) -> None:
    """The reason is in the place of the decision."""
    here = seen(dump(tmp_path), at=4)
    assert f"~ {MISSING.removeprefix('chat-broker: ').strip()}" in here.commit


def test_a_question_of_the_stepper_that_needs_it_is_answered(tmp_path: Path) -> None:
    """The answer is one line below, and nothing else happens."""
    log = dump(tmp_path)
    assert MISSING.removeprefix("chat-broker: ").strip() in seen(log, "f", filter_text="rejection").note


def test_the_test_kit_checks_by_it_too(tmp_path: Path) -> None:
    """The reference asks it, as the log does; without it, nothing is concluded."""
    commits = decided(tmp_path)
    with pytest.raises(MatchingError, match=f"decided by the matching {NAME}"):
        check_history(commits)
    installed(tmp_path, NEWEST)
    assert check_history(commits) is None
    OWN_MATCHINGS.clear()
    sys.modules.pop("newcomers")
    (tmp_path / "newcomers.py").write_text(dedent(OLDEST) + "# other code\n")
    broken = check_history(commits)
    assert broken is not None
    assert (broken.promise, broken.position) == (3, 4)


def test_a_test_case_brings_its_matching(tmp_path: Path) -> None:
    """The case imports it, and holds."""
    log = dump(tmp_path)
    installed(tmp_path, NEWEST)
    case = run_ok("test", log, "--to", "6").out
    assert f'provide_matching(Policy(matching="{NAME}"))' in case
    OWN_MATCHINGS.clear()
    assert outcome(case) is None
