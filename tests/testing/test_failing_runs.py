"""A failing run: the user's own exception, the history before it, and its log; and a user's own interests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, configuration, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from broker.matching import Seeker
from broker.testing import BrokenPromiseError, BrokerMachine, broker_in_memory, check_history
from broker.testing.failed_log import write_failed_log
from broker.testing.machine import MEMBERS
from events.codec import decode_commit
from events.commands import EnterQueue, LeaveQueue
from events.commit import Commit
from events.ids import ConnectionId
from projections.state import State
from projections.view import StateView
from tests.log_debugger.logs import run_command


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path) -> Iterator[None]:
    """Write logs of failing runs into a directory of the test."""
    configuration.set_hypothesis_home_dir(tmp_path)
    yield
    configuration.set_hypothesis_home_dir(None)


def others(state: StateView, seeker: Seeker) -> list[ConnectionId]:
    """Return the waiting connections except the seeker."""
    return [who for _, who in state.queue.entries.items() if who != seeker.connection_id]


def failure(machine: type[BrokerMachine], examples: int = 60) -> Exception:
    """Return the exception at the end of a run of `machine`."""
    how = settings(
        phases=[Phase.generate, Phase.shrink],
        max_examples=examples,
        stateful_step_count=8,
        deadline=None,
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
    )
    try:
        run_state_machine_as_test(machine, settings=how)
    except Exception as error:  # noqa: BLE001 - whichever it is
        return error
    raise AssertionError("the run did not fail")


def notes(error: Exception) -> list[str]:
    """Return the lines added to an exception."""
    return "\n".join(getattr(error, "__notes__", [])).splitlines()


def wrong_about_sailing(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Pair a sailor with itself."""
    if "sailing" in seeker.interests:
        return seeker.connection_id
    return next(iter(others(state, seeker)), None)


@pytest.mark.slow
def test_a_bug_behind_an_interest_of_its_own_is_found() -> None:
    """If the machine names the interest; no other would lead there."""

    class Named(BrokerMachine):
        matching = wrong_about_sailing
        interests = ("sailing", "tea")

    class Unnamed(BrokerMachine):
        matching = wrong_about_sailing

    assert ", the seeker itself" in str(failure(Named))
    run_state_machine_as_test(
        Unnamed, settings=settings(max_examples=20, stateful_step_count=8, deadline=None, database=None)
    )


def test_members_may_have_no_interests() -> None:
    """Then none is drawn."""
    seen: set[tuple[str, ...]] = set()

    class Plain(BrokerMachine):
        interests = ()

        def committed(self, before: State, commit: Commit, after: State) -> None:
            if isinstance(commit.command, EnterQueue) and isinstance(commit.command.interests, tuple):
                seen.add(commit.command.interests)

    run_state_machine_as_test(
        Plain, settings=settings(max_examples=10, stateful_step_count=8, deadline=None, database=None)
    )
    assert seen == {()}


def clumsy(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Fail once two wait."""
    found = others(state, seeker)
    if len(found) > 1:
        raise KeyError("two of them")
    return None


@pytest.mark.slow
@pytest.mark.parametrize("systems", [BrokerMachine.systems, (broker_in_memory,)])
def test_the_exception_of_a_matching_is_shown_with_its_history(systems: Any) -> None:
    """It is the user's own, raised by the user's line; three enter, and nothing else happens."""

    class Clumsy(BrokerMachine):
        matching = clumsy
        other_policies = st.nothing()

    Clumsy.systems = systems
    error = failure(Clumsy)
    assert isinstance(error, KeyError)
    assert error.args == ("two of them",)
    told = notes(error)
    history = told[told.index("the history that leads there:") + 1 :]
    commands = [line for line in history if line.lstrip()[:1].isdigit()]
    assert [line.split("ms ")[1].split("(")[0] for line in commands] == ["AdoptPolicy", "EnterQueue", "EnterQueue"]
    assert any(line.startswith("the last command was EnterQueue(") for line in history)


@pytest.mark.slow
def test_an_assertion_of_ones_own_is_shown_with_its_history() -> None:
    """Be it about a commit, or in a rule."""

    class Checked(BrokerMachine):
        other_policies = st.nothing()

        def committed(self, before: State, commit: Commit, after: State) -> None:
            assert not after.rooms.by_id, "they met"

    class Ruled(BrokerMachine):
        other_policies = st.nothing()

        @rule(who=MEMBERS)
        def enters_and_leaves(self, who: ConnectionId) -> None:
            self.submit(LeaveQueue(who))
            assert not self.state.queue.entered, "they wait"

    for machine, text, commits in ((Checked, "they met", 2), (Ruled, "they wait", 1)):
        error = failure(machine)
        assert isinstance(error, AssertionError)
        assert str(error).startswith(text)
        assert sum(line.startswith("  ") and line.lstrip()[0].isdigit() for line in notes(error)) == commits


def test_the_log_of_a_failing_run_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest failure of each machine; the exception says where it is, and the report opens it."""

    class Broken(BrokerMachine):
        matching = wrong_about_sailing
        interests = ("sailing",)

    monkeypatch.chdir(tmp_path)
    error = failure(Broken)
    assert isinstance(error, BrokenPromiseError)
    (line,) = [line for line in notes(error) if line.startswith("to see it in a browser: chat-broker ")]
    command = line.removeprefix("to see it in a browser: chat-broker ").split()
    assert command[1].startswith("chat-broker/")
    assert " commit" in run_command(*command).out
    commits = [decode_commit(one) for one in Path(command[1]).read_bytes().splitlines()]
    assert commits == [*error.counterexample.history]
    assert check_history(commits[:0]) is None


def test_a_log_that_can_t_be_written_is_left_out(tmp_path: Path) -> None:
    """No log is named if its directory can't be made, or if the run stored nothing."""
    (tmp_path / "chat-broker").write_text("a file in its place")
    assert write_failed_log(BrokerMachine, []) is None
    assert write_failed_log(BrokerMachine, decoded()) is None


def decoded() -> list[Commit]:
    """Some commits."""
    golden = Path(__file__).parents[1] / "golden" / "commits-3.jsonl"
    return [decode_commit(line) for line in golden.read_bytes().splitlines()]
