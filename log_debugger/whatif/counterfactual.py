"""A counterfactual run: a log's commands, decided again under another matching.

The commands keep their order and their stored facts. Since people are in other rooms than in the log, each command is
adapted to its sender's place in the run:

- A message goes to the sender's present partner; without one, it is dropped.
- Leaving a room or the queue, and being found absent, applies to the present room or to the queue.
- `next_partner` is dropped in the queue, and enters the queue for an idle connection.
- Entering the queue from a room is `next_partner`.
- A connection left by its partner that does nothing more may not have gone: it stays in its place.
- Patience ends by the other matching, so the log's own `MatchDue` are dropped. The run issues its own when a broker
  would, before the next command.
- A connection that missed a match is absent: its present match is missed, or it is taken out of the queue.
- A block or a report is about the partner that it was about, if they met in the run. Otherwise it is about the present
  or the last partner; without one, it is dropped.
- Names are forgotten of those who are idle in the run.
- The connections that a search avoids by the facts are those of the seeker's last search in the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from heapq import heappop, heappush

import msgspec

from broker.decide import decide
from broker.decision import Rejection
from broker.errors import UsageError
from broker.match_timeouts import LOOK_AGAIN_MS
from broker.matching import Matching, Seeker, patience_steps_ms
from broker.verification.safe_text import printable
from events.commands import (
    AdoptPolicy,
    BlockPartner,
    CancelMatch,
    Command,
    Disconnect,
    EnterQueue,
    ForgetNames,
    LeaveQueue,
    LeaveRoom,
    MatchDue,
    NextPartner,
    ReportPartner,
    SendMessage,
)
from events.commit import SCHEMA_VERSION, Commit, Facts
from events.events import Event, PolicyAdopted, QueueEntered
from events.ids import ID_BYTES, NO_COMMIT, ConnectionId, Position, RoomId, room_id_from
from events.policy import Policy
from log_debugger.whatif.room_mapping import RoomMapping
from projections.connections import Chatting, Idle, Waiting
from projections.state import State, evolve
from projections.view import StateView

EventObserver = Callable[[tuple[Event, ...], int], None]
"""Called with events and their time in ms."""


class Rule(msgspec.Struct, frozen=True):
    """A matching for the run; `patience_ms` replaces the log's unless it is `None`."""

    name: str
    matching: Matching
    has_patience: bool
    patience_ms: int | None = None

    def policy(self, policy: Policy) -> Policy:
        """Return `policy` under this rule."""
        changes: dict[str, object] = {"matching": "interests" if self.has_patience else "first-come"}
        if self.patience_ms is not None:
            changes["interest_patience_ms"] = self.patience_ms
        return msgspec.structs.replace(policy, **changes)


class CounterfactualRun:
    """A run from a log's base on, with `rule` in force.

    Args:
        base: the state at the start.
        rule: the matching.
        observe: called with the events of each commit of the run and their time in ms.
    """

    def __init__(self, base: State, rule: Rule, observe: EventObserver) -> None:
        self.state = msgspec.structs.replace(base, policy=rule.policy(base.policy))
        self.refused = 0
        """The number of commands rejected in the run, mostly by rate limits."""
        self._rule = rule
        self._observe = observe
        self._origin: Position = base.position
        self._rooms = RoomMapping(base)
        self._avoid: dict[ConnectionId, tuple[ConnectionId, ...]] = {}  # by the facts of each one's last search
        self._timeouts: list[tuple[int, Position, ConnectionId]] = []  # due, by the clock of commits; entered
        self._schedule_all()

    def follow(self, commit: Commit) -> None:
        """Advance the run to the time of `commit`, the next of the log, and adapt and decide its command.

        Raises:
            UsageError: the matching failed, or named a connection that is not in the queue.
        """
        self._origin = commit.position
        if isinstance(commit.command, EnterQueue | NextPartner | MatchDue):
            self._avoid[commit.command.connection_id] = commit.facts.avoid
        self.fire_timeouts(commit.at_ms)
        facts = commit.facts
        if facts.room_id is None:
            facts = msgspec.structs.replace(facts, room_id=self._fresh_room())
        for command in self._adapted(commit.command):
            if isinstance(self._carry_out(command, facts), Rejection):
                self.refused += 1
        self._rooms.record_log(commit.events)

    def fire_timeouts(self, at_ms: int) -> None:
        """Fire every match timeout due by `at_ms`."""
        while self._timeouts and self._timeouts[0][0] <= at_ms:
            due, entered, who = heappop(self._timeouts)
            if self.state.queue.entered.get(who) != entered:
                continue
            self._schedule_next(who, entered, due)
            if len(self.state.queue) == 1:
                continue
            facts = Facts(max(due, self.state.at_ms), self._fresh_room(), avoid=self._avoid.get(who, ()))
            if isinstance(self._carry_out(MatchDue(who), facts), Rejection):
                # Nothing changes before the next command, so the next look is the first one after it.
                looks = (at_ms - due) // LOOK_AGAIN_MS + 1
                heappush(self._timeouts, (due + looks * LOOK_AGAIN_MS, entered, who))

    def _carry_out(self, command: Command, facts: Facts) -> Rejection | None:
        decision = decide(self.state, command, facts, matching=self._checked_match)
        if isinstance(decision, Rejection):
            return decision
        if decision:
            position, events = self.state.position + 1, tuple(decision)
            # The commit needs no id, since its chain is never checked.
            commit = Commit(SCHEMA_VERSION, position, NO_COMMIT, NO_COMMIT, facts.at_ms, command, facts, events)
            self.state = evolve(self.state, commit)
            self._rooms.record_run(events)
            self._observe(events, facts.at_ms)
            self._schedule_after(commit)
        return None

    def _adapted(self, command: Command) -> list[Command]:
        """Return `command` as it is adapted to the places of people in this run; nothing to drop it."""
        match command:
            case AdoptPolicy(policy=policy):
                return [AdoptPolicy(self._rule.policy(policy))]
            case ForgetNames(connection_ids=connection_ids):
                return [ForgetNames(connection_ids, self.state.position)]
            case CancelMatch():
                return self._adapted_cancel(command)
            case BlockPartner() | ReportPartner():
                room_id = self._rooms.run_room(self.state, command.connection_id, command.room_id)
                return [msgspec.structs.replace(command, room_id=room_id)] if room_id is not None else []
            case _:
                adapted = self._adapted_to_place(command)
                return [adapted] if adapted is not None else []

    def _adapted_cancel(self, command: CancelMatch) -> list[Command]:
        """Return the ends of the present matches, or waits, of those who missed a match."""
        missed: dict[RoomId, tuple[ConnectionId, ...]] = {}
        ends: list[Command] = []
        for who in command.missed_by:
            known = self.state.connections.get(who)
            match known.place if known is not None else None:
                case Chatting(room_id=room_id):
                    missed[room_id] = (*missed.get(room_id, ()), who)
                case Waiting() if known is not None:
                    ends.append(Disconnect(who, "timeout", known.last_position))
        for room_id, missed_by in missed.items():
            # Another partner than in the log counts as present.
            is_other_present = command.is_other_present or not self._rooms.is_same_pair(command.room_id, room_id)
            ends.append(CancelMatch(room_id, missed_by, is_other_present))
        return ends

    def _adapted_to_place(
        self, command: EnterQueue | NextPartner | LeaveQueue | SendMessage | LeaveRoom | Disconnect | MatchDue
    ) -> Command | None:
        who = command.connection_id
        known = self.state.connections.get(who)
        match command, known.place if known is not None else None:
            case EnterQueue() | NextPartner(), Chatting(room_id=room_id):
                return NextPartner(who, room_id)
            case EnterQueue(), _:
                return command
            case NextPartner(), Idle() if known is not None:
                return EnterQueue(who, known.display_name, known.interests, known.idle_grace_ms)
            case SendMessage(), Chatting(room_id=room_id):
                return SendMessage(who, room_id, command.text, command.client_message_id)
            case LeaveRoom() | LeaveQueue(), Chatting(room_id=room_id):
                return LeaveRoom(who, room_id)
            case LeaveRoom() | LeaveQueue(), Waiting():
                return LeaveQueue(who)
            case Disconnect(reason=reason), Chatting() | Waiting() if known is not None:
                return Disconnect(who, reason, known.last_position)
            case _:
                return None

    def _checked_match(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        """Ask the matching, and refuse an invalid result; the matching may be a user's own."""
        where = f"{self._rule.name}, asked for the command at position {self._origin},"
        try:
            met = self._rule.matching(state, seeker, at_ms)
        except Exception as error:
            raise UsageError(f"{where} failed: {type(error).__name__}: {printable(str(error))}") from error
        if met is None:
            return None
        if met == seeker.connection_id:
            raise UsageError(f"{where} paired someone with themselves; it has to name another who waits, or nobody")
        if not isinstance(met, str) or met not in state.queue.entered:
            raise UsageError(f"{where} named {printable(str(met))}, who does not wait")
        return met

    def _schedule_after(self, commit: Commit) -> None:
        """Schedule match timeouts after `commit`, as `broker.match_timeouts` does."""
        for event in commit.events:
            if isinstance(event, PolicyAdopted):
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
