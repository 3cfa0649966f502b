"""The soak's bookkeeping finds a lost, doubled, reordered or invented message."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest

from benchmarks.soak import inbox as inboxes
from benchmarks.soak.delivery_ledger import DeliveryLedger
from benchmarks.soak.inbox import ObservedInbox
from benchmarks.soak.rooms import Identity, RoomMember
from benchmarks.wire import NotificationMeta, NotificationParams, StreamFrame

ROOM = "r_1"
GRACE_S = 4.0


class Pair:
    """Ann and Bob in one room, from position 1 on."""

    def __init__(self) -> None:
        self.ledger = DeliveryLedger(GRACE_S)
        self.ann, self.bob = Identity("ann"), Identity("bob")
        self.ann_in = self.ledger.found(self.ann, ROOM, "bob", 1, logged=True)
        self.bob_in = self.ledger.found(self.bob, ROOM, "ann", 1, logged=True)

    def says(self, text: str, *, accepted: bool = True) -> None:
        """Ann says something, and is answered."""
        self.ledger.answered(self.ann_in, self.ledger.says(self.ann_in, text), accepted=accepted)

    def hears(self, text: str) -> None:
        """Bob is notified of it."""
        self.ledger.heard(self.bob, NotificationParams(room_id=ROOM, message=text))

    def is_told(self, who: Identity, reason: str, at: float | None = None) -> None:
        """Notify `who` of the closing."""
        stamp = datetime.fromtimestamp(time.time() if at is None else at, UTC).isoformat()
        self.ledger.heard(who, NotificationParams(room_id=ROOM, reason=reason, timestamp=stamp))

    def ends(self) -> list[str]:
        """Let Ann leave, tell Bob, finish, and return the problems."""
        leaves(self.ann_in)
        self.is_told(self.bob, "left")
        return self.drained()

    def drained(self) -> list[str]:
        """Let both read everything, finish, and return the first line of each problem."""
        self.ledger.caught_up(self.ann)
        self.ledger.caught_up(self.bob)
        self.ledger.finish()
        return [problem.splitlines()[0] for problem in self.ledger.problems]


def leaves(member: RoomMember) -> None:
    """Record a successful `leave_chat` of `member`."""
    member.closing.add("left")
    member.left = True


@pytest.fixture
def pair() -> Pair:
    """Two members notified of each other."""
    return Pair()


def test_a_conversation_that_is_heard_as_it_was_said_is_well(pair: Pair) -> None:
    """A conversation heard once and in order has no problem; a refused message is not missed."""
    pair.says("one")
    pair.hears("one")
    pair.says("two", accepted=False)
    pair.says("three")
    pair.hears("three")
    assert pair.ends() == []
    assert pair.ledger.unsettled == 0
    assert pair.ledger.counts["messages"] == 2


def test_a_message_that_is_lost_is_found_out(pair: Pair) -> None:
    """A message answered `success` is a problem if the other member has read everything and never heard it."""
    pair.says("one")
    pair.hears("one")
    pair.says("two")
    assert pair.ends() == [f"{ROOM}: LOST: bob never heard 'two', which was answered success"]


def test_a_message_that_is_lost_is_noticed_at_the_next(pair: Pair) -> None:
    """A loss is found before the end."""
    pair.says("one")
    pair.says("two")
    pair.hears("two")
    assert pair.ledger.problem_count == 1
    assert len(pair.ends()) == 2


def test_a_message_that_is_doubled_is_found_out(pair: Pair) -> None:
    """A second copy is a problem, even under another cursor."""
    pair.says("one")
    pair.hears("one")
    pair.hears("one")
    assert pair.ends() == ["bob heard twice: 'one'"]


def test_messages_out_of_order_are_found_out(pair: Pair) -> None:
    """Hearing the second message before the first is a problem."""
    pair.says("one")
    pair.says("two")
    pair.hears("two")
    pair.hears("one")
    assert "bob heard 'two' before what was said first" in pair.ends()


def test_what_nobody_said_is_found_out(pair: Pair) -> None:
    """Another text, a message from an unknown room, and a refused message that was heard are problems."""
    pair.hears("who is there?")
    pair.ledger.heard(pair.bob, NotificationParams(room_id="r_2", message="and who here?"))
    said = pair.ledger.says(pair.ann_in, "one")
    pair.hears("one")
    pair.ledger.answered(pair.ann_in, said, accepted=False)
    assert pair.ends() == [
        "bob heard what nobody said: 'who is there?'",
        "bob hears of r_2, of whose opening they were not told",
        "ann was refused what was heard: 'one'",
    ]


def test_a_closing_that_is_told_to_nobody_or_to_both_is_found_out(pair: Pair) -> None:
    """Exactly one of the two is notified: the member who did not close the room."""
    leaves(pair.ann_in)
    leaves(pair.bob_in)
    assert pair.drained() == [f"{ROOM}: told of its closing: nobody"]
    other = Pair()
    leaves(other.ann_in)
    leaves(other.bob_in)
    other.is_told(other.bob, "left")
    other.is_told(other.ann, "left")
    assert other.drained() == [f"{ROOM}: told of its closing: ann and bob"]


def test_an_opening_that_is_told_to_one_alone_is_found_out() -> None:
    """An opening known from a call's result alone is a problem too if a notification was due."""
    ledger, ann = DeliveryLedger(GRACE_S), Identity("ann")
    ledger.found(ann, ROOM, "bob", 1, logged=True)
    ledger.finish()
    assert [problem.splitlines()[0] for problem in ledger.problems] == [f"{ROOM}: 1 were told of its opening"]
    pair = Pair()
    pair.bob_in.notices = 0
    assert pair.ends() == [f"{ROOM}: bob was not notified of its opening"]


def test_a_reason_that_nobody_gave_is_found_out(pair: Pair) -> None:
    """Ann left, and Bob is told that she looked for another."""
    leaves(pair.ann_in)
    pair.is_told(pair.bob, "next")
    assert len(pair.drained()) == 1


@pytest.mark.parametrize(("seconds", "well"), [(GRACE_S + 1, True), (GRACE_S - 1, False)])
def test_nobody_is_called_absent_before_their_grace_is_over(seconds: float, well: bool) -> None:
    """A member with a dropped stream may be called absent only after the grace."""
    pair = Pair()
    pair.ann.stream_opened()
    pair.ann.stream_dropped()
    pair.is_told(pair.bob, "disconnected", time.time() + seconds)
    assert (pair.ledger.problem_count == 0) is well


def test_who_has_an_open_stream_is_not_absent(pair: Pair) -> None:
    """A member with an open stream is present, however long it is silent."""
    pair.ann.stream_opened()
    pair.is_told(pair.bob, "disconnected", time.time() + 1_000)
    assert pair.ledger.problem_count == 1


class BobsInbox:
    """Bob with an inbox, notified by frames and pages."""

    def __init__(self) -> None:
        self.pair = Pair()
        self.inbox = ObservedInbox(self.pair.ledger, self.pair.bob, "c_bob", 1)
        for text in ("one", "two", "three"):
            self.pair.says(text)

    def told(self, cursor: int, text: str) -> StreamFrame:
        """Return the frame of a message."""
        params = NotificationParams(room_id=ROOM, message=text, cursor=cursor, meta=NotificationMeta("c_bob"))
        return StreamFrame("message.received", params)

    @property
    def problems(self) -> list[str]:
        """The problems so far."""
        return self.pair.ledger.problems


def test_a_frame_that_comes_twice_is_found_out() -> None:
    """Cursors must grow from frame to frame."""
    bob = BobsInbox()
    bob.inbox.frame(bob.told(2, "one"))
    bob.inbox.frame(bob.told(2, "one"))
    assert len(bob.problems) == 1


def test_a_frame_for_another_is_found_out() -> None:
    """Each frame names its recipient."""
    bob = BobsInbox()
    frame = bob.told(2, "one")
    assert frame.params is not None
    frame.params.meta = NotificationMeta("c_ann")
    bob.inbox.frame(frame)
    assert len(bob.problems) == 1


def test_what_a_page_and_a_stream_both_hold_is_heard_once() -> None:
    """A message in a live stream, in the page before it, and in one late frame counts once."""
    bob = BobsInbox()
    bob.inbox.hold()
    bob.inbox.frame(bob.told(3, "two"))
    bob.inbox.page([bob.told(2, "one"), bob.told(3, "two"), bob.told(4, "three")], 4)
    bob.inbox.caught_up()
    bob.inbox.frame(bob.told(4, "three"))
    assert bob.problems == []
    assert bob.inbox.cursor == 4
    bob.inbox.frame(bob.told(4, "three"))
    assert len(bob.problems) == 1


def test_a_frame_that_no_page_holds_is_found_out() -> None:
    """The log is the truth: a frame must be in the page of its stretch."""
    bob = BobsInbox()
    bob.inbox.hold()
    bob.inbox.frame(bob.told(2, "one"))
    bob.inbox.page([], 2)
    bob.inbox.caught_up()
    assert len(bob.problems) == 1


def test_a_stream_that_leaves_something_out_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of the same stretch shows the gap, even at the end, with no next frame to show it."""
    monkeypatch.setattr(inboxes, "FRAME_WITHIN_S", 0.01)
    bob = BobsInbox()
    bob.inbox.frame(bob.told(2, "one"))
    asyncio.run(bob.inbox.audit([bob.told(2, "one")], 2, missed=False))
    assert bob.problems == []
    asyncio.run(bob.inbox.audit([bob.told(3, "two")], 3, missed=False))
    assert len(bob.problems) == 2


def test_a_page_that_misses_something_is_found_out() -> None:
    """No client of the soak reads from before the log's beginning, so `missed` is always a problem."""
    bob = BobsInbox()
    bob.inbox.page([], 5, missed=True)
    assert len(bob.problems) == 1
