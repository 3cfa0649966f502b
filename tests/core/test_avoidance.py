"""Pairs that must not meet under any matching, and the end of that rule."""

from __future__ import annotations

import msgspec
import pytest

from broker.decide import decide
from broker.matching import Seeker, find_partner
from events.commands import EnterQueue, MatchDue
from events.commit import Commit, Facts, commit_after
from events.events import PartnerBlocked, RoomClosed
from events.ids import ConnectionId, RoomId
from projections.avoidance import avoid_reason
from projections.connections import PARTNERS_KEPT, MetPartner
from projections.event_checks import find_violations
from projections.state import State, evolve
from projections.view import StateView
from tests.support.people import ANN, BOB, CAT, DAN, FRESH, closed, enter, entered, leave, move_on, opened
from tests.support.specs import NOON_MS, Step, chatting, given, state_after, then_also, under, waiting

AGAIN = {"rematch_after_ms": 600_000, "rematch_patience_ms": 20_000}
AVOIDING = under(**AGAIN, blocks_per_connection_max=100)
BY_INTERESTS = under(**AGAIN, matching="interests", interest_patience_ms=15_000)


def parted(one: ConnectionId, other: ConnectionId, room: str = "r_1") -> list[Step]:
    """The two met and parted, at noon."""
    return [*chatting(one, other, RoomId(room)), (closed(one, other, "left", RoomId(room)),)]


class TestMetLately:
    """Two do not meet again so soon."""

    def test_they_wait_side_by_side(self) -> None:
        """For as long as the policy says since their room closed."""
        given(AVOIDING, parted(ANN, BOB), waiting(ANN)).when(enter(BOB), after_ms=599_999).then(entered(BOB))
        given(AVOIDING, parted(ANN, BOB), waiting(ANN)).when(enter(BOB), after_ms=600_000).then(
            entered(BOB), opened(ANN, BOB)
        )

    def test_without_such_a_policy_they_meet(self) -> None:
        """Partners meet again at once, as in any older log."""
        given(parted(ANN, BOB), waiting(ANN)).when(enter(BOB)).then(entered(BOB), opened(ANN, BOB))

    def test_of_those_one_may_meet_the_longest_waiting_comes_first(self) -> None:
        """A passed-over connection keeps its place."""
        given(AVOIDING, parted(ANN, BOB), waiting(ANN), waiting(CAT)).when(enter(BOB)).then(
            entered(BOB), opened(CAT, BOB)
        )

    def test_one_who_asks_for_the_next_does_not_get_the_same(self) -> None:
        """Though the other is alone in the queue."""
        room = RoomId("r_1")
        given(AVOIDING, parted(ANN, BOB), waiting(ANN)).when(move_on(BOB, room)).then(entered(BOB))

    def test_both_have_to_be_patient(self) -> None:
        """They meet again only after the patience of both, and if no other connection has come."""
        history = [AVOIDING, parted(ANN, BOB), waiting(ANN), waiting(BOB)]
        given(*history).when(MatchDue(BOB), after_ms=19_999).then_nothing()
        given(*history).when(MatchDue(BOB), after_ms=20_000).then(opened(ANN, BOB))
        given(*history).when(MatchDue(ANN), after_ms=20_000).then(opened(ANN, BOB))
        given(*history, waiting(CAT)).when(MatchDue(BOB), after_ms=20_000).then(opened(BOB, CAT))

    def test_the_patience_of_one_is_not_enough(self) -> None:
        """The other has just come."""
        state = state_after(AVOIDING, parted(ANN, BOB), waiting(ANN))
        late = commit_after(state.tip, enter(BOB), Facts(NOON_MS + 5_000), [entered(BOB)])
        due = Facts(NOON_MS + 20_000, FRESH)
        assert decide(evolve(state, late), MatchDue(ANN), due) == []
        due = Facts(NOON_MS + 25_000, FRESH)
        assert decide(evolve(state, late), MatchDue(BOB), due) == [opened(ANN, BOB)]

    def test_either_ones_memory_counts(self) -> None:
        """Each remembers so many partners, and one of the two may have met many since."""
        state = state_after(AVOIDING, parted(ANN, BOB))
        for number in range(PARTNERS_KEPT):
            room, other = RoomId(f"r_more{number}"), ConnectionId(f"c_{number}")
            for step in [
                (entered(ANN),),
                (entered(other), opened(ANN, other, room)),
                (closed(ANN, other, "left", room),),
            ]:
                state = evolve(state, commit_after(state.tip, leave(ANN), Facts(NOON_MS), step))
        partners = state.connections.by_id[ANN].partners
        assert [met.connection_id for met in partners] == [f"c_{number}" for number in range(PARTNERS_KEPT)]
        assert avoid_reason(state, ANN, BOB, Facts(NOON_MS)) == "met"
        assert avoid_reason(state, BOB, ANN, Facts(NOON_MS)) == "met"

    def test_the_last_room_counts(self) -> None:
        """A partner is remembered once, at the end of the list."""
        state = state_after(AVOIDING, parted(ANN, BOB), parted(ANN, CAT, "r_2"), parted(ANN, BOB, "r_3"))
        assert state.connections.by_id[ANN].partners == (MetPartner(CAT, NOON_MS), MetPartner(BOB, NOON_MS))

    def test_a_missed_match_was_no_meeting(self) -> None:
        """Neither remembers it."""
        room = RoomId("r_1")
        missed = RoomClosed(room, BOB, ANN, "timeout", (BOB,))
        given(AVOIDING, chatting(ANN, BOB, room), then_also(missed), waiting(ANN)).when(enter(BOB)).then(
            entered(BOB), opened(ANN, BOB)
        )


class TestPeers:
    """The facts name the connections of peers that one has met."""

    def test_they_are_passed_over(self) -> None:
        """They are passed over like former partners."""
        given(waiting(ANN), waiting(CAT)).when(enter(BOB), avoid=(ANN,)).then(entered(BOB), opened(CAT, BOB))
        given(waiting(ANN)).when(enter(BOB), avoid=(ANN, CAT)).then(entered(BOB))

    def test_patience_ends_it_too(self) -> None:
        """With the same patience for both."""
        given(AVOIDING, waiting(ANN), waiting(BOB)).when(MatchDue(BOB), after_ms=19_999, avoid=(ANN,)).then_nothing()
        given(AVOIDING, waiting(ANN), waiting(BOB)).when(MatchDue(BOB), after_ms=20_000, avoid=(ANN,)).then(
            opened(ANN, BOB)
        )


class TestBlocked:
    """A block holds for good."""

    @pytest.mark.parametrize(("by", "whom"), [(ANN, BOB), (BOB, ANN)])
    def test_whoever_blocked_whom(self, by: ConnectionId, whom: ConnectionId) -> None:
        """No patience and no time ends it."""
        history = [AVOIDING, parted(ANN, BOB), then_also(PartnerBlocked(by, whom)), waiting(ANN)]
        given(*history).when(enter(BOB), after_ms=10**9).then(entered(BOB))
        given(*history, waiting(BOB)).when(MatchDue(BOB), after_ms=10**9).then_nothing()
        given(*history, waiting(BOB), waiting(CAT)).when(MatchDue(BOB), after_ms=10**9).then(opened(BOB, CAT))

    def test_it_is_the_stronger_reason(self) -> None:
        """A block is given as the reason even for a former partner."""
        state = state_after(AVOIDING, parted(ANN, BOB), then_also(PartnerBlocked(ANN, BOB)))
        assert avoid_reason(state, ANN, BOB, Facts(NOON_MS)) == "blocked"
        assert avoid_reason(state, CAT, BOB, Facts(NOON_MS)) is None


class TestUnderInterests:
    """The matching knows nothing of it."""

    def test_the_next_best_is_named(self) -> None:
        """The matching's next choice is met."""
        waiters = [(entered(ANN, None, "go", "tea"),), (entered(CAT, None, "tea"),)]
        given(BY_INTERESTS, parted(ANN, BOB), waiters).when(enter(BOB, None, "go", "tea")).then(
            entered(BOB, None, "go", "tea"), opened(CAT, BOB)
        )

    def test_both_patiences_hold(self) -> None:
        """The patience for an interest and the patience for a new face must both end."""
        waiters = [(entered(ANN, None, "go"),), (entered(BOB, None, "go"),)]
        given(BY_INTERESTS, parted(ANN, BOB), waiters).when(MatchDue(BOB), after_ms=15_000).then_nothing()
        given(BY_INTERESTS, parted(ANN, BOB), waiters).when(MatchDue(BOB), after_ms=20_000).then(opened(ANN, BOB))


def test_any_matching_is_asked_again_without_those_to_avoid() -> None:
    """Even an odd matching gets a queue without those to avoid, and the rest of the state as it is."""
    seen: list[list[ConnectionId]] = []

    def last_come(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        waiting_now = [who for _, who in state.queue.entries.items() if who != seeker.connection_id]
        seen.append(waiting_now)
        assert (state.position, state.at_ms, state.policy.rematch_after_ms) == (here.position, NOON_MS, 600_000)
        assert (state.tip, state.rooms, state.connections) == (here.tip, here.rooms, here.connections)
        return waiting_now[-1] if waiting_now else None

    here = state_after(AVOIDING, parted(DAN, BOB), waiting(ANN), waiting(CAT), waiting(DAN))
    assert find_partner(here, Seeker(BOB, (), 0), Facts(NOON_MS), last_come) == CAT
    assert seen == [[ANN, CAT, DAN], [ANN, CAT]]
    alone = here = state_after(AVOIDING, parted(DAN, BOB), waiting(DAN), waiting(BOB))
    assert find_partner(alone, Seeker(BOB, (), 20_000), Facts(NOON_MS + 20_000), last_come) == DAN


def test_a_matching_that_names_one_who_does_not_wait_is_a_bug() -> None:
    """It fails an assertion, and does not go on for ever."""
    state = state_after(AVOIDING, parted(ANN, BOB), waiting(ANN))
    with pytest.raises(AssertionError, match="a waiting connection"):
        find_partner(state, Seeker(BOB, (), 0), Facts(NOON_MS), lambda *_: ANN)


class TestChecks:
    """A log with a forbidden meeting is found."""

    def commit(self, state: State, command: EnterQueue | MatchDue, *, after_ms: int = 0) -> Commit:
        """Return a commit in which Bob meets Ann."""
        events = [entered(BOB)] if isinstance(command, EnterQueue) else []
        return commit_after(state.tip, command, Facts(NOON_MS + after_ms, FRESH), [*events, opened(ANN, BOB)])

    def test_a_block_that_did_not_hold(self) -> None:
        """Promise 9."""
        state = state_after(AVOIDING, waiting(ANN), then_also(PartnerBlocked(ANN, BOB)))
        found = find_violations(state, self.commit(state, enter(BOB)))
        assert found == [(9, "c_bob and c_ann met, and one had blocked the other")]

    def test_a_meeting_too_soon(self) -> None:
        """Promise 3: a newcomer never meets a recent partner; others do so after the patience of both."""
        state = state_after(AVOIDING, parted(ANN, BOB), waiting(ANN))
        found = find_violations(state, self.commit(state, enter(BOB), after_ms=30_000))
        assert found == [(3, "c_bob and c_ann met again too soon")]
        state = state_after(AVOIDING, parted(ANN, BOB), waiting(ANN), waiting(BOB))
        found = find_violations(state, self.commit(state, MatchDue(BOB), after_ms=19_999))
        assert found == [(3, "c_bob and c_ann met again too soon")]
        assert find_violations(state, self.commit(state, MatchDue(BOB), after_ms=20_000)) == []

    def test_one_who_was_passed_over(self) -> None:
        """Promise 3: among the connections that one may meet, the longest waiting comes first."""
        state = state_after(AVOIDING, waiting(CAT), waiting(ANN))
        assert find_violations(state, self.commit(state, enter(BOB))) == [
            (3, "c_ann was not the one who waited longest")
        ]
        state = state_after(AVOIDING, parted(CAT, BOB), waiting(CAT), waiting(ANN))
        assert find_violations(state, self.commit(state, enter(BOB))) == []
        state = state_after(AVOIDING, parted(ANN, BOB), waiting(CAT), waiting(ANN), waiting(BOB))
        found = find_violations(state, self.commit(state, MatchDue(BOB), after_ms=20_000))
        assert found == [(3, "c_ann was not the one who waited longest")]

    def test_a_newcomer_who_waits_in_vain(self) -> None:
        """Promise 3: a newcomer does not wait while a possible partner waits."""
        state = state_after(AVOIDING, waiting(ANN))
        waits = commit_after(state.tip, enter(BOB), Facts(NOON_MS, FRESH), [entered(BOB)])
        assert find_violations(state, waits) == [(3, "c_bob waits while c_ann waits, and they may meet")]
        avoided = msgspec.structs.replace(waits, facts=Facts(NOON_MS, FRESH, avoid=(ANN,)))
        assert find_violations(state, avoided) == []
