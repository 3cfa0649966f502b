"""A few seeds, their repetition, and the output for a failed one."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.log_debugger.logs import run_command
from tests.simulation.__main__ import main
from tests.simulation.campaign import Campaign
from tests.simulation.plan import SHARED
from tests.simulation.run import Outcome, Simulation

ROOT = Path(__file__).parents[2]
MISSING = ROOT / "tests" / "support" / "missing"


@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in (10, 20, 30))])
def test_nothing_is_found(first: int) -> None:
    """Ten seeds run without a finding; `make simulate` runs any number."""
    for seed in range(first, first + 10):
        outcome = Simulation(str(seed)).run()
        assert outcome.failure is None, f"seed {seed} at step {outcome.steps}: {outcome.failure}"


@pytest.mark.parametrize("first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in (10, 20, 30))])
def test_nothing_is_found_with_several_brokers(first: int) -> None:
    """No finding with two to four brokers on a log, late notes, and clients that move between brokers."""
    for seed in range(first, first + 10):
        outcome = Simulation(f"{SHARED}{seed}").run()
        assert outcome.failure is None, f"seed {SHARED}{seed} at step {outcome.steps}: {outcome.failure}"


@pytest.mark.slow
def test_a_log_in_memory_is_written_at_once() -> None:
    """With a log in memory, commands are carried out at once; with any other, they wait for a turn of the loop."""
    for seed in range(8, 12):
        simulation = Simulation(str(seed))
        reached = simulation.run().sometimes["commands were carried out at once"]
        assert (reached > 0) == simulation.plan.in_memory == (seed == 8)


def _printed(*arguments: str, hash_seed: str = "1", path: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["3", "8", "20"])
def test_a_seed_is_the_same_under_any_hash_seed(seed: str) -> None:
    """The traces agree line by line, with the digests of trace and state."""
    assert _printed("--seed", seed, "--trace", hash_seed="1") == _printed("--seed", seed, "--trace", hash_seed="2")


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["5", "13"])
def test_a_seed_is_the_same_with_either_map(seed: str) -> None:
    """The two maps iterate in different orders, and no step depends on it; the second is used without `immutables`."""
    assert _printed("--seed", seed, "--trace") == _printed("--seed", seed, "--trace", path=str(MISSING))


@pytest.mark.parametrize("asked", [["--to-step", "3"], ["--trace"], ["--jobs", "0"]])
def test_what_makes_no_sense_is_refused(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The error is one line, with exit code 2."""
    with pytest.raises(SystemExit, match="2"):
        main(asked)
    assert asked[0] in capsys.readouterr().err.splitlines()[-1]


def test_a_seed_stops_at_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    """The last notes and steps are printed."""
    assert main(["--seed", "3", "--to-step", "700"]) == 0
    printed = capsys.readouterr().out
    assert "last notes" in printed
    assert printed.rstrip().splitlines()[-1].split()[0] == "700"


@pytest.mark.slow
def test_a_seed_that_fails_says_how_to_see_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The output has the command for a replay to that step, and a log for the report; the exit code is 1."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tests.simulation.record.timestamp", lambda at_ms: "yesterday")
    assert main(["--seeds", "3"]) == 1
    printed = capsys.readouterr().out
    found = next(line for line in printed.splitlines() if line.startswith("seed ") and " failed at step " in line)
    again = shlex.split(printed.split("again: ")[1].splitlines()[0])
    report = shlex.split(printed.split("its log: ")[1].splitlines()[0])
    assert report[1:4] == ["-m", "mcp_facade.main", "report"]
    assert "commits, " in run_command(*report[3:]).out
    assert os.path.samefile(again[0], sys.executable)
    assert again[1:3] == ["-m", "tests.simulation"]
    assert main(again[3:]) == 1
    assert found in capsys.readouterr().out


def test_what_was_never_met_is_a_complaint() -> None:
    """A long run complains of each path never reached, and of each recovery that happens too often."""
    campaign = Campaign()
    for number in range(400):
        campaign.add(Outcome(str(number), 1, 1, 1, 1, 0, "", {}, {"a command was unavailable": 1}, None, 0.1))
    complaints = campaign.complaints()
    assert "this path was never reached: commands were carried out at once" in complaints
    campaign.is_shared = True
    assert "this path was never reached: commands were carried out at once" not in campaign.complaints()
    assert "this path was never reached: a turn was done without" in campaign.complaints()
    assert "this kind of fault never happened: crash" in complaints
    assert "this path was never reached: a ghost was abandoned" in complaints
    assert any(complaint.startswith("a command was unavailable: 1.00 of the calls") for complaint in complaints)
