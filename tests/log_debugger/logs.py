"""Scripted logs to look into, and the files with them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from broker.decide import decide
from broker.decision import Rejection
from events.codec import encode_commit
from events.commands import (
    AdoptPolicy,
    BlockPartner,
    CancelMatch,
    Command,
    Disconnect,
    EnterQueue,
    ForgetNames,
    LeaveQueue,
    LeaveRoom,
    MatchDue,
    NextPartner,
    ReportPartner,
    SendMessage,
)
from events.commit import EMPTY_TIP, Commit, Facts, commit_after
from events.ids import ClientMessageId, ConnectionId, RoomId
from events.log import DeliveryRecord, OperationRecord, Snapshot
from events.policy import Policy
from events.sqlite.file import SqliteFile
from mcp_facade.cli import main
from projections.snapshots import STATE_CODEC
from projections.state import INITIAL_STATE, State, evolve

START_MS = 1_790_000_000_000  # 2026-09-21T14:13:20.000Z

ANN = ConnectionId("c_6f5d61b11661b7538e4e53ccfb2955f6")
BOB = ConnectionId("c_b6cdb9584dcdbdfe5ccd9fdf41475920")
CAT = ConnectionId("c_0a1b2c3d4e5f60718293a4b5c6d7e8f9")
DAN = ConnectionId("c_6f5d99999999999999999999999999ff")  # begins as Ann's does
ROOM = RoomId("r_2370d88192c52a48572ac5a03645081a")
NEXT_ROOM = RoomId("r_91aa00000000000000000000000000bb")
LAST_ROOM = RoomId("r_e5e500000000000000000000000000cc")

DAN_ROOM = RoomId("r_dada00000000000000000000000000ee")

FAIR = Policy(
    confirm_grace_ms=25_000,
    requeue_on_missed_match=1,
    rematch_after_ms=600_000,
    rematch_patience_ms=20_000,
    blocks_per_connection_max=100,
    reports_per_10min_max=3,
    evidence_keep_ms=2_592_000_000,
)
"""What `serve` adopts: no ghosts, another stranger, blocks and reports."""

Line = tuple[int, Command, RoomId | None]
"""Milliseconds since the start, what is asked for, and the room's id if it leads to one."""


class Script:
    """A sequence of commands to a broker; each must lead to a commit."""

    def __init__(self, state: State = INITIAL_STATE) -> None:
        self.state = state
        self.commits: list[Commit] = []

    def add(
        self, at_ms: int, command: Command, room: RoomId | None = None, avoid: tuple[ConnectionId, ...] = ()
    ) -> Script:
        """Decide `command` at `at_ms` after the start; the peer address rules out a match with those in `avoid`."""
        facts = Facts(START_MS + at_ms, room, f"salt{at_ms}", avoid)
        decision = decide(self.state, command, facts)
        assert decision, (command, decision)
        assert not isinstance(decision, Rejection), (command, decision)
        return self.store(commit_after(self.state.tip, command, facts, decision))

    def store(self, commit: Commit) -> Script:
        """Append `commit`, whatever led to it."""
        self.commits.append(commit)
        self.state = evolve(self.state, commit)
        return self

    def enters(self, at_ms: int, who: ConnectionId, name: str, *interests: str, room: RoomId | None = None) -> Script:
        """Let `who` enter the queue."""
        return self.add(at_ms, EnterQueue(who, name, interests), room)

    def says(self, at_ms: int, who: ConnectionId, text: str, room: RoomId = ROOM, call: str | None = None) -> Script:
        """Let `who` say `text`."""
        return self.add(at_ms, SendMessage(who, room, text, ClientMessageId(call) if call else None))


def conversation() -> Script:
    """Return a log: Ann and Bob meet and talk, Cat waits; Bob moves on to her; Cat vanishes; Bob gives up."""
    script = Script().enters(0, ANN, "Ann").enters(41_200, BOB, "Bob", room=ROOM)
    script.says(42_255, BOB, "Hello, stranger.", call="m1").says(44_000, ANN, "Hello!")
    script.enters(45_000, CAT, "Anonymous")
    script.add(60_000, NextPartner(BOB, ROOM), NEXT_ROOM)
    script.add(420_000, Disconnect(CAT, "timeout", 6))
    script.enters(421_000, BOB, "Bob")
    return script.add(430_000, LeaveQueue(BOB))


def by_interests() -> Script:
    """Return a log by interests: Ann and Cat share nothing, Dan meets Cat, Ann meets Bob when her patience ends."""
    script = Script().add(0, AdoptPolicy(Policy(matching="interests", messages_per_10s_max=5)))
    script.enters(1_000, ANN, "Ann", "chess").enters(2_000, CAT, "Cat", "go", "tea")
    script.enters(3_000, DAN, "Dan", "go", "tea", room=ROOM)
    script.enters(4_000, BOB, "Bob", "film")
    script.add(16_000, MatchDue(ANN), NEXT_ROOM)
    return script.add(20_000, LeaveRoom(DAN, ROOM))


def fair_company() -> Script:
    """Return a log: Bob misses Ann; Ann and Cat meet twice; Ann reports Cat; Dan avoids Cat; names are forgotten."""
    script = Script().add(0, AdoptPolicy(FAIR)).enters(1_000, ANN, "Ann").enters(2_000, BOB, "Bob", room=ROOM)
    script.add(27_500, CancelMatch(ROOM, (BOB,), is_other_present=True))
    script.enters(31_000, CAT, "Cat", room=NEXT_ROOM).says(32_000, CAT, "Watches!", room=NEXT_ROOM)
    script.add(40_000, NextPartner(CAT, NEXT_ROOM)).add(41_000, NextPartner(ANN, NEXT_ROOM))
    script.add(61_000, MatchDue(ANN), LAST_ROOM)
    script.add(62_000, ReportPartner(ANN, LAST_ROOM, "spam", "sells watches"))
    script.enters(70_000, CAT, "Cat").enters(71_000, ANN, "Ann")
    script.add(80_000, EnterQueue(DAN, "Dan", ("tea",)), DAN_ROOM, avoid=(CAT,))
    script.add(90_000, BlockPartner(DAN, DAN_ROOM)).add(91_000, LeaveQueue(CAT))
    return script.add(900_000, ForgetNames((BOB, DAN), through=script.state.position))


def dumped(path: Path, commits: Iterable[Commit], more: bytes = b"") -> str:
    """Write a dump of `commits`, and `more` after them, at `path`; return its name."""
    path.write_bytes(b"".join(encode_commit(commit) + b"\n" for commit in commits) + more)
    return str(path)


def filed(
    path: Path,
    commits: Sequence[Commit],
    delivery_records: Sequence[DeliveryRecord] = (),
    operation_records: Sequence[OperationRecord] = (),
) -> str:
    """Write `commits`, delivery records and operation records into a broker's file; return its name."""
    file = SqliteFile(path, "write")
    file.append(commits, expected=EMPTY_TIP)
    file.record(delivery_records, operation_records)
    file.close()
    return f"sqlite:{path}"


def trimmed(path: Path, script: Script, base: State, delivery_records: Sequence[DeliveryRecord] = ()) -> str:
    """Write a broker's file trimmed up to `base`; return its name."""
    name = filed(path, script.commits, delivery_records)
    with SqliteFile(path, "share") as file:
        file.compact(Snapshot(base.tip, base), STATE_CODEC)
    return name


class CommandResult(NamedTuple):
    """The output and the exit status of a command."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """The output, line by line."""
        return self.out.splitlines()

    @property
    def objects(self) -> list[Any]:
        """The output, one JSON object a line."""
        return [json.loads(line) for line in self.lines]


def run_command(*arguments: str) -> CommandResult:
    """Run `chat-broker` with `arguments`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments, {}, _no_server)
    return CommandResult(status, out.getvalue(), err.getvalue())


def run_ok(*arguments: str) -> CommandResult:
    """Run `chat-broker` with `arguments`; it must succeed."""
    answer = run_command(*arguments)
    assert (answer.status, answer.err) == (0, "")
    return answer


def _no_server(settings: object) -> None:
    raise AssertionError("no server was asked for")
