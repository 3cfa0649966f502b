"""A log with names redacted by running brokers can still be verified, dumped, loaded and trimmed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from events.commands import ForgetNames, LeaveQueue, NextPartner, ReportPartner
from events.commit import redact
from events.policy import MatchingName
from events.sqlite.log import SqliteLog
from log_debugger.reading.sources import commits, open_source
from projections.snapshots import STATE_CODEC
from tests.core.test_retention_names import FAIR, Histories
from tests.log_debugger.logs import ANN, BOB, ROOM, Script, dumped, run_ok
from tests.log_debugger.test_dump_load import dump_of, loaded
from tests.support.logs import run

TEXTS = re.compile(rb'"(?:name|text|note)[0-9]')


def redacted_log(path: Path, matching: MatchingName, seed: int) -> str:
    """Return the name of a log written by several brokers, with unfinished redactions."""

    async def write() -> None:
        history = Histories(SqliteLog(path, STATE_CODEC), seed, replace(FAIR, matching=matching))
        await history.live(4)
        await history.log.close()

    run(write)
    source = open_source(f"sqlite:{path}")
    assert any(isinstance(commit.command, ForgetNames) for commit in commits(source, 0))
    source.close()
    return f"sqlite:{path}"


@pytest.mark.parametrize("matching", ["first-come", "interests"])
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_every_promise_still_holds(matching: MatchingName, seed: int, tmp_path: Path) -> None:
    """This holds for the file and its snapshots, a dump of it, a file loaded from that, and a trimmed file."""
    log = redacted_log(tmp_path / "log.db", matching, seed)
    verdict = run_ok("verify", log).out
    dump = dump_of(log)
    (tmp_path / "dump.jsonl").write_bytes(dump)
    assert run_ok("verify", str(tmp_path / "dump.jsonl")).out == verdict
    assert loaded(tmp_path / "other.db", dump).status == 0
    assert run_ok("verify", f"sqlite:{tmp_path / 'other.db'}").out == verdict
    run_ok("log", "trim", log, "--before", str(dump.count(b"\n") // 2))
    assert run_ok("verify", log).out.partition("position")[2] == verdict.partition("position")[2]


@pytest.mark.parametrize("matching", ["first-come", "interests"])
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_its_redacted_dump_is_sound(matching: MatchingName, seed: int, tmp_path: Path) -> None:
    """Half of it was redacted already, and the dump redacts the rest; this holds for the base of a trimmed log too."""
    log = redacted_log(tmp_path / "log.db", matching, seed)
    size = dump_of(log).count(b"\n")
    for number in range(2):
        plain = dump_of(log, "--redact")
        assert not TEXTS.search(plain)
        assert b"chess" not in plain
        (tmp_path / f"{number}.jsonl").write_bytes(plain)
        run_ok("verify", str(tmp_path / f"{number}.jsonl"))
        run_ok("log", "trim", log, "--before", str(size // 2))


@pytest.mark.parametrize("interests", [("go",), ()])
def test_a_redacted_dump_of_a_held_room_is_sound(interests: tuple[str, ...], tmp_path: Path) -> None:
    """A report holds the commit of a member's entry, so a later entry with the same interests is redacted before it."""
    script = Script().enters(0, ANN, "Ann").enters(1_000, BOB, "Bob", *interests, room=ROOM)
    script.add(2_000, ReportPartner(BOB, ROOM, "spam")).add(3_000, NextPartner(BOB, ROOM)).add(4_000, LeaveQueue(BOB))
    commits = [redact(one) if isinstance(one.command, NextPartner) else one for one in script.commits]
    log = dumped(tmp_path / "log.jsonl", commits)
    run_ok("verify", log)
    (tmp_path / "redacted.jsonl").write_bytes(dump_of(log, "--redact"))
    run_ok("verify", str(tmp_path / "redacted.jsonl"))
