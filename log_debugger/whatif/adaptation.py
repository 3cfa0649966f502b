"""Commands of a log, adapted to the places that their senders have in a counterfactual run.

People are in other rooms than in the log, so:

- A message goes to the sender's present partner; without one, it is dropped.
- Leaving a room or the queue, and being found absent, applies to the present room or to the queue.
- `next_partner` is dropped in the queue, and enters the queue for an idle connection.
- Entering the queue from a room is `next_partner`.
- A connection left by its partner that does nothing more may not have gone: it stays in its place.
- A connection that missed a match is absent: its present match is missed, or it is taken out of the queue.
- A block or a report is about the partner that it was about, if they met in the run. Otherwise it is about the present
  or the last partner; without one, it is dropped.
- Names are forgotten of those who have been idle in the run since that time.
- A `MatchDue` is dropped: the run looks when patience ends in the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

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
from events.ids import ConnectionId, RoomId
from log_debugger.whatif.changes import Changes
from log_debugger.whatif.room_mapping import RoomMapping
from projections.connections import Chatting, Idle, Waiting
from projections.view import FoldView


def adapted(state: FoldView, rooms: RoomMapping, changes: Changes, command: Command) -> Sequence[Command]:
    """Return `command` as it is adapted to the places of people in `state`; nothing to drop it."""
    match command:
        case SendMessage():
            return _message(state, command)
        case AdoptPolicy(policy=policy):
            return [AdoptPolicy(changes.policy_of(policy))]
        case ForgetNames():
            return [command]
        case CancelMatch():
            return _missed(state, rooms, command)
        case BlockPartner() | ReportPartner():
            room_id = rooms.run_room(state, command.connection_id, command.room_id)
            return [msgspec.structs.replace(command, room_id=room_id)] if room_id is not None else []
        case MatchDue():
            return []
        case _:
            found = _at_place(state, command)
            return [found] if found is not None else []


def _message(state: FoldView, command: SendMessage) -> Sequence[Command]:
    known = state.connections.by_id.get(command.connection_id)
    place = known.place if known is not None else None
    if not isinstance(place, Chatting):
        return []
    if place.room_id == command.room_id:
        return [command]
    return [SendMessage(command.connection_id, place.room_id, command.text, command.client_message_id)]


def _missed(state: FoldView, rooms: RoomMapping, command: CancelMatch) -> Sequence[Command]:
    """Return the ends of the present matches, or waits, of those who missed a match."""
    missed: dict[RoomId, tuple[ConnectionId, ...]] = {}
    ends: list[Command] = []
    for who in command.missed_by:
        known = state.connections.by_id.get(who)
        match known.place if known is not None else None:
            case Chatting(room_id=room_id):
                missed[room_id] = (*missed.get(room_id, ()), who)
            case Waiting() if known is not None:
                ends.append(Disconnect(who, "timeout", known.last_position))
    for room_id, missed_by in missed.items():
        # Another partner than in the log counts as present.
        is_other_present = command.is_other_present or not rooms.is_same_pair(command.room_id, room_id)
        ends.append(CancelMatch(room_id, missed_by, is_other_present))
    return ends


def _at_place(
    state: FoldView, command: EnterQueue | NextPartner | LeaveQueue | LeaveRoom | Disconnect
) -> Command | None:
    who = command.connection_id
    known = state.connections.by_id.get(who)
    match command, known.place if known is not None else None:
        case EnterQueue() | NextPartner(), Chatting(room_id=room_id):
            return NextPartner(who, room_id)
        case EnterQueue(), _:
            return command
        case NextPartner(), Idle() if known is not None:
            return EnterQueue(who, known.display_name, known.interests, known.idle_grace_ms)
        case LeaveRoom() | LeaveQueue(), Chatting(room_id=room_id):
            return LeaveRoom(who, room_id)
        case LeaveRoom() | LeaveQueue(), Waiting():
            return LeaveQueue(who)
        case Disconnect(reason=reason, is_abandoned=is_abandoned), Chatting() | Waiting() if known is not None:
            return Disconnect(who, reason, known.last_position, is_abandoned)
        case _:
            return None
