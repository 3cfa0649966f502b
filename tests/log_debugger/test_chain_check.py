"""The chain of a long file is checked beside the counterfactual run, with the same results."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from log_debugger.whatif import chain_check
from tests.log_debugger.crowds import FAIR_LITTLE, crowd
from tests.log_debugger.logs import filed, run_command, run_ok

CHANGE = ("--policy", "rooms_open_max=1")


@pytest.fixture(params=["beside", "inline"])
def _check(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check in a process of its own, or as the commits come."""
    monkeypatch.setattr(chain_check, "LONG_COMMITS", 0 if request.param == "beside" else 10**9)
    monkeypatch.setattr(chain_check, "cores", lambda: 2)


def altered(path: Path, position: int, change: str) -> str:
    """Return a file whose commit at `position` was changed by an SQL expression over `body`."""
    name = filed(path / "altered.db", crowd(3, 200, policy=FAIR_LITTLE))
    with closing(apsw.Connection(name.removeprefix("sqlite:"))) as db:
        db.execute(f"UPDATE commits SET body = {change} WHERE position = ?", (position,))
        assert db.changes() == 1
    return name


def test_a_sound_log_has_the_same_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way it is checked."""
    name = filed(tmp_path / "log.db", crowd(3, 200, policy=FAIR_LITTLE))
    inline = run_ok("whatif", name, *CHANGE).out
    monkeypatch.setattr(chain_check, "LONG_COMMITS", 0)
    monkeypatch.setattr(chain_check, "cores", lambda: 2)
    assert run_ok("whatif", name, *CHANGE).out == inline


@pytest.mark.usefixtures("_check")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("replace(body, '\"at_ms\":1', '\"at_ms\":2')", "the commit at position 150 was altered"),
        ('replace(body, \'"previous_id":"\', \'"previous_id":"0\')', "the commit at position 150"),
        ("'no commit'", "position 150"),
    ],
)
def test_an_altered_commit_is_refused(tmp_path: Path, change: str, told: str) -> None:
    """In one line with its position, and nothing is told of the run."""
    answer = run_command("whatif", altered(tmp_path, 150, change), *CHANGE)
    assert (answer.status, answer.out) == (2, "")
    assert told in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.usefixtures("_check")
def test_a_fault_behind_the_end_is_none(tmp_path: Path) -> None:
    """Only what is decided again is checked."""
    name = altered(tmp_path, 150, "replace(body, '\"at_ms\":1', '\"at_ms\":2')")
    assert run_ok("whatif", name, *CHANGE, "--to", "100").lines
