"""The answers of `python -m tests.fuzz` to unusable files; written files can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.__main__ import main
from tests.hostile.request import Request
from tests.hostile.scenarios import Act, from_text, to_text

SCENARIO = (
    Act(1, Request(b"POST", b"/mcp", ((b"x", b"\xff"),), b"\x00\xe9", framing="short"), 50, "hang up"),
    Act(2, Request(b"", b"", (), raw=b"hello\r\n")),
)
WRITTEN = to_text([SCENARIO])

HOLDS_NONE = {
    "nothing": "",
    "no JSON": "hello",
    "no scenario": "[]",
    "a number": "7",
    "an object": '{"a": 1}',
    "a scenario of numbers": "[[1]]",
    "brackets without end": "[" * 100_000,
    "an act without its request": '[[{"connection": 1}]]',
    "a request without its method": WRITTEN.replace('"method"', '"verb"'),
    "another key": WRITTEN.replace('"cut"', '"cat"'),
    "another framing": WRITTEN.replace('"short"', '"shorter"'),
    "a word for a number": WRITTEN.replace("50", '"half"'),
    "what is no byte": WRITTEN.replace("hello", "\N{SNOWMAN}"),
}


def refused(capsys: pytest.CaptureFixture[str], command: str, file: Path) -> str:
    """Return the one line that refuses `file`."""
    assert main([command, str(file)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("tests.fuzz: ")
    assert line.endswith("; name a file that make fuzz has written")
    return line


def test_what_was_written_is_read() -> None:
    """A written file is read back, every byte of it."""
    assert from_text(WRITTEN) == [SCENARIO]


@pytest.mark.parametrize("command", ["replay", "smaller"])
def test_a_file_that_can_not_be_read_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    """The error about a missing file or a directory is one line."""
    assert "there.json can't be read: No such file" in refused(capsys, command, tmp_path / "there.json")
    assert "can't be read: Is a directory" in refused(capsys, command, tmp_path)


@pytest.mark.parametrize("what", HOLDS_NONE)
def test_a_file_that_holds_no_scenarios_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    """A file with other contents is refused with one line."""
    file = tmp_path / "some.json"
    file.write_text(HOLDS_NONE[what])
    assert "some.json holds no scenarios" in refused(capsys, "replay", file)


def test_a_file_that_is_no_text_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file of bytes that are no text, and so no JSON, is refused with one line."""
    file = tmp_path / "some.json"
    file.write_bytes(b"\xff\x00")
    assert "some.json holds no scenarios" in refused(capsys, "smaller", file)
