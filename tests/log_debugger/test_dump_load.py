"""`log dump` and `log load`: a log as lines of JSON, and back; and redacted, to be given away."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from broker.decide import decide
from broker.verification.checking import check_log
from events.codec import decode_commit, encode_commit
from events.commands import ForgetNames, LeaveQueue, LeaveRoom, NextPartner, SendMessage
from events.commit import Commit, Facts, redact
from events.events import MessageSent, QueueEntered, RoomOpened
from events.ids import ConnectionId
from events.sqlite.file import SqliteFile
from events.sqlite.reader import SqliteReader
from events.text import RedactedText
from log_debugger.commands import load
from log_debugger.reading.redacting import SALT
from log_debugger.reading.sources import LASTING, open_source, state_at
from log_debugger.reading.sources import commits as commits_in
from mcp_facade.cli import main
from projections.snapshots import STATE_CODEC
from projections.state import digest, fold
from tests.log_debugger.crowds import LITTLE, crowd, rechained, states_of, with_events
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    LAST_ROOM,
    NEXT_ROOM,
    ROOM,
    CommandResult,
    Script,
    by_interests,
    conversation,
    dumped,
    filed,
    run_command,
    run_ok,
    trimmed,
)

GOLDEN = Path(__file__).parent.parent / "golden"
SAID = conversation().commits
LINES = [encode_commit(commit) for commit in SAID]
INTERESTS = msgspec.structs.replace(LITTLE, matching="interests", interest_patience_ms=4_000)


class _Stream:
    """A text stream over bytes, as standard input and output are."""

    def __init__(self, content: bytes = b"") -> None:
        self.buffer = io.BufferedRandom(io.BytesIO(content)) if content else io.BytesIO()

    def write(self, text: str) -> None:
        self.buffer.write(text.encode())

    def flush(self) -> None:
        pass


def dump_of(*arguments: str) -> bytes:
    """Return the output of `log dump`, byte for byte."""
    stream = _Stream()
    with contextlib.redirect_stdout(stream):
        assert asked_plainly("log", "dump", *arguments) == (0, "")
    return stream.buffer.getvalue()


def asked_plainly(*arguments: str) -> tuple[int, str]:
    """Return the exit status of a command and its errors; its answer goes to the present standard output."""
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        return main(arguments, {}, lambda settings: None), err.getvalue()


def loaded(path: Path, content: bytes) -> CommandResult:
    """Run `log load` with `content` in standard input."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", _Stream(content))
        return run_command("log", "load", f"sqlite:{path}")


def joined(lines: Sequence[bytes]) -> bytes:
    """Return the lines with their ends."""
    return b"".join(line + b"\n" for line in lines)


# Dumps.


def test_a_dump_is_what_is_stored_byte_for_byte(tmp_path: Path) -> None:
    """There is one commit a line; this holds for a dump too, and for commits of older schema versions."""
    assert dump_of(filed(tmp_path / "log.db", SAID)) == joined(LINES)
    for golden in sorted(GOLDEN.glob("commits*.jsonl")):
        assert dump_of(str(golden)) == golden.read_bytes()


def test_a_dump_can_begin_behind_a_position(tmp_path: Path) -> None:
    """Commits up to the given position are not written again."""
    log = filed(tmp_path / "log.db", SAID)
    assert dump_of(log, "--after", "7") == joined(LINES[7:])
    assert dump_of(log, "--after", "9") == b""
    assert asked_plainly("log", "dump", log, "--after", "-1")[0] == 2


def test_the_dump_of_a_trimmed_log_begins_with_its_base(tmp_path: Path) -> None:
    """The base makes the dump foldable; it is left out when the dump begins after it."""
    states = states_of(SAID)
    log = trimmed(tmp_path / "log.db", conversation(), states[4])
    base = joined(list(STATE_CODEC.encode(states[4])))
    assert dump_of(log) == dump_of(log, "--after", "4") == base + joined(LINES[4:])
    assert dump_of(log, "--after", "5") == joined(LINES[5:])
    (tmp_path / "dump.jsonl").write_bytes(dump_of(log))
    assert run_ok("verify", str(tmp_path / "dump.jsonl")).out == run_ok("verify", log).out


# Redacted dumps.


def redacted(path: Path, commits: Sequence[Commit]) -> list[Commit]:
    """Return a log's commits as in its redacted dump."""
    return [decode_commit(line) for line in dump_of(dumped(path, commits), "--redact").splitlines()]


@pytest.mark.parametrize("policy", [None, LITTLE, INTERESTS])
@pytest.mark.parametrize("base", [0, 50])
def test_a_redacted_dump_is_a_sound_log_of_its_own(policy: object, base: int, tmp_path: Path) -> None:
    """It is sound from its base on, after matches of any kind."""
    commits = crowd(31, 150, policy=policy)
    state = states_of(commits)[base]
    (tmp_path / "dump.jsonl").write_bytes(
        (joined(list(STATE_CODEC.encode(state))) if base else b"") + joined([encode_commit(c) for c in commits[base:]])
    )
    plain = dump_of(str(tmp_path / "dump.jsonl"), "--redact")
    (tmp_path / "redacted.jsonl").write_bytes(plain)
    source = open_source(str(tmp_path / "redacted.jsonl"))
    verdict = check_log(source)
    source.close()
    assert verdict.fault is None
    assert (verdict.commits, verdict.tip.position) == (len(commits) - base, len(commits))
    for word in (b"words", b"Ann", b"Bob", b"chess", b"film", b'"go"', b'"tea"'):
        assert word not in plain
    assert set(re.findall(rb'salt":"([^"]*)"', plain)) <= {SALT.encode()}
    # # In a log that begins with a policy, the first commit has nothing to hide.
    assert not {commit.commit_id for commit in commits[1:]} & {word.decode() for word in plain.split(b'"')}


def test_a_redacted_dump_says_who_did_what_when(tmp_path: Path) -> None:
    """Ids, times and lengths stay; texts, names and interests are removed."""
    commits = redacted(tmp_path / "dump.jsonl", SAID)
    assert [(c.position, c.at_ms, type(c.command)) for c in commits] == [
        (c.position, c.at_ms, type(c.command)) for c in SAID
    ]
    entered, met = commits[0].events[0], commits[1].events[1]
    assert isinstance(entered, QueueEntered)
    assert isinstance(met, RoomOpened)
    assert (entered.connection_id, entered.display_name) == (ANN, "Anonymous")
    assert (met.room_id, met.first_name, met.second_name) == (ROOM, "Anonymous", "Anonymous")
    said = commits[2].events[0]
    assert isinstance(said, MessageSent)
    assert isinstance(said.text, RedactedText)
    assert said.text == redact(SAID[2]).events[0].text
    assert (said.sender, said.recipient, said.text.length_bytes) == (BOB, ANN, len("Hello, stranger."))
    assert commits[2].facts.salt is None


def test_who_shares_an_interest_is_seen_and_what_is_not(tmp_path: Path) -> None:
    """Pseudonyms are sorted and the same within a dump; the next dump has others."""
    path = tmp_path / "dump.jsonl"
    commits = redacted(path, by_interests().commits)
    ann, cat, dan = (commits[n].command.interests for n in (1, 2, 3))
    assert cat == dan == tuple(sorted(cat))
    assert len({*ann, *cat}) == 3
    assert redacted(path, by_interests().commits)[1].command.interests != ann


@pytest.mark.parametrize("gone", [(), (4, 5), (7,)])
def test_a_redacted_dump_of_a_log_without_some_names_is_sound(gone: tuple[int, ...], tmp_path: Path) -> None:
    """The log has forgotten names, and interests repeated with only some of the commits redacted."""
    script = Script().enters(0, CAT, "Cat").add(1, LeaveQueue(CAT)).add(2, ForgetNames((CAT,), 2))
    script.enters(3, ANN, "Ann", "chess").enters(4, BOB, "Bob", room=ROOM).add(5, LeaveRoom(BOB, ROOM))
    script.add(6, NextPartner(ANN, ROOM), NEXT_ROOM).enters(7, CAT, "Cat", "tea", room=LAST_ROOM)
    commits = [redact(commit) if commit.position in gone else commit for commit in script.commits]
    before = run_ok("verify", dumped(tmp_path / "dump.jsonl", commits)).out
    (tmp_path / "redacted.jsonl").write_bytes(dump_of(str(tmp_path / "dump.jsonl"), "--redact"))
    assert run_ok("verify", str(tmp_path / "redacted.jsonl")).out.partition(",")[0] == before.partition(",")[0]
    with contextlib.closing(open_source(str(tmp_path / "redacted.jsonl"))) as source:
        first, again = (commit.events[0] for commit in commits_in(source, 0) if commit.position in (4, 7))
    assert isinstance(first, QueueEntered)
    assert isinstance(again, QueueEntered)
    assert first.interests == again.interests
    assert isinstance(first.interests, RedactedText) == (4 in gone)


def test_ids_that_clients_gave_are_pseudonyms_in_a_redacted_dump(tmp_path: Path) -> None:
    """Equal ids stay equal, also in the base's rooms, so that a repeat is still recognized."""
    script = Script().enters(0, ANN, "Ann").enters(1, BOB, "Bob", room=ROOM)
    script.says(2, ANN, "one", call="ruth-2").says(3, BOB, "two", call="ruth-2").says(4, BOB, "three")
    log = trimmed(tmp_path / "log.db", script, fold(script.commits[:3]))
    plain = {
        "whole": dump_of(dumped(tmp_path / "dump.jsonl", script.commits), "--redact"),
        "base": dump_of(log, "--redact"),
    }
    for name, content in plain.items():
        assert b"ruth" not in content
        (tmp_path / name).write_bytes(content)
        run_ok("verify", str(tmp_path / name))
        with contextlib.closing(open_source(str(tmp_path / name))) as source:
            state = state_at(source, 5)
            *_, named, unnamed = commits_in(source, 0)
        assert isinstance(named.command, SendMessage)
        given = named.command.client_message_id
        assert given is not None
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", given)
        assert named.events[0].client_message_id == given
        assert unnamed.command.client_message_id is None
        for who in (ANN, BOB):
            assert decide(state, SendMessage(who, ROOM, "again", given), Facts(named.at_ms + 9)) == []


def test_a_log_of_an_older_schema_is_redacted_as_one_of_this(tmp_path: Path) -> None:
    """Its commits get new ids anyway."""
    (tmp_path / "redacted.jsonl").write_bytes(dump_of(str(GOLDEN / "commits.jsonl"), "--redact"))
    assert run_command("verify", str(tmp_path / "redacted.jsonl")).status == 0


def test_a_redacted_dump_behind_a_position_is_the_end_of_the_whole(tmp_path: Path) -> None:
    """Its commits are a chain, with the ids of the whole dump under the same key."""
    log = dumped(tmp_path / "dump.jsonl", SAID)
    commits = [decode_commit(line) for line in dump_of(log, "--redact", "--after", "6").splitlines()]
    assert [commit.position for commit in commits] == [7, 8, 9]
    assert rechained(commits[1:], commits[0].tip) == commits[1:]


def test_a_log_that_was_altered_is_not_redacted(tmp_path: Path) -> None:
    """Redaction would hide the alteration."""
    log = dumped(tmp_path / "dump.jsonl", [*SAID[:3], *SAID[4:]])
    stream = _Stream()
    with contextlib.redirect_stdout(stream):
        status, error = asked_plainly("log", "dump", log, "--redact")
    assert status == 2
    assert "expected the commit at position 4, found 5" in error


# Loading.


def test_what_was_dumped_is_loaded_as_it_was(tmp_path: Path) -> None:
    """Commits are the same byte for byte, under a new epoch; a broker can go on with the log."""
    log = filed(tmp_path / "log.db", SAID)
    answer = loaded(tmp_path / "new.db", dump_of(log))
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == "loaded 9 commits, from position 1 to 9\n"
    assert dump_of(f"sqlite:{tmp_path / 'new.db'}") == dump_of(log)
    with SqliteReader(tmp_path / "new.db", "read") as new, SqliteReader(tmp_path / "log.db", "read") as old:
        assert new.epoch != old.epoch
    with contextlib.closing(SqliteFile(tmp_path / "new.db", "write")) as file:
        assert file.tip() == SAID[-1].tip


def test_what_is_loaded_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    """It has the permissions of every log; and no other file is left beside it."""
    loaded(tmp_path / "new.db", joined(LINES))
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"new.db"}


@pytest.mark.parametrize("golden", ["commits.jsonl", "commits-2.jsonl"])
def test_commits_of_every_schema_are_loaded_as_they_are(golden: str, tmp_path: Path) -> None:
    """Commits are stored byte for byte as in the dump."""
    content = (GOLDEN / golden).read_bytes()
    assert loaded(tmp_path / "new.db", content).status == 0
    assert dump_of(f"sqlite:{tmp_path / 'new.db'}") == content


def test_the_dump_of_a_trimmed_log_is_loaded_behind_its_base(tmp_path: Path) -> None:
    """The base is the new log's."""
    log = trimmed(tmp_path / "log.db", conversation(), states_of(SAID)[4])
    answer = loaded(tmp_path / "new.db", dump_of(log))
    assert answer.out == "loaded 5 commits, from position 5 to 9\n"
    new = f"sqlite:{tmp_path / 'new.db'}"
    assert dump_of(new) == dump_of(log)
    assert run_ok("verify", new).out == run_ok("verify", log).out


def test_a_base_alone_is_a_log_without_commits(tmp_path: Path) -> None:
    """A wholly trimmed log has such a dump."""
    state = states_of(SAID)[9]
    answer = loaded(tmp_path / "new.db", joined(list(STATE_CODEC.encode(state))))
    assert answer.out == "loaded 0 commits, after position 9\n"
    assert run_ok("verify", f"sqlite:{tmp_path / 'new.db'}").out.endswith(f"digest {digest(state)}\n")


def test_a_compressed_dump_is_loaded(tmp_path: Path) -> None:
    """Every other command reads compressed dumps too."""
    assert loaded(tmp_path / "new.db", gzip.compress(joined(LINES))).status == 0
    assert dump_of(f"sqlite:{tmp_path / 'new.db'}") == joined(LINES)


def test_long_logs_are_loaded_with_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshots are those of a broker, so that the first start is a quick one."""
    monkeypatch.setattr(load, "LINES_AT_ONCE", 50)
    policy = msgspec.structs.replace(LITTLE, snapshot_every_commits=100)
    commits = crowd(32, 500, policy=policy)
    loaded(tmp_path / "new.db", joined([encode_commit(commit) for commit in commits]))
    source = open_source(f"sqlite:{tmp_path / 'new.db'}")
    assert source.snapshots() == list(range(0, len(commits) + 1, 100))
    assert digest(state_at(source, len(commits))) == digest(states_of(commits)[-1])
    assert list(commits_in(source, 0)) == commits
    source.close()


def test_an_empty_log_is_filled(tmp_path: Path) -> None:
    """A broker made the log and has stored nothing yet."""
    SqliteFile(tmp_path / "new.db").close()
    assert loaded(tmp_path / "new.db", joined(LINES)).status == 0
    assert run_ok("verify", f"sqlite:{tmp_path / 'new.db'}").out.startswith("every promise holds: 9 commits")


def test_an_empty_log_in_whose_wal_something_stands_is_filled(tmp_path: Path) -> None:
    """A killed broker leaves such a WAL: the new log must not inherit it."""
    path = tmp_path / "log.db"
    with contextlib.closing(SqliteFile(path)):
        names = {name: (path.parent / name).read_bytes() for name in ("log.db", "log.db-wal")}
    for name, content in names.items():
        (tmp_path / name.replace("log", "new")).write_bytes(content)
    assert (tmp_path / "new.db-wal").stat().st_size > 0
    assert loaded(tmp_path / "new.db", joined(LINES)).status == 0
    assert dump_of(f"sqlite:{tmp_path / 'new.db'}") == joined(LINES)


# # Refused input.

WRONG: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "there is nothing in standard input; give it a dump"),
    "no dump": (b"hello\n", "standard input is no dump of a log; nothing was loaded"),
    "a snapshot that is no snapshot": (b'{"snapshot":1}\n7', "line 2 is no line of a dump"),
    "a line that is no commit": (joined([*LINES[:4], b"{}", *LINES[4:]]), "line 5: the commit at position 5"),
    "a line that is empty": (joined([*LINES[:4], b"", *LINES[4:]]), "line 5: the commit at position 5"),
    "a line that is cut off": (joined(LINES)[:-30], "line 9: the commit at position 9"),
    "a commit that was altered": (
        joined([*LINES[:3], LINES[3].replace(b"Hello!", b"Hullo!"), *LINES[4:]]),
        "line 4: the commit at position 4 was altered",
    ),
    "a commit that is missing": (
        joined([*LINES[:3], *LINES[4:]]),
        "line 4: expected the commit at position 4, found 5",
    ),
    "the end of a log": (joined(LINES[3:]), "line 1: expected the commit at position 1, found 4; a dump has to begin"),
    "a commit that fits nothing": (
        joined([encode_commit(c) for c in with_events(SAID, 3, MessageSent(ROOM, ConnectionId("c_x"), BOB, "", None))]),
        "line 3: the commit at position 3 doesn't fit",
    ),
    "a newer schema": (
        LINES[0].replace(b'"schema":3', b'"schema":4'),
        "line 1: the commit at position 1 can't be read",
    ),
    "a base that is damaged": (
        joined([*list(STATE_CODEC.encode(states_of(SAID)[4]))[:1], b'{"rooms":7}', *LINES[4:]]),
        "the snapshot in lines 1 to 2 can't be read",
    ),
    "half a compressed dump": (gzip.compress(joined(LINES))[:-20], "standard input can't be read to its end"),
}


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_dump_leaves_everything_as_it_was(what: str, made: bool, tmp_path: Path) -> None:
    """One line names the faulty line; no file is made, and an empty log stays as it was, byte for byte."""
    content, says = WRONG[what]
    if made:
        SqliteFile(tmp_path / "new.db").close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "LINES_AT_ONCE", 2)
        answer = loaded(tmp_path / "new.db", content)
    assert (answer.status, answer.out) == (2, "")
    assert says in answer.err
    assert answer.err.endswith("; nothing was loaded\n")
    assert answer.err.count("\n") == 1
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix == ".db"}
    assert after == {name: before[name] for name in before if name.endswith(".db")}
    assert {path.name for path in tmp_path.iterdir()} == set(before)


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", gzip.compress(joined(LINES))[:20]], ids=["nothing", "words", "half a compressed dump"]
)
def test_what_is_no_dump_at_all_leaves_no_trace(content: bytes, tmp_path: Path) -> None:
    """The input is checked first, so that even a lock file is not made."""
    assert loaded(tmp_path / "new.db", content).status == 2
    assert [*tmp_path.iterdir()] == []


def test_a_log_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    """Exit status 2, even if the log holds only the base of a trimmed one."""
    path = tmp_path / "log.db"
    filed(path, SAID[:1])
    before = path.read_bytes()
    answer = loaded(path, joined(LINES))
    assert (answer.status, answer.out) == (2, "")
    assert "is not empty" in answer.err
    assert path.read_bytes() == before


def test_a_log_that_a_broker_has_is_left_alone(tmp_path: Path) -> None:
    """This holds for an empty log too."""
    with contextlib.closing(SqliteFile(tmp_path / "log.db", "write")):
        answer = loaded(tmp_path / "log.db", joined(LINES))
    assert answer.status == 2
    assert "in use by another broker" in answer.err


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("memory:", "a log in memory is its broker's alone"),
        ("sqlite:", f'the path is missing in "sqlite:"; name the log as {LASTING}'),
        ("", f'the path is missing in ""; name the log as {LASTING}'),
        ("nonsense://x", f"nonsense://x is no log that can be written; name {LASTING}"),
        ("../x.db", "a log in a file is named as sqlite:PATH; write sqlite:../x.db"),
        (
            "dump.jsonl",
            "dump.jsonl is no broker's file; one is made of a dump by chat-broker log load sqlite:PATH < DUMP",
        ),
        ("sqlite:/nowhere/at/all.db", "No such file or directory"),
    ],
)
def test_a_dump_is_loaded_into_a_file_alone(
    log: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line says what to write, with exit status 2."""
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    dumped(Path("dump.jsonl"), SAID)
    monkeypatch.setattr(sys, "stdin", _Stream(joined(LINES)))
    answer = run_command("log", "load", log)
    assert (answer.status, answer.out) == (2, "")
    assert says in answer.err or "there is no directory" in answer.err


def test_a_loading_that_was_cut_off_is_begun_anew(tmp_path: Path) -> None:
    """Its leftover files do no harm."""
    (tmp_path / "new.db.loading").write_bytes(b"half a log")
    (tmp_path / "new.db.loading-wal").write_bytes(b"and a half")
    assert loaded(tmp_path / "new.db", joined(LINES)).status == 0
    assert {path.name for path in tmp_path.iterdir()} == {"new.db"}


def test_a_link_leads_to_the_file_that_is_filled(tmp_path: Path) -> None:
    """The link stays a link."""
    (tmp_path / "there").mkdir()
    os.symlink(tmp_path / "there" / "new.db", tmp_path / "link.db")
    assert loaded(tmp_path / "link.db", joined(LINES)).status == 0
    assert (tmp_path / "link.db").is_symlink()
    assert dump_of(f"sqlite:{tmp_path / 'there' / 'new.db'}") == joined(LINES)
