"""`-o FILE`: the written content, its place, and the treatment of an existing file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.log_debugger.logs import conversation, dumped, run_command, run_ok

WRITERS = {"report": ("report",), "test": ("test", "--to", "6"), "dump": ("log", "dump")}
BEGINNINGS = {"report": "<!doctype html>", "test": '"""A situation', "dump": "{"}

STDOUT = "/dev/fd/1"
"""What `/dev/stdout` is a link to; nothing can be put in the place of this one, whatever goes wrong."""

each_writer = pytest.mark.parametrize("command", WRITERS)


def a_log(tmp_path: Path) -> str:
    """Write a dump in a folder of its own; return its name."""
    folder = tmp_path / "log"
    folder.mkdir()
    return dumped(folder / "chat.jsonl", conversation().commits)


def call(command: str, log: str, output: object) -> tuple[str, ...]:
    """Return the arguments for writing to `output`."""
    return (*WRITERS[command], log, "-o", str(output))


def shell(command: str, log: str, output: str, **redirected: object) -> subprocess.CompletedProcess[str]:
    """Run the same in a process of its own; its standard output is a pipe unless `redirected`."""
    argv = [sys.executable, "-m", "mcp_facade.main", *call(command, log, output)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | redirected
    return subprocess.run(argv, text=True, check=True, timeout=60, **streams)


@each_writer
@pytest.mark.parametrize("name", ["-", STDOUT])
def test_standard_output_gets_it_and_nothing_else(tmp_path: Path, command: str, name: str) -> None:
    """Both names work; remarks go to standard error, and no file is made."""
    done = shell(command, a_log(tmp_path), name)
    assert done.stdout.startswith(BEGINNINGS[command])
    assert done.stdout.endswith("\n")
    assert ("the page: 9 commits, " in done.stderr) == (command == "report")
    assert not Path("-").exists()


@each_writer
def test_standard_output_may_be_a_file(tmp_path: Path, command: str) -> None:
    """`-o /dev/fd/1 > FILE`: the file holds the whole output."""
    log, page = a_log(tmp_path), tmp_path / "page"
    with page.open("w") as file:
        shell(command, log, STDOUT, stdout=file)
    whole = shell(command, log, "-").stdout
    assert page.read_text("utf-8") == whole


@each_writer
def test_a_pipe_is_written_into(tmp_path: Path, command: str) -> None:
    """A FIFO stays a FIFO, and its reader gets the whole output."""
    log, pipe, heard = a_log(tmp_path), tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text("utf-8")), daemon=True)
    reader.start()
    assert run_command(*call(command, log, pipe)).status == 0
    reader.join(10)
    assert pipe.is_fifo()
    assert heard[0].startswith(BEGINNINGS[command])


@each_writer
def test_a_link_is_followed(tmp_path: Path, command: str) -> None:
    """The link stays, and the file it names is replaced."""
    log, link, target = a_log(tmp_path), tmp_path / "link", tmp_path / "target"
    target.write_text("old")
    link.symlink_to(target)
    run_ok(*call(command, log, link))
    assert link.is_symlink()
    assert target.read_text("utf-8").startswith(BEGINNINGS[command])


@each_writer
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("before", [None, 0o600, 0o644, 0o666])
def test_no_other_user_may_read_it(tmp_path: Path, command: str, before: int | None, umask: int) -> None:
    """The umask and the permissions of the replaced file do not matter."""
    log, page = a_log(tmp_path), tmp_path / "page"
    if before is not None:
        page.touch()
        page.chmod(before)
    was = os.umask(umask)
    try:
        run_ok(*call(command, log, page))
    finally:
        os.umask(was)
    assert page.stat().st_mode & 0o777 == 0o600
    assert page.stat().st_size
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log", "page"]


@each_writer
@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_what_another_user_has_put_there_is_not_written_through(
    tmp_path: Path, command: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shared directory, the link would lead to a file of this user, or the pipe to the other user."""
    log, name, target = a_log(tmp_path), tmp_path / "page", tmp_path / "target"
    if kind == "pipe":
        os.mkfifo(name)
    else:
        name.symlink_to(target)
        if kind == "link":
            target.write_text("mine")
    monkeypatch.setattr(os, "geteuid", lambda: 4_321)
    if os.getuid() == 0:
        os.chown(name, 1_234, -1, follow_symlinks=False)
    answer = run_command(*call(command, log, name))
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f"chat-broker: {name} is a link or a pipe of another user; name another file\n"
    assert not target.exists() or target.read_text("utf-8") == "mine"


@each_writer
@pytest.mark.parametrize("name", ["", "/", "/../", "/new/"])
def test_a_directory_is_no_file(tmp_path: Path, command: str, name: str) -> None:
    """One line says what to name, and nothing is made."""
    log = a_log(tmp_path)
    answer = run_command(*call(command, log, f"{tmp_path}{name}"))
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f"chat-broker: {tmp_path}{name} is a directory; name a file\n"
    assert [one.name for one in tmp_path.iterdir()] == ["log"]


@each_writer
def test_no_name_is_no_file(tmp_path: Path, command: str) -> None:
    """An empty variable of the shell gives such a name."""
    answer = run_command(*call(command, a_log(tmp_path), ""))
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == "chat-broker: the path is missing behind -o; name a file, or - for standard output\n"


@each_writer
def test_the_log_itself_is_never_written_over(tmp_path: Path, command: str) -> None:
    """A link to the log is refused too."""
    log = a_log(tmp_path)
    link, before = tmp_path / "link", Path(log).read_bytes()
    link.symlink_to(log)
    answer = run_command(*call(command, log, link))
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f"chat-broker: {link} is the log itself; name another file\n"
    assert Path(log).read_bytes() == before
