"""What `python -m tests.mutation` says to a file that it can't try, before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.__main__ import main, source
from tests.mutation.trial import ROOT


@pytest.mark.parametrize(
    "file", ["nothing.py", "projections", "README.md", "tests/conftest.py", "broker/py.typed", "../queue.py", ""]
)
def test_a_file_that_has_no_faults_to_try_is_one_line(
    file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what there is; also if another one is in order."""
    monkeypatch.chdir(ROOT)
    assert main(["projections/queue.py", file]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    where = "events, projections, broker; name one, such as projections/queue.py"
    assert said.err == f"tests.mutation: {file} is no source file in {where}\n"


@pytest.mark.parametrize(
    "given", [["--part", "3"], ["--part", "0/3"], ["--part", "4/3"], ["--workers", "0"], ["--workers", "x"]]
)
def test_a_part_that_there_is_not_is_said_so(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And no worker is not enough."""
    with pytest.raises(SystemExit) as left:
        main(given)
    assert left.value.code == 2
    assert f"argument {given[0]}: it has to be" in capsys.readouterr().err


def test_a_file_may_be_called_by_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the copy that gets the faults, so it has to be known by its name in the repository."""
    monkeypatch.chdir(ROOT / "tests")
    (tmp_path / "link.py").symlink_to(ROOT / "projections/queue.py")
    for name in ("../projections/queue.py", f"{ROOT}/projections/../projections/queue.py", f"{tmp_path}/link.py"):
        assert source(name) == "projections/queue.py"
