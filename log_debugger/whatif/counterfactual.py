"""A counterfactual run: a log's commands, decided again with some of them left out or under another policy.

The commands keep their order and their stored facts; `adaptation` fits each to the place of its sender in the run.

Patience ends by the policy of the run, so the log's own `MatchDue` are dropped. The run issues its own when a broker
would, before the next command. A broker's came a moment late; where patience is as in the log, so does the run's. The
connections that a search avoids by the facts are those of the seeker's last search in the log.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from broker.decide import decide
from broker.decision import Rejection
from broker.errors import UsageError
from broker.matching import LOOK_AGAIN_MS, Matching, MatchingError, Seeker, patience_steps_ms
from broker.own_matching import matching_of_log
from broker.verification.scenario import MAY_MATCH
from events.commands import AdoptPolicy, Command, EnterQueue, ForgetNames, MatchDue, NextPartner, SendMessage
from events.commit import SCHEMA_VERSION, Commit, Facts
from events.events import Event, PolicyAdopted, QueueEntered
from events.ids import ID_BYTES, NO_COMMIT, POSITION_MAX, ConnectionId, Position, RoomId, room_id_from
from events.policy import Policy
from log_debugger.whatif.adaptation import adapted
from log_debugger.whatif.changes import Changes
from log_debugger.whatif.room_mapping import RoomMapping
from projections.state import State, StateMutation
from projections.view import StateView

Avoided = Mapping[ConnectionId, tuple[ConnectionId, ...]]
"""The connections that each one avoids by the facts of its last search."""

AVOIDS_NONE: Final[Avoided] = MappingProxyType({})


class EventObserver(Protocol):
    """Called with the events of each commit of a run; see `MatchStats.record`."""

    def __call__(self, events: Sequence[Event], at_ms: int, position: Position, *, is_after: bool) -> None:
        """Take in the events of one commit of the run."""
        ...


LATE_MS = 1_000
"""A broker's `MatchDue` may be stored so long after patience has ended."""


class CounterfactualRun:
    """A run from a state of a log on.

    Args:
        base: the state at the start.
        changes: the differences from the log.
        observe: called with the events of each commit of the run.
        avoid: the connections that waiting ones avoid.
        announced: the first commits to `follow`; see `announce`.
    """

    def __init__(
        self,
        base: State,
        changes: Changes,
        observe: EventObserver,
        avoid: Avoided = AVOIDS_NONE,
        announced: Iterable[Commit] = (),
    ) -> None:
        policy = changes.policy_of(base.policy)
        self.state: StateMutation = msgspec.structs.replace(base, policy=policy).mutate()
        self.refused = 0
        """The number of commands rejected in the run, mostly by rate limits."""
        self._changes = changes
        self._observe = observe
        self._start = self._origin = base.position
        self._positions = array("q")  # of the run, after each commit of the log
        self._rooms = RoomMapping(base)
        self._avoid = dict(avoid)
        self._timeouts: list[tuple[int, Position, ConnectionId]] = []  # due, by the clock of commits; entered
        self._logged_steps_ms = patience_steps_ms(base.policy)
        self._stored: dict[ConnectionId, deque[Commit]] = {}
        """The commits of `MatchDue` that the log has of each connection, as far as they are announced."""
        self._late: dict[
            ConnectionId, tuple[Position, int]
        ] = {}  # entered and due; the log's own look comes in a moment
        self._matching = self._matching_of(policy)
        for commit in announced:
            self.announce(commit)
        if self._has_logged_steps():
            for entered, who in base.queue.entries.items():
                self._go_on_waiting(who, entered)
        else:
            self._schedule_all()

    def announce(self, commit: Commit) -> None:
        """Tell of a commit of the next `LATE_MS`, before `follow` takes it."""
        if type(commit.command) is MatchDue:
            self._stored.setdefault(commit.command.connection_id, deque()).append(commit)

    def follow(self, commit: Commit) -> None:
        """Advance the run to the time of `commit`, the next of the log, and adapt and decide its command.

        Raises:
            UsageError: the matching failed, or named a connection that is not in the queue.
        """
        command = commit.command
        if self._timeouts and self._timeouts[0][0] <= commit.at_ms:
            self.fire_timeouts(commit.at_ms)
        self._origin = commit.position
        is_left_out = commit.position in self._changes.without
        if type(command) is not SendMessage:  # nearly all are
            command = self._noted(commit, is_left_out=is_left_out)
        if not is_left_out:
            for here in adapted(self.state, self._rooms, self._changes, command):
                if isinstance(self._carry_out(here, commit.facts), Rejection):
                    self.refused += 1
        self._positions.append(self.state.position)

    def _noted(self, commit: Commit, *, is_left_out: bool) -> Command:
        """Take note of what a commit says of the log; return its command with the positions of the run."""
        command = commit.command
        if isinstance(command, EnterQueue | NextPartner | MatchDue):
            self._avoid[command.connection_id] = commit.facts.avoid
        if isinstance(command, AdoptPolicy):
            self._logged_steps_ms = patience_steps_ms(command.policy)
        if isinstance(command, MatchDue):
            self._look_late(command, commit.facts, is_left_out=is_left_out)
        self._rooms.record_log(commit.events)
        if isinstance(command, ForgetNames):
            return ForgetNames(command.connection_ids, self._position_at(command.through))
        return command

    def _position_at(self, logged: Position) -> Position:
        """Return the position of the run that it had when the log was at `logged`."""
        if logged - self._start > len(self._positions):  # no broker names one to come
            return self.state.position
        return self._positions[logged - self._start - 1] if logged > self._start else logged

    def _go_on_waiting(self, who: ConnectionId, entered: Position) -> None:
        """Schedule the end of a patience that goes on as in the log, or wait for the log's look at one that ended."""
        known, now_ms = self.state.connections.by_id[who], self.state.at_ms
        ended_ms = [known.waiting_since_ms() + step_ms for step_ms in self._logged_steps_ms]
        ended_ms.append(known.last_at_ms)  # perhaps it waits again, and is looked at for that
        for due in ended_ms:
            if due <= now_ms and self._stored_at(who, due) is not None:
                self._late[who] = entered, due
        self._schedule_next(who, entered, now_ms)

    def fire_timeouts(self, at_ms: int) -> None:
        """Fire every match timeout due by `at_ms`, but none after one that the log has, before that comes."""
        while self._timeouts and (due := self._timeouts[0][0]) <= at_ms and not self._late:
            tied: list[tuple[Position, ConnectionId]] = []
            while self._timeouts and self._timeouts[0][0] == due:
                _, entered, who = heappop(self._timeouts)
                tied.append((entered, who))
            if len(tied) > 1:  # in the order of the log; of those that it lacks, none came to anything before
                tied.sort(key=lambda one: self._stored_at(one[1], due) or POSITION_MAX)
            for number, (entered, who) in enumerate(tied):
                if self._late:
                    for entered_later, later in tied[number:]:
                        heappush(self._timeouts, (due, entered_later, later))
                    break
                self._fire(due, entered, who, at_ms)

    def _fire(self, due: int, entered: Position, who: ConnectionId, at_ms: int) -> None:
        if self.state.queue.entered.get(who) != entered:
            return
        self._schedule_next(who, entered, due)
        if self._stored_at(who, due) is not None:
            self._late[who] = entered, due
        elif len(self.state.queue) > 1:
            facts = Facts(max(due, self.state.at_ms), avoid=self._avoid.get(who, ()))
            if isinstance(self._carry_out(MatchDue(who), facts, is_after=True), Rejection):
                # Nothing changes before the next command, so the next look is the first one after it.
                looks = (at_ms - due) // LOOK_AGAIN_MS + 1
                heappush(self._timeouts, (due + looks * LOOK_AGAIN_MS, entered, who))

    def _stored_at(self, who: ConnectionId, due: int) -> Position | None:
        """Return the position of the `MatchDue` that the log has for the end of this patience, in a moment."""
        if not self._has_logged_steps():
            return None
        commits = self._stored.get(who, ())
        return next((one.position for one in commits if due <= one.at_ms <= due + LATE_MS), None)

    def _look_late(self, command: MatchDue, facts: Facts, *, is_left_out: bool) -> None:
        """Carry out a `MatchDue` of the log, if patience has ended in the run as well."""
        who = command.connection_id
        if stored := self._stored.get(who):
            stored.popleft()
        entered, due = self._late.pop(who) if who in self._late else self._taken_due(who, facts.at_ms)
        if is_left_out or entered is None or self.state.queue.entered.get(who) != entered:
            return
        if isinstance(self._carry_out(command, facts), Rejection):
            heappush(self._timeouts, (due + LOOK_AGAIN_MS, entered, who))

    def _taken_due(self, who: ConnectionId, at_ms: int) -> tuple[Position | None, int]:
        """Take the timeout of `who` that is due by `at_ms`, and could not fire while a look of another was awaited."""
        for one in self._timeouts:
            due, entered, whose = one
            if whose == who and due <= at_ms and self.state.queue.entered.get(who) == entered:
                self._timeouts.remove(one)
                heapify(self._timeouts)
                self._schedule_next(who, entered, due)
                return entered, due
        return None, 0

    def _has_logged_steps(self) -> bool:
        """Return whether patience ends in the run when it does in the log."""
        return patience_steps_ms(self.state.policy) == self._logged_steps_ms

    def _matching_of(self, policy: Policy) -> Matching:
        """Return the matching of the run.

        Raises:
            MatchingError: it is the log's own, and can't be imported.
        """
        return self._checked_match if self._changes.matching is not None else matching_of_log(policy)

    def _carry_out(self, command: Command, facts: Facts, *, is_after: bool = False) -> Rejection | None:
        state = self.state
        if facts.room_id is None and type(command) is not SendMessage and isinstance(command, MAY_MATCH):
            facts = msgspec.structs.replace(facts, room_id=self._fresh_room())
        decision = decide(state, command, facts, matching=self._matching)
        if isinstance(decision, Rejection):
            return decision
        if decision:
            events, at_ms = tuple(decision), facts.at_ms
            # The commit needs no id, since its chain is never checked.
            state.fold(Commit(SCHEMA_VERSION, state.position + 1, NO_COMMIT, NO_COMMIT, at_ms, command, facts, events))
            self._observe(events, at_ms, self._origin, is_after=is_after)
            if type(command) is not SendMessage:
                self._rooms.record_run(events)
                self._take_in(events)
        return None

    def _checked_match(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        """Ask a user's own matching; a fault is told with the command that it was asked for."""
        assert self._changes.matching is not None
        try:
            return self._changes.matching(state, seeker, at_ms)
        except MatchingError as error:
            raise UsageError(f"asked for the command at position {self._origin}, {error}") from error

    def _take_in(self, events: Sequence[Event]) -> None:
        """Take in another policy, and schedule match timeouts after `events`, as `broker.match_timeouts` does."""
        for event in events:
            if isinstance(event, PolicyAdopted):
                self._matching = self._matching_of(event.policy)
                self._schedule_all()
            elif isinstance(event, QueueEntered):
                who, at_ms = event.connection_id, self.state.at_ms
                entered = self.state.queue.entered.get(who)
                if entered is not None and event.earlier is not None:
                    heappush(self._timeouts, (at_ms, entered, who))  # others may have come since it waited first
                elif entered is not None:
                    self._schedule_next(who, entered, at_ms)

    def _schedule_all(self) -> None:
        self._timeouts.clear()
        state = self.state
        first_ms = patience_steps_ms(state.policy)[0]
        for entered, who in state.queue.entries.items():
            if state.connections.by_id[who].waiting_since_ms() + first_ms <= state.at_ms:
                heappush(self._timeouts, (state.at_ms, entered, who))
            else:
                self._schedule_next(who, entered, state.at_ms)

    def _schedule_next(self, who: ConnectionId, entered: Position, at_ms: int) -> None:
        """Schedule the next step of the patience of `who` after `at_ms`, if there is one."""
        since_ms = self.state.connections.by_id[who].waiting_since_ms()
        for step_ms in patience_steps_ms(self.state.policy):
            if since_ms + step_ms > at_ms:
                heappush(self._timeouts, (since_ms + step_ms, entered, who))
                return

    def _fresh_room(self) -> RoomId:
        """Return a deterministic room id for a command without one."""
        seed = hashlib.sha256(b"what if %d %d" % (self._origin, self.state.position))
        return room_id_from(seed.digest()[:ID_BYTES])
