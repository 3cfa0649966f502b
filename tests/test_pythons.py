"""Every other supported Python of the machine is tried, and a missing one is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import pythons

THIS = "{}.{}".format(*sys.version_info)
OTHERS = [version for version in ("3.11", "3.12", "3.13", "3.14") if version != THIS]


def test_a_machine_with_one_python_is_fine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each missing Python has a line, and the exit code is 0."""
    monkeypatch.setattr(pythons, "found", lambda version: None)
    assert pythons.main() == 0
    assert capsys.readouterr().out.splitlines() == [f"Python {one}: not on this machine, left out" for one in OTHERS]


@pytest.mark.parametrize("failing", [None, OTHERS[0], OTHERS[-1]])
def test_each_python_is_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: str | None
) -> None:
    """A failing Python does not stop the others, and the exit code is 1."""
    monkeypatch.setattr(pythons, "found", lambda version: f"/usr/bin/python{version}")
    monkeypatch.setattr(pythons, "passes", lambda version, python, root: version != failing)
    assert pythons.main() == (failing is not None)
    results = [f"Python {one}: {'failed' if one == failing else 'passed'}" for one in OTHERS]
    assert capsys.readouterr().out.splitlines() == results


def test_the_newest_alone_can_be_tried(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the newest on the machine is tried; the others are named."""
    has = OTHERS[:2]
    monkeypatch.setattr(pythons, "found", lambda version: f"/usr/bin/python{version}" if version in has else None)
    monkeypatch.setattr(pythons, "passes", lambda version, python, root: True)
    assert pythons.main(["--newest"]) == 0
    results = ["left to make test-pythons", "passed", "not on this machine, left out"]
    assert capsys.readouterr().out.splitlines() == [
        f"Python {one}: {result}" for one, result in zip(OTHERS, results, strict=True)
    ]


def test_a_shim_that_is_switched_off_is_no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python counts only if its command runs and has the right version."""
    shim = tmp_path / "python3.12"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("shutil.which", lambda name: str(shim) if name == "python3.12" else None)
    seen = []
    for script in ("exit 127", "echo 3.11", "echo 3.12"):
        shim.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        shim.chmod(0o755)
        seen.append(pythons.found("3.12"))
    assert seen == [None, None, str(shim)]
