"""Each rule of chat as an example with the result of the reference model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from broker.testing.reference_matching import IllegalChoiceError
from broker.testing.reference_model import ReferenceModel, ReferenceResult
from events.commands import (
    AdoptPolicy,
    BlockPartner,
    CancelMatch,
    Command,
    Disconnect,
    EnterQueue,
    ForgetNames,
    LeaveQueue,
    MatchDue,
    ReportPartner,
    SendMessage,
)
from events.commit import Facts
from events.events import (
    NamesForgotten,
    PartnerBlocked,
    PartnerReported,
    PolicyAdopted,
    QueueEntered,
    QueueEntry,
    QueueLeft,
    RoomClosed,
    RoomOpened,
)
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from events.text import RedactedText
from tests.support.people import (
    ANN,
    BOB,
    CAT,
    DAN,
    closed,
    enter,
    entered,
    leave,
    leave_queue,
    move_on,
    opened,
    said,
    say,
    vanish,
)
from tests.support.specs import NOON_MS

R1, R2, R3 = (RoomId(f"r_{number}") for number in (1, 2, 3))
DONE = ReferenceResult()
NOON = "2026-09-21T14:13:20.000Z"


class Story:
    """A reference model with commands in sequence; rooms are named in the order of their opening."""

    def __init__(self, **limits: Any) -> None:
        self.reference = ReferenceModel()
        self.now_ms = NOON_MS
        if limits:
            self.after(AdoptPolicy(Policy(**limits)))

    def after(self, *commands: Command, by_ms: int = 0, avoid: tuple[ConnectionId, ...] = ()) -> ReferenceResult:
        """Return the result of the last of `commands`, all given `by_ms` later."""
        self.now_ms += by_ms
        for command in commands:
            room = RoomId(f"r_{self.rooms_opened + 1}")
            salt = "salt" if isinstance(command, SendMessage | ReportPartner) else None
            answer = self.reference.apply(command, Facts(self.now_ms, room, salt, avoid))
        return answer

    @property
    def rooms_opened(self) -> int:
        """The number of rooms opened so far."""
        state = self.reference.state
        return state.rooms_closed + len([room for room in state.rooms if room.closed is None])

    def waiting(self) -> list[ConnectionId]:
        """Return the waiting connections in order."""
        return [waiting.connection_id for waiting in self.reference.state.queue]


def refused(code: str, retry_after_ms: int | None = None) -> ReferenceResult:
    """Return a rejection."""
    return ReferenceResult(code=code, retry_after_ms=retry_after_ms)


def pair(**limits: Any) -> Story:
    """Return a story with Ann and Bob in room 1."""
    story = Story(**limits)
    story.after(enter(ANN), enter(BOB))
    return story


def test_a_newcomer_waits_and_the_next_one_meets_them() -> None:
    """The waiting connection is `first`, and both are told of the other's name."""
    story = Story()
    assert story.after(enter(ANN)) == ReferenceResult((entered(ANN),))
    assert story.after(enter(BOB)) == ReferenceResult(
        (entered(BOB), opened(ANN, BOB, R1)),
        (
            (ANN, "chatroom.found", {"room_id": R1, "partner": "Bob", "timestamp": NOON, "cursor": 2}),
            (BOB, "chatroom.found", {"room_id": R1, "partner": "Ann", "timestamp": NOON, "cursor": 2}),
        ),
    )
    assert story.waiting() == []


def test_entering_again_is_done_already_while_waiting_and_refused_while_chatting() -> None:
    """A repeated entry changes nothing, and an entry from a room is refused."""
    story = Story()
    assert story.after(enter(ANN), enter(ANN)) == DONE
    assert pair().after(enter(BOB)) == refused("already_chatting")


def test_a_message_reaches_the_other_member_alone() -> None:
    """A message is delivered verbatim to the other member."""
    assert pair().after(say(BOB, "hi", "m1", R1)) == ReferenceResult(
        (said(BOB, ANN, "hi", "m1", R1),),
        (
            (
                ANN,
                "message.received",
                {"room_id": R1, "timestamp": NOON, "cursor": 3, "message": "hi", "sender": "stranger"},
            ),
        ),
    )


def test_a_text_that_was_redacted_is_told_as_such() -> None:
    """A redacted text is delivered as `[redacted]`."""
    command = SendMessage(BOB, R1, RedactedText(2, "0" * 64), None)
    assert pair().after(command).notifications[0][2]["message"] == "[redacted]"


def test_a_repeat_is_known_before_all_else() -> None:
    """A repeated message id is done before the rate limit and after the end of the chat, for its sender alone."""
    story = pair(messages_per_10s_max=1)
    assert len(story.after(say(ANN, "hi", "m1", R1)).events) == 1
    assert story.after(say(ANN, "ho", "m1", R1)) == DONE
    assert len(story.after(say(BOB, "ho", "m1", R1)).events) == 1
    story.after(leave(BOB, R1))
    assert story.after(say(ANN, "hi", "m1", R1)) == DONE
    assert story.after(say(ANN, "hi", "m2", R1)) == refused("chat_ended")
    assert story.after(say(CAT, "hi", "m1", R1)) == refused("room_not_found")


@pytest.mark.parametrize(
    ("kept", "is_known"), [(4, [False, False, True, True, True]), (1, [False, False, False, True, True])]
)
def test_half_of_the_message_ids_are_known_at_least(kept: int, is_known: list[bool]) -> None:
    """The older half is forgotten as soon as the newer half is full."""
    for number, known in enumerate(is_known):
        story = pair(message_ids_kept=kept, messages_per_10s_max=100)
        story.after(*(say(ANN, "hi", f"m{sent}", R1) for sent in range(5)))
        assert (story.after(say(ANN, "hi", f"m{number}", R1)) == DONE) == known


def test_the_rate_limit_lets_a_burst_through_and_then_one_after_the_other() -> None:
    """Three messages pass at once, and a fourth after a third of ten seconds."""
    story = pair(messages_per_10s_max=3)
    for _ in range(3):
        assert story.after(say(ANN, room=R1)).code is None
    assert story.after(say(ANN, room=R1)) == refused("rate_limited", 3_334)
    assert story.after(say(ANN, room=R1), by_ms=3_333) == refused("rate_limited", 1)
    assert story.after(say(ANN, room=R1), by_ms=1).code is None
    assert story.after(say(BOB, room=R1)).code is None


def test_entering_is_limited_too() -> None:
    """The rate limit holds for every way of entering; a new connection has used nothing of it."""
    story = Story(queue_commands_per_10s_max=1)
    assert story.after(enter(ANN), leave_queue(ANN), enter(ANN)) == refused("rate_limited", 10_000)
    assert story.after(enter(ANN), by_ms=10_000) == ReferenceResult((entered(ANN),))
    assert story.after(enter(BOB), move_on(BOB, R1)) == refused("rate_limited", 10_000)


def test_moving_on_closes_the_room_and_queues_under_the_same_name() -> None:
    """Moving on notifies the partner and matches a waiting connection."""
    story = Story()
    story.after(enter(ANN, "Anna", "tea"), enter(BOB), enter(CAT))
    answer = story.after(move_on(ANN, R1))
    assert answer.events == (
        closed(ANN, BOB, "next", R1),
        entered(ANN, "Anna", "tea"),
        RoomOpened(R2, CAT, ANN, "Cat", "Anna"),
    )
    assert [(who, method) for who, method, _ in answer.notifications] == [
        (BOB, "partner.disconnected"),
        (CAT, "chatroom.found"),
        (ANN, "chatroom.found"),
    ]


def test_moving_on_from_a_closed_room_queues_or_is_done_already() -> None:
    """Moving on from a closed room is done already while waiting, or in the next room."""
    story = pair()
    story.after(leave(BOB, R1))
    assert story.after(move_on(ANN, R1)) == ReferenceResult((entered(ANN),))
    assert story.after(move_on(ANN, R1)) == DONE
    story.after(enter(CAT))
    assert story.after(move_on(ANN, R1)) == DONE
    assert story.after(move_on(DAN, R1)) == refused("room_not_found")


def test_leaving_is_done_once() -> None:
    """Leaving the queue or a room a second time changes nothing, and other rooms are not found."""
    story = Story()
    assert story.after(enter(ANN), leave_queue(ANN)) == ReferenceResult((QueueLeft(ANN, "left"),))
    assert story.after(leave_queue(ANN)) == DONE
    assert story.after(LeaveQueue(DAN)) == DONE
    story = pair()
    assert story.after(leave(CAT, R1)) == refused("room_not_found")
    answer = story.after(leave(ANN, R1))
    assert answer.events == (closed(ANN, BOB, "left", R1),)
    assert [(who, params["reason"]) for who, _, params in answer.notifications] == [(BOB, "left")]
    assert story.after(leave(ANN, R1)) == story.after(leave(BOB, R1)) == DONE


def test_who_has_done_something_since_is_not_absent() -> None:
    """A connection with a later event of its own is not disconnected; a received message is none."""
    story = pair()
    story.after(say(BOB, room=R1))
    assert story.after(Disconnect(BOB, "timeout", since=2)) == DONE
    assert story.after(Disconnect(ANN, "timeout", since=2)).events == (closed(ANN, BOB, "timeout", R1),)
    assert story.after(vanish(ANN)) == story.after(vanish(DAN)) == DONE
    assert Story().after(enter(ANN), vanish(ANN)).events == (QueueLeft(ANN, "timeout"),)


def test_only_so_many_may_wait_and_chat() -> None:
    """Entering is refused at the limit of the queue or of the rooms."""
    story = Story(matching="interests", queue_connections_max=1)
    assert story.after(enter(ANN), enter(BOB)) == refused("queue_full")
    story = pair(rooms_open_max=1)
    assert story.after(enter(CAT)).code is None
    assert story.after(enter(DAN)) == refused("queue_full")


def test_only_the_newest_closed_rooms_are_kept() -> None:
    """A closed room beyond the limit is unknown."""
    story = pair(closed_rooms_kept=1)
    story.after(leave(ANN, R1), enter(ANN), enter(BOB))
    assert story.after(leave(ANN, R1)) == DONE
    story.after(leave(ANN, R2))
    assert story.after(leave(ANN, R1)) == refused("room_not_found")
    assert story.after(leave(ANN, R2)) == DONE


def test_the_longest_idle_are_forgotten() -> None:
    """Waiting and chatting connections are kept; after a chat, its closer is forgotten first."""
    story = pair(connections_kept=2)
    story.after(leave(BOB, R1), enter(CAT))
    known = [known.connection_id for known in story.reference.state.connections]
    assert known == [ANN, CAT]
    assert story.after(move_on(BOB, R1)) == refused("unknown_handle")
    story = pair(connections_kept=1)
    assert story.after(say(ANN, room=R1)).code is None


def test_by_interests_the_one_who_shares_most_is_met() -> None:
    """The most shared interests win, then the longest wait; without any, patience must end first."""
    story = Story(matching="interests", interest_patience_ms=5_000)
    story.after(enter(ANN, "Ann", "go", "tea"), enter(BOB, "Bob", "chess"), enter(CAT, "Cat", "jazz"), by_ms=1)
    assert story.waiting() == [ANN, BOB, CAT]
    assert story.after(enter(DAN, "Dan", "chess", "go", "tea")).events[1] == opened(ANN, DAN, R1)
    assert story.after(MatchDue(CAT), by_ms=4_999) == DONE
    assert story.after(MatchDue(CAT), by_ms=1).events == (opened(BOB, CAT, R2),)
    assert story.after(MatchDue(CAT)) == DONE


def test_a_room_too_many_is_refused_to_the_patient_too() -> None:
    """A due match at the limit of the rooms is refused, so that the broker tries again."""
    story = Story(matching="interests", rooms_open_max=1, interest_patience_ms=1)
    story.after(enter(ANN, "Ann", "tea"), enter(BOB, "Bob", "tea"), enter(CAT, "Cat", "go"), enter(DAN, "Dan", "ski"))
    assert story.after(MatchDue(CAT), by_ms=1) == refused("queue_full")


def test_another_policy_holds_from_then_on() -> None:
    """Adopting a policy is an event; adopting the same again is done already."""
    policy = Policy(messages_per_10s_max=1)
    story = Story()
    assert story.after(AdoptPolicy(policy)) == ReferenceResult((PolicyAdopted(policy),))
    assert story.after(AdoptPolicy(policy)) == DONE


def test_whom_a_matching_of_ones_own_names_is_met() -> None:
    """A custom matching is given the connection, its interests, its waiting time and the time."""
    asked = []

    def choose(
        who: ConnectionId, interests: tuple[str, ...], waited_ms: int, at_ms: int, hidden: Sequence[ConnectionId]
    ) -> ConnectionId | None:
        assert not hidden
        asked.append((who, interests, waited_ms, at_ms))
        return ANN if who == CAT else None

    reference = ReferenceModel(choose)
    for command in (enter(ANN), enter(BOB, "Bob", "tea")):
        reference.apply(command, Facts(NOON_MS, R1))
    assert reference.apply(enter(CAT), Facts(NOON_MS + 7, R2)).events[1] == opened(ANN, CAT, R2)
    reference.apply(MatchDue(BOB), Facts(NOON_MS + 9, R3))
    assert asked == [
        (ANN, (), 0, NOON_MS),
        (BOB, ("tea",), 0, NOON_MS),
        (CAT, (), 0, NOON_MS + 7),
        (BOB, ("tea",), 9, NOON_MS + 9),
    ]


@pytest.mark.parametrize("named", [ANN, CAT])
def test_who_does_not_wait_or_asks_can_not_be_named(named: ConnectionId) -> None:
    """A choice that can't be matched raises an error and changes nothing."""
    reference = ReferenceModel(lambda who, interests, waited_ms, at_ms, hidden: named)
    with pytest.raises(IllegalChoiceError, match=f"named {named}, who is not among the others who wait"):
        reference.apply(EnterQueue(ANN, "Ann", ()), Facts(NOON_MS, R1))
    assert (reference.state.position, reference.state.connections) == (0, [])


CONFIRMED = {"confirm_grace_ms": 25_000, "requeue_on_missed_match": 1}
LATER = {"rematch_after_ms": 600_000, "rematch_patience_ms": 20_000}


def missed(*by: ConnectionId, is_other_present: bool = True, room: RoomId = R1) -> CancelMatch:
    """`by` gave no sign of life."""
    return CancelMatch(room, by, is_other_present)


def closed_for(*by: ConnectionId, other: ConnectionId, requeued: bool = False) -> RoomClosed:
    """Room 1 ended since `by` had missed the match."""
    return RoomClosed(R1, by[0], other, "timeout", by, requeued)


def test_who_missed_a_match_leaves_the_other_in_its_old_place() -> None:
    """The other member is notified, waits before all later ones, and pays nothing for it."""
    story = pair(**CONFIRMED, matching="interests", interest_patience_ms=5_000, queue_commands_per_10s_max=1)
    assert story.waiting() == [ANN, BOB]
    room = story.after(MatchDue(BOB), by_ms=5_000).events[0]
    ann, bob = QueueEntry(2, NOON_MS), QueueEntry(3, NOON_MS)
    assert room == RoomOpened(R1, ANN, BOB, "Ann", "Bob", None, None, ann, bob)
    assert story.after(enter(CAT)).events == (entered(CAT),)
    answer = story.after(missed(BOB), by_ms=25_000)
    assert answer.events == (closed_for(BOB, other=ANN, requeued=True), QueueEntered(ANN, "Ann", (), earlier=ann))
    assert [(who, params["requeued"]) for who, _, params in answer.notifications] == [(ANN, True)]
    assert story.waiting() == [ANN, CAT]
    assert story.after(MatchDue(CAT)).events == (
        RoomOpened(R2, ANN, CAT, "Ann", "Cat", None, None, ann, QueueEntry(5, NOON_MS + 5_000)),
    )


@pytest.mark.parametrize(
    ("limits", "command", "by"),
    [
        (CONFIRMED, missed(ANN, is_other_present=False), (ANN,)),
        (CONFIRMED, missed(BOB, ANN), (BOB, ANN)),
        (CONFIRMED | {"requeue_on_missed_match": 0}, missed(ANN), (ANN,)),
        ({"requeue_on_missed_match": 1}, missed(ANN), (ANN,)),
    ],
)
def test_both_may_be_idle_after_a_missed_match(
    limits: dict[str, int], command: CancelMatch, by: tuple[ConnectionId, ...]
) -> None:
    """An absent partner does not wait again, nor does one without a kept place."""
    story = pair(**limits)
    answer = story.after(command)
    assert answer.events == (closed_for(*by, other=BOB if by[0] == ANN else ANN),)
    assert "requeued" not in answer.notifications[0][2]
    assert story.waiting() == []


def test_a_confirmed_match_is_not_cancelled() -> None:
    """A member has not missed a match if it has spoken; nor can a stranger miss it, nor any member of a closed room."""
    story = pair(**CONFIRMED)
    story.after(say(ANN, room=R1))
    assert story.after(missed(ANN)) == story.after(missed(CAT)) == story.after(missed(BOB, room=R2)) == DONE
    assert story.after(missed(ANN, BOB)).events[0] == closed_for(BOB, other=ANN, requeued=True)
    assert story.after(missed(BOB)) == DONE


def test_two_do_not_meet_again_until_both_have_been_patient() -> None:
    """Each waits for a while; then they meet, unless another has come."""
    for comes_another in (False, True):
        story = pair(**LATER)
        story.after(leave(ANN, R1), enter(BOB))
        assert story.after(enter(ANN), by_ms=5_000) == ReferenceResult((entered(ANN),))
        assert story.after(MatchDue(BOB), by_ms=15_000) == DONE
        assert story.after(MatchDue(ANN), by_ms=4_999) == DONE
        if comes_another:
            assert story.after(enter(CAT)).events == (entered(CAT), opened(BOB, CAT, R2))
            assert story.after(MatchDue(ANN), by_ms=1) == DONE
        else:
            assert story.after(MatchDue(ANN), by_ms=1).events == (opened(BOB, ANN, R2),)


def test_two_meet_again_after_a_time_or_if_they_never_met() -> None:
    """A chat is a meeting for as long as the policy says. A missed match is none."""
    story = pair(**LATER)
    story.after(leave(ANN, R1), enter(ANN), by_ms=1)
    assert story.after(enter(BOB), by_ms=599_999).code is None
    assert story.waiting() == [ANN, BOB]
    story = pair(**LATER)
    story.after(leave(ANN, R1), enter(ANN), by_ms=1)
    assert story.after(enter(BOB), by_ms=600_000).events[1] == opened(ANN, BOB, R2)
    story = pair(**LATER)
    story.after(missed(ANN, BOB), enter(ANN))
    assert story.after(enter(BOB)).events[1] == opened(ANN, BOB, R2)


def test_only_the_last_eight_partners_are_remembered() -> None:
    """A ninth partner replaces the one met longest ago; a partner met again is remembered once."""
    story = Story(rematch_after_ms=1, queue_commands_per_10s_max=100)
    partners = [ConnectionId(f"c_{number}") for number in range(9)]
    for number, who in enumerate([*partners, partners[4]], 1):
        story.after(enter(who), enter(ANN), leave(ANN, RoomId(f"r_{number}")), by_ms=1)
    ann = story.reference.state.connection(ANN)
    assert ann is not None
    assert [who for who, _ in ann.met] == [*partners[1:4], *partners[5:], partners[4]]


def test_those_of_a_peer_that_was_met_are_avoided_alike() -> None:
    """The facts name them, and patience ends it too."""
    story = Story(rematch_patience_ms=20_000)
    story.after(enter(ANN))
    assert story.after(enter(BOB), avoid=(ANN,)) == ReferenceResult((entered(BOB),))
    assert story.after(MatchDue(BOB), by_ms=19_999, avoid=(ANN,)) == DONE
    assert story.after(MatchDue(BOB), by_ms=1, avoid=(ANN,)).events == (opened(ANN, BOB, R1),)


def test_the_longest_waiting_of_those_who_may_meet_comes_first() -> None:
    """A connection to be avoided is passed over, and keeps waiting."""
    story = pair(**LATER)
    story.after(leave(ANN, R1), enter(BOB))
    story.after(AdoptPolicy(Policy(**LATER, matching="interests")))
    story.after(enter(CAT, "Cat", "tea"), enter(DAN, "Dan", "go"))
    story.after(AdoptPolicy(Policy(**LATER)))
    assert story.waiting() == [BOB, CAT, DAN]
    assert story.after(enter(ANN)).events == (entered(ANN), opened(CAT, ANN, R2))


def test_a_block_is_for_good() -> None:
    """The room ends, and the two never meet again, however long they wait."""
    for blocker in (ANN, BOB):
        story = pair(blocks_per_connection_max=2)
        other = BOB if blocker == ANN else ANN
        end = (PartnerBlocked(blocker, other), closed(blocker, other, "left", R1))
        assert story.after(BlockPartner(blocker, R1)).events == end
        assert story.after(BlockPartner(blocker, R1)) == DONE
        story.after(enter(ANN), enter(BOB))
        assert story.after(MatchDue(ANN), by_ms=10**9) == DONE
        assert story.waiting() == [ANN, BOB]
    assert story.after(BlockPartner(CAT, R1)) == refused("room_not_found")


def test_only_the_newest_blocks_are_kept_or_none() -> None:
    """With 0, blocking is leaving. A partner in a closed room can be blocked too."""
    story = pair(blocks_per_connection_max=1)
    story.after(BlockPartner(ANN, R1), enter(CAT), enter(ANN), leave(ANN, R2))
    assert story.after(BlockPartner(ANN, R2)).events == (PartnerBlocked(ANN, CAT),)
    story.after(enter(BOB))
    assert story.after(enter(ANN)).events[1] == opened(BOB, ANN, R3)
    assert pair().after(BlockPartner(ANN, R1)).events == (closed(ANN, BOB, "left", R1),)


def test_a_report_is_stored_once_with_its_evidence() -> None:
    """It ranges from the opening to the end of the room, blocks the partner and leaves."""
    story = pair(blocks_per_connection_max=1, evidence_keep_ms=1_000)
    answer = story.after(ReportPartner(ANN, R1, "spam", "buy this"))
    assert answer.events == (
        PartnerReported(R1, ANN, BOB, "spam", 3, 4, "buy this"),
        PartnerBlocked(ANN, BOB),
        closed(ANN, BOB, "left", R1),
    )
    assert story.after(ReportPartner(ANN, R1, "other")) == DONE
    assert story.after(ReportPartner(CAT, R1, "other")) == refused("room_not_found")
    assert story.after(ReportPartner(BOB, R1, "threat"), by_ms=999).events == (
        PartnerReported(R1, BOB, ANN, "threat", 3, 4),
        PartnerBlocked(BOB, ANN),
    )
    assert story.reference.state.reports == [(4, R1, NOON_MS), (5, R1, NOON_MS + 999)]


def test_evidence_is_held_for_a_time_and_for_so_many_reports() -> None:
    """A report releases earlier ones whose time is over, and those beyond the limit of reports."""
    for limits, by_ms in (({"evidence_keep_ms": 1_000}, 1_000), ({"evidence_keep_ms": 1_000, "reports_kept": 1}, 0)):
        story = pair(**limits)
        story.after(ReportPartner(ANN, R1, "spam"))
        story.after(ReportPartner(BOB, R1, "spam"), by_ms=by_ms)
        assert story.reference.state.reports == [(5, R1, NOON_MS + by_ms)]
    story = pair()
    story.after(ReportPartner(ANN, R1, "spam"))
    assert story.reference.state.reports == []


def test_reports_are_limited() -> None:
    """Two in ten minutes, and then one in five. A refused report neither blocks nor leaves."""
    story = pair(reports_per_10min_max=1, blocks_per_connection_max=9)
    story.after(ReportPartner(ANN, R1, "spam"), enter(CAT), enter(ANN))
    assert story.after(ReportPartner(ANN, R2, "spam")) == refused("rate_limited", 600_000)
    assert len(story.after(ReportPartner(CAT, R2, "spam")).events) == 3
    assert len(story.after(ReportPartner(ANN, R2, "spam"), by_ms=600_000).events) == 2


def test_who_is_forgotten_can_neither_block_nor_report() -> None:
    """Its rooms are still known, and it is not."""
    story = pair(connections_kept=2)
    story.after(leave(BOB, R1), enter(CAT))
    for command in (BlockPartner(BOB, R1), ReportPartner(BOB, R1, "spam")):
        assert story.after(command) == refused("unknown_handle")


def test_names_of_the_idle_are_forgotten() -> None:
    """The names of people are forgotten once, after a long time of being idle."""
    story = Story()
    story.after(enter(ANN, "Ann", "tea"), leave_queue(ANN), enter(BOB))
    forget = ForgetNames((ANN, BOB, CAT), 2)
    assert story.after(ForgetNames((ANN,), 1)) == DONE
    assert story.after(forget).events == (NamesForgotten((ANN,)),)
    assert story.after(forget) == DONE
    ann = story.reference.state.connection(ANN)
    assert ann is not None
    assert (ann.name, ann.interests, ann.salt) == ("Anonymous", (), None)


def test_what_was_redacted_is_no_interest_and_no_name() -> None:
    """A redacted name is shown as redacted, and redacted interests match no interest."""
    story = Story(matching="interests", interest_patience_ms=1)
    gone = RedactedText(9, "0" * 64)
    story.after(EnterQueue(ANN, gone, gone))
    assert story.after(enter(BOB, "Bob", "tea")).events == (entered(BOB, "Bob", "tea"),)
    answer = story.after(MatchDue(ANN), by_ms=1)
    assert answer.events == (RoomOpened(R1, ANN, BOB, gone, "Bob"),)
    assert [params["partner"] for _, _, params in answer.notifications] == ["Bob", "[redacted]"]


def test_a_matching_of_ones_own_is_asked_again_without_the_avoided() -> None:
    """Each avoided choice is hidden in the next question; the last question is among the patient members."""
    asked: list[list[ConnectionId]] = []

    def choose(
        who: ConnectionId, interests: tuple[str, ...], waited_ms: int, at_ms: int, hidden: Sequence[ConnectionId]
    ) -> ConnectionId | None:
        asked.append([*hidden])
        others = [one.connection_id for one in reference.state.queue if one.connection_id not in (who, *hidden)]
        return others[0] if others and names_any else None

    reference, names_any = ReferenceModel(), False
    policy = Policy(rematch_patience_ms=10, matching="interests", interest_patience_ms=1_000)
    for command in (AdoptPolicy(policy), enter(ANN), enter(BOB)):
        reference.apply(command, Facts(NOON_MS, R1))
    reference.choose, names_any = choose, True
    assert reference.apply(MatchDue(BOB), Facts(NOON_MS + 9, R1, avoid=(ANN,))) == DONE
    assert asked == [[], [ANN]]
    assert reference.apply(enter(CAT), Facts(NOON_MS + 9, R1, avoid=(ANN, BOB))).events == (entered(CAT),)
    assert asked[2:] == [[], [ANN], [ANN, BOB]]
    assert reference.apply(MatchDue(BOB), Facts(NOON_MS + 10, R1, avoid=(ANN, CAT))).events == (opened(ANN, BOB, R1),)
    assert asked[5:] == [[], [ANN], [ANN, CAT], [CAT]]
