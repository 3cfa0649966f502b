"""The rules of chat a second time, written as simply as possible: lists and linear searches.

With `broker.testing.reference_state` it shares no code with `broker.decide`, `broker.matching` or `projections` (an
import contract enforces this), so it does not repeat their mistakes. It was written from the description of the
rules. The cost of a command is linear in all that is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from broker.testing.reference_state import (
    TEN_SECONDS_US,
    PlainNotification,
    ReferenceConnection,
    ReferenceRoom,
    ReferenceState,
    spent_until,
)
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
from events.commit import Facts
from events.events import Event
from events.ids import ConnectionId, RoomId
from events.policy import Policy

ChoosePartner = Callable[[ConnectionId, tuple[str, ...], int, int], ConnectionId | None]
"""A matching from outside. Arguments: the seeking connection, its interests, its waiting time (ms)
and the time (Unix ms). Returns the partner, or `None` for no match."""


@dataclass(frozen=True)
class ReferenceResult:
    """The result of a command: `events` and their notifications, or a rejection's `code`, or neither (already done)."""

    events: tuple[Event, ...] = ()
    notifications: tuple[PlainNotification, ...] = ()
    code: str | None = None
    retry_after_ms: int | None = None


class IllegalChoiceError(AssertionError):
    """A matching named a connection that is not waiting, or the one that asked."""


class _RejectedError(Exception):
    """Ends a command; never leaves this module."""

    def __init__(self, code: str, retry_after_ms: int | None = None) -> None:
        self.code = code
        self.retry_after_ms = retry_after_ms


class ReferenceModel:
    """Decides a log's commands again: `apply` each in order, with its stored facts.

    `state` is the state after the last one. The model begins with an empty log, at position 0.
    """

    def __init__(self, choose: ChoosePartner | None = None) -> None:
        """Use `choose` in place of the policy's matching; `None` uses the policy's own."""
        self.state = ReferenceState()
        self._choose = choose

    def apply(self, command: Command, facts: Facts) -> ReferenceResult:
        """Decide `command` and, if it is accepted, change `state`.

        Raises:
            IllegalChoiceError: `choose` named a connection that can't be matched; `state` is unchanged.
        """
        self.state.begin(facts)
        try:
            self._execute(command, facts)
        except _RejectedError as rejected:
            return ReferenceResult(code=rejected.code, retry_after_ms=rejected.retry_after_ms)
        self.state.end()
        return ReferenceResult(tuple(self.state.events), tuple(self.state.notifications))

    def _execute(self, command: Command, facts: Facts) -> None:
        match command:
            case EnterQueue():
                self._enter(command, facts)
            case NextPartner(connection_id=connection_id, room_id=room_id):
                self._move_on(connection_id, room_id, facts)
            case SendMessage():
                self._send(command, facts)
            case LeaveQueue(connection_id=connection_id):
                self._leave_queue(connection_id)
            case LeaveRoom(connection_id=connection_id, room_id=room_id):
                self._leave_room(connection_id, room_id)
            case Disconnect():
                self._disconnect(command)
            case MatchDue(connection_id=connection_id):
                self._match_due(connection_id, facts)
            case AdoptPolicy(policy=policy):
                self._adopt(policy)

    def _enter(self, command: EnterQueue, facts: Facts) -> None:
        known = self.state.connection(command.connection_id)
        if known is not None and known.place == "waiting":
            return
        if known is not None and known.place == "chatting":
            raise _RejectedError("already_chatting")
        partner = self._admit(known, command.connection_id, command.interests, facts)
        entered = self.state.wait(command.connection_id, command.display_name, command.interests)
        self._pair(partner, entered, facts)

    def _move_on(self, connection_id: ConnectionId, room_id: RoomId, facts: Facts) -> None:
        known, room = self._own_room(connection_id, room_id)
        if known is None:
            raise _RejectedError("unknown_handle")
        if room.closed is not None and known.place != "idle":
            return
        partner = self._admit(known, connection_id, known.interests, facts)
        if room.closed is None:
            self.state.close(room, known, "next")
        entered = self.state.wait(connection_id, known.name, known.interests)
        self._pair(partner, entered, facts)

    def _send(self, command: SendMessage, facts: Facts) -> None:
        sender, room = self._own_room(command.connection_id, command.room_id)
        for sender_id, message_id, _ in room.newer_ids + room.older_ids:
            if (sender_id, message_id) == (command.connection_id, command.client_message_id):
                return
        if sender is None or room.closed is not None:
            raise _RejectedError("chat_ended")
        _check_rate(sender.messages_spent_until_us, self.state.policy.messages_per_10s_max, facts)
        self.state.send(room, sender, command)

    def _leave_queue(self, connection_id: ConnectionId) -> None:
        known = self.state.connection(connection_id)
        if known is not None and known.place == "chatting":
            raise _RejectedError("already_chatting")
        if known is not None and known.place == "waiting":
            self.state.leave_queue(known, "left")

    def _leave_room(self, connection_id: ConnectionId, room_id: RoomId) -> None:
        known, room = self._own_room(connection_id, room_id)
        if known is not None and room.closed is None:
            self.state.close(room, known, "left")

    def _adopt(self, policy: Policy) -> None:
        if policy != self.state.policy:
            self.state.adopt(policy)

    def _disconnect(self, command: Disconnect) -> None:
        known = self.state.connection(command.connection_id)
        if known is None or known.last_position > command.since:
            return
        if known.place == "waiting":
            self.state.leave_queue(known, command.reason)
        elif known.room_id is not None:
            _, room = self._own_room(known.connection_id, known.room_id)
            self.state.close(room, known, command.reason)

    def _match_due(self, connection_id: ConnectionId, facts: Facts) -> None:
        known = self.state.connection(connection_id)
        if known is not None and known.place == "waiting":
            partner = self._partner(connection_id, known.interests, facts.at_ms - known.last_at_ms, facts)
            if partner is not None and self.state.queue.index(partner) > self.state.queue.index(known):
                self._pair(known, partner, facts)
            else:
                self._pair(partner, known, facts)

    def _own_room(
        self, connection_id: ConnectionId, room_id: RoomId
    ) -> tuple[ReferenceConnection | None, ReferenceRoom]:
        room = self.state.room(room_id)
        if room is None or connection_id not in (room.first.connection_id, room.second.connection_id):
            raise _RejectedError("room_not_found")
        return self.state.connection(connection_id), room

    def _pair(self, first: ReferenceConnection | None, second: ReferenceConnection, facts: Facts) -> None:
        if first is not None:
            assert facts.room_id is not None, "a command that can match brings a fresh room id"
            self.state.open(facts.room_id, first, second)

    def _admit(
        self, known: ReferenceConnection | None, connection_id: ConnectionId, interests: tuple[str, ...], facts: Facts
    ) -> ReferenceConnection | None:
        """Return the partner of a connection that wants to wait, if there is a match at once; reject it at a limit."""
        if known is not None:
            _check_rate(known.queue_spent_until_us, self.state.policy.queue_commands_per_10s_max, facts)
        partner = self._partner(connection_id, interests, 0, facts)
        if partner is None and len(self.state.queue) >= self.state.policy.queue_connections_max:
            raise _RejectedError("queue_full")
        return partner

    def _partner(
        self, connection_id: ConnectionId, interests: tuple[str, ...], waited_ms: int, facts: Facts
    ) -> ReferenceConnection | None:
        others = [waiting for waiting in self.state.queue if waiting.connection_id != connection_id]
        if self._choose is not None:
            partner = _chosen(self._choose(connection_id, interests, waited_ms, facts.at_ms), others)
        elif self.state.policy.matching == "first-come":
            partner = others[0] if others else None
        else:
            partner = self._by_interests(interests, waited_ms, facts.at_ms, others)
        open_rooms = [room for room in self.state.rooms if room.closed is None]
        if partner is not None and len(open_rooms) >= self.state.policy.rooms_open_max:
            raise _RejectedError("queue_full")
        return partner

    def _by_interests(
        self, interests: tuple[str, ...], waited_ms: int, at_ms: int, others: list[ReferenceConnection]
    ) -> ReferenceConnection | None:
        best, most = None, 0
        for other in others:
            shared = len([interest for interest in interests if interest in other.interests])
            if shared > most:
                best, most = other, shared
        if best is None and others:
            longest_ms = max(waited_ms, at_ms - others[0].last_at_ms)
            return others[0] if longest_ms >= self.state.policy.interest_patience_ms else None
        return best


def _chosen(connection_id: ConnectionId | None, others: list[ReferenceConnection]) -> ReferenceConnection | None:
    for other in others:
        if other.connection_id == connection_id:
            return other
    if connection_id is not None:
        raise IllegalChoiceError(f"the matching named {connection_id}, who is not among the others who wait")
    return None


def _check_rate(until_us: int, per_10s_max: int, facts: Facts) -> None:
    """Reject a use that exceeds the allowance of ten seconds, with the wait in whole ms."""
    excess_us = spent_until(until_us, per_10s_max, facts.at_ms) - facts.at_ms * 1_000 - TEN_SECONDS_US
    if excess_us > 0:
        raise _RejectedError("rate_limited", ceil(excess_us / 1_000))
