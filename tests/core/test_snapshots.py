"""States as lines of JSON: equal when read back, always the same bytes, and never half understood."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.decide import decide
from broker.decision import Rejection
from events.commands import AdoptPolicy, Command, Disconnect, MatchDue, NextPartner
from events.commit import Commit, Facts, commit_after
from events.events import PartnerBlocked, PartnerReported, QueueEntered, QueueEntry, RoomOpened
from events.ids import ClientMessageId, ConnectionId, RoomId
from events.log import StateCodec, UnreadableSnapshotError
from events.policy import Policy
from events.text import redacted, redacted_interests
from projections import snapshots
from projections.connections import Chatting, Connection, Connections, Idle, Waiting
from projections.inbox import CHUNK, Inbox
from projections.invariants import check_state
from projections.ordered_map import Order
from projections.persistent_map import Map
from projections.rooms import Room, Rooms
from projections.snapshots import LINE_WEIGHT, STATE_CODEC
from projections.state import INITIAL_STATE, State, digest, evolve, fold
from tests.support.examples import scaled
from tests.support.people import ANN, BOB, CAT, DAN, closed, enter, entered, leave, leave_queue, left, said, say
from tests.support.specs import NOON_MS, chatting, state_after, then_also, under, waiting

ROOT = Path(__file__).parent.parent.parent
GOLDEN = {
    version: (ROOT / "tests" / "golden" / f"snapshot-{version}.jsonl").read_bytes().splitlines()
    for version in (1, 2, 3)
}
GOLDEN_DIGEST = "96fce0c4783a2961d883c61f6ec81fb983fcf2ed8fea48be7e87e31e42cb1f04"

EVE, FAY, GUS, HAL, IDA, JON, KIM = (
    ConnectionId(f"c_{name}") for name in ("eve", "fay", "gus", "hal", "ida", "jon", "kim")
)
ENDED, REPORTED = RoomId("r_ended"), RoomId("r_reported")

LIMITS: dict[str, Any] = {
    "matching": "interests",
    "inbox_events_max": CHUNK,
    "message_ids_kept": 4,
    "messages_per_10s_max": 1_000,
}


FAIR: dict[str, Any] = {
    "confirm_grace_ms": 25_000,
    "requeue_on_missed_match": 1,
    "rematch_after_ms": 600_000,
    "rematch_patience_ms": 20_000,
    "blocks_per_connection_max": 2,
    "reports_per_10min_max": 3,
    "evidence_keep_ms": 86_400_000,
}


def every_shape() -> State:
    """Return a state with every place, room, inbox, block and report, with interests and without."""
    attended = msgspec.structs.replace(entered(KIM), idle_grace_ms=45_000)
    return state_after(under(**LIMITS, **FAIR), *EVENTS_OF_VERSION_2, then_also(attended))


def every_shape_of_version_2() -> State:
    """Return the state in the golden file of version 2."""
    return state_after(under(**LIMITS, **FAIR), *EVENTS_OF_VERSION_2)


def every_shape_of_version_1() -> State:
    """Return the state in the golden file of version 1."""
    return state_after(under(**LIMITS), *EVENTS_OF_VERSION_1)


EVENTS_OF_VERSION_1 = (
    chatting(ANN, BOB, ENDED),
    *[then_also(said(ANN, BOB, "hi", f"m{n}", ENDED)) for n in range(5)],
    then_also(said(BOB, ANN, "ho", "m4", ENDED)),
    then_also(closed(BOB, ANN, "left", ENDED)),
    waiting(GUS),
    then_also(left(GUS)),
    chatting(CAT, DAN),
    then_also(said(CAT, DAN, "hello", "a")),
    then_also(said(DAN, CAT, "hello", "a")),
    *[then_also(said(CAT, DAN)) for _ in range(2 * CHUNK)],
    waiting(FAY),
    then_also(entered(EVE, "Eve", "chess", "tea")),
    then_also(entered(HAL, "Häl", "tea")),
)

PLACES = QueueEntry(5, NOON_MS - 7), QueueEntry(6, NOON_MS)

EVENTS_OF_VERSION_2 = (
    *EVENTS_OF_VERSION_1,
    then_also(msgspec.structs.replace(entered(IDA), salt="pepper")),
    then_also(msgspec.structs.replace(entered(JON), display_name=redacted("Jon", "salt"))),
    then_also(RoomOpened(REPORTED, IDA, JON, "Ida", redacted("Jon", "salt"), "pepper", None, *PLACES)),
    then_also(said(IDA, JON, "hello", "a", REPORTED)),
    then_also(PartnerReported(REPORTED, IDA, JON, "spam", 5, 9, "rude"), PartnerBlocked(IDA, JON)),
    then_also(closed(IDA, JON, "left", REPORTED)),
    then_also(QueueEntered(JON, "Jon", redacted_interests(("tea",), "salt"), earlier=PLACES[1])),
)


OF_VERSION = {1: every_shape_of_version_1, 2: every_shape_of_version_2}


def written(state: State) -> list[bytes]:
    """Return the lines of `state`."""
    return list(STATE_CODEC.encode(state))


def test_it_is_what_a_log_asks_for() -> None:
    """The codec implements the protocol of a log on disk."""
    codec: StateCodec = STATE_CODEC
    assert codec.decode(codec.encode(INITIAL_STATE)) == INITIAL_STATE


def test_what_is_read_is_what_was_written() -> None:
    """A decoded state is equal to the original, of the same digest, and sound."""
    state = every_shape()
    read = STATE_CODEC.decode(written(state))
    assert read == state
    assert digest(read) == digest(state)
    assert check_state(read) == []


def test_the_specimen_has_every_shape() -> None:
    """The specimen, and so the golden file, has every shape."""
    state = every_shape()
    assert {type(known.place) for known in state.connections.by_id.values()} == {Idle, Waiting, Chatting}
    assert state.queue.interests
    assert {room.is_open for room in state.rooms.by_id.values()} == {True, False}
    assert all(room.newest_ids for room in state.rooms.by_id.values())
    assert any(room.older_ids for room in state.rooms.by_id.values())
    assert any(inbox.chunks and inbox.dropped_through for inbox in state.inboxes.values())
    assert len(state.reports) == 1
    assert {bool(room.reporters) for room in state.rooms.by_id.values()} == {True, False}
    assert {bool(known.blocked) for known in state.connections.by_id.values()} == {True, False}
    assert {known.is_attended for known in state.connections.by_id.values()} == {True, False}
    assert {bool(known.partners) for known in state.connections.by_id.values()} == {True, False}
    assert unused_fields(state.rooms.by_id.values()) == []
    assert unused_fields(state.connections.by_id.values()) == []


def unused_fields(values: Iterable[msgspec.Struct]) -> list[str]:
    """Return the fields with a default that no value departs from: a field of these may be missing in a snapshot."""
    some = list(values)
    fields = [field for field in msgspec.structs.fields(some[0]) if field.default is not msgspec.NODEFAULT]
    return [field.name for field in fields if all(getattr(one, field.name) == field.default for one in some)]


def test_the_golden_file_is_read_as_ever() -> None:
    """The golden file of version 1 is decoded as ever; it is never edited.

    Its digest changes only with the fields of a digest, such as a new field of a policy.
    """
    assert digest(STATE_CODEC.decode(GOLDEN[1])) == GOLDEN_DIGEST


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_snapshot_is_what_its_commits_mean_today(version: int) -> None:
    """The upcast gives exactly the state of a fold, so two brokers agree on an old log."""
    read, state = STATE_CODEC.decode(GOLDEN[version]), OF_VERSION[version]()
    assert msgspec.structs.replace(read, tip=state.tip) == state


def test_what_a_fold_means_is_what_it_meant() -> None:
    """Folding has not changed its meaning; if it has, raise `SNAPSHOT_VERSION` and add a golden file."""
    read, state = STATE_CODEC.decode(GOLDEN[3]), every_shape()
    assert msgspec.structs.replace(read, tip=state.tip) == state
    assert written(read)[1:-1] == GOLDEN[3][1:-1]


def test_the_bytes_are_the_same_under_any_hash_seed() -> None:
    """The bytes are the same under any hash seed."""
    program = (
        "from tests.core.test_snapshots import every_shape, written; import hashlib;"
        "print(hashlib.sha256(b''.join(written(every_shape()))).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "4242")
    }
    assert len(seen) == 1


def test_no_line_holds_too_much() -> None:
    """A line is short work for any number of connections, rooms and notifications."""
    state = state_after(
        under(messages_per_10s_max=100_000, message_ids_kept=100_000),
        *[
            step
            for n in range(300)
            for step in (waiting(ConnectionId(f"c_{n}")), then_also(left(ConnectionId(f"c_{n}"))))
        ],
        chatting(ANN, BOB),
        *[then_also(said(ANN, BOB, "x", f"m{n}")) for n in range(400)],
    )
    few = msgspec.json.decode(written(state_after(chatting(ANN, BOB)))[1])
    assert len(few["rooms"]) == 1
    lines = [msgspec.json.decode(line) for line in written(state)]
    assert sum(len(line.get("connections", ())) for line in lines) == 302
    assert all(len(line.get("connections", ())) <= LINE_WEIGHT for line in lines)
    assert STATE_CODEC.decode(written(state)) == state


def idle(count: int, told: int = 0) -> State:
    """Return so many idle connections with so many notifications each."""
    people = {ConnectionId(f"c_{n:04}"): Connection("X", (), Idle(n), n, n, 0, 0) for n in range(count)}
    inbox = Inbox(tuple(range(1, told + 1)))
    inboxes = Map(dict.fromkeys(people, inbox) if told else {})
    order = Order.of((known.place.key, who) for who, known in people.items() if isinstance(known.place, Idle))
    return State(connections=Connections(Map(people), order), inboxes=inboxes)


def closed_rooms(count: int, ids: int) -> State:
    """Return so many closed rooms with so many remembered message ids each."""
    names = Map({(ANN, ClientMessageId(f"m{n}")): n for n in range(ids)})
    rooms = {RoomId(f"r_{n:04}"): Room(RoomId(f"r_{n:04}"), ANN, BOB, "A", "B", n, n, names) for n in range(count)}
    return State(rooms=Rooms(Map(rooms), Order.of(enumerate(rooms))))


def in_each_line(state: State, of: str) -> list[int]:
    """Return the number of rooms, or of connections, in each line with any."""
    return [len(rows[of]) for rows in map(msgspec.json.decode, written(state)) if of in rows]


@pytest.mark.parametrize(
    ("state", "of", "expected"),
    [
        (idle(499), "connections", [499]),
        (idle(500), "connections", [500]),
        (idle(1_201), "connections", [500, 500, 201]),
        (idle(600, told=31), "connections", [500, 100]),
        (idle(600, told=32), "connections", [250, 250, 100]),
        (idle(200, told=96), "connections", [125, 75]),
        (closed_rooms(250, ids=0), "rooms", [125, 125]),
        (closed_rooms(130, ids=1), "rooms", [125, 5]),
        (closed_rooms(130, ids=2), "rooms", [100, 30]),
    ],
    ids=range(9),
)
def test_a_line_is_full_when_it_is_enough_work(state: State, of: str, expected: list[int]) -> None:
    """A line holds 500 connections without notifications, or fewer with many; a room counts as four."""
    assert in_each_line(state, of) == expected
    assert STATE_CODEC.decode(written(state)) == state


def test_what_was_said_long_ago_counts_too() -> None:
    """A room's older message ids add to its weight like its newest."""
    state = closed_rooms(130, ids=1)
    rooms = {name: msgspec.structs.replace(room, older_ids=room.newest_ids) for name, room in state.rooms.by_id.items()}
    state = State(rooms=Rooms(Map(rooms), state.rooms.closed))
    assert in_each_line(state, "rooms") == [100, 30]


def test_rooms_and_people_stand_in_their_order() -> None:
    """Rooms are in order of closing, then of opening; connections are idle, waiting, then chatting."""
    state = every_shape()
    rows = [msgspec.json.decode(line) for line in written(state)[1:-1]]
    assert [room[0] for line in rows for room in line.get("rooms", ())] == ["r_ended", "r_reported", "r_old"]
    assert [who for line in rows for who in line.get("connections", ())] == [
        *(BOB, ANN, GUS, IDA),
        *(JON, FAY, EVE, HAL, KIM),
        *(CAT, DAN),
    ]


def test_of_open_rooms_the_oldest_stands_first() -> None:
    """Open rooms are ordered by opening, not by id."""
    state = state_after(chatting(ANN, BOB, RoomId("r_b")), chatting(CAT, DAN, RoomId("r_a")))
    rooms = [room[0] for line in written(state)[1:-1] for room in msgspec.json.decode(line).get("rooms", ())]
    assert rooms == ["r_b", "r_a"]


def test_someone_who_is_nowhere_is_a_bug() -> None:
    """A connection without a place fails an assertion, since the snapshot would lose it."""
    state = idle(3)
    with pytest.raises(AssertionError, match="everyone is in exactly one place"):
        written(State(connections=Connections(state.connections.by_id, state.connections.idle.remove(1))))


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "the snapshot is damaged"),
        ([b"{}", b"{}"], "not a snapshot: Object missing required field `snapshot`"),
        ([b"\xff", b"{}"], "not a snapshot: JSON is malformed: invalid character (byte 0)"),
    ],
)
def test_what_is_wrong_with_it_is_said(lines: list[bytes], why: str) -> None:
    """The error for damaged lines is one line."""
    with pytest.raises(UnreadableSnapshotError) as told:
        STATE_CODEC.decode(lines)
    assert str(told.value) == why


@pytest.mark.parametrize("change", ["rows", "end", "header"])
def test_a_field_that_is_not_known_is_an_error(change: str) -> None:
    """An unknown field is an error, since the next snapshot would lose it."""
    lines = written(every_shape())
    at = {"header": 0, "rows": 1, "end": -1}[change]
    lines[at] = lines[at][:-1] + b',"more":1}'
    if change != "end":
        lines[-1] = msgspec.json.encode(
            {"sha256": hashlib.sha256(b"".join(b"%s\n" % line for line in lines[:-1])).hexdigest()}
        )
    with pytest.raises(UnreadableSnapshotError, match=r"^not a snapshot: Object contains unknown field `more`"):
        STATE_CODEC.decode(lines)


PEOPLE = st.sampled_from([ANN, BOB, CAT, DAN, EVE])
NUMBERS = st.integers(0, 5)
COMMANDS = st.one_of(
    st.builds(lambda who, names: enter(who, None, *sorted(names)), PEOPLE, st.sets(st.sampled_from(["chess", "tea"]))),
    st.builds(lambda who, n: NextPartner(who, RoomId(f"r_{n}")), PEOPLE, NUMBERS),
    st.builds(lambda who, n: leave(who, RoomId(f"r_{n}")), PEOPLE, NUMBERS),
    st.builds(lambda who, n, name: say(who, "x", name, RoomId(f"r_{n}")), PEOPLE, NUMBERS, st.sampled_from("abcdef")),
    st.builds(leave_queue, PEOPLE),
    st.builds(MatchDue, PEOPLE),
    st.builds(lambda who: Disconnect(who, "timeout", 10**6), PEOPLE),
    st.builds(
        lambda kept, rooms, ids, matching: AdoptPolicy(
            Policy(
                connections_kept=kept,
                closed_rooms_kept=rooms,
                message_ids_kept=ids,
                inbox_events_max=1,
                matching=matching,
                messages_per_10s_max=100,
                queue_commands_per_10s_max=100,
            )
        ),
        st.integers(1, 5),
        st.integers(1, 3),
        st.integers(1, 8),
        st.sampled_from(["first-come", "interests"]),
    ),
)


def log_of_what_is_taken(commands: list[Command]) -> list[Commit]:
    """Return the commits of the accepted commands; six room ids come again."""
    state, commits = INITIAL_STATE, []
    for number, command in enumerate(commands):
        room_id = next((f"r_{n}" for n in range(6) if RoomId(f"r_{n}") not in state.rooms.by_id), "r_more")
        facts = Facts(NOON_MS + 1_000 * number, RoomId(room_id), f"salt{number}")
        decision = decide(state, command, facts)
        if decision and not isinstance(decision, Rejection):
            commits.append(commit_after(state.tip, command, facts, decision))
            state = evolve(state, commits[-1])
    return commits


@settings(deadline=None, max_examples=scaled(150))
@given(st.lists(COMMANDS, max_size=60), st.integers(0, 60))
def test_a_state_goes_on_as_if_it_had_never_been_written(commands: list[Command], cut: int) -> None:
    """A decoded state evolves like the original, after any history and with any commands."""
    commits = log_of_what_is_taken(commands)
    state = fold(commits[:cut])
    read = STATE_CODEC.decode(written(state))
    assert read == state
    assert digest(read) == digest(state)
    assert written(read) == written(state)
    assert digest(fold(commits[cut:], read)) == digest(fold(commits))


LINES = written(every_shape())


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b""],
        [b"{}"],
        LINES[:1],
        LINES[:-1],
        LINES[1:],
        [LINES[0], LINES[-1]],
        [*LINES, LINES[-1]],
        [*LINES[:1], *LINES[2:]],
        [LINES[0], LINES[2], LINES[1], *LINES[3:]],
        [line.replace(b"Cat", b"Kat") for line in LINES],
        [line.replace(b'"at_ms"', b'"at"') for line in LINES],
        [LINES[0].replace(b"1", b'"1"', 1), *LINES[1:]],
        [LINES[0], LINES[1][:-1], *LINES[2:]],
        [LINES[0], b"\xff" + LINES[1], *LINES[2:]],
        [LINES[0], b"[" * 100_000, *LINES[2:]],
        [b'{"x":' + b"[" * 100_000, *LINES[1:]],
        [line.replace(b"Cat", b"C\xfft") for line in LINES],
        [b'{"schema": 1}', *LINES],
    ],
)
def test_what_is_damaged_is_not_read(lines: list[bytes]) -> None:
    """Lines that are cut short, out of order, altered or no snapshot are refused."""
    with pytest.raises(UnreadableSnapshotError):
        STATE_CODEC.decode(lines)


@pytest.mark.parametrize("version", [0, 4, -1, 10**6])
def test_a_version_that_is_not_known_is_not_read(version: int) -> None:
    """A newer version, and one without an upcast, are refused."""
    newer = [LINES[0].replace(b'"snapshot":3', b'"snapshot":%d' % version), *LINES[1:]]
    with pytest.raises(UnreadableSnapshotError, match=f"version {version}; this program reads version 3"):
        STATE_CODEC.decode(newer)


def test_an_older_version_is_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is upcast through every version in order."""

    def from_minus_one(line: dict[str, Any]) -> dict[str, Any]:
        return {"tip" if name == "end" else name: value for name, value in line.items()}

    def from_zero(line: dict[str, Any]) -> dict[str, Any]:
        return line | {"messages_sent": line["messages_sent"] - 1} if "messages_sent" in line else line

    state = every_shape()
    newer = msgspec.structs.replace(state, messages_sent=state.messages_sent + 1)
    lines = [line.replace(b'"snapshot":3', b'"snapshot":-1').replace(b'"tip":', b'"end":') for line in written(newer)]
    lines[-1] = msgspec.json.encode(
        {"sha256": hashlib.sha256(b"".join(b"%s\n" % line for line in lines[:-1])).hexdigest()}
    )
    monkeypatch.setattr(snapshots, "UPCASTS", {-1: from_minus_one, 0: from_zero, **snapshots.UPCASTS})
    assert STATE_CODEC.decode(lines) == state


def test_nothing_is_looked_through_for_garbage_meanwhile() -> None:
    """Garbage collection is paused while a snapshot is decoded."""
    looked = []

    def lines() -> Iterator[bytes]:
        for line in LINES:
            looked.append(gc.isenabled())
            yield line

    STATE_CODEC.decode(lines())
    assert not any(looked[1:])


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_afterwards_as_before(enabled: bool) -> None:
    """Garbage collection is as before afterwards, also after an error."""
    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        STATE_CODEC.decode(LINES)
        with pytest.raises(UnreadableSnapshotError):
            STATE_CODEC.decode([])
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
