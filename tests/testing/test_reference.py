"""Each rule of chat as an example with the result of the reference model."""

from __future__ import annotations

from typing import Any

import pytest

from broker.testing.reference_matching import IllegalChoiceError
from broker.testing.reference_model import ReferenceModel, ReferenceResult
from events.commands import AdoptPolicy, Command, Disconnect, EnterQueue, LeaveQueue, MatchDue, SendMessage
from events.commit import Facts
from events.events import PolicyAdopted, QueueLeft, RoomOpened
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

    def after(self, *commands: Command, by_ms: int = 0) -> ReferenceResult:
        """Return the result of the last of `commands`, all given `by_ms` later."""
        self.now_ms += by_ms
        for command in commands:
            room = RoomId(f"r_{self.rooms_opened + 1}")
            answer = self.reference.apply(command, Facts(self.now_ms, room, "salt"))
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
    """Return a story in which Ann and Bob are in room 1."""
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

    def choose(who: ConnectionId, interests: tuple[str, ...], waited_ms: int, at_ms: int) -> ConnectionId | None:
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
    reference = ReferenceModel(lambda who, interests, waited_ms, at_ms: named)
    with pytest.raises(IllegalChoiceError, match=f"named {named}, who is not among the others who wait"):
        reference.apply(EnterQueue(ANN, "Ann", ()), Facts(NOON_MS, R1))
    assert (reference.state.position, reference.state.connections) == (0, [])
