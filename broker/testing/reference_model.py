"""The rules of chat a second time, written as simply as possible: lists and linear searches.

With `reference_matching` and `reference_state` it shares no code with `broker.decide`, `broker.matching` or
`projections` (an import contract enforces this), so it does not repeat their mistakes. It was written from the
description of the rules. The cost of a command is linear in all that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from broker.testing.reference_matching import ChoosePartner, Seeking, find_partner
from broker.testing.reference_state import (
    TEN_MINUTES_US,
    TEN_SECONDS_US,
    PlainNotification,
    ReferenceConnection,
    ReferenceRoom,
    ReferenceState,
    spent_until,
)
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
from events.commit import Facts
from events.events import Event
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from events.text import known_interests


@dataclass(frozen=True)
class ReferenceResult:
    """The result of a command: `events` and their notifications, or a rejection's `code`, or neither (already done)."""

    events: tuple[Event, ...] = ()
    notifications: tuple[PlainNotification, ...] = ()
    code: str | None = None
    retry_after_ms: int | None = None


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
        self.state = ReferenceState()
        self.choose = choose
        """Used in place of the policy's matching, unless it is `None`; may be set between two commands."""

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
            case _:
                self._execute_conduct(command, facts)

    def _execute_conduct(self, command: Command, facts: Facts) -> None:
        match command:
            case CancelMatch():
                self._cancel_match(command)
            case BlockPartner(connection_id=connection_id, room_id=room_id):
                self._block(connection_id, room_id)
            case ReportPartner():
                self._report(command, facts)
            case ForgetNames(connection_ids=connection_ids, through=through):
                self._forget_names(connection_ids, through)

    def _enter(self, command: EnterQueue, facts: Facts) -> None:
        known = self.state.connection(command.connection_id)
        if known is not None and known.place == "waiting":
            return
        if known is not None and known.place == "chatting":
            raise _RejectedError("already_chatting")
        partner = self._admit(known, command.connection_id, known_interests(command.interests), facts)
        entered = self.state.wait(
            command.connection_id,
            command.display_name,
            command.interests,
            facts.salt,
            idle_grace_ms=known.idle_grace_ms if command.idle_grace_ms is None and known else command.idle_grace_ms,
        )
        self._pair(partner, entered, facts)

    def _move_on(self, connection_id: ConnectionId, room_id: RoomId, facts: Facts) -> None:
        known, room = self._known_in_room(connection_id, room_id)
        if room.closed is not None and known.place != "idle":
            return
        partner = self._admit(known, connection_id, known_interests(known.interests), facts)
        if room.closed is None:
            self.state.close(room, known, "next")
        entered = self.state.wait(
            connection_id, known.name, known.interests, known.salt, idle_grace_ms=known.idle_grace_ms
        )
        self._pair(partner, entered, facts)

    def _send(self, command: SendMessage, facts: Facts) -> None:
        sender, room = self._own_room(command.connection_id, command.room_id)
        for sender_id, message_id, _ in room.newer_ids + room.older_ids:
            if (sender_id, message_id) == (command.connection_id, command.client_message_id):
                return
        if sender is None or room.closed is not None:
            raise _RejectedError("chat_ended")
        _check_rate(sender.messages_spent_until_us, self.state.policy.messages_per_10s_max, TEN_SECONDS_US, facts)
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
            if command.is_abandoned and room.first_entry is not None:
                self._cancel_match(CancelMatch(known.room_id, (known.connection_id,), is_other_present=True))
            if room.closed is None:
                self.state.close(room, known, command.reason)

    def _match_due(self, connection_id: ConnectionId, facts: Facts) -> None:
        known = self.state.connection(connection_id)
        if known is not None and known.place == "waiting":
            waited_ms = facts.at_ms - known.entered_at_ms
            partner = self._partner(connection_id, known_interests(known.interests), waited_ms, facts)
            if partner is not None and self.state.queue.index(partner) > self.state.queue.index(known):
                self._pair(known, partner, facts)
            else:
                self._pair(partner, known, facts)

    def _cancel_match(self, command: CancelMatch) -> None:
        room = self.state.room(command.room_id)
        if room is None or room.closed is not None:
            return
        silent = [
            member
            for connection_id in command.missed_by
            for member in (room.first, room.second)
            if member.connection_id == connection_id and member.last_position == room.opened
        ]
        if silent == []:
            return
        partner = room.partner_of(silent[0].connection_id)
        entry = room.first_entry if partner is room.first else room.second_entry
        waits_again = (
            entry is not None
            and partner not in silent
            and command.is_other_present
            and self.state.policy.requeue_on_missed_match > 0
        )
        missed_by = tuple(member.connection_id for member in silent)
        self.state.close(room, silent[0], "timeout", missed_by, is_partner_requeued=waits_again)
        if waits_again:
            self.state.wait(
                partner.connection_id,
                partner.name,
                partner.interests,
                partner.salt,
                entry,
                idle_grace_ms=partner.idle_grace_ms,
            )

    def _block(self, connection_id: ConnectionId, room_id: RoomId) -> None:
        known, room = self._known_in_room(connection_id, room_id)
        self._block_and_leave(known, room)

    def _report(self, command: ReportPartner, facts: Facts) -> None:
        known, room = self._known_in_room(command.connection_id, command.room_id)
        if known.connection_id not in room.reporters:
            limit = self.state.policy.reports_per_10min_max
            if limit > 0:
                _check_rate(known.reports_spent_until_us, limit, TEN_MINUTES_US, facts)
            self.state.report(room, known, command)
        self._block_and_leave(known, room)

    def _block_and_leave(self, known: ReferenceConnection, room: ReferenceRoom) -> None:
        partner = room.partner_of(known.connection_id).connection_id
        if self.state.policy.blocks_per_connection_max > 0 and partner not in known.blocked:
            self.state.block(known, partner)
        if room.closed is None:
            self.state.close(room, known, "left")

    def _forget_names(self, connection_ids: Sequence[ConnectionId], through: Position) -> None:
        known = [self.state.connection(connection_id) for connection_id in connection_ids]
        idle = [one for one in known if one is not None and one.place == "idle" and one.last_position <= through]
        named = [one for one in idle if (one.name, one.interests, one.salt) != ("Anonymous", (), None)]
        if named:
            self.state.forget_names(named)

    def _known_in_room(self, connection_id: ConnectionId, room_id: RoomId) -> tuple[ReferenceConnection, ReferenceRoom]:
        known, room = self._own_room(connection_id, room_id)
        if known is None:
            raise _RejectedError("unknown_handle")
        return known, room

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
            _check_rate(known.queue_spent_until_us, self.state.policy.queue_commands_per_10s_max, TEN_SECONDS_US, facts)
        partner = self._partner(connection_id, interests, 0, facts)
        if partner is None and len(self.state.queue) >= self.state.policy.queue_connections_max:
            raise _RejectedError("queue_full")
        return partner

    def _partner(
        self, connection_id: ConnectionId, interests: tuple[str, ...], waited_ms: int, facts: Facts
    ) -> ReferenceConnection | None:
        seeking = Seeking(connection_id, interests, waited_ms, facts)
        partner = find_partner(self.state, seeking, self.choose)
        open_rooms = [room for room in self.state.rooms if room.closed is None]
        if partner is not None and len(open_rooms) >= self.state.policy.rooms_open_max:
            raise _RejectedError("queue_full")
        return partner


def _check_rate(until_us: int, limit: int, window_us: int, facts: Facts) -> None:
    """Reject a use that exceeds the allowance of a window, with the wait in whole ms."""
    excess_us = spent_until(until_us, limit, facts.at_ms, window_us) - facts.at_ms * 1_000 - window_us
    if excess_us > 0:
        raise _RejectedError("rate_limited", ceil(excess_us / 1_000))
