"""The rules of chat: the effect of each command, and its refusals."""

from __future__ import annotations

import ast
import inspect
from typing import get_args

import msgspec
import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from broker import conduct, decision, matching
from broker import decide as decide_module
from broker.decide import decide
from broker.decision import RejectionCode
from broker.testing.strategies import commands
from events.commands import AdoptPolicy, Command, Disconnect
from events.commit import Facts
from events.events import PolicyAdopted, QueueLeft
from events.ids import RoomId
from events.policy import Policy
from events.text import redacted
from projections.state import digest
from tests.support.examples import scaled
from tests.support.people import (
    ANN,
    BOB,
    CAT,
    DAN,
    FRESH,
    ROOM,
    closed,
    enter,
    entered,
    leave,
    leave_queue,
    left,
    move_on,
    opened,
    said,
    say,
    vanish,
)
from tests.support.specs import NOON_MS, chatting, given, state_after, then_also, under, waiting

OTHER_ROOM = RoomId("r_other")


class TestEnterQueue:
    """Waiting for a stranger."""

    def test_the_first_to_come_waits(self) -> None:
        """The queue is empty, so the newcomer waits."""
        given().when(enter(ANN, "Ann", "chess", "tea")).then(entered(ANN, "Ann", "chess", "tea"))

    def test_the_longest_waiting_is_paired_first(self) -> None:
        """The longest waiting becomes `first`, the newcomer `second`, under their given names."""
        given(waiting(ANN)).when(enter(BOB)).then(entered(BOB), opened(ANN, BOB))

    def test_of_two_who_wait_the_longer_waiting_is_met(self) -> None:
        """First come, first served, also where a queue holds several."""
        given(waiting(BOB), waiting(ANN)).when(enter(CAT)).then(entered(CAT), opened(BOB, CAT))

    def test_who_waits_already_goes_on_waiting(self) -> None:
        """A repeat stores nothing: name, interests and place stay."""
        given(waiting(ANN)).when(enter(ANN, "Anna", "tea")).then_nothing()

    def test_a_repeat_is_recognised_before_the_rate_limit(self) -> None:
        """A waiting connection may repeat its entry without limit."""
        given(under(queue_commands_per_10s_max=1), waiting(ANN)).when(enter(ANN)).then_nothing()

    def test_who_chats_cannot_wait(self) -> None:
        """One conversation at a time."""
        given(chatting(ANN, BOB)).when(enter(ANN)).then_rejected("already_chatting")
        given(chatting(ANN, BOB)).when(enter(BOB)).then_rejected("already_chatting")

    def test_who_chats_is_told_so_before_the_rate_limit(self) -> None:
        """`already_chatting` says more than `rate_limited`."""
        given(under(queue_commands_per_10s_max=1), chatting(ANN, BOB)).when(enter(BOB)).then_rejected(
            "already_chatting"
        )

    def test_who_left_may_come_back_under_another_name(self) -> None:
        """Each entry brings its own name and interests."""
        given(waiting(ANN), then_also(left(ANN))).when(enter(ANN, "Anna", "tea")).then(entered(ANN, "Anna", "tea"))

    def test_an_attended_entry_is_stored_with_its_grace(self) -> None:
        """The idle grace of a window is in the event, so a replay knows it."""
        given().when(replace(enter(ANN), idle_grace_ms=45_000)).then(replace(entered(ANN), idle_grace_ms=45_000))

    def test_an_attended_connection_stays_attended(self) -> None:
        """A later entry without a grace keeps the grace of the first; one with a grace replaces it."""
        attended = then_also(replace(entered(ANN), idle_grace_ms=45_000)), then_also(left(ANN))
        given(*attended).when(enter(ANN)).then(replace(entered(ANN), idle_grace_ms=45_000))
        given(*attended).when(replace(enter(ANN), idle_grace_ms=9)).then(replace(entered(ANN), idle_grace_ms=9))

    def test_two_who_parted_may_meet_again(self) -> None:
        """This policy remembers no meeting."""
        given(chatting(ANN, BOB), then_also(closed(ANN, BOB, "left")), waiting(ANN)).when(enter(BOB)).then(
            entered(BOB), opened(ANN, BOB)
        )

    def test_entering_too_often_is_refused_with_the_time_to_wait(self) -> None:
        """The allowance is one entry each ten seconds here."""
        past = given(under(queue_commands_per_10s_max=1), waiting(ANN), then_also(left(ANN)))
        past.when(enter(ANN)).then_rejected("rate_limited", 10_000)
        past.when(enter(ANN), after_ms=9_999).then_rejected("rate_limited", 1)
        past.when(enter(ANN), after_ms=10_000).then(entered(ANN))

    def test_messages_do_not_count_as_entries(self) -> None:
        """Talking and queueing have an allowance each."""
        talk = [said(ANN, BOB)] * 5
        given(
            under(messages_per_10s_max=1, queue_commands_per_10s_max=2),
            chatting(ANN, BOB),
            then_also(*talk),
            then_also(closed(BOB, ANN, "left")),
        ).when(enter(ANN)).then(entered(ANN))

    def test_a_full_queue_refuses(self) -> None:
        """Where the matching leaves people waiting, their number has a limit."""
        few = under(matching="interests", queue_connections_max=2)
        given(few, waiting(ANN)).when(enter(BOB)).then(entered(BOB))
        given(few, waiting(ANN), waiting(BOB)).when(enter(CAT)).then_rejected("queue_full")

    def test_no_more_rooms_than_there_may_be(self) -> None:
        """A newcomer is refused, so that no two possible partners wait."""
        past = given(under(rooms_open_max=1), chatting(ANN, BOB), waiting(CAT))
        past.when(enter(DAN)).then_rejected("queue_full")
        past.when(leave(BOB)).then(closed(BOB, ANN, "left"))

    def test_the_rate_limit_comes_before_a_full_queue(self) -> None:
        """A caller above its rate learns nothing about the queue."""
        given(
            under(matching="interests", queue_connections_max=1, queue_commands_per_10s_max=1),
            waiting(ANN),
            then_also(left(ANN)),
            waiting(BOB),
        ).when(enter(ANN)).then_rejected("rate_limited", 10_000)

    def test_a_match_without_a_fresh_room_id_is_a_bug(self) -> None:
        """The room's id comes with the facts; `decide` never makes one."""
        with pytest.raises(AssertionError, match="fresh room id"):
            given(waiting(ANN)).when(enter(BOB), room_id=None)


class TestNextPartner:
    """Another stranger, please."""

    def test_it_closes_the_room_and_waits(self) -> None:
        """In one commit, the partner is notified and the caller waits again."""
        given(chatting(ANN, BOB)).when(move_on(BOB)).then(closed(BOB, ANN, "next"), entered(BOB))

    def test_it_closes_the_room_and_meets_who_waits(self) -> None:
        """Another connection waits, so the next conversation begins at once."""
        given(chatting(ANN, BOB), waiting(CAT)).when(move_on(ANN)).then(
            closed(ANN, BOB, "next"), entered(ANN), opened(CAT, ANN)
        )

    def test_it_keeps_name_and_interests(self) -> None:
        """They are those of the last entry."""
        given(waiting(ANN), then_also(entered(BOB, "Bobby", "chess", "tea"), opened(ANN, BOB, ROOM))).when(
            move_on(BOB)
        ).then(closed(BOB, ANN, "next"), entered(BOB, "Bobby", "chess", "tea"))

    def test_it_keeps_the_grace_of_an_attended_connection(self) -> None:
        """A window is as attended in the next room as in the last."""
        given(waiting(ANN), then_also(replace(entered(BOB), idle_grace_ms=45_000), opened(ANN, BOB, ROOM))).when(
            move_on(BOB)
        ).then(closed(BOB, ANN, "next"), replace(entered(BOB), idle_grace_ms=45_000))

    def test_it_simply_queues_when_the_room_is_closed(self) -> None:
        """The partner was faster: there is nothing left to close."""
        given(chatting(ANN, BOB), then_also(closed(BOB, ANN, "left"))).when(move_on(ANN)).then(entered(ANN))

    def test_it_meets_someone_when_the_room_is_closed(self) -> None:
        """It is matched as by an entry."""
        given(chatting(ANN, BOB), then_also(closed(BOB, ANN, "left")), waiting(CAT)).when(move_on(ANN)).then(
            entered(ANN), opened(CAT, ANN)
        )

    def test_a_repeat_that_waits_goes_on_waiting(self) -> None:
        """The first one got through; its answer was lost."""
        given(chatting(ANN, BOB), then_also(closed(ANN, BOB, "next"), entered(ANN))).when(move_on(ANN)).then_nothing()

    def test_a_repeat_that_has_met_someone_keeps_them(self) -> None:
        """The room it names is closed, so it was carried out: the new partner is not dropped."""
        given(
            chatting(ANN, BOB), waiting(CAT), then_also(closed(ANN, BOB, "next"), entered(ANN), opened(CAT, ANN))
        ).when(move_on(ANN)).then_nothing()

    @pytest.mark.parametrize("room", [OTHER_ROOM, RoomId("r_elsewhere")])
    def test_a_room_of_others_is_not_found(self, room: RoomId) -> None:
        """The answer is the same for an unknown room."""
        given(chatting(ANN, BOB), chatting(CAT, DAN, OTHER_ROOM)).when(move_on(ANN, room)).then_rejected(
            "room_not_found"
        )

    def test_a_refusal_leaves_the_room_open(self) -> None:
        """A caller above its rate keeps its conversation."""
        given(under(queue_commands_per_10s_max=1), chatting(ANN, BOB)).when(move_on(BOB)).then_rejected(
            "rate_limited", 10_000
        )

    def test_a_full_queue_leaves_the_room_open(self) -> None:
        """The same for a full queue."""
        few = under(matching="interests", queue_connections_max=1)
        given(few, chatting(ANN, BOB), waiting(CAT)).when(move_on(BOB)).then_rejected("queue_full")

    def test_who_is_not_kept_any_more_has_to_enter(self) -> None:
        """The room is still remembered, its member is not."""
        past = given(under(connections_kept=1), chatting(ANN, BOB), then_also(closed(BOB, ANN, "left")))
        assert past.state.connections.get(BOB) is None
        past.when(move_on(BOB)).then_rejected("unknown_handle")


class TestLeaving:
    """Out of the queue, out of a room."""

    def test_who_waits_leaves_the_queue(self) -> None:
        """They stop waiting."""
        given(waiting(ANN)).when(leave_queue(ANN)).then(left(ANN))

    def test_who_does_not_wait_has_left_already(self) -> None:
        """So a repeat is safe, for the idle and for strangers."""
        given().when(leave_queue(ANN)).then_nothing()
        given(waiting(ANN), then_also(left(ANN))).when(leave_queue(ANN)).then_nothing()

    def test_who_was_just_matched_can_not_leave_the_queue(self) -> None:
        """A success would leave the partner with a member that believes to be gone."""
        for member in (ANN, BOB):
            given(chatting(ANN, BOB)).when(leave_queue(member)).then_rejected("already_chatting")

    def test_either_member_ends_a_conversation(self) -> None:
        """The other one is named, to be told."""
        given(chatting(ANN, BOB)).when(leave(ANN)).then(closed(ANN, BOB, "left"))
        given(chatting(ANN, BOB)).when(leave(BOB)).then(closed(BOB, ANN, "left"))

    def test_ones_own_closed_room_is_left_already(self) -> None:
        """The answer is success without a commit, whoever closed the room."""
        past = given(chatting(ANN, BOB), then_also(closed(ANN, BOB, "left")))
        past.when(leave(ANN)).then_nothing()
        past.when(leave(BOB)).then_nothing()

    @pytest.mark.parametrize("room", [OTHER_ROOM, RoomId("r_elsewhere")])
    def test_a_room_of_others_is_not_found(self, room: RoomId) -> None:
        """The answer is the same for an unknown room."""
        given(chatting(ANN, BOB), chatting(CAT, DAN, OTHER_ROOM)).when(leave(ANN, room)).then_rejected("room_not_found")


class TestSendMessage:
    """Saying something; the checks come in this order."""

    def test_it_reaches_the_other_member(self) -> None:
        """Either way."""
        given(chatting(ANN, BOB)).when(say(ANN, "hi", "m1")).then(said(ANN, BOB, "hi", "m1"))
        given(chatting(ANN, BOB)).when(say(BOB, "hi")).then(said(BOB, ANN, "hi"))

    @pytest.mark.parametrize("room", [OTHER_ROOM, RoomId("r_elsewhere")])
    def test_a_room_of_others_is_not_found(self, room: RoomId) -> None:
        """The answer is the same for an unknown room, even with the id of a message in it."""
        given(
            chatting(ANN, BOB), chatting(CAT, DAN, OTHER_ROOM), then_also(said(CAT, DAN, "x", "m1", OTHER_ROOM))
        ).when(say(ANN, "x", "m1", room)).then_rejected("room_not_found")

    def test_a_known_message_id_is_said_already(self) -> None:
        """The first text wins."""
        given(chatting(ANN, BOB), then_also(said(ANN, BOB, "hi", "m1"))).when(say(ANN, "ho", "m1")).then_nothing()

    def test_the_other_members_ids_are_their_own(self) -> None:
        """Repeats are recognised by room, sender and id."""
        given(chatting(ANN, BOB), then_also(said(ANN, BOB, "hi", "m1"))).when(say(BOB, "ho", "m1")).then(
            said(BOB, ANN, "ho", "m1")
        )

    def test_without_an_id_nothing_is_a_repeat(self) -> None:
        """The same words twice are two messages."""
        given(chatting(ANN, BOB), then_also(said(ANN, BOB, "hi"))).when(say(ANN, "hi")).then(said(ANN, BOB, "hi"))

    def test_an_id_may_be_used_again_in_another_room(self) -> None:
        """A new conversation starts from nothing."""
        given(
            chatting(ANN, BOB),
            then_also(said(ANN, BOB, "hi", "m1")),
            then_also(closed(BOB, ANN, "left")),
            chatting(ANN, CAT, OTHER_ROOM),
        ).when(say(ANN, "hi", "m1", OTHER_ROOM)).then(said(ANN, CAT, "hi", "m1", OTHER_ROOM))

    def test_a_repeat_is_recognised_after_the_end(self) -> None:
        """It comes before `chat_ended`: a stored message stays a success."""
        given(chatting(ANN, BOB), then_also(said(ANN, BOB, "hi", "m1")), then_also(closed(BOB, ANN, "left"))).when(
            say(ANN, "hi", "m1")
        ).then_nothing()

    def test_a_repeat_is_recognised_when_it_is_too_much(self) -> None:
        """Before `rate_limited`, and it costs nothing."""
        given(under(messages_per_10s_max=1), chatting(ANN, BOB), then_also(said(ANN, BOB, "hi", "m1"))).when(
            say(ANN, "hi", "m1")
        ).then_nothing()

    def test_a_closed_room_has_ended(self) -> None:
        """It has ended for both members."""
        past = given(chatting(ANN, BOB), then_also(closed(ANN, BOB, "left")))
        past.when(say(ANN)).then_rejected("chat_ended")
        past.when(say(BOB)).then_rejected("chat_ended")

    def test_an_ended_chat_comes_before_the_rate_limit(self) -> None:
        """Waiting would not help."""
        given(
            under(messages_per_10s_max=1),
            chatting(ANN, BOB),
            then_also(said(ANN, BOB)),
            then_also(closed(BOB, ANN, "left")),
        ).when(say(ANN)).then_rejected("chat_ended")

    def test_an_old_closed_room_is_not_found(self) -> None:
        """Only the newest closed rooms are kept; then not even a repeat is known."""
        given(
            under(closed_rooms_kept=1),
            chatting(ANN, BOB),
            then_also(said(ANN, BOB, "hi", "m1")),
            then_also(closed(ANN, BOB, "left")),
            chatting(CAT, DAN, OTHER_ROOM),
            then_also(closed(CAT, DAN, "left", OTHER_ROOM)),
        ).when(say(ANN, "hi", "m1")).then_rejected("room_not_found")

    def test_talking_too_fast_is_refused_with_the_time_to_wait(self) -> None:
        """Two at once are allowed here, and one more every five seconds."""
        past = given(
            under(messages_per_10s_max=2), chatting(ANN, BOB), then_also(said(ANN, BOB)), then_also(said(ANN, BOB))
        )
        past.when(say(ANN)).then_rejected("rate_limited", 5_000)
        past.when(say(ANN), after_ms=4_999).then_rejected("rate_limited", 1)
        past.when(say(ANN), after_ms=5_000).then(said(ANN, BOB))
        past.when(say(BOB)).then(said(BOB, ANN))

    def test_a_redacted_text_is_decided_like_any(self) -> None:
        """`decide` looks into no text, so a redacted log can be decided again."""
        text = redacted("hi", "salt")
        command = msgspec.structs.replace(say(ANN), text=text)
        given(chatting(ANN, BOB)).when(command).then(msgspec.structs.replace(said(ANN, BOB), text=text))


class TestDisconnect:
    """The removal of a connection after too long an absence."""

    def test_who_waits_is_taken_out_of_the_queue(self) -> None:
        """The event has the reason found by presence."""
        given(waiting(ANN)).when(Disconnect(ANN, "disconnected", 1)).then(QueueLeft(ANN, "disconnected"))
        given(waiting(ANN)).when(Disconnect(ANN, "timeout", 1)).then(QueueLeft(ANN, "timeout"))

    def test_who_chats_is_taken_out_of_the_room(self) -> None:
        """Their partner is told why."""
        given(chatting(ANN, BOB)).when(Disconnect(BOB, "disconnected", 2)).then(closed(BOB, ANN, "disconnected"))
        given(chatting(ANN, BOB)).when(Disconnect(ANN, "timeout", 2)).then(closed(ANN, BOB, "timeout"))

    def test_who_did_something_since_stays(self) -> None:
        """The finding is older than the connection's last event."""
        given(waiting(ANN), then_also(left(ANN)), waiting(ANN)).when(vanish(ANN, since=2)).then_nothing()
        given(chatting(ANN, BOB)).when(vanish(ANN, since=1)).then_nothing()
        given(chatting(ANN, BOB), then_also(said(ANN, BOB))).when(vanish(ANN, since=2)).then_nothing()

    def test_being_spoken_to_is_no_sign_of_life(self) -> None:
        """A message counts for its sender alone."""
        given(chatting(ANN, BOB), then_also(said(ANN, BOB))).when(vanish(BOB, since=2)).then(
            closed(BOB, ANN, "timeout")
        )

    def test_who_is_nowhere_is_gone_already(self) -> None:
        """The idle and the unknown."""
        given(waiting(ANN), then_also(left(ANN))).when(vanish(ANN)).then_nothing()
        given().when(vanish(ANN)).then_nothing()


class TestAdoptPolicy:
    """Other limits."""

    def test_another_policy_is_adopted(self) -> None:
        """It is in the log, so every worker decides alike."""
        policy = Policy(messages_per_10s_max=1)
        given().when(AdoptPolicy(policy)).then(PolicyAdopted(policy))

    def test_the_policy_in_force_is_adopted_already(self) -> None:
        """A restart with the same flags stores nothing."""
        given().when(AdoptPolicy(Policy())).then_nothing()
        given(under(streams_max=7)).when(AdoptPolicy(Policy(streams_max=7))).then_nothing()

    def test_it_holds_for_the_next_command(self) -> None:
        """Not for the ones before."""
        given(chatting(ANN, BOB), then_also(said(ANN, BOB)), under(messages_per_10s_max=1)).when(
            say(ANN)
        ).then_rejected("rate_limited", 500)


@settings(deadline=None, max_examples=scaled(150))
@given_any(commands(rooms=st.just(ROOM)))
def test_deciding_changes_nothing_and_repeats(command: Command) -> None:
    """The same state, command and facts give the same answer, and the state is unchanged."""
    state = state_after(chatting(ANN, BOB), waiting(CAT))
    before, facts = digest(state), Facts(NOON_MS, FRESH, "salt")
    assert decide(state, command, facts) == decide(state, command, facts)
    assert digest(state) == before


@pytest.mark.parametrize("module", [decide_module, matching, conduct, decision])
def test_deciding_draws_and_reads_nothing(module: object) -> None:
    """No clock, no random source, no setting: the modules do not even know of them."""
    tree = ast.parse(inspect.getsource(module))
    named = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = ("__future__", "typing", "collections", "msgspec", "events.", "projections.", "broker.")
    assert {name for name in named if not name.startswith(allowed)} == set()
    pure = {"broker.matching", "broker.conduct", "broker.decision", "broker.errors"}
    assert {name for name in named if name.startswith("broker.")} <= pure


def test_the_refusals_are_these() -> None:
    """They stand on the wire, so clients know them."""
    assert sorted(get_args(RejectionCode)) == [
        "already_chatting",
        "chat_ended",
        "queue_full",
        "rate_limited",
        "room_not_found",
        "unavailable",
        "unknown_handle",
    ]
