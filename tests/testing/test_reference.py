"""The second witness by itself: each rule of chat, as an example whose answer is written down."""

from __future__ import annotations

from typing import Any

import pytest

from broker.testing.reference import Answer, IllegalChoiceError, Reference
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
DONE = Answer()
NOON = "2026-09-21T14:13:20.000Z"


class Story:
    """A reference to which things are told one after the other; rooms are named in the order of their opening."""

    def __init__(self, **limits: Any) -> None:
        self.reference = Reference()
        self.now_ms = NOON_MS
        if limits:
            self.after(AdoptPolicy(Policy(**limits)))

    def after(self, *commands: Command, by_ms: int = 0) -> Answer:
        """The answer to the last of `commands`, all given `by_ms` later."""
        self.now_ms += by_ms
        for command in commands:
            room = RoomId(f"r_{self.rooms_opened + 1}")
            answer = self.reference.apply(command, Facts(self.now_ms, room, "salt"))
        return answer

    @property
    def rooms_opened(self) -> int:
        """How many there have been."""
        world = self.reference.world
        return world.rooms_closed + len([chat for chat in world.rooms if chat.closed is None])

    def waiting(self) -> list[ConnectionId]:
        """Who waits, in order."""
        return [person.who for person in self.reference.world.queue]


def refused(code: str, retry_after_ms: int | None = None) -> Answer:
    """A refusal."""
    return Answer(code=code, retry_after_ms=retry_after_ms)


def pair(**limits: Any) -> Story:
    """Ann and Bob are in room 1."""
    story = Story(**limits)
    story.after(enter(ANN), enter(BOB))
    return story


def test_a_newcomer_waits_and_the_next_one_meets_them() -> None:
    """Who waited is `first`, and both are told of the other's name."""
    story = Story()
    assert story.after(enter(ANN)) == Answer((entered(ANN),))
    assert story.after(enter(BOB)) == Answer(
        (entered(BOB), opened(ANN, BOB, R1)),
        (
            (ANN, "chatroom.found", {"room_id": R1, "partner": "Bob", "timestamp": NOON, "cursor": 2}),
            (BOB, "chatroom.found", {"room_id": R1, "partner": "Ann", "timestamp": NOON, "cursor": 2}),
        ),
    )
    assert story.waiting() == []


def test_entering_again_is_done_already_while_waiting_and_refused_while_chatting() -> None:
    """A repeat does no harm; a second conversation is not to be had."""
    story = Story()
    assert story.after(enter(ANN), enter(ANN)) == DONE
    assert pair().after(enter(BOB)) == refused("already_chatting")


def test_a_message_reaches_the_other_member_alone() -> None:
    """As it was said."""
    assert pair().after(say(BOB, "hi", "m1", R1)) == Answer(
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
    """A stored log may hold one."""
    command = SendMessage(BOB, R1, RedactedText(2, "0" * 64), None)
    assert pair().after(command).told[0][2]["message"] == "[redacted]"


def test_a_repeat_is_known_before_all_else() -> None:
    """Before the rate limit, and after the chat has ended; from the other member it is another message."""
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
    """When the newer half is full, the older one is forgotten."""
    for number, known in enumerate(is_known):
        story = pair(message_ids_kept=kept, messages_per_10s_max=100)
        story.after(*(say(ANN, "hi", f"m{sent}", R1) for sent in range(5)))
        assert (story.after(say(ANN, "hi", f"m{number}", R1)) == DONE) == known


def test_the_rate_limit_lets_a_burst_through_and_then_one_after_the_other() -> None:
    """Three at once, a fourth once a third of ten seconds has passed."""
    story = pair(messages_per_10s_max=3)
    for _ in range(3):
        assert story.after(say(ANN, room=R1)).code is None
    assert story.after(say(ANN, room=R1)) == refused("rate_limited", 3_334)
    assert story.after(say(ANN, room=R1), by_ms=3_333) == refused("rate_limited", 1)
    assert story.after(say(ANN, room=R1), by_ms=1).code is None
    assert story.after(say(BOB, room=R1)).code is None


def test_entering_is_limited_too() -> None:
    """Whichever way one enters; who was never there before has nothing to be limited by."""
    story = Story(queue_commands_per_10s_max=1)
    assert story.after(enter(ANN), leave_queue(ANN), enter(ANN)) == refused("rate_limited", 10_000)
    assert story.after(enter(ANN), by_ms=10_000) == Answer((entered(ANN),))
    assert story.after(enter(BOB), move_on(BOB, R1)) == refused("rate_limited", 10_000)


def test_moving_on_closes_the_room_and_queues_under_the_same_name() -> None:
    """The other one is told; who waits is met."""
    story = Story()
    story.after(enter(ANN, "Anna", "tea"), enter(BOB), enter(CAT))
    answer = story.after(move_on(ANN, R1))
    assert answer.events == (
        closed(ANN, BOB, "next", R1),
        entered(ANN, "Anna", "tea"),
        RoomOpened(R2, CAT, ANN, "Cat", "Anna"),
    )
    assert [(who, method) for who, method, _ in answer.told] == [
        (BOB, "partner.disconnected"),
        (CAT, "chatroom.found"),
        (ANN, "chatroom.found"),
    ]


def test_moving_on_from_a_closed_room_queues_or_is_done_already() -> None:
    """It is done for who waits, or has met the next one."""
    story = pair()
    story.after(leave(BOB, R1))
    assert story.after(move_on(ANN, R1)) == Answer((entered(ANN),))
    assert story.after(move_on(ANN, R1)) == DONE
    story.after(enter(CAT))
    assert story.after(move_on(ANN, R1)) == DONE
    assert story.after(move_on(DAN, R1)) == refused("room_not_found")


def test_leaving_is_done_once() -> None:
    """The queue, and a room; of others' rooms nothing is said."""
    story = Story()
    assert story.after(enter(ANN), leave_queue(ANN)) == Answer((QueueLeft(ANN, "left"),))
    assert story.after(leave_queue(ANN)) == DONE
    assert story.after(LeaveQueue(DAN)) == DONE
    story = pair()
    assert story.after(leave(CAT, R1)) == refused("room_not_found")
    answer = story.after(leave(ANN, R1))
    assert answer.events == (closed(ANN, BOB, "left", R1),)
    assert [(who, params["reason"]) for who, _, params in answer.told] == [(BOB, "left")]
    assert story.after(leave(ANN, R1)) == story.after(leave(BOB, R1)) == DONE


def test_who_has_done_something_since_is_not_absent() -> None:
    """Being spoken to is not doing something."""
    story = pair()
    story.after(say(BOB, room=R1))
    assert story.after(Disconnect(BOB, "timeout", since=2)) == DONE
    assert story.after(Disconnect(ANN, "timeout", since=2)).events == (closed(ANN, BOB, "timeout", R1),)
    assert story.after(vanish(ANN)) == story.after(vanish(DAN)) == DONE
    assert Story().after(enter(ANN), vanish(ANN)).events == (QueueLeft(ANN, "timeout"),)


def test_only_so_many_may_wait_and_chat() -> None:
    """A newcomer who could meet nobody, and one who could only meet somebody in a room too many."""
    story = Story(matching="interests", queue_connections_max=1)
    assert story.after(enter(ANN), enter(BOB)) == refused("queue_full")
    story = pair(rooms_open_max=1)
    assert story.after(enter(CAT)).code is None
    assert story.after(enter(DAN)) == refused("queue_full")


def test_only_the_newest_closed_rooms_are_kept() -> None:
    """An older one was never there."""
    story = pair(closed_rooms_kept=1)
    story.after(leave(ANN, R1), enter(ANN), enter(BOB))
    assert story.after(leave(ANN, R1)) == DONE
    story.after(leave(ANN, R2))
    assert story.after(leave(ANN, R1)) == refused("room_not_found")
    assert story.after(leave(ANN, R2)) == DONE


def test_the_longest_idle_are_forgotten() -> None:
    """Nobody who waits or chats is; of two who part, who ended it is the older."""
    story = pair(connections_kept=2)
    story.after(leave(BOB, R1), enter(CAT))
    known = [person.who for person in story.reference.world.people]
    assert known == [ANN, CAT]
    assert story.after(move_on(BOB, R1)) == refused("unknown_handle")
    story = pair(connections_kept=1)
    assert story.after(say(ANN, room=R1)).code is None


def test_by_interests_the_one_who_shares_most_is_met() -> None:
    """Of equals, the one who has waited longest; who shares nothing, once patience has ended."""
    story = Story(matching="interests", interest_patience_ms=5_000)
    story.after(enter(ANN, "Ann", "go", "tea"), enter(BOB, "Bob", "chess"), enter(CAT, "Cat", "jazz"), by_ms=1)
    assert story.waiting() == [ANN, BOB, CAT]
    assert story.after(enter(DAN, "Dan", "chess", "go", "tea")).events[1] == opened(ANN, DAN, R1)
    assert story.after(MatchDue(CAT), by_ms=4_999) == DONE
    assert story.after(MatchDue(CAT), by_ms=1).events == (opened(BOB, CAT, R2),)
    assert story.after(MatchDue(CAT)) == DONE


def test_a_room_too_many_is_refused_to_the_patient_too() -> None:
    """So that whoever asked asks again."""
    story = Story(matching="interests", rooms_open_max=1, interest_patience_ms=1)
    story.after(enter(ANN, "Ann", "tea"), enter(BOB, "Bob", "tea"), enter(CAT, "Cat", "go"), enter(DAN, "Dan", "ski"))
    assert story.after(MatchDue(CAT), by_ms=1) == refused("queue_full")


def test_another_policy_holds_from_then_on() -> None:
    """The same one again is done already."""
    policy = Policy(messages_per_10s_max=1)
    story = Story()
    assert story.after(AdoptPolicy(policy)) == Answer((PolicyAdopted(policy),))
    assert story.after(AdoptPolicy(policy)) == DONE


def test_whom_a_matching_of_ones_own_names_is_met() -> None:
    """It is told who asks, what they like, how long they have waited, and the time."""
    asked = []

    def choose(who: ConnectionId, interests: tuple[str, ...], waited_ms: int, at_ms: int) -> ConnectionId | None:
        asked.append((who, interests, waited_ms, at_ms))
        return ANN if who == CAT else None

    reference = Reference(choose)
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
    """And then nothing has happened."""
    reference = Reference(lambda who, interests, waited_ms, at_ms: named)
    with pytest.raises(IllegalChoiceError, match=f"named {named}, who is not among the others who wait"):
        reference.apply(EnterQueue(ANN, "Ann", ()), Facts(NOON_MS, R1))
    assert (reference.world.position, reference.world.people) == (0, [])
