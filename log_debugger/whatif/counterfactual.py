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
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from heapq import heapify, heappop, heappush

import msgspec

from broker.decide import decide
from broker.decision import Rejection
from broker.errors import UsageError
from broker.match_timeouts import LOOK_AGAIN_MS
from broker.matching import Matching, Seeker, patience_ms
from broker.verification.safe_text import printable
from events.commands import (
    AdoptPolicy,
    Command,
    Disconnect,
    EnterQueue,
    LeaveQueue,
    LeaveRoom,
    MatchDue,
    NextPartner,
    SendMessage,
)
from events.commit import SCHEMA_VERSION, Commit, Facts
from events.events import Event, PolicyAdopted, QueueEntered
from events.ids import ID_BYTES, NO_COMMIT, ConnectionId, Position, RoomId, room_id_from
from events.policy import Policy
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
        self._timeouts: list[tuple[int, Position, ConnectionId]] = []  # due, by the clock of commits; entered
        self._schedule_all()

    def follow(self, commit: Commit) -> None:
        """Advance the run to the time of `commit`, the next of the log, and adapt and decide its command.

        Raises:
            UsageError: the matching failed, or named a connection that is not in the queue.
        """
        self._origin = commit.position
        self.fire_timeouts(commit.at_ms)
        command, facts = self._adapted(commit.command), commit.facts
        if facts.room_id is None:
            facts = msgspec.structs.replace(facts, room_id=self._fresh_room())
        if command is not None and isinstance(self._carry_out(command, facts), Rejection):
            self.refused += 1

    def fire_timeouts(self, at_ms: int) -> None:
        """Fire every match timeout due by `at_ms`."""
        while self._timeouts and self._timeouts[0][0] <= at_ms:
            due, entered, who = heappop(self._timeouts)
            if self.state.queue.entered.get(who) != entered:
                continue
            facts = Facts(max(due, self.state.at_ms), self._fresh_room())
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
            self._observe(events, facts.at_ms)
            self._schedule_after(commit)
        return None

    def _adapted(self, command: Command) -> Command | None:
        """Return `command` adapted to its sender's place in this run; `None` to drop it."""
        if isinstance(command, AdoptPolicy):
            return AdoptPolicy(self._rule.policy(command.policy))
        who = command.connection_id
        known = self.state.connections.get(who)
        match command, known.place if known is not None else None:
            case EnterQueue() | NextPartner(), Chatting(room_id=room_id):
                return NextPartner(who, room_id)
            case EnterQueue(), _:
                return command
            case NextPartner(), Idle() if known is not None:
                return EnterQueue(who, known.display_name, known.interests)
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
            elif isinstance(event, QueueEntered) and event.connection_id in self.state.queue.entered:
                self._schedule(event.connection_id)

    def _schedule_all(self) -> None:
        self._timeouts.clear()
        state = self.state
        if len(state.queue) > 1 or patience_ms(state.policy):
            for entered, who in state.queue.entries.items():
                due = state.connections.by_id[who].last_at_ms + patience_ms(state.policy)
                self._timeouts.append((due, entered, who))
        heapify(self._timeouts)

    def _schedule(self, who: ConnectionId) -> None:
        if patience := patience_ms(self.state.policy):
            heappush(self._timeouts, (self.state.at_ms + patience, self.state.position, who))

    def _fresh_room(self) -> RoomId:
        """Return a deterministic room id for a command without one."""
        seed = hashlib.sha256(b"what if %d %d" % (self._origin, self.state.position))
        return room_id_from(seed.digest()[:ID_BYTES])
