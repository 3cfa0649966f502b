"""The code in `docs/testing.md` runs, and gives the results shown there."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from broker.testing import BrokerMachine, machine, strategies
from tests.support.examples import scaled
from tests.test_debugging_page import ROOT, differences

PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FAILING, SOUND, MORE, KINDLY, BROKERS, CHECKED, PROPERTY, REFERENCE = CODE


THRIFTY = """
from hypothesis import Phase, settings
settings.register_profile("thrifty", derandomize=True, phases=[Phase.generate, Phase.shrink])
settings.load_profile("thrifty")
"""
"""Settings without the phase that explains a failure, the slowest of all."""


def carried_out(*blocks: str) -> dict[str, Any]:
    """Return the namespace after running `blocks` in order."""
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/testing.md", "exec"), names)
    return names


def shown(language: str, number: int = 0) -> list[str]:
    """Return the lines of a block in `language`: of the first one, or of a later one."""
    block: str = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[number]
    return block.splitlines()


@pytest.mark.slow
def test_the_test_is_twenty_lines_long_and_fails_as_shown(tmp_path: Path) -> None:
    """The first test is short and fails as shown; lines that depend on Hypothesis's version are elided there."""
    assert len(FAILING.splitlines()) <= 20
    command, *answer = shown("console")
    (tmp_path / "test_kindred.py").write_text(FAILING)
    (tmp_path / "conftest.py").write_text(THRIFTY)
    ran = subprocess.run(
        [sys.executable, "-m", *command.removeprefix("$ .venv/bin/").split(), "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert differences(answer, ran.stdout.splitlines()) == ""


def test_what_is_said_to_be_sound_is() -> None:
    """The corrected matching passes, with and without the subclass's own assertion."""
    sound = carried_out(FAILING, SOUND)
    kindred: type[BrokerMachine] = type("Kindred", (BrokerMachine,), {"matching": staticmethod(sound["kindred"])})
    for one in (kindred, carried_out(FAILING, SOUND, MORE)["Kindred"]):
        run_state_machine_as_test(one, settings=settings(max_examples=scaled(15), deadline=None))


@pytest.mark.slow
def test_the_code_passes_a_strict_check_of_types(tmp_path: Path) -> None:
    """In strict mode, mypy accepts each block together with the definitions that it needs."""
    imports = "\n".join(line for block in CODE for line in block.splitlines() if line.startswith("from "))
    modules = [[FAILING], [SOUND, MORE], [SOUND, KINDLY], [BROKERS], [SOUND, CHECKED, REFERENCE], [PROPERTY]]
    for number, blocks in enumerate(modules):
        (tmp_path / f"page_{number}.py").write_text("\n\n".join([imports, *blocks]))
    files = [f"page_{number}.py" for number in range(len(modules))]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, *files],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.returncode) == (f"Success: no issues found in {len(files)} source files\n", 0)


@pytest.mark.slow
def test_a_case_of_its_own_is_seen_if_its_interest_is_named(tmp_path: Path) -> None:
    """Without it, the run warns as shown."""
    module = tmp_path / "kindly.py"
    module.write_text("\n".join([FAILING, SOUND, KINDLY, "\nclass Blind(BrokerMachine):\n    matching = kindly\n"]))
    names = runpy.run_path(str(module))
    for name in ("Kindly", "Blind"):
        case = names[name].TestCase
        case.settings = settings(max_examples=150, deadline=None, derandomize=True, database=None)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            case().runTest()
        found = [f"{one.category.__name__}: {one.message}".splitlines() for one in caught]
        assert len(found) == (name == "Blind")
        assert all(differences(shown("text"), lines) == "" for lines in found)


def test_brokers_agree() -> None:
    """The page's brokers give the same results."""
    brokers = carried_out(BROKERS)["Brokers"]
    run_state_machine_as_test(brokers, settings=settings(brokers.TestCase.settings, stateful_step_count=15))


def test_a_log_is_held_to_a_matching(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The sample log is sound, breaks promise 3 under the page's matching, and passes the reference model."""
    monkeypatch.chdir(ROOT)
    carried_out(FAILING, SOUND, CHECKED, REFERENCE)
    assert differences(shown("text", 1), capsys.readouterr().out.splitlines()) == ""


@pytest.mark.slow
def test_the_property_holds(tmp_path: Path) -> None:
    """The page's property holds for whole logs."""
    module = tmp_path / "test_reader.py"
    module.write_text(PROPERTY)
    runpy.run_path(str(module))["test_my_reader_counts_as_the_broker_does"]()


def test_the_attributes_are_those_of_the_machine() -> None:
    """The table has a row for each class attribute of the machine."""
    section = PAGE.partition("\n## The machine\n")[2].partition("\n## ")[0]
    written = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert written == [name for name, kind in machine.BrokerMachine.__annotations__.items() if "ClassVar" in kind]


def test_the_strategies_are_those_that_there_are() -> None:
    """The table lists exactly the public strategies."""
    section = PAGE.partition("\n## Strategies\n")[2].partition("\n## ")[0]
    written = re.findall(r"`(\w+)\((?:connection_id)?\)`", section)
    public = [name for name, value in vars(strategies).items() if name[0] != "_" and is_ours(value)]
    assert sorted(written) == sorted([*public, "scripts", "logs"])


def is_ours(value: object) -> bool:
    """Return true for a function of the strategies module."""
    return getattr(value, "__module__", "") == strategies.__name__ and callable(value)
