"""Files that are no dump or half of one: every command answers with one line."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from broker.errors import UsageError
from events.codec import encode_commit
from log_debugger.reading.sources import open_source
from projections.snapshots import STATE_CODEC
from projections.state import fold
from tests.log_debugger.logs import CommandResult, conversation, dumped, filed, run_command, run_ok

SAID = conversation().commits
READERS = {
    "replay": (),
    "trace": ("--connection", "6f5d"),
    "verify": (),
    "diff": ("1", "2"),
    "bisect": ("--when", "waiting > 1"),
    "whatif": ("--matching", "interests"),
    "test": ("--to", "3"),
    "report": ("-o", "page.html"),
}
A_LOG = (
    "a LOG is sqlite:PATH, a shared store's URL (redis://HOST, postgresql://HOST/DATABASE, nats://HOST), "
    "a dump (.jsonl, .jsonl.gz), its URL, or - for standard input"
)

each_reader = pytest.mark.parametrize("command", READERS)


def read(command: str, log: str) -> CommandResult:
    """Run a command on `log`."""
    return run_command(command, log, *READERS[command])


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave standard input empty."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))


@each_reader
@pytest.mark.parametrize("name", ["", "sqlite:"])
def test_an_empty_path_names_no_log(command: str, name: str) -> None:
    """An empty variable of the shell gives such a path."""
    answer = read(command, name)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f'chat-broker: the path is missing in "{name}"; {A_LOG}\n'


@each_reader
def test_what_is_not_there_is_no_log(command: str) -> None:
    """The line describes a valid log."""
    said = read(command, "none.jsonl").err
    assert said == f"chat-broker: can't read none.jsonl: No such file or directory; {A_LOG}\n"


def test_what_may_not_be_read_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line does not ask for another name, since it would not help."""

    def denied(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(UsageError, match=r"^can't read mine: Permission denied; check its owner and its mode$"):
        open_source("mine")


@each_reader
def test_nothing_is_no_log(command: str, given: None) -> None:
    """An empty input comes of a mistake before it in the pipe, so it is no sound log."""
    answer = read(command, "-")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == "chat-broker: there is nothing in standard input; give it a dump\n"
    Path("empty.jsonl").touch()
    assert read(command, "empty.jsonl").err == "chat-broker: there is nothing in empty.jsonl; name a dump\n"
    assert not Path("page.html").exists()


WRONG = [
    b"hello\n",
    b"# A heading\n\ntext\n",
    b"{}\n",
    b'{"status":"ok"}',
    b'{\n  "name": "x"\n}\n',
    b"[1]",
    b"\x89PNG\r\n\x1a",
]


@pytest.mark.parametrize("content", [*WRONG, b"\n", b"{", b'{"schema":"x"}\n'])
@each_reader
def test_a_file_of_another_kind_is_called_that(command: str, content: bytes) -> None:
    """The line also lists the possible kinds of logs."""
    Path("README.md").write_bytes(content)
    answer = read(command, "README.md")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f"chat-broker: README.md is no dump of a log; {A_LOG}\n"


@pytest.fixture
def url() -> Iterator[str]:
    """Yield the URL of a server of other JSON; like a broker, it answers 406 under `/mcp`."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(406 if self.path == "/mcp" else 200)
            self.end_headers()
            self.wfile.write(b'{"status":"ok"}')

        def log_message(self, *parts: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/healthz"
        server.shutdown()
        serving.join()


def test_a_page_of_another_kind_is_called_that(url: str) -> None:
    """A broker's own pages are of another kind too."""
    assert read("replay", url).err == f"chat-broker: {url} is no dump of a log; {A_LOG}\n"


def test_a_brokers_address_is_no_log(url: str) -> None:
    """The line names the ways to read a broker's log."""
    endpoint = url.replace("/healthz", "/mcp")
    assert read("replay", endpoint).err == (
        f"chat-broker: can't fetch {endpoint}: Not Acceptable; a LOG's URL is that of a dump (.jsonl, .jsonl.gz), "
        "or of a store that brokers share; a broker's own log is sqlite:PATH, redis://HOST, postgresql://HOST/DATABASE"
        " or nats://HOST\n"
    )


# Half of a dump.


def cut(bytes_off: int = 20) -> str:
    """Write a dump with an incomplete last commit; return its name."""
    dumped(Path("cut.jsonl"), SAID)
    Path("cut.jsonl").write_bytes(Path("cut.jsonl").read_bytes()[:-bytes_off])
    return "cut.jsonl"


CUT = "cut.jsonl ends in the middle of position 9; was it cut off?"


@pytest.mark.parametrize("command", ["replay", "trace", "bisect", "whatif"])
def test_a_dump_that_was_cut_off_is_told_as_far_as_it_goes(command: str) -> None:
    """Exit status 2, and a line with the likely cause."""
    answer = read(command, cut())
    assert (answer.status, answer.err) == (2, f"chat-broker: {CUT}\n")
    if command == "replay":
        assert answer.lines[-1].startswith("      8  ")


def test_a_dump_that_was_cut_off_keeps_no_promise() -> None:
    """`verify` names the position."""
    answer = read("verify", cut())
    assert (answer.status, answer.lines[0]) == (1, f"promise 5 is broken at position 9: {CUT}")


def test_a_report_of_a_dump_that_was_cut_off_is_no_success() -> None:
    """The page is made, says so in red, and the exit status is 1."""
    answer = read("report", cut())
    assert answer.status == 1
    assert "page.html: 8 commits, " in answer.out
    assert answer.out.endswith("; 1 breach of a promise, in red\n")
    assert answer.err == f"the page ends after position 8: {CUT}\n"
    assert CUT in Path("page.html").read_text("utf-8")


def test_what_stands_before_the_cut_can_be_copied() -> None:
    """`log dump` writes each whole commit."""
    answer = run_command("log", "dump", cut())
    assert (answer.status, answer.err) == (2, f"chat-broker: {CUT}\n")
    assert answer.lines == [encode_commit(commit).decode() for commit in SAID[:8]]


def test_what_lies_before_the_cut_can_be_looked_into() -> None:
    """Positions and times of whole commits are as good as any."""
    log, whole = cut(), dumped(Path("whole.jsonl"), SAID)
    for upto in (("--to", "7"), ("--at", "+421s")):
        assert run_ok("replay", log, *upto).out == run_ok("replay", whole, *upto).out


def test_a_last_line_without_its_end_is_a_line() -> None:
    """Some editors leave the last line break out."""
    assert read("verify", cut(1)).status == 0


def test_a_dump_that_was_cut_off_at_once_is_one_too() -> None:
    """The cut is in its first commit, or in the snapshot before it."""
    dumped(Path("cut.jsonl"), SAID[:1])
    whole = Path("cut.jsonl").read_bytes()
    for length in (20, len(whole) - 10):
        Path("cut.jsonl").write_bytes(whole[:length])
        assert "cut.jsonl ends in the middle of its first commit; was it cut off?" in read("replay", "cut.jsonl").err
    snapshot = b"\n".join(STATE_CODEC.encode(fold(SAID[:4]))) + b"\n"
    for length in (20, len(snapshot) - 30):
        Path("cut.jsonl").write_bytes(snapshot[:length])
        expected = "cut.jsonl ends in the middle of the snapshot that it begins with; was it cut off?"
        assert read("replay", "cut.jsonl").err == f"chat-broker: {expected}\n"


# Behind the end.


def test_nothing_stands_behind_the_end() -> None:
    """`log dump --after` a position past the end is a mistake; after the last one, nothing is new."""
    log = filed(Path("log.db"), SAID)
    answer = run_command("log", "dump", log, "--after", "99")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f"chat-broker: {log} ends at position 9, so there is nothing behind 99\n"
    assert run_ok("log", "dump", log, "--after", "9").out == ""
