"""The rules of chat: a state, a command and the facts give events, or a refusal.

Pure, and the only place that branches on a command's type. It reads no clock, draws no random number and looks
into no text; every limit is the state's. An empty list means 'already done': nothing is stored, and the
answer is read from the state.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from broker.matching import MATCHINGS, Matching, Seeker
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
from events.events import (
    Event,
    MessageSent,
    PolicyAdopted,
    QueueEntered,
    QueueLeft,
    RoomClosed,
    RoomClosedReason,
    RoomOpened,
)
from events.ids import ConnectionId, RoomId
from projections.connections import Chatting, Waiting
from projections.rate_limit import retry_after_ms
from projections.rooms import Room
from projections.view import StateView

RejectionCode = Literal[
    "already_chatting",
    "chat_ended",
    "queue_full",
    "rate_limited",
    "room_not_found",
    "unavailable",
    "unknown_handle",
]


class Rejection(msgspec.Struct, frozen=True):
    """An expected refusal: a value, never stored. `retry_after_ms` belongs to `rate_limited`."""

    code: RejectionCode
    retry_after_ms: int | None = None


Decision = list[Event] | Rejection

ALREADY_DONE: list[Event] = []

ROOM_NOT_FOUND = Rejection("room_not_found")


def decide(state: StateView, command: Command, facts: Facts, *, matching: Matching | None = None) -> Decision:
    """Return the events of `command` in `state`, to be stored in order, or the refusal.

    `matching` replaces the one named by the log's policy, for counterfactual runs.
    """
    match command:
        case SendMessage():
            return _send(state, command, facts)
        case EnterQueue():
            return _enter(state, command, facts, matching or _named(state))
        case NextPartner():
            return _next(state, command, facts, matching or _named(state))
        case LeaveQueue(connection_id=who):
            return _leave_queue(state, who)
        case LeaveRoom(connection_id=who, room_id=room_id):
            room = _own_room(state, who, room_id)
            return _close(room, who, "left") if room is not None else ROOM_NOT_FOUND
        case Disconnect():
            return _disconnect(state, command)
        case MatchDue(connection_id=who):
            return _match_due(state, who, facts, matching or _named(state))
        case AdoptPolicy(policy=policy):  # pragma: no branch - there is no other command, and mypy sees to that
            return [PolicyAdopted(policy)] if policy != state.policy else ALREADY_DONE


def _named(state: StateView) -> Matching:
    return MATCHINGS[state.policy.matching]


def _send(state: StateView, command: SendMessage, facts: Facts) -> Decision:
    sender = command.connection_id
    room = _own_room(state, sender, command.room_id)
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


def _enter(state: StateView, command: EnterQueue, facts: Facts, matching: Matching) -> Decision:
    known = state.connections.by_id.get(command.connection_id)
    if known is not None and isinstance(known.place, Waiting):
        return ALREADY_DONE
    if known is not None and isinstance(known.place, Chatting):
        return Rejection("already_chatting")
    entry = QueueEntered(command.connection_id, command.display_name, command.interests)
    return _queue_up(state, entry, facts, matching)


def _leave_queue(state: StateView, who: ConnectionId) -> Decision:
    known = state.connections.by_id.get(who)
    if known is not None and isinstance(known.place, Chatting):
        return Rejection("already_chatting")  # matched a moment ago: the partner would wait for an answer
    return [QueueLeft(who, "left")] if who in state.queue.entered else ALREADY_DONE


def _next(state: StateView, command: NextPartner, facts: Facts, matching: Matching) -> Decision:
    who = command.connection_id
    room = _own_room(state, who, command.room_id)
    if room is None:
        return ROOM_NOT_FOUND
    known = state.connections.by_id.get(who)
    if known is None:
        return Rejection("unknown_handle")
    if not room.is_open and isinstance(known.place, Waiting | Chatting):
        return ALREADY_DONE  # a repeat: the sender waits, or has met the next partner since
    queued = _queue_up(state, QueueEntered(who, known.display_name, known.interests), facts, matching)
    return queued if isinstance(queued, Rejection) else [*_close(room, who, "next"), *queued]


def _queue_up(state: StateView, entry: QueueEntered, facts: Facts, matching: Matching) -> Decision:
    """Return `entry`, and the room it opens if there is a partner."""
    known = state.connections.by_id.get(entry.connection_id)
    limit = state.policy.queue_commands_per_10s_max
    wait_ms = retry_after_ms(known.queue_spent_until_us, facts.at_ms, limit) if known is not None else 0
    if wait_ms:
        return Rejection("rate_limited", wait_ms)
    met = matching(state, Seeker(entry.connection_id, entry.interests, 0), facts.at_ms)
    if met is not None and state.rooms.open_count >= state.policy.rooms_open_max:
        return Rejection("queue_full")
    if met is not None:
        return [entry, _open(facts, (met, _name_of(state, met)), (entry.connection_id, entry.display_name))]
    if len(state.queue) >= state.policy.queue_connections_max:
        return Rejection("queue_full")
    return [entry]


def _match_due(state: StateView, who: ConnectionId, facts: Facts, matching: Matching) -> Decision:
    """Return the room of the waiting `who`, if there is a partner by now; otherwise the wait goes on."""
    if who not in state.queue.entered:
        return ALREADY_DONE
    known = state.connections.by_id[who]
    met = matching(state, Seeker(who, known.interests, facts.at_ms - known.last_at_ms), facts.at_ms)
    if met is None:
        return ALREADY_DONE
    if state.rooms.open_count >= state.policy.rooms_open_max:
        return Rejection("queue_full")  # to be asked again
    pair = sorted((who, met), key=state.queue.entered.__getitem__)
    return [_open(facts, *((one, _name_of(state, one)) for one in pair))]


def _open(facts: Facts, first: tuple[ConnectionId, str], second: tuple[ConnectionId, str]) -> RoomOpened:
    assert facts.room_id is not None, "a command that can match brings a fresh room id"
    return RoomOpened(facts.room_id, first[0], second[0], first[1], second[1])


def _name_of(state: StateView, who: ConnectionId) -> str:
    return state.connections.by_id[who].display_name


def _disconnect(state: StateView, command: Disconnect) -> Decision:
    who = command.connection_id
    known = state.connections.by_id.get(who)
    if known is None or known.last_position > command.since:
        return ALREADY_DONE
    match known.place:
        case Waiting():
            return [QueueLeft(who, command.reason)]
        case Chatting(room_id=room_id):
            return _close(state.rooms.by_id[room_id], who, command.reason)
        case _:
            return ALREADY_DONE


def _own_room(state: StateView, who: ConnectionId, room_id: RoomId) -> Room | None:
    """Return the room, if `who` is a member; for others there is no such room, so its id reveals nothing."""
    room = state.rooms.by_id.get(room_id)
    return room if room is not None and room.has(who) else None


def _close(room: Room, closed_by: ConnectionId, reason: RoomClosedReason) -> list[Event]:
    if not room.is_open:
        return ALREADY_DONE
    return [RoomClosed(room.room_id, closed_by, room.partner_of(closed_by), reason)]
