"""The simulation finds bugs: each planted bug makes some seed fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from broker import hub as hub_module
from broker import matching as matching_module
from broker import own_rows as own_rows_module
from broker import reads as reads_module
from broker.batch_storage import BatchStorage
from broker.clock import sleep_until
from broker.confirmation import MatchConfirmation
from broker.hub import Hub, participants
from broker.match_timeouts import MatchTimeouts
from broker.notes import Gone
from broker.own_rows import OwnRows
from broker.presence import Presence
from broker.questions import Questions
from broker.reads import Page, Reads, page_after
from broker.replica import Replica
from broker.retention import Redaction
from broker.roster import Roster
from broker.roster_link import RosterLink
from events.commands import CancelMatch
from events.commit import Commit, Facts
from events.events import Event, MessageSent
from events.ids import ConnectionId
from events.log import Conflict, LogUnavailableError
from mcp_facade.streams.resume_point import ResumePoint
from projections import event_checks as event_checks_module
from projections.avoidance import avoid_reason
from projections.rooms import Room
from projections.state import State
from tests.simulation.plan import SHARED
from tests.simulation.run import Simulation

SEEDS_MOST = 300
"""The rarest of these bugs shows in one seed of 25, so all of these miss it once in 200,000 times."""

Plant = Callable[[pytest.MonkeyPatch], None]


def announced_before_it_is_stored(patch: pytest.MonkeyPatch) -> None:
    """Listeners hear of commits that may be lost."""
    decided = BatchStorage._decided

    def eager(self: BatchStorage, commands: Any) -> Any:
        batch = decided(self, commands)
        for state, commit in batch.steps:
            self._replica._observer.committed(commit, state)
        return batch

    patch.setattr(BatchStorage, "_decided", eager)


def a_cursor_that_is_one_too_far(patch: pytest.MonkeyPatch) -> None:
    """The event at that position is never given."""

    async def off_by_one(log: Any, state: Any, who: Any, cursor: int, limit: int) -> Page:
        page = await page_after(log, state, who, cursor + 1, limit)
        return Page(page.events, max(page.cursor, cursor), page.missed)

    patch.setattr(reads_module, "page_after", off_by_one)


def a_grace_that_leaks(patch: pytest.MonkeyPatch) -> None:
    """A connection stays present for ever after its first stream."""
    patch.setattr(Presence, "stream_closed", lambda self, who: None)


def a_grace_that_is_too_short(patch: pytest.MonkeyPatch) -> None:
    """The end of a call is not noted, so its beginning counts."""

    @contextmanager
    def call(self: Presence, who: ConnectionId) -> Iterator[None]:
        trace = self._activity(who)
        trace.calls += 1
        try:
            yield
        finally:
            trace.calls -= 1
            self._schedule(trace)

    patch.setattr(Presence, "call", call)


def a_wake_up_that_is_lost(patch: pytest.MonkeyPatch) -> None:
    """The recipient's wait does not wake for a message."""

    def concerned(event: Event) -> tuple[ConnectionId, ...]:
        return (event.sender,) if isinstance(event, MessageSent) else participants(event)

    patch.setattr(hub_module, "participants", concerned)


def a_message_id_that_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A repeat is stored twice."""
    patch.setattr(Room, "sent_at_ms", lambda self, sender, message_id: None)


def a_stream_that_resumes_too_early(patch: pytest.MonkeyPatch) -> None:
    """The last event is sent once more."""
    patch.setattr(ResumePoint, "includes", lambda self, delivery: False)


def an_append_that_is_decided_again_though_it_may_have_landed(patch: pytest.MonkeyPatch) -> None:
    """A message without an id is stored twice."""

    async def impatient(self: BatchStorage, batch: Any) -> Any:
        draft = self._decided(batch)
        while draft.commits:
            try:
                await self._log.append(draft.commits, expected=self._replica.state.tip)
                break
            except (Conflict, LogUnavailableError):
                await sleep_until(self._clock, self._clock.now_ms() + 50)
                await self._replica.catch_up(to_the_end=True)
                draft = self._decided(batch)
        return draft

    patch.setattr(BatchStorage, "stored", impatient)


def a_commit_that_is_not_announced(patch: pytest.MonkeyPatch) -> None:
    """Streams hear nothing of some commits."""
    announce = Hub.announce

    def sleepy(self: Hub, commit: Any) -> None:
        if commit.position % 7:
            announce(self, commit)

    patch.setattr(Hub, "announce", sleepy)


def a_refusal_that_is_not_confirmed(patch: pytest.MonkeyPatch) -> None:
    """A replica that is behind refuses a command that the log would allow."""

    async def sure(self: BatchStorage, batch: Any) -> bool:
        return True

    patch.setattr(BatchStorage, "_is_at_tip", sure)


def a_question_to_the_log_that_began_before_the_command_came(patch: pytest.MonkeyPatch) -> None:
    """The answer lacks commits stored since the question."""
    ask = Questions.ask

    async def join(self: Questions[Any]) -> Any:
        if self._asking is not None and not self._asking.done():
            return await asyncio.shield(self._asking)
        return await ask(self)

    patch.setattr(Questions, "ask", join)


def a_cursor_that_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """A client from another broker is refused its valid cursor."""

    async def as_far_as_known(self: Reads, connection_id: ConnectionId, cursor: int) -> bool:
        return self._may_have_given(connection_id, cursor)

    patch.setattr(Reads, "has_given", as_far_as_known)


def a_handle_that_is_not_looked_for_again(patch: pytest.MonkeyPatch) -> None:
    """A client that entered at another broker is unknown."""

    async def as_far_as_known(self: Reads, connection_id: ConnectionId) -> bool:
        return self.knows(connection_id)

    patch.setattr(Reads, "is_known", as_far_as_known)


def a_status_that_is_not_confirmed(patch: pytest.MonkeyPatch) -> None:
    """A client is told its former place."""
    caught_up = Replica.caught_up

    async def at_once(self: Replica, position: int | None = None) -> bool:
        return True if position is None else await caught_up(self, position)

    patch.setattr(Replica, "caught_up", at_once)


def a_followed_commit_that_is_read_again(patch: pytest.MonkeyPatch) -> None:
    """Following only signals more commits, so they are read again."""

    async def forgetful(self: Replica, commit: Commit) -> None:
        self._heard_to = self._seen_to = commit.position
        self._on_heard()

    patch.setattr(Replica, "_hear", forgetful)


def a_missed_commit_that_is_read_again(patch: pytest.MonkeyPatch) -> None:
    """The commits in a conflict are not folded, so they are read again."""

    async def wasteful(self: BatchStorage, conflict: Conflict) -> None:
        self._replica.fold(())
        await self._replica.catch_up(to_the_end=True)

    patch.setattr(BatchStorage, "_fold_missed", wasteful)


def a_frame_that_confirms_no_match(patch: pytest.MonkeyPatch) -> None:
    """A listening member is said to have missed the match."""
    patch.setattr(MatchConfirmation, "told", lambda self, who, position: None)


def a_grace_that_does_not_begin_anew_at_a_start(patch: pytest.MonkeyPatch) -> None:
    """A member without a chance to call since the start is said to have missed the match."""

    def start(self: MatchConfirmation) -> None:
        for room in self._replica.state.rooms.by_id.values():
            if room.is_open and room.first_entry is not None:
                grace_ms = self._replica.state.policy.confirm_grace_ms
                self._expect(room.room_id, (room.first, room.second), room.opened_position, grace_ms)
        for match in set(self.unconfirmed.values()):
            self._submit(CancelMatch(match.room_id, match.members, is_other_present=False))

    patch.setattr(MatchConfirmation, "start", start)


def a_ghost_that_is_held_for_confirmed(patch: pytest.MonkeyPatch) -> None:
    """Its partner stays in the room as long as rooms allow silence."""
    patch.setattr(MatchConfirmation, "_check", lambda self, match: None)


def a_partner_of_a_ghost_that_nobody_looks_for(patch: pytest.MonkeyPatch) -> None:
    """It waits again, next to another connection that it may meet."""
    observe = MatchTimeouts.observe

    def forgetful(self: MatchTimeouts, commit: Commit, state: State) -> None:
        if not isinstance(commit.command, CancelMatch):
            observe(self, commit, state)

    patch.setattr(MatchTimeouts, "observe", forgetful)


def a_block_that_holds_one_way(patch: pytest.MonkeyPatch) -> None:
    """A blocked connection may still meet the one that blocked it; the checks of the log believe it too."""

    def one_way(state: Any, seeker: ConnectionId, other: ConnectionId, facts: Facts) -> Any:
        reason = avoid_reason(state, seeker, other, facts)
        known = state.connections.by_id.get(seeker)
        return None if reason == "blocked" and (known is None or other not in known.blocked) else reason

    for module in (matching_module, event_checks_module):
        patch.setattr(module, "avoid_reason", one_way)


def a_silence_that_begins_with_a_call(patch: pytest.MonkeyPatch) -> None:
    """A partner with a lasting wait is called silent."""

    def silent_ms(self: Presence, who: ConnectionId) -> float | None:
        activity = self.activities.get(who)
        return self._clock.now_ms() - activity.call_over_ms if activity is not None else None

    patch.setattr(Presence, "silent_ms", silent_ms)


def evidence_that_is_redacted(patch: pytest.MonkeyPatch) -> None:
    """A report does not keep the texts of its room."""
    patch.setattr(Redaction, "_reported", lambda self: frozenset())


def a_confirmation_that_is_not_told(patch: pytest.MonkeyPatch) -> None:
    """A member that calls another broker is said to have missed the match."""
    patch.setattr(RosterLink, "tell_confirmed", lambda self, confirmed: None)


def a_deadline_that_is_judged_by_the_clock(patch: pytest.MonkeyPatch) -> None:
    """Notes of the others may be under way, or lost with the channel."""
    patch.setattr(Roster, "judged_by_ms", lambda self, now_ms: now_ms)


def rows_that_go_with_their_broker(patch: pytest.MonkeyPatch) -> None:
    """The people of a lost broker have no grace."""
    check_lost = Roster.check_lost

    def forgetful(self: Roster, now_ms: float) -> list[ConnectionId]:
        found = check_lost(self, now_ms)
        for other in self._others.values():
            if other.is_lost:
                other.here.clear()
                other.gone.clear()
        return found

    patch.setattr(Roster, "check_lost", forgetful)


def a_short_call_that_is_not_told(patch: pytest.MonkeyPatch) -> None:
    """A connection heard only by immediate calls seems silent to the others."""
    tell_gone = OwnRows._tell_gone

    def selective(self: OwnRows, who: ConnectionId, *arguments: Any, **named: Any) -> None:
        if who in self._told:
            tell_gone(self, who, *arguments, **named)

    patch.setattr(OwnRows, "_tell_gone", selective)


def rows_that_are_not_asked_for(patch: pytest.MonkeyPatch) -> None:
    """Rows lost in a gap of the notes stay unknown."""
    patch.setattr(Roster, "lacks_rows", property(lambda self: False))


def an_end_without_its_age(patch: pytest.MonkeyPatch) -> None:
    """The others count a grace from older knowledge."""
    patch.setattr(own_rows_module, "_gone", lambda activity, now_ms: Gone(activity.connection_id, None, None))


def absence_that_is_never_judged(patch: pytest.MonkeyPatch) -> None:
    """Vanished connections stay for ever."""
    patch.setattr(Roster, "judged_by_ms", lambda self, now_ms: -1.0)


PLANTED: list[Plant] = [
    announced_before_it_is_stored,
    a_cursor_that_is_one_too_far,
    a_grace_that_leaks,
    a_grace_that_is_too_short,
    a_wake_up_that_is_lost,
    a_message_id_that_is_forgotten,
    a_stream_that_resumes_too_early,
    an_append_that_is_decided_again_though_it_may_have_landed,
    a_commit_that_is_not_announced,
    a_frame_that_confirms_no_match,
    a_grace_that_does_not_begin_anew_at_a_start,
    a_ghost_that_is_held_for_confirmed,
    a_partner_of_a_ghost_that_nobody_looks_for,
    a_block_that_holds_one_way,
    a_silence_that_begins_with_a_call,
    evidence_that_is_redacted,
]

PLANTED_IN_SHARED_LOGS: list[Plant] = [
    a_confirmation_that_is_not_told,
    a_deadline_that_is_judged_by_the_clock,
    rows_that_go_with_their_broker,
    a_short_call_that_is_not_told,
    rows_that_are_not_asked_for,
    an_end_without_its_age,
    absence_that_is_never_judged,
    a_refusal_that_is_not_confirmed,
    a_question_to_the_log_that_began_before_the_command_came,
    a_cursor_that_is_not_waited_for,
    a_handle_that_is_not_looked_for_again,
    a_status_that_is_not_confirmed,
    a_followed_commit_that_is_read_again,
    a_missed_commit_that_is_read_again,
]


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least one of 300 seeds fails."""
    _find(plant, "", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED_IN_SHARED_LOGS, ids=lambda plant: plant.__name__)
def test_a_planted_bug_of_several_brokers_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least one of 300 seeds with several brokers on one log fails."""
    _find(plant, SHARED, monkeypatch)


def _find(plant: Plant, seeds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(SEEDS_MOST):
        outcome = Simulation(f"{seeds}{seed}").run()
        if outcome.failure is not None:
            print(f"{plant.__name__}: seed {seed}, step {outcome.steps}: {outcome.failure}")
            return
    pytest.fail(f"{SEEDS_MOST} seeds did not find it: {plant.__doc__}")
