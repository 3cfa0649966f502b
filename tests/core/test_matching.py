"""The choice of a partner by interests: the most shared ones, or any partner after the end of patience."""

from __future__ import annotations

import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from broker.decide import decide
from broker.matching import Seeker, first_come, most_shared, patience_steps_ms
from events.commands import EnterQueue, MatchDue, NextPartner
from events.commit import Facts, commit_after
from events.events import RoomOpened
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from projections.invariants import check_state, check_step
from projections.state import INITIAL_STATE, State, evolve
from tests.support.examples import scaled
from tests.support.people import ANN, BOB, CAT, DAN, FRESH, enter, entered, leave_queue, opened
from tests.support.specs import NOON_MS, Step, chatting, given, state_after, under, waiting

PATIENCE = Policy().interest_patience_ms
BY_INTERESTS = under(matching="interests")


def waiting_for(who: ConnectionId, *interests: str) -> list[Step]:
    """Return a history after which `who` waits with `interests`."""
    return [(entered(who, None, *interests),)]


class TestAsANewcomer:
    """The choice for a newcomer."""

    def test_who_shares_an_interest_is_met(self) -> None:
        """A shared interest comes before a longer waiting time."""
        given(BY_INTERESTS, waiting_for(ANN, "go"), waiting_for(BOB, "tea")).when(
            enter(CAT, "Cat", "chess", "tea")
        ).then(entered(CAT, "Cat", "chess", "tea"), opened(BOB, CAT))

    def test_who_shares_most_is_met(self) -> None:
        """Two beat one."""
        given(BY_INTERESTS, waiting_for(ANN, "go"), waiting_for(BOB, "chess", "tea")).when(
            enter(CAT, "Cat", "chess", "go", "tea")
        ).then(entered(CAT, "Cat", "chess", "go", "tea"), opened(BOB, CAT))

    def test_of_equals_the_longest_waiting_is_met(self) -> None:
        """First come, first served among them."""
        given(BY_INTERESTS, waiting_for(ANN, "go"), waiting_for(BOB, "tea")).when(enter(CAT, "Cat", "go", "tea")).then(
            entered(CAT, "Cat", "go", "tea"), opened(ANN, CAT)
        )

    @pytest.mark.parametrize("interests", [(), ("tea",)])
    def test_who_shares_nothing_is_not_met(self, interests: tuple[str, ...]) -> None:
        """They wait, both, until somebody's patience ends."""
        given(BY_INTERESTS, waiting_for(ANN, "go")).when(enter(CAT, "Cat", *interests), after_ms=PATIENCE - 1).then(
            entered(CAT, "Cat", *interests)
        )

    def test_whose_patience_has_ended_is_met_by_anyone(self) -> None:
        """Any newcomer will do."""
        given(BY_INTERESTS, waiting_for(ANN, "go")).when(enter(CAT), after_ms=PATIENCE).then(
            entered(CAT), opened(ANN, CAT)
        )

    def test_a_shared_interest_comes_before_impatience(self) -> None:
        """The newcomer asked for the interest."""
        given(BY_INTERESTS, waiting_for(ANN, "go"), waiting_for(BOB, "tea")).when(
            enter(CAT, "Cat", "tea"), after_ms=PATIENCE
        ).then(entered(CAT, "Cat", "tea"), opened(BOB, CAT))

    def test_the_next_partner_shares_something_too(self) -> None:
        """Interests are kept from one conversation to the next."""
        history = [[(entered(ANN, None, "tea"),)], [(entered(BOB), opened(ANN, BOB, RoomId("r_1")))]]
        met = given(BY_INTERESTS, *history, waiting_for(CAT, "go"), waiting_for(DAN, "tea")).when(
            NextPartner(ANN, RoomId("r_1"))
        )
        assert isinstance(met.decision, list)
        assert met.decision[-1] == opened(DAN, ANN)


class TestMatchDue:
    """The choice at the end of patience."""

    def test_they_meet_the_longest_waiting(self) -> None:
        """The other's interests and patience do not matter; the earlier entry becomes `first`."""
        history = (BY_INTERESTS, waiting_for(ANN, "go"), waiting_for(BOB, "tea"), waiting_for(CAT, "ski"))
        given(*history).when(MatchDue(CAT), after_ms=PATIENCE).then(opened(ANN, CAT))
        given(*history).when(MatchDue(ANN), after_ms=PATIENCE).then(opened(ANN, BOB))

    def test_not_a_millisecond_too_early(self) -> None:
        """The stamps of commits decide."""
        history = (BY_INTERESTS, waiting_for(ANN, "go"), waiting_for(BOB, "tea"))
        given(*history).when(MatchDue(ANN), after_ms=PATIENCE - 1).then_nothing()

    def test_alone_they_wait_on(self) -> None:
        """The next newcomer will meet it."""
        given(BY_INTERESTS, waiting_for(ANN, "go")).when(MatchDue(ANN), after_ms=PATIENCE).then_nothing()

    @pytest.mark.parametrize("history", [[], chatting(ANN, BOB)])
    def test_who_does_not_wait_is_not_due(self, history: list[Step]) -> None:
        """It has left or has been matched since."""
        given(BY_INTERESTS, history).when(MatchDue(ANN), after_ms=PATIENCE).then_nothing()

    def test_under_first_come_it_pairs_those_whom_a_change_of_policy_left(self) -> None:
        """It meets the longest waiting."""
        history = (BY_INTERESTS, waiting_for(ANN, "go"), waiting_for(BOB, "tea"), under(matching="first-come"))
        given(*history).when(MatchDue(BOB)).then(opened(ANN, BOB))

    def test_where_no_room_may_open_it_is_refused(self) -> None:
        """The broker then submits it again."""
        full = under(matching="interests", rooms_open_max=1)
        history = (full, chatting(CAT, DAN), waiting_for(ANN, "go"), waiting_for(BOB, "tea"))
        given(*history).when(MatchDue(ANN), after_ms=PATIENCE).then_rejected("queue_full")


def naive(state: State, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Choose by the rule as written, over a list of the waiting connections."""
    waits = [
        (-len(set(known.interests) & set(seeker.interests)), entered_position, who, at_ms - known.last_at_ms)
        for who, entered_position in state.queue.entered.items()
        if who != seeker.connection_id and (known := state.connections.by_id[who])
    ]
    sharing = [one for one in waits if one[0]]
    anyone = [one for one in waits if max(one[3], seeker.waited_ms) >= state.policy.interest_patience_ms]
    found = min(sharing, default=None) or min(anyone, key=lambda one: one[1], default=None)
    return found[2] if found is not None else None


INTERESTS = st.lists(st.sampled_from("abcd"), unique=True, max_size=3).map(lambda them: tuple(sorted(them)))
MOVES = st.lists(st.tuples(st.integers(0, 11), INTERESTS, st.integers(0, 9_000), st.sampled_from("eeedl")), max_size=30)


@settings(deadline=None, max_examples=scaled(150))
@given_any(MOVES)
def test_the_index_finds_whom_a_look_at_everyone_finds(moves: list[tuple[int, tuple[str, ...], int, str]]) -> None:
    """The index and a scan agree after any history, and every step keeps the promises."""
    state, at_ms = state_after(under(matching="interests", queue_commands_per_10s_max=1_000)), NOON_MS
    for number, (person, interests, passed_ms, move) in enumerate(moves):
        who, at_ms = ConnectionId(f"c_{person}"), at_ms + passed_ms
        command = {"e": EnterQueue(who, "X", interests), "d": MatchDue(who), "l": leave_queue(who)}[move]
        facts = Facts(at_ms, RoomId(f"r_{number}"))
        known = state.connections.get(who)
        waited_ms = at_ms - known.last_at_ms if known is not None and move == "d" else 0
        seeker = Seeker(who, interests if move == "e" or known is None else known.interests, waited_ms)
        decision = decide(state, command, facts)
        if not isinstance(decision, list) or not decision:
            continue
        met = next((event for event in decision if isinstance(event, RoomOpened)), None)
        if move != "l":
            expected = naive(state, seeker, at_ms)
            assert (met is None) == (expected is None)
            assert met is None or {met.first, met.second} == {who, expected}
        commit = commit_after(state.tip, command, facts, decision)
        after = evolve(state, commit)
        assert check_step(state, commit, after) == []
        state = after
    assert check_state(state) == []


def test_first_come_does_not_look_at_interests() -> None:
    """It chooses the longest waiting, except for the seeker."""
    state = state_after(BY_INTERESTS, waiting_for(ANN, "go"), waiting_for(BOB, "tea"))
    assert first_come(state, Seeker(CAT, ("tea",), 0), NOON_MS) == ANN
    assert first_come(state, Seeker(ANN, (), 0), NOON_MS) == BOB
    assert first_come(INITIAL_STATE, Seeker(ANN, (), 0), NOON_MS) is None


def test_a_matching_of_ones_own_can_stand_in() -> None:
    """A what-if question brings its own matching."""
    asked: list[tuple[Seeker, int]] = []

    def nobody(state: State, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        asked.append((seeker, at_ms))
        return None

    state = state_after(waiting(ANN))
    assert decide(state, enter(BOB, None, "tea"), Facts(NOON_MS, FRESH), matching=nobody) == [entered(BOB, None, "tea")]
    assert decide(state, MatchDue(ANN), Facts(NOON_MS + 7, FRESH), matching=nobody) == []
    assert asked == [(Seeker(BOB, ("tea",), 0), NOON_MS), (Seeker(ANN, (), NOON_MS + 7 - state.at_ms), NOON_MS + 7)]
    assert decide(state, enter(BOB), Facts(NOON_MS, FRESH), matching=most_shared) == [entered(BOB)]
    assert decide(state, enter(BOB), Facts(NOON_MS, FRESH)) == [entered(BOB), opened(ANN, BOB)]


def test_patience_is_a_matter_of_interests() -> None:
    """Under first come, first served, there is no patience."""
    assert patience_steps_ms(Policy()) == [0]
    assert patience_steps_ms(Policy(matching="interests", interest_patience_ms=7)) == [7]
    again = {"rematch_after_ms": 50, "rematch_patience_ms": 9}
    assert patience_steps_ms(Policy(**again)) == [0, 9]
    assert patience_steps_ms(Policy(matching="interests", interest_patience_ms=7, **again)) == [7, 9]
    assert patience_steps_ms(Policy(rematch_after_ms=5, rematch_patience_ms=9)) == [0, 5]
    assert patience_steps_ms(Policy(rematch_after_ms=50)) == [0, 1]
