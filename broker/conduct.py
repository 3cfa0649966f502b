"""The rules about missed matches, blocks, reports and forgotten names; a part of `broker.decide`, and as pure."""

from __future__ import annotations

from broker.decision import ALREADY_DONE, ROOM_NOT_FOUND, Decision, Rejection, close, own_room
from events.commands import BlockPartner, CancelMatch, ForgetNames, ReportPartner
from events.commit import Facts
from events.events import Event, NamesForgotten, PartnerBlocked, PartnerReported, QueueEntered, RoomClosed
from events.ids import ConnectionId, Position
from projections.connections import Connection, Idle
from projections.rate_limit import REPORTS_WINDOW_US, retry_after_ms
from projections.view import FoldView

ConductCommand = CancelMatch | BlockPartner | ReportPartner | ForgetNames


def decide_conduct(state: FoldView, command: ConductCommand, facts: Facts) -> Decision:
    """Return the events of `command`; see `broker.decide.decide`."""
    match command:
        case CancelMatch():
            return _cancel_match(state, command)
        case BlockPartner():
            return _block(state, command)
        case ReportPartner():
            return _report(state, command, facts)
        case ForgetNames():  # pragma: no branch - there is no other command, and mypy sees to that
            return _forget_names(state, command)


def _cancel_match(state: FoldView, command: CancelMatch) -> Decision:
    """Return the end of a room after a missed match; a member has not missed it if it took part since."""
    room = state.rooms.by_id.get(command.room_id)
    if room is None or not room.is_open:
        return ALREADY_DONE
    people = state.connections.by_id
    missed_by = tuple(
        who for who in command.missed_by if room.has(who) and people[who].last_position <= room.opened_position
    )
    if not missed_by:
        return ALREADY_DONE
    closed_by, other = missed_by[0], room.partner_of(missed_by[0])
    entry, known = room.entry_of(other), people[other]
    is_requeued = (
        bool(state.policy.requeue_on_missed_match)
        and command.is_other_present
        and other not in missed_by
        and entry is not None
    )
    closed = RoomClosed(room.room_id, closed_by, other, "timeout", missed_by, is_requeued)
    if not is_requeued:
        return [closed]
    waits_again = QueueEntered(other, known.display_name, known.interests, known.salt, entry, known.idle_grace_ms)
    return [closed, waits_again]


def _block(state: FoldView, command: BlockPartner) -> Decision:
    who = command.connection_id
    room, known = own_room(state, who, command.room_id), state.connections.by_id.get(who)
    if room is None:
        return ROOM_NOT_FOUND
    if known is None:
        return Rejection("unknown_handle")
    return [*_blocked(state, known, who, room.partner_of(who)), *close(room, who, "left")]


def _blocked(state: FoldView, known: Connection, who: ConnectionId, partner: ConnectionId) -> list[Event]:
    if partner in known.blocked or not state.policy.blocks_per_connection_max:
        return ALREADY_DONE
    return [PartnerBlocked(who, partner)]


def _report(state: FoldView, command: ReportPartner, facts: Facts) -> Decision:
    who = command.connection_id
    room, known = own_room(state, who, command.room_id), state.connections.by_id.get(who)
    if room is None:
        return ROOM_NOT_FOUND
    if known is None:
        return Rejection("unknown_handle")
    partner = room.partner_of(who)
    end = [*_blocked(state, known, who, partner), *close(room, who, "left")]
    if who in room.reporters:
        return end
    limit = state.policy.reports_per_10min_max
    if limit:
        wait_ms = retry_after_ms(known.reports_spent_until_us, facts.at_ms, limit, REPORTS_WINDOW_US)
        if wait_ms:
            return Rejection("rate_limited", wait_ms)
    last = room.closed_position if room.closed_position is not None else state.position + 1
    first = room.opened_position
    return [PartnerReported(room.room_id, who, partner, command.category, first, last, command.note), *end]


def _forget_names(state: FoldView, command: ForgetNames) -> Decision:
    gone = tuple(who for who in command.connection_ids if _has_old_name(state, who, command.through))
    return [NamesForgotten(gone)] if gone else ALREADY_DONE


def _has_old_name(state: FoldView, who: ConnectionId, through: Position) -> bool:
    """Return whether a connection has been idle since `through` or before, and its name is not forgotten yet."""
    known = state.connections.by_id.get(who)
    if known is None or not isinstance(known.place, Idle) or known.place.since_position > through:
        return False
    return not known.is_forgotten
