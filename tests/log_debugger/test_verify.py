"""`verify`: a sound log is found sound, and each planted fault is found at its position."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import apsw
import msgspec
import pytest

from broker.verification import checking
from broker.verification.checking import PROMISES, CheckResult, check_log
from broker.verification.faults import ViolationReport
from broker.verification.safe_text import safe_repr
from events.codec import encode_commit
from events.commands import EnterQueue, LeaveQueue, LeaveRoom, SendMessage
from events.commit import Commit, Facts, commit_after, redact
from events.events import MessageSent, PolicyAdopted, QueueEntered, RoomClosed, RoomOpened
from events.ids import ClientMessageId, ConnectionId
from events.log import LogUnavailableError, Snapshot
from events.policy import Policy
from events.sqlite.file import SqliteFile
from log_debugger.reading.sources import open_source
from projections.invariants import Violation
from projections.snapshots import STATE_CODEC
from projections.state import State, digest, fold
from tests.log_debugger.crowds import LITTLE, crowd, rechained, states_of, with_events
from tests.log_debugger.logs import (
    ANN,
    BOB,
    CAT,
    DAN,
    DAN_ROOM,
    ROOM,
    by_interests,
    conversation,
    dumped,
    fair_company,
    filed,
    run_command,
    run_ok,
    trimmed,
)

SAID = conversation().commits
STATES = states_of(SAID)
GOLDEN = Path(__file__).parent.parent / "golden"


def verdict_of(name: str) -> CheckResult:
    """Check the log; return the verdict."""
    source = open_source(name)
    try:
        return check_log(source)
    finally:
        source.close()


def fault_in(tmp_path: Path, commits: list[Commit]) -> ViolationReport:
    """Return the fault in a log of these commits; it is the same in a dump and in a broker's file."""
    fault = verdict_of(dumped(tmp_path / "dump.jsonl", commits)).fault
    assert fault is not None
    return fault


def changed(position: int, **fields: object) -> list[Commit]:
    """Return the conversation with other fields at `position`, in a broken chain."""
    commits = list(SAID)
    commits[position - 1] = msgspec.structs.replace(commits[position - 1], **fields)
    return commits


def test_a_sound_log_is_one_line(tmp_path: Path) -> None:
    """The line has the number of commits, the last position, and the digest of the state."""
    line = f"every promise holds: 9 commits, position 9, digest {digest(STATES[-1])}\n"
    assert run_ok("verify", dumped(tmp_path / "dump.jsonl", SAID)).out == line
    assert run_ok("verify", filed(tmp_path / "log.db", SAID)).out == line


def test_an_empty_log_is_sound(tmp_path: Path) -> None:
    """It has no promise to break."""
    SqliteFile(tmp_path / "log.db").close()
    line = f"every promise holds: 0 commits, position 0, digest {digest(State())}\n"
    assert run_ok("verify", f"sqlite:{tmp_path / 'log.db'}").out == line


@pytest.mark.parametrize("policy", [None, LITTLE, msgspec.structs.replace(LITTLE, matching="interests")])
def test_whatever_many_people_do_is_sound(policy: Policy | None, tmp_path: Path) -> None:
    """Logs of random crowds are sound, also where limits apply, by interests, from a base on, and redacted."""
    commits = crowd(1, 400, policy=policy)
    states = states_of(commits)
    sound = verdict_of(dumped(tmp_path / "dump.jsonl", commits))
    assert sound == (len(commits), states[-1].tip, digest(states[-1]), None)
    assert verdict_of(dumped(tmp_path / "redacted.jsonl", map(redact, commits))) == sound
    middle = states[len(commits) // 2]
    (tmp_path / "base.jsonl").write_bytes(
        b"".join(line + b"\n" for line in STATE_CODEC.encode(middle))
        + b"".join(encode_commit(commit) + b"\n" for commit in commits[middle.position :])
    )
    assert verdict_of(str(tmp_path / "base.jsonl")) == sound._replace(commits=len(commits) - middle.position)


@pytest.mark.parametrize("name", ["commits.jsonl", "commits-2.jsonl"])
def test_logs_of_every_schema_are_sound(name: str) -> None:
    """Logs of earlier versions keep the present promises."""
    assert verdict_of(str(GOLDEN / name)).fault is None


def test_progress_is_told_of_every_commit(tmp_path: Path) -> None:
    """Progress comes page by page, and adds up."""
    commits = crowd(2, 1_500)
    heard: list[int] = []
    source = open_source(dumped(tmp_path / "dump.jsonl", commits))
    check_log(source, heard.append)
    source.close()
    assert sum(heard) == len(commits)
    assert len(heard) == 1 + len(commits) // 1_000


# # Broken chains.

CHAINS: dict[str, tuple[int, Callable[[], list[Commit]]]] = {
    "a text was altered": (
        3,
        lambda: changed(
            3,
            command=SendMessage(BOB, ROOM, "Goodbye.", ClientMessageId("m1")),
            events=(MessageSent(ROOM, BOB, ANN, "Goodbye.", ClientMessageId("m1")),),
        ),
    ),
    "a name was altered": (1, lambda: changed(1, events=(QueueEntered(ANN, "Eve", ()),))),
    "a time was altered": (5, lambda: changed(5, at_ms=SAID[4].at_ms + 1)),
    "an event was dropped": (6, lambda: changed(6, events=SAID[5].events[:1])),
    "two commits were swapped": (3, lambda: [*SAID[:2], SAID[3], SAID[2], *SAID[4:]]),
    "a commit is missing": (4, lambda: [*SAID[:3], *SAID[4:]]),
    "a commit comes twice": (4, lambda: [*SAID[:3], *SAID[2:]]),
    "the rest is of another log": (5, lambda: [*SAID[:4], *crowd(7, 40)[4:]]),
}


@pytest.mark.parametrize("how", CHAINS)
def test_a_broken_chain_is_found(how: str, tmp_path: Path) -> None:
    """It is promise 5, at the first position out of the chain."""
    position, commits = CHAINS[how]
    breach = fault_in(tmp_path, commits()).violation
    assert (breach.promise, breach.position) == (5, position)


def blocked_meet() -> list[Commit]:
    """Return a log where Ann is paired with waiting Cat, although she has reported her."""
    commits = fair_company().commits
    met = RoomOpened(DAN_ROOM, CAT, ANN, "Cat", "Ann")
    return with_events(commits, 12, commits[11].events[0], met)


# # Repaired chains, so that only the promises can tell.

TEXT = "Hello, stranger."
REPAIRED: dict[str, tuple[int, int, str, Callable[[], list[Commit]]]] = {
    "the second one is first": (
        2,
        3,
        "did not enter before",
        lambda: with_events(SAID, 2, SAID[1].events[0], RoomOpened(ROOM, BOB, ANN, "Bob", "Ann")),
    ),
    "nobody is paired": (
        2,
        3,
        f"{BOB} waits while {ANN} waits, and they may meet",
        lambda: with_events(SAID, 2, SAID[1].events[0]),
    ),
    "others are paired than the matching names": (
        4,
        3,
        f"paired were {ANN} with {DAN}, to be paired {CAT} with {DAN}",
        lambda: with_events(
            by_interests().commits, 4, by_interests().commits[3].events[0], RoomOpened(ROOM, ANN, DAN, "Ann", "Dan")
        ),
    ),
    "two meet of whom one has blocked the other": (12, 9, f"{ANN} and {CAT} met, and one had blocked", blocked_meet),
    "a room of one": (
        2,
        2,
        "paired with themselves",
        lambda: with_events(SAID, 2, SAID[1].events[0], RoomOpened(ROOM, ANN, ANN, "Ann", "Ann")),
    ),
    "a room with somebody who never came": (
        2,
        3,
        "did not enter before",
        lambda: with_events(SAID, 2, SAID[1].events[0], RoomOpened(ROOM, DAN, BOB, "Dan", "Bob")),
    ),
    "a room opens again": (
        6,
        5,
        "had been there before",
        lambda: with_events(SAID, 6, *SAID[5].events[:2], RoomOpened(ROOM, CAT, BOB, "Anonymous", "Bob")),
    ),
    "a message comes twice": (
        4,
        4,
        "stored twice",
        lambda: rechained([*SAID[:3], SAID[2], *SAID[3:]]),
    ),
    "a message into a closed room": (
        7,
        4,
        "not open to them",
        lambda: rechained([*SAID[:6], said_again(SAID[3], SAID[5].at_ms), *SAID[6:]]),
    ),
    "a message of a stranger": (
        3,
        4,
        "not open to them",
        lambda: with_events(SAID, 3, MessageSent(ROOM, CAT, ANN, TEXT, None)),
    ),
    "a room is closed twice": (7, 5, "not an open room", lambda: rechained([*SAID[:6], left_again(), *SAID[6:]])),
    "time goes back": (
        5,
        5,
        "time went back",
        lambda: rechained([*SAID[:4], at(SAID[4], SAID[3].at_ms - 1), *SAID[5:]]),
    ),
    "time is not what was decided with": (
        5,
        5,
        "not the one that was decided with",
        lambda: rechained([*SAID[:4], msgspec.structs.replace(SAID[4], at_ms=SAID[4].at_ms + 1), *SAID[5:]]),
    ),
    "another text is stored than was sent": (
        3,
        6,
        "does not give the events that are stored",
        lambda: with_events(SAID, 3, MessageSent(ROOM, BOB, ANN, "Goodbye.", ClientMessageId("m1"))),
    ),
    "a policy is not what was adopted": (
        1,
        6,
        "does not give the events",
        lambda: with_events(crowd(1, 20, policy=LITTLE), 1, *adopted(Policy(closed_rooms_kept=6))),
    ),
    "one is told two things": (
        6,
        7,
        "two things at once",
        lambda: with_events(SAID, 6, *SAID[5].events, MessageSent(ROOM, BOB, ANN, TEXT, None)),
    ),
    "somebody leaves a queue in which they never were": (
        9,
        1,
        "left the queue, but was not in it",
        lambda: with_events(SAID, 9, msgspec.structs.replace(SAID[8].events[0], connection_id=DAN)),
    ),
    "a commit without events": (3, 6, "does not give the events", lambda: with_events(SAID, 3)),
    "a command that was refused": (
        4,
        6,
        "does not give the events",
        lambda: rechained(
            [
                *SAID[:3],
                msgspec.structs.replace(SAID[3], command=EnterQueue(ANN, "Ann", ()), facts=Facts(SAID[3].at_ms)),
                *SAID[4:],
            ]
        ),
    ),
}


def at(commit: Commit, at_ms: int) -> Commit:
    """Return `commit` at another time."""
    return msgspec.structs.replace(commit, at_ms=at_ms, facts=msgspec.structs.replace(commit.facts, at_ms=at_ms))


def said_again(commit: Commit, at_ms: int) -> Commit:
    """Return the message of `commit`, said again later."""
    return at(commit, at_ms)


def left_again() -> Commit:
    """Return a second end of the first room."""
    at_ms = SAID[5].at_ms
    events = (RoomClosed(ROOM, ANN, BOB, "left"),)
    return msgspec.structs.replace(
        SAID[5], command=LeaveRoom(ANN, ROOM), facts=Facts(at_ms), at_ms=at_ms, events=events
    )


def adopted(policy: Policy) -> tuple[object]:
    """Return the event of an adopted policy."""
    return (PolicyAdopted(policy),)


@pytest.mark.parametrize("how", REPAIRED)
def test_a_broken_promise_is_found_in_a_whole_chain(how: str, tmp_path: Path) -> None:
    """The breach names the promise and the first position against it."""
    position, promise, what, commits = REPAIRED[how]
    breach = fault_in(tmp_path, commits()).violation
    assert (breach.position, breach.promise) == (position, promise), breach
    assert what in breach.what


def test_each_promise_that_a_log_shows_has_a_fault_above() -> None:
    """No promise is forgotten."""
    assert {promise for _, promise, _, _ in REPAIRED.values()} == set(PROMISES)


def test_a_breach_is_told_with_its_promise_and_the_difference(tmp_path: Path) -> None:
    """Exit status 1, with the stored events beside the expected ones; typed texts are in quotes."""
    commits = with_events(SAID, 3, MessageSent(ROOM, BOB, ANN, "\x1b[2J", ClientMessageId("m1")))
    answer = run_command("verify", dumped(tmp_path / "dump.jsonl", commits))
    assert (answer.status, answer.err) == (1, "")
    event = f'MessageSent(room_id="{ROOM}", sender="{BOB}", recipient="{ANN}", text="{{}}", client_message_id="m1")'
    assert answer.lines == [
        "promise 6 is broken at position 3: deciding the command again does not give the events that are stored",
        f"  {PROMISES[6]}",
        f'  the command is SendMessage(connection_id="{BOB}", room_id="{ROOM}", text="{TEXT}", client_message_id="m1")',
        f"  - {event.format(chr(92) + 'u001b[2J')}",
        f"  + {event.format(TEXT)}",
        "  (- is stored, + is what deciding again gives)",
    ]


def test_a_base_that_breaks_a_promise_is_found(tmp_path: Path) -> None:
    """The breach is found before any commit is read."""
    state = msgspec.structs.replace(STATES[5], tip=STATES[5].tip)
    room = msgspec.structs.replace(state.rooms.by_id[ROOM], second=CAT)
    rooms = msgspec.structs.replace(state.rooms, by_id=state.rooms.by_id.set(ROOM, room))
    name = trimmed(tmp_path / "log.db", conversation(), msgspec.structs.replace(state, rooms=rooms))
    fault = verdict_of(name).fault
    assert fault is not None
    assert (fault.violation.promise, fault.violation.position) == (1, 5)


# # Unreadable logs.


def test_a_damaged_line_is_a_breach_of_promise_5(tmp_path: Path) -> None:
    """The breach has its position; the exit status is 1."""
    lines = [encode_commit(commit) for commit in SAID]
    lines[3] = lines[3].replace(b'"message_sent"', b'"message_eaten"')
    (tmp_path / "dump.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    answer = run_command("verify", str(tmp_path / "dump.jsonl"))
    assert answer.status == 1
    assert answer.lines[0].startswith("promise 5 is broken at position 4: not a commit: ")


HALF_A_GZIP = gzip.compress(b"".join(encode_commit(commit) + b"\n" for commit in SAID), mtime=0)[:-20]


@pytest.mark.parametrize("content", [b"hello\n", b"{}\n", b'{"schema":2}\n', b"SQLite format 3\0", HALF_A_GZIP])
def test_what_is_no_log_is_an_error_of_use(content: bytes, tmp_path: Path) -> None:
    """There is one line and exit status 2, rather than a verdict."""
    path = tmp_path / "file"
    path.write_bytes(content)
    answer = run_command("verify", str(path))
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1


def test_what_is_not_there_is_an_error_of_use(tmp_path: Path) -> None:
    """A missing log has no promises to keep."""
    assert run_command("verify", str(tmp_path / "nothing")).status == 2


def test_a_dump_with_a_hole_is_a_breach_of_promise_5(tmp_path: Path) -> None:
    """The dump can't even be opened; an altered old first commit is a breach too."""
    path = tmp_path / "dump.jsonl"
    path.write_bytes(b"\n".join([*(encode_commit(commit) for commit in SAID[:4]), b"", encode_commit(SAID[4]), b""]))
    answer = run_command("verify", str(path))
    assert answer.status == 1
    assert answer.lines[0].startswith("promise 5 is broken: ")
    assert "behind commit 4 is empty" in answer.lines[0]
    path.write_bytes((GOLDEN / "commits.jsonl").read_bytes().replace(b"1790000000000", b"1790000000001"))
    answer = run_command("verify", str(path))
    assert (answer.status, answer.lines[0]) == (1, "promise 5 is broken: the commit at position 1 was altered")


# A broker's file.


def tampered(path: Path, sql: str, *bindings: object) -> str:
    """Write the conversation into a broker's file and run `sql` on it; return its name."""
    name = filed(path, SAID)
    db = apsw.Connection(str(path))
    db.execute(sql, bindings)
    db.close()
    return name


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        ("UPDATE commits SET body = replace(body, 'Hello!', 'Hullo!') WHERE position = 4", 4),
        ("UPDATE commits SET body = (SELECT body FROM commits WHERE position = 5) WHERE position = 3", 3),
        ("UPDATE commits SET body = 'x' WHERE position = 6", 6),
        ("UPDATE commits SET commit_id = (SELECT commit_id FROM commits WHERE position = 7) WHERE position = 8", 8),
        ("UPDATE commits SET body = substr(body, 1, 80) WHERE position = 9", 9),
    ],
)
def test_a_file_that_was_tampered_with_is_found(sql: str, position: int, tmp_path: Path) -> None:
    """It is promise 5, at the touched row."""
    fault = verdict_of(tampered(tmp_path / "log.db", sql)).fault
    assert fault is not None
    assert (fault.violation.promise, fault.violation.position) == (5, position)


def test_a_row_under_another_id_than_its_commit_s_is_found(tmp_path: Path) -> None:
    """The chain is whole, but a broker takes the id of its last row for its tip."""
    fault = verdict_of(tampered(tmp_path / "log.db", "UPDATE commits SET commit_id = 'f' WHERE position = 4")).fault
    assert fault is not None
    assert (fault.violation.promise, fault.violation.position) == (5, 4)
    assert "at position 4 stands another commit" in fault.violation.what


def test_how_a_commit_is_spaced_is_its_own_affair(tmp_path: Path) -> None:
    """Its id does not depend on spaces: a foreign tool may have rewritten the dump before it was loaded."""
    sql = "UPDATE commits SET body = replace(body, ':', ': ') WHERE position = 5"
    assert verdict_of(tampered(tmp_path / "log.db", sql)).fault is None


def test_rows_that_are_gone_are_found(tmp_path: Path) -> None:
    """It is promise 5, at the first missing position; all commits before it were checked."""
    verdict = verdict_of(tampered(tmp_path / "log.db", "DELETE FROM commits WHERE position IN (5, 6)"))
    assert verdict.fault is not None
    assert (verdict.fault.violation.promise, verdict.fault.violation.position) == (5, 5)
    assert "after position 4 commits are missing" in verdict.fault.violation.what
    assert verdict.tip == SAID[3].tip


def snapshotted(path: Path, *states: State) -> str:
    """Write a broker's file with the conversation, and with snapshots; return its name."""
    name = filed(path, SAID)
    with closing(SqliteFile(path, "share")) as file:
        for state in states:
            file.save(Snapshot(state.tip, state), STATE_CODEC)
    return name


def test_snapshots_are_checked_where_they_stand(tmp_path: Path) -> None:
    """Correct snapshots change nothing in the output."""
    name = snapshotted(tmp_path / "log.db", STATES[3], STATES[6], STATES[9])
    assert run_ok("verify", name).out == run_ok("verify", dumped(tmp_path / "dump.jsonl", SAID)).out


def test_a_snapshot_of_something_else_is_found(tmp_path: Path) -> None:
    """It is promise 6, at the snapshot's position; the log itself is sound."""
    other = msgspec.structs.replace(STATES[6], messages_sent=1)
    verdict = verdict_of(snapshotted(tmp_path / "log.db", STATES[3], other))
    assert verdict.fault is not None
    assert str(verdict.fault.violation) == (
        "promise 6 is broken at position 6: the snapshot that is stored here is not what the log says, or can't be read"
    )
    assert verdict.commits == 6


def test_a_damaged_snapshot_is_found(tmp_path: Path) -> None:
    """A start would skip it and fold from an older one; but its content has changed."""
    name = snapshotted(tmp_path / "log.db", STATES[3], STATES[6])
    db = apsw.Connection(str(tmp_path / "log.db"))
    db.execute("UPDATE snapshot_parts SET lines = replace(lines, 'Ann', 'Eve') WHERE snapshot = 2")
    db.close()
    fault = verdict_of(name).fault
    assert fault is not None
    assert (fault.violation.promise, fault.violation.position) == (6, 6)


def test_a_log_that_ends_before_its_newest_snapshot_was_rolled_back(tmp_path: Path) -> None:
    """It is promise 5: only the snapshot tells of the lost commits."""
    name = snapshotted(tmp_path / "log.db", STATES[3], STATES[8])
    db = apsw.Connection(str(tmp_path / "log.db"))
    db.execute("DELETE FROM commits WHERE position > 7")
    db.close()
    fault = verdict_of(name).fault
    assert fault is not None
    assert (fault.violation.promise, fault.violation.position) == (5, 7)
    assert "position 8" in fault.violation.what


def test_a_trimmed_log_is_checked_from_its_base_on(tmp_path: Path) -> None:
    """Trimmed commits are not missed."""
    name = trimmed(tmp_path / "log.db", conversation(), STATES[4])
    assert run_ok("verify", name).out == f"every promise holds: 5 commits, position 9, digest {digest(fold(SAID))}\n"


def test_a_log_that_is_trimmed_while_it_is_checked_is_no_breach(tmp_path: Path) -> None:
    """As far as known, the trimmed part was sound: the log has to be checked again, from its new beginning."""
    commits = crowd(12, 4_300, policy=LITTLE)
    states = states_of(commits)
    source = open_source(filed(tmp_path / "log.db", commits))

    def trim(done: int) -> None:
        with closing(SqliteFile(tmp_path / "log.db", "share")) as file:
            file.compact(Snapshot(states[2_500].tip, states[2_500]), STATE_CODEC)

    with closing(source), pytest.raises(LogUnavailableError, match="was trimmed up to position 2500 while it was read"):
        check_log(source, trim, workers=1)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("ahead", [0, 32])
@pytest.mark.parametrize("altered", [*(pytest.param(one, marks=pytest.mark.slow) for one in (None, 1, 300, 301)), 777])
def test_several_workers_find_what_one_finds(
    altered: int | None, ahead: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They find the first fault, even if later ones are found before it."""
    monkeypatch.setattr(checking, "SEGMENTS_WAITING_MAX", ahead)
    monkeypatch.setattr(checking, "SEGMENT_COMMITS", 100)
    monkeypatch.setattr(checking, "PORTION_COMMITS", 30)
    lines = [encode_commit(commit) for commit in crowd(6, 3_000)]
    for position in () if altered is None else (altered, 900):
        lines[position - 1] = lines[position - 1].replace(b'"at_ms":1', b'"at_ms":2')
    dump = tmp_path / "dump.jsonl"
    dump.write_bytes(b"\n".join(lines) + b"\n")
    with closing(open_source(str(dump))) as source:
        one, several = check_log(source, workers=1), check_log(source, workers=3)
    assert one == several
    assert one.commits == (len(lines) if altered is None else altered - 1)


def test_a_log_that_does_not_answer_is_no_breach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commits read before do not matter."""
    log = filed(tmp_path / "log.db", SAID)
    source = open_source(log)
    real = source.lines

    def lines(after: int) -> Iterator[bytes]:
        yield from islice(real(after), 4)
        raise LogUnavailableError("the disk reports an error")

    monkeypatch.setattr(source, "lines", lines)
    with closing(source), pytest.raises(LogUnavailableError, match="the disk reports an error"):
        check_log(source)


def test_a_snapshot_that_a_broker_drops_meanwhile_is_no_breach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older ones are dropped when there are many."""
    source = open_source(snapshotted(tmp_path / "log.db", STATES[3], STATES[6]))
    there = iter([[0, 3, 6]])
    monkeypatch.setattr(source, "snapshots", lambda: next(there, [0, 3]))
    monkeypatch.setattr(source, "snapshot", lambda at_most: Snapshot(STATES[3].tip, STATES[3]))
    with closing(source):
        assert check_log(source).fault is None


def test_a_command_that_can_t_even_be_decided_is_a_breach(tmp_path: Path) -> None:
    """Here, a command with a possible match brings no room, in a whole chain."""
    command = SAID[1].command
    commits = [*SAID[:1], msgspec.structs.replace(SAID[1], facts=Facts(SAID[1].at_ms)), *SAID[2:]]
    answer = run_command("verify", dumped(tmp_path / "dump.jsonl", rechained(commits)))
    assert answer.status == 1
    assert answer.lines[0].startswith("promise 3 is broken at position 2: paired were ")
    assert answer.lines[2] == f"  the command is {safe_repr(command)}"


def test_a_command_that_led_to_nothing_is_not_to_be_stored(tmp_path: Path) -> None:
    """Deciding it again gives the stored events, and yet no broker has stored it."""
    nothing = commit_after(SAID[-1].tip, LeaveQueue(ConnectionId("c_nobody")), Facts(SAID[-1].at_ms), [])
    verdict = verdict_of(dumped(tmp_path / "dump.jsonl", [*SAID, nothing]))
    assert verdict.fault is not None
    assert verdict.fault.violation == Violation(6, nothing.position, "a command that led to nothing is stored")
