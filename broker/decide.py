"""The rules of chat: a state, a command and the facts give events, or a refusal.

Pure, and the only place that branches on a command's type. It reads no clock, draws no random number and looks
into no text; every limit is the state's. An empty list means 'already done': nothing is stored, and the
answer is read from the state.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.conduct import decide_conduct
from broker.decision import ALREADY_DONE, ROOM_NOT_FOUND, Decision, Rejection, close, own_room
from broker.matching import Matching, Seeker, find_partner, matching_of
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
from events.events import (
    MessageSent,
    PolicyAdopted,
    QueueEntered,
    QueueEntry,
    QueueLeft,
    RoomOpened,
)
from events.ids import ConnectionId
from events.text import known_interests
from projections.connections import Chatting, Waiting
from projections.rate_limit import retry_after_ms
from projections.view import FoldView


def decide(state: FoldView, command: Command, facts: Facts, *, matching: Matching | None = None) -> Decision:
    """Return the events of `command` in `state`, to be stored in order, or the refusal.

    `matching` replaces the one named by the log's policy, for counterfactual runs.

    Raises:
        MatchingError: the policy names an operator's own matching, which is missing or failed.
    """
    match command:
        case SendMessage():
            return _send(state, command, facts)
        case EnterQueue():
            return _enter(state, command, facts, matching or matching_of(state.policy))
        case NextPartner():
            return _next(state, command, facts, matching or matching_of(state.policy))
        case LeaveQueue(connection_id=who):
            return _leave_queue(state, who)
        case LeaveRoom(connection_id=who, room_id=room_id):
            room = own_room(state, who, room_id)
            return close(room, who, "left") if room is not None else ROOM_NOT_FOUND
        case Disconnect():
            return _disconnect(state, command, facts)
        case MatchDue(connection_id=who):
            return _match_due(state, who, facts, matching or matching_of(state.policy))
        case CancelMatch() | BlockPartner() | ReportPartner() | ForgetNames():
            return decide_conduct(state, command, facts)
        case AdoptPolicy(policy=policy):  # pragma: no branch - there is no other command, and mypy sees to that
            return [PolicyAdopted(policy)] if policy != state.policy else ALREADY_DONE


def _send(state: FoldView, command: SendMessage, facts: Facts) -> Decision:
    sender = command.connection_id
    room = own_room(state, sender, command.room_id)
    if room is None:
        return ROOM_NOT_FOUND
    repeated = command.client_message_id
    if repeated is not None and room.sent_at_ms(sender, repeated) is not None:
        return ALREADY_DONE
    if not room.is_open:
        return Rejection("chat_ended")
    spent_until_us = state.connections.by_id[sender].messages_spent_until_us
    wait_ms = retry_after_ms(spent_until_us, facts.at_ms, state.policy.messages_per_10s_max)
    if wait_ms:
        return Rejection("rate_limited", wait_ms)
    return [MessageSent(room.room_id, sender, room.partner_of(sender), command.text, repeated)]


def _enter(state: FoldView, command: EnterQueue, facts: Facts, matching: Matching) -> Decision:
    known = state.connections.by_id.get(command.connection_id)
    if known is not None and isinstance(known.place, Waiting):
        return ALREADY_DONE
    if known is not None and isinstance(known.place, Chatting):
        return Rejection("already_chatting")
    idle_grace_ms = command.idle_grace_ms or (known.idle_grace_ms if known is not None else None)
    entry = QueueEntered(
        command.connection_id, command.display_name, command.interests, facts.salt, idle_grace_ms=idle_grace_ms
    )
    return _queue_up(state, entry, facts, matching)


def _leave_queue(state: FoldView, who: ConnectionId) -> Decision:
    known = state.connections.by_id.get(who)
    if known is not None and isinstance(known.place, Chatting):
        return Rejection("already_chatting")  # matched a moment ago: the partner would wait for an answer
    return [QueueLeft(who, "left")] if who in state.queue.entered else ALREADY_DONE


def _next(state: FoldView, command: NextPartner, facts: Facts, matching: Matching) -> Decision:
    who = command.connection_id
    room = own_room(state, who, command.room_id)
    if room is None:
        return ROOM_NOT_FOUND
    known = state.connections.by_id.get(who)
    if known is None:
        return Rejection("unknown_handle")
    if not room.is_open and isinstance(known.place, Waiting | Chatting):
        return ALREADY_DONE  # a repeat: the sender waits, or has met the next partner since
    entry = QueueEntered(who, known.display_name, known.interests, known.salt, idle_grace_ms=known.idle_grace_ms)
    queued = _queue_up(state, entry, facts, matching)
    return queued if isinstance(queued, Rejection) else [*close(room, who, "next"), *queued]


def _queue_up(state: FoldView, entry: QueueEntered, facts: Facts, matching: Matching) -> Decision:
    """Return `entry`, and the room it opens if there is a partner."""
    known = state.connections.by_id.get(entry.connection_id)
    limit = state.policy.queue_commands_per_10s_max
    wait_ms = retry_after_ms(known.queue_spent_until_us, facts.at_ms, limit) if known is not None else 0
    if wait_ms:
        return Rejection("rate_limited", wait_ms)
    met = find_partner(state, Seeker(entry.connection_id, known_interests(entry.interests), 0), facts, matching)
    if met is not None and state.rooms.open_count >= state.policy.rooms_open_max:
        return Rejection("queue_full")
    if met is not None:
        own_entry = QueueEntry(state.position + 1, facts.at_ms)
        return [entry, _open(state, facts, _waiting_member(state, met), _Member(entry, own_entry))]
    if len(state.queue) >= state.policy.queue_connections_max:
        return Rejection("queue_full")
    return [entry]


def _match_due(state: FoldView, who: ConnectionId, facts: Facts, matching: Matching) -> Decision:
    """Return the room of a waiting connection, if there is a partner by now; otherwise the wait goes on."""
    if who not in state.queue.entered:
        return ALREADY_DONE
    known = state.connections.by_id[who]
    waited_ms = facts.at_ms - known.waiting_since_ms()
    met = find_partner(state, Seeker(who, known_interests(known.interests), waited_ms), facts, matching)
    if met is None:
        return ALREADY_DONE
    if state.rooms.open_count >= state.policy.rooms_open_max:
        return Rejection("queue_full")  # to be asked again
    first, second = sorted((who, met), key=state.queue.entered.__getitem__)
    return [_open(state, facts, _waiting_member(state, first), _waiting_member(state, second))]


class _Member(NamedTuple):
    """A future member of a room: its entry into the queue, and its resulting place."""

    entered: QueueEntered
    place: QueueEntry


def _waiting_member(state: FoldView, who: ConnectionId) -> _Member:
    known = state.connections.by_id[who]
    place = QueueEntry(state.queue.entered[who], known.waiting_since_ms())
    return _Member(QueueEntered(who, known.display_name, known.interests, known.salt), place)


def _open(state: FoldView, facts: Facts, first: _Member, second: _Member) -> RoomOpened:
    assert facts.room_id is not None, "a command that can match brings a fresh room id"
    has_to_be_confirmed = bool(state.policy.confirm_grace_ms)
    return RoomOpened(
        facts.room_id,
        first.entered.connection_id,
        second.entered.connection_id,
        first.entered.display_name,
        second.entered.display_name,
        first.entered.salt,
        second.entered.salt,
        first.place if has_to_be_confirmed else None,
        second.place if has_to_be_confirmed else None,
    )


def _disconnect(state: FoldView, command: Disconnect, facts: Facts) -> Decision:
    who = command.connection_id
    known = state.connections.by_id.get(who)
    if known is None or known.last_position > command.since:
        return ALREADY_DONE
    match known.place:
        case Waiting():
            return [QueueLeft(who, command.reason)]
        case Chatting(room_id=room_id):
            room = state.rooms.by_id[room_id]
            if command.is_abandoned and room.first_entry is not None:
                # The other was present a moment ago: matches are made after the absent are taken out.
                missed = decide_conduct(state, CancelMatch(room_id, (who,), is_other_present=True), facts)
                return missed or close(room, who, command.reason)
            return close(room, who, command.reason)
        case _:
            return ALREADY_DONE
