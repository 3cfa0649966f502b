"""The walk through a log: each command has the output shown on the page, run on the page's own dump."""

from __future__ import annotations

import difflib
import gzip
import io
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

from events.log import OperationRecord
from log_debugger.reading.filter_fields import NAMES
from log_debugger.reading.history_cache import HistoryCache
from log_debugger.reading.sources import open_source
from log_debugger.telling.keybindings import BINDINGS, KEY_NAMES, keys_of
from log_debugger.telling.panels import PanelSection, changed_sections, commit_sections
from mcp_facade.cli import COMMANDS, LOG_COMMANDS
from tests.log_debugger.logs import ANN, START_MS, conversation, filed, run_command
from tests.support.pages import Page, names

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "debugging.md").read_text(encoding="utf-8")
DUMP = "docs/debugging/mystery.jsonl"
MADE_UP = "mystery"
"""In the name of the dump, and of every file that the page makes of it."""
ELISION = "..."
JQ = shutil.which("jq")
MODULES: list[tuple[str, str]] = re.findall(r"In `(\w+\.py)`:\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
"""What a reader writes into files, by their names."""


class Shown(NamedTuple):
    """A command of the page with its output."""

    command: str
    answer: list[str]


def blocks() -> list[list[Shown]]:
    """Return the blocks marked `console`, each with its commands."""
    return [shown_in(block) for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


def shown_in(block: str) -> list[Shown]:
    """Return the commands of a block; the lines below a command are its output."""
    shown: list[Shown] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            shown.append(Shown(line.removeprefix("$ "), []))
        else:
            shown[-1].answer.append(line)
    return shown


def is_tried(shown: Shown) -> bool:
    """Return true if the command uses the dump in the repository, or a file made of it."""
    return MADE_UP in shown.command


TRIED = [block for block in blocks() if all(is_tried(shown) for shown in block)]
NOT_TRIED = [shown for block in blocks() if block not in TRIED for shown in block]


def subject(block: list[Shown]) -> str:
    """Return the name of a block in pytest's report."""
    return " ".join(word for word in block[0].command.split()[1:] if word != DUMP)


def stages(command: str) -> list[list[str]]:
    """Return the words of each stage of a pipe; a sign in quotes is none of the shell's."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|<")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word == "|":
            found.append([])
        else:
            found[-1].append(word)
    return found


class Shell:
    """The part of a shell that the page needs: pipes, and the files written by commands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def answer(self, command: str) -> str:
        """Return the output of `command`."""
        said = b""
        for words in stages(command):
            program, *arguments = words[: words.index("<")] if "<" in words else words
            said = self._run(program, arguments, Path(words[-1]).read_bytes() if "<" in words else said)
        return said.decode()

    def _run(self, program: str, arguments: list[str], given: bytes) -> bytes:
        match program:
            case ".venv/bin/chat-broker":
                self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
                answer = run_command(*arguments)
                return (answer.out + answer.err).encode()
            case ".venv/bin/pytest":
                return pytest_says(arguments[-1])
            case "head":
                return b"".join(Path(arguments[-1]).read_bytes().splitlines(keepends=True)[: int(arguments[1])])
            case "jq":
                return subprocess.run([str(JQ), *arguments], input=given, stdout=subprocess.PIPE, check=True).stdout
            case "gzip":
                return gzip.compress(Path(arguments[-1]).read_bytes())
        raise AssertionError(f"the page uses {program}, which this test can't play")


def pytest_says(path: str) -> bytes:
    """Run the passing tests of a module; return pytest's output with `-q`."""
    tests = [value for name, value in runpy.run_path(path).items() if name.startswith("test_")]
    for test in tests:
        test()
    return f"{'.' * len(tests):73}[100%]\n{len(tests)} passed in 0.01s\n".encode()


def differences(answer: list[str], real: list[str]) -> str:
    """Return the difference between `answer` and `real`; empty if they agree.

    An elision stands for anything within a line, and alone on its line for any lines.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line == ELISION else ".*".join(map(re.escape, line.split(ELISION))) + r"\n" for line in answer
    )
    if re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in real)):
        return ""
    return "\n".join(difflib.unified_diff(answer, real, "the page", "the command", lineterm=""))


@pytest.mark.parametrize("block", TRIED, ids=subject)
def test_each_command_says_what_the_page_shows(
    block: list[Shown], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of a block run one after the other in a directory that holds only the dump."""
    if JQ is None and any("| jq " in shown.command for shown in block):
        pytest.skip("it needs jq")
    copy = tmp_path / DUMP
    copy.parent.mkdir(parents=True)
    shutil.copy(ROOT / DUMP, copy)
    monkeypatch.chdir(tmp_path)
    for name, module in MODULES:
        (tmp_path / name).write_text(module, "utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    shell = Shell(monkeypatch)
    for shown in block:
        assert differences(shown.answer, shell.answer(shown.command).splitlines()) == "", shown.command


def test_an_elision_stands_for_what_is_there_and_nothing_else_does() -> None:
    """A stale page would fail this test."""
    assert not differences(["one", "...", "four"], ["one", "two", "three", "four"])
    assert not differences(["one ... three"], ["one two three"])
    assert not differences(["one", "..."], ["one"])
    assert differences(["one", "four"], ["one", "two", "four"])
    assert differences(["one ... three"], ["one two"])
    assert differences(["one"], ["one", "two"])


def test_every_command_that_looks_into_a_log_is_tried() -> None:
    """The walk includes every one; on a broker's own file it shows a trace with delivery records, and the copying."""
    tried = {shown.command.split()[1] for block in TRIED for shown in block}
    assert set(COMMANDS) - {"tail"} <= tried, "tail alone does not end by itself"
    untried = {shown.command.split()[1] for shown in NOT_TRIED if shown.command.startswith(".venv/bin/chat-broker ")}
    assert untried <= {"serve", "trace", "log", "tail", "replay"}
    assert ".venv/bin/chat-broker tail " in PAGE
    for command in set(LOG_COMMANDS) - {"init"}:  # `init` creates a log
        assert f"chat-broker log {command} " in PAGE


@pytest.mark.skipif(JQ is None, reason="it needs jq")
def test_the_refusals_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two commands print each refusal noted beside a log, and the number of each code."""
    noted = [
        OperationRecord("started", START_MS, 0),
        OperationRecord("refused", START_MS + 1, 1, ANN, "send_message", "rate_limited", times=3),
        OperationRecord("refused", START_MS + 2, 1, ANN, "send_message", "chat_ended"),
        OperationRecord("refused", START_MS + 3, 1, ANN, "leave_chat", "chat_ended"),
        OperationRecord("refused", START_MS + 4, 1, times=1_200),
    ]
    monkeypatch.chdir(tmp_path)
    filed(tmp_path / "chat.db", conversation().commits, (), noted)
    each, counted = [shown for shown in NOT_TRIED if ".note" in shown.command]
    shell = Shell(monkeypatch)
    codes = [json.loads(line)["code"] for line in shell.answer(each.command).splitlines()]
    assert codes == ["rate_limited", "chat_ended", "chat_ended", None]
    assert json.loads(shell.answer(counted.command)) == {"more": 1_200, "chat_ended": 2, "rate_limited": 3}


def test_every_command_is_listed() -> None:
    """Commands that read a log are on this page; commands that copy or shorten one are on the operators' page."""
    written = {names(command)[0].split()[1] for command, _ in Page("docs/debugging.md").tables("Commands")[0]}
    assert written == set(COMMANDS)
    for command in LOG_COMMANDS:
        assert f"chat-broker log {command} " in Page("docs/operating.md").text


def test_the_screen_of_the_stepper_is_the_one_that_is_shown() -> None:
    """Its two columns have the content of that position, however they are wrapped."""
    (screen,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    columns = [line.split("│") for line in screen.splitlines() if "│" in line]
    with closing(open_source(str(ROOT / DUMP))) as source:
        cache = HistoryCache(source)
        step, conversations = cache.step(cache.clamp(int(screen.split()[1])))
    assert squeezed(line[0] for line in columns) == written(
        commit_sections(cache.names, step, conversations, cache.deliveries)
    )
    assert squeezed(line[1] for line in columns) == written(changed_sections(cache.names, step, conversations))


def squeezed(lines: Iterable[str]) -> str:
    """Return `lines` without the white space, for it depends on the width of the terminal."""
    return "".join("".join(lines).split())


def written(sections: Sequence[PanelSection]) -> str:
    """Return the text of `sections` without white space."""
    rows = ([section.title, *(row.mark + row.text for row in section.rows)] for section in sections)
    return squeezed(chain.from_iterable(rows))


def test_every_module_is_in_a_file() -> None:
    """Every Python block of the page is a file used by its commands."""
    assert len(MODULES) == PAGE.count("```python\n") == 1


def test_the_keys_of_the_stepper_are_those_of_the_table() -> None:
    """The table has every key under its name on a keyboard."""
    rows = PAGE.partition("| key | what it does |\n")[2].partition("\n\n")[0]
    written = {word for row in rows.splitlines()[1:] for word in re.split(r"[` ,]+", row.split("|")[1]) if word}
    assert written == {KEY_NAMES.get(key, key) for key in keys_of(BINDINGS)} - {"Ctrl+C"}


def test_what_the_page_has_one_make_is_not_offered_to_git() -> None:
    """Git ignores every file made by the walk, so a clone is clean afterwards."""
    made = re.findall(r"(?:-o |sqlite:| > )([a-z]\w*\.\w+)", PAGE)
    made += [f"{name}{part}" for name in made if name.endswith(".db") for part in ("-wal", "-shm", ".lock", ".wake")]
    names = {*made, *(name for name, _ in MODULES)}
    assert {"mystery.db.lock", "chat.jsonl", "mystery.html", "test_mystery.py", "mystery_rule.py"} <= names
    for name in sorted(names):
        assert any(fnmatch(f"/{name}", line) for line in (ROOT / ".gitignore").read_text("utf-8").split()), name


def test_the_names_in_a_filter_are_those_of_the_table() -> None:
    """Each name has a row, in the order of the error message for an unknown one."""
    section = PAGE.partition("\n## Filters\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(NAMES)


def test_the_dump_holds_no_secret() -> None:
    """No handle is in the dump or on the page."""
    text = (ROOT / DUMP).read_text(encoding="utf-8")
    assert not re.search(r"cb_[A-Za-z0-9_-]{8,}", text + PAGE)
