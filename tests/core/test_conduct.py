"""Missed matches, blocks, reports and forgotten names: the effect of each command, and its refusals."""

from __future__ import annotations

import pytest

from broker.decide import decide
from events.commands import BlockPartner, CancelMatch, ForgetNames, ReportPartner
from events.commit import Commit, Facts, commit_after
from events.events import (
    Event,
    NamesForgotten,
    PartnerBlocked,
    PartnerReported,
    QueueEntered,
    QueueEntry,
    RoomClosed,
    RoomOpened,
)
from events.ids import ConnectionId, Position
from events.policy import Policy
from events.text import ANONYMOUS
from projections.connections import Idle, Waiting
from projections.event_checks import find_violations
from projections.notifications import PartnerDisconnected, deliveries
from projections.reports import Report
from projections.state import State, evolve
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
    left,
    move_on,
    opened,
    said,
    say,
)
from tests.support.specs import NOON_MS, PAST, Step, chatting, given, state_after, then_also, under, waiting

CONFIRMED = {"confirm_grace_ms": 25_000, "requeue_on_missed_match": 1}
ANNS_PLACE, BOBS_PLACE = QueueEntry(2, NOON_MS), QueueEntry(3, NOON_MS)


def to_be_confirmed(**limits: int) -> list[list[Step]]:
    """Ann waited, Bob came, and both have to give a sign of life."""
    room = RoomOpened(ROOM, ANN, BOB, "Ann", "Bob", None, None, ANNS_PLACE, BOBS_PLACE)
    return [under(**CONFIRMED | limits), waiting(ANN), then_also(entered(BOB), room)]


def missed(by: ConnectionId, other: ConnectionId, *also: ConnectionId, requeued: bool = False) -> RoomClosed:
    """The room closed, since `by` (and `also` others) did not come."""
    return RoomClosed(ROOM, by, other, "timeout", (by, *also), requeued)


def followed(state: State, *events: Event) -> tuple[State, Commit]:
    """Return the state after one commit of `events` more, and the commit."""
    commit = commit_after(state.tip, PAST, Facts(state.at_ms, None, "salt"), events)
    return evolve(state, commit), commit


class TestMissedMatch:
    """A match is confirmed, or it is none."""

    def test_a_room_keeps_the_places_of_its_members(self) -> None:
        """It keeps the earlier place and the newcomer's."""
        given(under(**CONFIRMED), waiting(ANN)).when(enter(BOB), after_ms=7).then(
            entered(BOB),
            RoomOpened(FRESH, ANN, BOB, "Ann", "Bob", None, None, QueueEntry(2, NOON_MS), QueueEntry(3, NOON_MS + 7)),
        )

    def test_no_place_is_kept_while_no_match_has_to_be_confirmed(self) -> None:
        """The policy says whether one has."""
        given(waiting(ANN)).when(enter(BOB)).then(entered(BOB), opened(ANN, BOB))

    def test_the_partner_waits_again_in_its_old_place(self) -> None:
        """This holds for the earlier one and for the newcomer."""
        cancel = CancelMatch(ROOM, (BOB,), is_other_present=True)
        given(*to_be_confirmed()).when(cancel).then(
            missed(BOB, ANN, requeued=True), QueueEntered(ANN, "Ann", (), earlier=ANNS_PLACE)
        )
        given(*to_be_confirmed()).when(CancelMatch(ROOM, (ANN,), is_other_present=True)).then(
            missed(ANN, BOB, requeued=True), QueueEntered(BOB, "Bob", (), earlier=BOBS_PLACE)
        )

    def test_the_old_place_is_before_later_ones(self) -> None:
        """A later entry stays after it, without a notification."""
        state = state_after(*to_be_confirmed(), waiting(CAT))
        requeued = QueueEntered(ANN, "Ann", (), earlier=ANNS_PLACE)
        state, commit = followed(state, missed(BOB, ANN, requeued=True), requeued)
        assert list(state.queue.entries.items()) == [(2, ANN), (4, CAT)]
        known = state.connections.by_id[ANN]
        assert known.place == Waiting(2, NOON_MS)
        assert (known.last_position, known.waiting_since_ms()) == (commit.position, NOON_MS)
        assert isinstance(state.connections.by_id[BOB].place, Idle)

    def test_the_return_costs_no_allowance(self) -> None:
        """The rate limit counts only its own entries."""
        before = state_after(*to_be_confirmed())
        requeued = QueueEntered(ANN, "Ann", (), earlier=ANNS_PLACE)
        after, _ = followed(before, missed(BOB, ANN, requeued=True), requeued)
        spent = before.connections.by_id[ANN].queue_spent_until_us
        assert after.connections.by_id[ANN].queue_spent_until_us == spent

    def test_the_partner_hears_that_it_waits_again(self) -> None:
        """In the notification of the closing; of another one, nothing more is said."""
        state = state_after(*to_be_confirmed())
        requeued = QueueEntered(ANN, "Ann", (), earlier=ANNS_PLACE)
        _, commit = followed(state, missed(BOB, ANN, requeued=True), requeued)
        [(who, notification)] = deliveries(commit)
        assert who == ANN
        assert notification.params == PartnerDisconnected(
            ROOM, "timeout", notification.params.timestamp, commit.position, requeued=True
        )
        _, commit = followed(state, closed(BOB, ANN, "timeout"))
        assert deliveries(commit)[0][1].params == PartnerDisconnected(
            ROOM, "timeout", notification.params.timestamp, commit.position
        )

    @pytest.mark.parametrize(
        ("limits", "cancel"),
        [
            ({}, CancelMatch(ROOM, (BOB,), is_other_present=False)),
            ({"requeue_on_missed_match": 0}, CancelMatch(ROOM, (BOB,), is_other_present=True)),
        ],
    )
    def test_else_both_are_idle(self, limits: dict[str, int], cancel: CancelMatch) -> None:
        """If the partner is not present either, or if the policy says so."""
        given(*to_be_confirmed(**limits)).when(cancel).then(missed(BOB, ANN))

    def test_both_may_have_missed_it(self) -> None:
        """Then neither waits again."""
        given(*to_be_confirmed()).when(CancelMatch(ROOM, (ANN, BOB), is_other_present=True)).then(missed(ANN, BOB, BOB))

    def test_a_room_of_an_older_policy_has_no_places_to_return_to(self) -> None:
        """Its members are idle."""
        given(chatting(ANN, BOB), under(**CONFIRMED)).when(CancelMatch(ROOM, (BOB,), is_other_present=True)).then(
            missed(BOB, ANN)
        )

    def test_who_has_spoken_has_not_missed_it(self) -> None:
        """A message may have come in the meantime, by another broker."""
        history = [*to_be_confirmed(), then_also(said(BOB, ANN))]
        given(*history).when(CancelMatch(ROOM, (BOB,), is_other_present=True)).then_nothing()
        given(*history).when(CancelMatch(ROOM, (ANN, BOB), is_other_present=False)).then(missed(ANN, BOB))

    def test_a_closed_room_is_over(self) -> None:
        """A cancellation does nothing there, in an unknown room, or for a stranger."""
        cancel = CancelMatch(ROOM, (BOB,), is_other_present=True)
        given(*to_be_confirmed(), then_also(closed(ANN, BOB, "left"))).when(cancel).then_nothing()
        given().when(cancel).then_nothing()
        given(*to_be_confirmed()).when(CancelMatch(ROOM, (CAT,), is_other_present=True)).then_nothing()


BLOCKS = under(blocks_per_connection_max=2)
BLOCK = BlockPartner(ANN, ROOM)


class TestBlock:
    """A block: never to meet a person again."""

    def test_it_ends_the_conversation(self) -> None:
        """The partner is notified as of any leaving."""
        given(BLOCKS, chatting(ANN, BOB)).when(BLOCK).then(PartnerBlocked(ANN, BOB), closed(ANN, BOB, "left"))

    def test_it_is_possible_after_the_end(self) -> None:
        """A block is possible while the room is known."""
        given(BLOCKS, chatting(ANN, BOB), then_also(closed(BOB, ANN, "left"))).when(BLOCK).then(
            PartnerBlocked(ANN, BOB)
        )

    def test_a_repeat_is_done_already(self) -> None:
        """Nothing is stored twice; an open room is left."""
        blocked = [BLOCKS, chatting(ANN, BOB), then_also(PartnerBlocked(ANN, BOB), closed(ANN, BOB, "left"))]
        given(*blocked).when(BLOCK).then_nothing()
        given(BLOCKS, chatting(ANN, BOB), then_also(PartnerBlocked(ANN, BOB))).when(BLOCK).then(
            closed(ANN, BOB, "left")
        )

    def test_without_room_for_blocks_it_only_leaves(self) -> None:
        """The policy keeps none."""
        given(chatting(ANN, BOB)).when(BLOCK).then(closed(ANN, BOB, "left"))

    def test_it_needs_a_room_of_ones_own(self) -> None:
        """For others there is no such room."""
        given(BLOCKS, chatting(ANN, BOB)).when(BlockPartner(CAT, ROOM)).then_rejected("room_not_found")
        given(BLOCKS).when(BLOCK).then_rejected("room_not_found")

    def test_one_who_is_forgotten_has_no_blocks(self) -> None:
        """Their room may outlive them in the state."""
        history = under(blocks_per_connection_max=2, connections_kept=1), chatting(ANN, BOB)
        over = then_also(closed(ANN, BOB, "left"))
        given(*history, over).when(BLOCK).then_rejected("unknown_handle")
        given(*history, over).when(ReportPartner(ANN, ROOM, "spam")).then_rejected("unknown_handle")

    def test_the_newest_blocks_are_kept(self) -> None:
        """So many of a connection, oldest first."""
        state = state_after(BLOCKS, waiting(ANN), *[then_also(PartnerBlocked(ANN, who)) for who in (BOB, CAT, DAN)])
        assert state.connections.by_id[ANN].blocked == (CAT, DAN)

    def test_it_changes_nothing_else_about_someone(self) -> None:
        """Neither where they are nor since when."""
        before = state_after(BLOCKS, waiting(ANN))
        after, _ = followed(before, PartnerBlocked(ANN, BOB))
        known = after.connections.by_id[ANN]
        assert (known.place, known.last_position) == (Waiting(2), before.connections.by_id[ANN].last_position)


def reports(**limits: int) -> list[Step]:
    """A policy with reports."""
    return under(**{"blocks_per_connection_max": 9, "reports_per_10min_max": 3, "evidence_keep_ms": 50_000} | limits)


REPORT = ReportPartner(ANN, ROOM, "spam", "sells things")


def reported(first: Position, last: Position, note: str | None = "sells things") -> PartnerReported:
    """Ann reported Bob."""
    return PartnerReported(ROOM, ANN, BOB, "spam", first, last, note)


class TestReport:
    """A report to the operator."""

    def test_it_blocks_and_leaves(self) -> None:
        """The evidence is the log from the opening to this commit."""
        given(reports(), chatting(ANN, BOB), then_also(said(BOB, ANN, "buy!"))).when(REPORT).then(
            reported(3, 5), PartnerBlocked(ANN, BOB), closed(ANN, BOB, "left")
        )

    def test_it_is_possible_after_the_end(self) -> None:
        """The evidence then ends with the room."""
        over = then_also(closed(BOB, ANN, "left"))
        given(reports(), chatting(ANN, BOB), over, waiting(CAT)).when(REPORT).then(
            reported(3, 4), PartnerBlocked(ANN, BOB)
        )

    def test_a_room_is_reported_once_by_each(self) -> None:
        """A repeat is done already, and the other may report too."""
        history = [reports(), chatting(ANN, BOB), then_also(reported(3, 4), PartnerBlocked(ANN, BOB))]
        given(*history, then_also(closed(ANN, BOB, "left"))).when(REPORT).then_nothing()
        given(*history).when(REPORT).then(closed(ANN, BOB, "left"))
        given(*history, then_also(closed(ANN, BOB, "left"))).when(ReportPartner(BOB, ROOM, "other")).then(
            PartnerReported(ROOM, BOB, ANN, "other", 3, 5), PartnerBlocked(BOB, ANN)
        )

    def test_it_needs_a_room_of_ones_own(self) -> None:
        """For others there is no such room."""
        given(reports(), chatting(ANN, BOB)).when(ReportPartner(CAT, ROOM, "spam")).then_rejected("room_not_found")

    def test_there_are_only_so_many_in_ten_minutes(self) -> None:
        """The refusal says when the next is possible, and nothing is done then."""
        history = [reports(reports_per_10min_max=1), chatting(ANN, BOB), then_also(reported(3, 4))]
        again = [then_also(closed(ANN, BOB, "left")), chatting(ANN, CAT, FRESH)]
        report = ReportPartner(ANN, FRESH, "threat")
        given(*history, *again).when(report, after_ms=7).then_rejected("rate_limited", 599_993)
        last = PartnerReported(FRESH, ANN, CAT, "threat", 7, 8)
        given(*history, *again).when(report, after_ms=600_000).then(
            last, PartnerBlocked(ANN, CAT), closed(ANN, CAT, "left", FRESH)
        )

    def test_there_may_be_no_limit(self) -> None:
        """The policy says so by 0."""
        unlimited = reports(reports_per_10min_max=0)
        state = state_after(unlimited, chatting(ANN, BOB), then_also(reported(3, 4)))
        assert state.connections.by_id[ANN].reports_spent_until_us == 0
        given(unlimited, chatting(ANN, BOB)).when(REPORT).then(
            reported(3, 4), PartnerBlocked(ANN, BOB), closed(ANN, BOB, "left")
        )

    def test_its_evidence_is_held_for_a_while(self) -> None:
        """The oldest go with the next report, when their time is up or when there are too many."""
        state = state_after(reports(reports_kept=2), chatting(ANN, BOB))
        for at_ms in (NOON_MS, NOON_MS + 1):
            commit = commit_after(state.tip, PAST, Facts(at_ms, None, "salt"), [reported(3, 4)])
            state = evolve(state, commit)
        assert list(state.reports.items()) == [(4, Report(ROOM, NOON_MS)), (5, Report(ROOM, NOON_MS + 1))]
        third = evolve(state, commit_after(state.tip, PAST, Facts(NOON_MS + 2, None, "salt"), [reported(3, 4)]))
        assert [position for position, _ in third.reports.items()] == [5, 6]
        late = evolve(state, commit_after(state.tip, PAST, Facts(NOON_MS + 50_000, None, "salt"), [reported(3, 4)]))
        assert [position for position, _ in late.reports.items()] == [5, 6]
        later = evolve(state, commit_after(state.tip, PAST, Facts(NOON_MS + 50_001, None, "salt"), [reported(3, 4)]))
        assert [position for position, _ in later.reports.items()] == [6]

    def test_no_evidence_is_held_where_the_policy_holds_none(self) -> None:
        """The report itself stays in the log."""
        state = state_after(reports(evidence_keep_ms=0), chatting(ANN, BOB), then_also(reported(3, 4)))
        assert len(state.reports) == 0


class TestForgetNames:
    """Names do not outlive their people."""

    def test_the_idle_are_forgotten(self) -> None:
        """An idle connection since that position loses its name and its interests."""
        gone = [(entered(ANN, "Ann", "tea"),), (left(ANN),), (entered(BOB, ANONYMOUS, "tea"),), (left(BOB),)]
        given(gone).when(ForgetNames((ANN, BOB), through=4)).then(NamesForgotten((ANN, BOB)))
        given(gone).when(ForgetNames((ANN, BOB), through=3)).then(NamesForgotten((ANN,)))

    def test_others_are_not(self) -> None:
        """Waiting, chatting, unknown and nameless connections are left out."""
        given(waiting(ANN), chatting(CAT, DAN)).when(ForgetNames((ANN, CAT, BOB), through=9)).then_nothing()
        nameless = [(entered(ANN, ANONYMOUS),), (left(ANN),)]
        given(nameless).when(ForgetNames((ANN,), through=9)).then_nothing()

    def test_nothing_of_a_name_is_left_in_the_state(self) -> None:
        """Neither it nor the interests nor the salt."""
        named = QueueEntered(ANN, "Ann", ("tea",), "pepper")
        state = state_after([(named,), (left(ANN),)], then_also(NamesForgotten((ANN,))))
        known = state.connections.by_id[ANN]
        assert (known.display_name, known.interests, known.salt) == (ANONYMOUS, (), None)

    def test_a_name_goes_with_its_salt_from_commit_to_commit(self) -> None:
        """Each commit that holds the name hashes it alike."""
        state = state_after([(QueueEntered(ANN, "Ann", (), "pepper"),)])
        commit = decide(state, enter(BOB), Facts(NOON_MS, FRESH, "salt"))
        assert commit == [
            QueueEntered(BOB, "Bob", (), "salt"),
            RoomOpened(FRESH, ANN, BOB, "Ann", "Bob", "pepper", "salt"),
        ]


def test_the_rules_are_off_in_an_old_log() -> None:
    """The policy of an empty log has none of them."""
    names = ("confirm_grace_ms", "requeue_on_missed_match", "rematch_after_ms", "rematch_patience_ms")
    names += ("blocks_per_connection_max", "reports_per_10min_max", "evidence_keep_ms")
    assert {getattr(Policy(), name) for name in names} == {0}
    given(chatting(ANN, BOB)).when(leave(ANN)).then(closed(ANN, BOB, "left"))
    given(chatting(ANN, BOB), waiting(CAT)).when(move_on(ANN)).then(
        closed(ANN, BOB, "next"), entered(ANN), opened(CAT, ANN)
    )
    given(chatting(ANN, BOB)).when(say(ANN)).then(said(ANN, BOB))


class TestChecks:
    """A log with a wrong effect of such a command is found."""

    def found(self, state: State, *events: Event) -> list[tuple[int, str]]:
        """Return the violations of a commit of `events` after `state`."""
        return find_violations(state, commit_after(state.tip, PAST, Facts(NOON_MS, FRESH, "salt"), events))

    def test_a_report_of_a_strangers_room(self) -> None:
        """Only the members of a known room report each other."""
        words = "c_ann reported c_bob, and r_old was not theirs"
        assert self.found(state_after(waiting(ANN)), reported(3, 4)) == [(5, words)]
        assert self.found(state_after(chatting(ANN, CAT)), reported(3, 4)) == [(5, words)]
        assert self.found(state_after(chatting(BOB, ANN)), reported(3, 4)) == []

    def test_a_name_forgotten_too_soon(self) -> None:
        """Only the idle are forgotten."""
        state = state_after(waiting(ANN), waiting(CAT), then_also(left(CAT)))
        assert self.found(state, NamesForgotten((ANN, CAT))) == [
            (1, "the name of c_ann was forgotten, who was not idle")
        ]
        assert self.found(state, NamesForgotten((DAN,))) == [(1, "the name of c_dan was forgotten, who was not idle")]

    def test_a_return_to_the_queue(self) -> None:
        """A return is no newcomer's vain waiting, and it needs a closed room."""
        state = state_after(*to_be_confirmed(), waiting(CAT))
        requeued = QueueEntered(ANN, "Ann", (), earlier=ANNS_PLACE)
        assert self.found(state, missed(BOB, ANN, requeued=True), requeued) == []
        assert self.found(state, requeued) == [(1, "c_ann entered the queue, but was not idle")]
