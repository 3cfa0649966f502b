"""The rows of other brokers, and how far they can be relied on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.notes import ROWS_MAX, Confirmed, Gone, Note, Part, SessionNote, decode_note, encode_note
from broker.own_rows import NEVER, OwnRows, Rows
from broker.roster import BEAT_MS, FLUSH_MS, LEASE_MS, LINGER_MS_MAX, MARGIN_MS, NOT_HEARD, Heard, Roster
from events.coordination import NOTE_BYTES_MAX
from events.ids import ConnectionId
from tests.support.people import ANN, BOB, CAT

OWN, OTHER, THIRD = b"own.....", b"other...", b"third..."
QUEUE_MS = 90_000.0


class Bench:
    """A roster started at 0, and others' notes for it."""

    def __init__(self) -> None:
        self.roster = Roster(OWN, 0)
        self.numbers: dict[bytes, int] = {}
        self.roster.subscribed(0)

    def note(self, broker: bytes = OTHER, now_ms: float = 0, **fields: Any) -> tuple[Confirmed, ...]:
        """Receive the next note of `broker`."""
        self.numbers[broker] = self.numbers.get(broker, 0) + 1
        if broker == OWN:
            self.roster.sent(self.numbers[OWN], now_ms)
        return self.roster.receive(Note(broker, self.numbers[broker], **fields), now_ms)

    def lose_note(self, broker: bytes = OTHER) -> None:
        """Let the next note of `broker` be lost."""
        self.numbers[broker] = self.numbers.get(broker, 0) + 1

    def beat(self, now_ms: float, *brokers: bytes) -> None:
        """Receive a note of this broker and of `brokers`."""
        for broker in (*brokers, OWN):
            self.note(broker, now_ms)


def test_one_told_of_is_heard_until_its_end_is_told() -> None:
    """Its end counts from when it was, by the age in the row."""
    bench = Bench()
    bench.note(here=(ANN,))
    assert bench.roster.heard(ANN).is_heard
    bench.note(now_ms=9_000, gone=(Gone(ANN, 4_000, 2_000),))
    assert bench.roster.heard(ANN) == Heard(is_heard=False, stream_closed_ms=5_000, call_over_ms=7_000)
    bench.note(now_ms=9_500, gone=(Gone(ANN, None, 9_000),))
    assert bench.roster.heard(ANN) == Heard(is_heard=False, stream_closed_ms=5_000, call_over_ms=7_000)
    assert bench.roster.heard(BOB) == NOT_HEARD


def test_deadlines_are_judged_by_the_newest_own_note() -> None:
    """A margin is subtracted; without own notes, that time stands still."""
    bench = Bench()
    bench.beat(LEASE_MS, OTHER)
    assert bench.roster.judged_by_ms(LEASE_MS + 50) == LEASE_MS - MARGIN_MS
    assert bench.roster.judged_by_ms(LEASE_MS + 60_000) == LEASE_MS - MARGIN_MS
    assert bench.roster.fresh_age_ms(LEASE_MS + 60_000) == 60_000


def test_a_new_broker_judges_nobody_for_a_lease() -> None:
    """Another broker may live without having been heard."""
    bench = Bench()
    bench.beat(LEASE_MS - 1, OTHER)
    assert bench.roster.judged_by_ms(LEASE_MS - 1) == NEVER
    assert bench.roster.judged_by_ms(LEASE_MS) > 0


def test_after_a_gap_all_rows_are_needed() -> None:
    """Absence is judged only with them; they replace the earlier rows."""
    bench = Bench()
    bench.note(here=(ANN, BOB))
    bench.lose_note()
    bench.beat(LEASE_MS, OTHER)
    assert bench.roster.lacks_rows
    assert bench.roster.judged_by_ms(LEASE_MS) == NEVER
    bench.note(here=(BOB,), all_rows=Part(1, 2))
    assert bench.roster.lacks_rows
    bench.note(here=(CAT,), gone=(Gone(ANN, None, 0),), all_rows=Part(2, 2))
    assert not bench.roster.lacks_rows
    assert [bench.roster.heard(who).is_heard for who in (ANN, BOB, CAT)] == [False, True, True]


def test_rows_with_a_part_missing_are_not_all() -> None:
    """A gap among the parts has them asked for again."""
    bench = Bench()
    bench.lose_note()
    bench.note(here=(ANN,), all_rows=Part(1, 3))
    bench.lose_note()
    bench.note(here=(CAT,), all_rows=Part(3, 3))
    assert bench.roster.lacks_rows


def test_a_lost_broker_keeps_its_rows() -> None:
    """Its connections count as heard until just after its last note, and its reported ends a little later."""
    bench = Bench()
    bench.note(here=(ANN,), gone=(Gone(BOB, None, 0),))
    bench.note(OWN, LEASE_MS)
    assert bench.roster.check_lost(LEASE_MS) == []
    bench.note(OWN, LEASE_MS + 1)
    assert bench.roster.check_lost(LEASE_MS + 1) == [ANN]
    until_ms = BEAT_MS + FLUSH_MS
    assert bench.roster.heard(ANN) == Heard(is_heard=False, stream_closed_ms=until_ms, call_over_ms=until_ms)
    assert bench.roster.heard(BOB).call_over_ms == LINGER_MS_MAX
    assert not bench.roster.lacks_rows
    bench.note(now_ms=LEASE_MS + 2)
    assert bench.roster.heard(ANN).is_heard
    assert bench.roster.lacks_rows


def test_a_broker_that_receives_nothing_loses_nobody() -> None:
    """The cut-off broker is this one; after a new subscription, the others have a whole lease."""
    bench = Bench()
    bench.note(here=(ANN,))
    bench.note(OWN, 0)
    assert bench.roster.check_lost(60_000) == []
    bench.roster.subscribed(60_000)
    bench.note(OWN, 60_000)
    assert bench.roster.check_lost(60_000 + LEASE_MS) == []
    assert bench.roster.heard(ANN).is_heard


def test_a_broker_lost_with_rows_unknown_begins_all_graces_anew() -> None:
    """It may have heard any connection until its last note."""
    bench = Bench()
    bench.note()
    bench.lose_note()
    bench.note(now_ms=5_000)
    bench.note(OWN, 5_000 + LEASE_MS + 1)
    bench.roster.check_lost(5_000 + LEASE_MS + 1)
    assert bench.roster.anew_ms == 5_000 + BEAT_MS + FLUSH_MS


def test_a_broker_that_ends_hears_nobody() -> None:
    """It says goodbye, and its notes under way count for nothing."""
    bench = Bench()
    bench.note(here=(ANN,))
    bench.note(now_ms=3_000, is_bye=True)
    assert bench.roster.heard(ANN) == Heard(is_heard=False, stream_closed_ms=3_000, call_over_ms=3_000)
    assert bench.roster.brokers == 1
    bench.note(here=(BOB,))
    assert bench.roster.heard(BOB) == NOT_HEARD


def test_every_broker_names_the_same_one() -> None:
    """Each connection has one of the living brokers; and the caretaker is the same for all."""
    rosters = {broker: Roster(broker, 0) for broker in (OWN, OTHER, THIRD)}
    for broker, roster in rosters.items():
        for other in rosters:
            if other != broker:
                roster.receive(Note(other, 1), 0)
    people = [ConnectionId(f"c_{number}") for number in range(60)]
    named = {who: [broker for broker, roster in rosters.items() if roster.is_named(who)] for who in people}
    assert all(len(brokers) == 1 for brokers in named.values())
    assert {brokers[0] for brokers in named.values()} == set(rosters)
    assert [broker for broker, roster in rosters.items() if roster.is_caretaker] == [min(rosters)]


def test_rows_that_say_nothing_any_more_are_forgotten() -> None:
    """Rows of idle connections go, and rows of brokers lost for longer than any grace."""
    bench = Bench()
    bench.note(gone=(Gone(ANN, None, 0), Gone(BOB, None, 0)))
    bench.roster.forget(lambda who: who == ANN, QUEUE_MS, 0)
    assert bench.roster.heard(ANN) == NOT_HEARD
    assert bench.roster.heard(BOB) != NOT_HEARD
    bench.note(OWN, LEASE_MS + 1)
    bench.roster.check_lost(LEASE_MS + 1)
    bench.roster.forget(lambda who: False, QUEUE_MS, QUEUE_MS + LEASE_MS + 1)
    assert bench.roster.heard(BOB) == NOT_HEARD
    bench.note(THIRD, is_bye=True)
    bench.roster.forget(lambda who: False, QUEUE_MS, 10 * QUEUE_MS)
    bench.roster.forget(lambda who: False, QUEUE_MS, 20 * QUEUE_MS)
    assert bench.roster._ended == {}


def test_signs_of_life_pass_through() -> None:
    """Only other brokers' signs pass."""
    bench = Bench()
    row = Confirmed(ANN, 7)
    assert bench.note(confirmed=(row,)) == (row,)
    assert bench.note(OWN, confirmed=(row,)) == ()


def test_a_note_comes_back_as_it_was() -> None:
    """Anything but a note of this version decodes to `None`."""
    note = Note(OWN, 3, (ANN,), (Gone(BOB, 1, None),), (Confirmed(ANN, 3),), Part(1, 2), is_bye=True)
    assert decode_note(encode_note(note)) == note
    for raw in (b"", b"\xc1", encode_note(note)[:-3], b"\x93\x01\x02\x03"):
        assert decode_note(raw) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"here": tuple(ConnectionId(f"c_{number:032x}") for number in range(ROWS_MAX))},
        {"gone": tuple(Gone(ConnectionId(f"c_{number:032x}"), 2**40, 2**40) for number in range(ROWS_MAX))},
        {"confirmed": tuple(Confirmed(ConnectionId(f"c_{number:032x}"), 2**53) for number in range(ROWS_MAX))},
        {"sessions": tuple(SessionNote("0" * 32, "entered", "c_" + "0" * 32) for _ in range(ROWS_MAX // 4))},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_the_largest_notes_fit_the_channel(fields: dict[str, Any]) -> None:
    """With as many rows as a note may have."""
    assert len(encode_note(Note(OWN, 2**40, **fields))) <= NOTE_BYTES_MAX


class Someone:
    """The signs of life of one connection."""

    def __init__(self, who: ConnectionId) -> None:
        self.connection_id = who
        self.streams = self.calls = 0
        self.stream_closed_ms = self.call_over_ms = self.heard_ms = NEVER


class TwoBrokers(RuleBasedStateMachine):
    """A broker with a lossy channel for its rows; the other knows the heard connections, or that rows are missing."""

    LINGER_MS = 2_000.0

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0.0
        self.people = {who: Someone(who) for who in (ANN, BOB, CAT)}
        self.idle: set[ConnectionId] = set()
        self.rows = OwnRows(self.idle.__contains__, lambda: self.LINGER_MS)
        self.roster = Roster(OWN, 0)
        self.number = 0
        self.is_gap_unknown = True
        self.ended_ms: dict[ConnectionId, float] = {}

    def tell(self, rows: Rows, *, is_lost: bool, all_rows: Part | None = None) -> None:
        """Send a note."""
        self.number += 1
        self.is_gap_unknown = is_lost  # the next note shows it
        if not is_lost:
            note = Note(OTHER, self.number, tuple(rows.here), tuple(rows.gone), all_rows=all_rows)
            self.roster.receive(note, self.now_ms)

    @rule(who=st.sampled_from([ANN, BOB, CAT]), kind=st.sampled_from(["stream", "call", "short call"]))
    def is_heard(self, who: ConnectionId, kind: str) -> None:
        """A stream opens or a call begins; a short one is over at once."""
        someone = self.people[who]
        if not (someone.streams or someone.calls):
            self.rows.touch(someone)
        someone.streams += kind == "stream"
        someone.calls += kind != "stream"
        if kind == "short call":
            self.ends(who)

    @rule(who=st.sampled_from([ANN, BOB, CAT]))
    def ends(self, who: ConnectionId) -> None:
        """Its call is over, or else its stream closes."""
        someone = self.people[who]
        if not (someone.calls or someone.streams):
            return
        if someone.calls:
            someone.calls -= 1
            someone.call_over_ms = self.now_ms
        else:
            someone.streams -= 1
            someone.stream_closed_ms = self.now_ms
            someone.call_over_ms = max(someone.call_over_ms, 0)
        someone.heard_ms = self.now_ms
        if not (someone.streams or someone.calls):
            self.rows.touch(someone)
            if who not in self.idle:
                self.ended_ms[who] = self.now_ms

    @rule(who=st.sampled_from([ANN, BOB, CAT]), is_idle=st.booleans())
    def moves(self, who: ConnectionId, is_idle: bool) -> None:
        """It leaves, or enters the queue."""
        if is_idle:
            self.idle.add(who)
            self.ended_ms.pop(who, None)
        elif who in self.idle:
            self.idle.discard(who)
            if self.people[who].streams or self.people[who].calls:
                self.rows.touch(self.people[who])

    @rule(later_ms=st.sampled_from([10, 900, 2_500]), is_lost=st.booleans())
    def flushes(self, later_ms: int, is_lost: bool) -> None:
        """Time passes, and the next note is sent; it may be lost."""
        self.now_ms += later_ms
        self.tell(self.rows.take(self.now_ms), is_lost=is_lost)

    @rule()
    def tells_all(self) -> None:
        """It was asked for all its rows."""
        self.tell(self.rows.take(self.now_ms), is_lost=False)
        self.tell(self.rows.take_all(self.people.values(), self.now_ms), is_lost=False, all_rows=Part(1, 1))
        assert not self.roster.lacks_rows

    @rule()
    def forgets(self) -> None:
        """Drop the rows of idle connections."""
        self.rows.forget()

    @invariant()
    def all_that_was_told_is_known(self) -> None:
        """Unless rows are missing, or something is still to be told."""
        if self.is_gap_unknown or self.roster.lacks_rows or self.rows.has_news:
            return
        for who, someone in self.people.items():
            if who in self.idle:
                continue
            heard = self.roster.heard(who)
            if someone.streams or someone.calls:
                assert heard.is_heard, who
            elif who in self.ended_ms and not heard.is_heard:
                latest_ms = max(heard.stream_closed_ms, heard.call_over_ms)
                assert latest_ms >= self.ended_ms[who] - self.LINGER_MS, who


TestTwoBrokers = TwoBrokers.TestCase
