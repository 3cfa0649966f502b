"""The whole state: the composition of the projections, and the fold that makes it from a log.

`EFFECTS` holds the effect of each event on the queue, the rooms, the connections and the inboxes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from operator import itemgetter
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from events.commit import EMPTY_TIP, Commit, Tip, check_link
from events.events import (
    Event,
    MessageSent,
    NamesForgotten,
    PartnerBlocked,
    PartnerReported,
    PolicyAdopted,
    QueueEntered,
    QueueLeft,
    RoomClosed,
    RoomOpened,
)
from events.ids import ConnectionId, Position
from events.policy import Policy
from events.text import known_interests
from projections.connections import Connections, ConnectionsMutation
from projections.inbox import Inbox, Inboxes, add_to_inbox
from projections.ordered_map import Order, OrderMutation
from projections.persistent_map import Map, MapMutation
from projections.queue import Queue, QueueMutation
from projections.reports import Report, Reports, record_report
from projections.rooms import Rooms, RoomsMutation


class State(msgspec.Struct, frozen=True, gc=False):
    """The meaning of a log up to `tip`. Immutable: keeping an old one is free."""

    tip: Tip = EMPTY_TIP
    at_ms: int = 0  # of the last commit; time never goes back
    policy: Policy = Policy()
    queue: Queue = Queue()
    rooms: Rooms = Rooms()
    connections: Connections = Connections()
    inboxes: Inboxes = Map()
    messages_sent: int = 0  # since position 1, as the next field
    rooms_closed: int = 0
    reports: Reports = Order()

    @property
    def position(self) -> Position:
        """The last commit's position."""
        return self.tip.position

    def mutate(self) -> StateMutation:
        """Return a working copy; this state does not change."""
        rooms, connections = self.rooms, self.connections
        return StateMutation(
            self.tip,
            self.tip.position,
            self.at_ms,
            self.policy,
            QueueMutation(self.queue),
            RoomsMutation(rooms.by_id.mutate(), rooms.closed.mutate()),
            ConnectionsMutation(connections.by_id.mutate(), connections.idle.mutate()),
            self.inboxes.mutate(),
            self.messages_sent,
            self.rooms_closed,
            self.reports.mutate(),
        )


class StateMutation(msgspec.Struct, gc=False):
    """A working copy of a state: many commits are folded into it before it becomes a state again.

    That halves the work of a state for each commit. It can be read like a state meanwhile (`projections.view`).
    """

    tip: Commit | Tip  # a commit can stand for its tip, which is then not made
    position: Position
    at_ms: int
    policy: Policy
    waiting: QueueMutation
    rooms: RoomsMutation
    connections: ConnectionsMutation
    inboxes: MapMutation[ConnectionId, Inbox]
    messages_sent: int
    rooms_closed: int
    reports: OrderMutation[Report]

    @property
    def queue(self) -> Queue:
        """The queue so far, immutable. Reading it merges the pending entries, so a mere fold does not read it."""
        waiting = self.waiting
        return waiting.flush() if waiting.pending else waiting.kept

    def fold_checked(self, commits: Iterable[Commit]) -> None:
        """Fold `commits`, which must follow without a gap and be as stored.

        Raises:
            BrokenChainError: a commit is missing, was altered, or belongs to another log. The commits before it are
                folded.
        """
        for commit in commits:
            check_link(self.tip, commit)
            self.fold(commit)

    def fold(self, commit: Commit) -> None:
        """Fold the next commit. Never refuses: a stored commit has happened."""
        assert commit.position == self.position + 1
        self.tip, self.position, self.at_ms = commit, commit.position, commit.at_ms
        for event in commit.events:
            EFFECTS[type(event)](self, event)
        if len(self.connections.by_id) > self.policy.connections_kept:
            for who in self.connections.forget_longest_idle(self.policy.connections_kept):
                self.inboxes.pop(who, None)

    def finish(self) -> State:
        """Return the resulting state; the working copy is used up."""
        closed, idle = self.rooms.closed, self.connections.idle
        return State(
            _tip((self.position, self.tip.commit_id)),
            self.at_ms,
            self.policy,
            self.queue,
            Rooms(self.rooms.by_id.finish(), closed.finish() if closed.appended else closed.kept),
            Connections(self.connections.by_id.finish(), idle.finish() if idle.appended else idle.kept),
            self.inboxes.finish(),
            self.messages_sent,
            self.rooms_closed,
            self.reports.finish(),
        )


_tip = partial(tuple.__new__, Tip)  # as `Tip` itself, at half the cost

INITIAL_STATE = State()


def evolve(state: State, commit: Commit) -> State:
    """Return the state after `commit`. Never refuses: a stored commit has happened."""
    after = state.mutate()
    after.fold(commit)
    return after.finish()


def fold(commits: Iterable[Commit], state: State = INITIAL_STATE) -> State:
    """Return the state after `commits`, which must follow `state` without a gap and be as stored.

    Raises:
        BrokenChainError: a commit is missing, was altered, or belongs to another log.
    """
    after = state.mutate()
    after.fold_checked(commits)
    return after.finish() if after.position > state.position else state


def digest(state: State) -> str:
    """Return a hash over all of `state`: equal digests are equal states, under any hash seed, on any machine."""
    return hashlib.sha256(msgspec.json.encode(_canonical(state))).hexdigest()


def _message_sent(now: StateMutation, event: MessageSent) -> None:
    at_ms, policy = now.at_ms, now.policy
    now.connections.record_message(event.sender, now.position, at_ms, policy.messages_per_10s_max)
    if event.client_message_id is not None:
        now.rooms.remember(event, at_ms, policy.message_ids_kept)
    add_to_inbox(now.inboxes, event.recipient, now.position, at_ms, policy.inbox_events_max)
    now.messages_sent += 1


def _queue_entered(now: StateMutation, event: QueueEntered) -> None:
    now.connections.set_waiting(event, now.position, now.at_ms, now.policy.queue_commands_per_10s_max)
    place = event.earlier.position if event.earlier is not None else now.position
    now.waiting.add(event.connection_id, place, known_interests(event.interests))


def _queue_left(now: StateMutation, event: QueueLeft) -> None:
    now.waiting.remove(event.connection_id)
    now.connections.set_idle(event.connection_id, 2 * now.position, now.position, now.at_ms)


def _room_opened(now: StateMutation, event: RoomOpened) -> None:
    now.rooms.open(event, now.position)
    for who in (event.first, event.second):
        now.waiting.remove(who)
        now.connections.set_chatting(who, event.room_id, now.position, now.at_ms)
        add_to_inbox(now.inboxes, who, now.position, now.at_ms, now.policy.inbox_events_max)


def _room_closed(now: StateMutation, event: RoomClosed) -> None:
    # No state may depend on a name that can be redacted in the log, but the names of people in the queue or in a room.
    people = now.connections.by_id
    nameless = tuple(who for who in (event.closed_by, event.other) if people[who].has_salted_name)
    now.rooms.close(event.room_id, now.position, now.policy.closed_rooms_kept, nameless)
    now.connections.set_idle(event.closed_by, 2 * now.position, now.position, now.at_ms)
    now.connections.set_idle(event.other, 2 * now.position + 1, now.position, now.at_ms)
    add_to_inbox(now.inboxes, event.other, now.position, now.at_ms, now.policy.inbox_events_max)
    now.rooms_closed += 1
    if now.policy.rematch_after_ms and not event.missed_by:
        now.connections.record_meeting(event.closed_by, event.other, now.at_ms)
        now.connections.record_meeting(event.other, event.closed_by, now.at_ms)


def _partner_blocked(now: StateMutation, event: PartnerBlocked) -> None:
    now.connections.record_block(event.blocker, event.blocked, now.policy.blocks_per_connection_max)


def _partner_reported(now: StateMutation, event: PartnerReported) -> None:
    now.rooms.record_report(event)
    now.connections.record_report(event.reporter, now.at_ms, now.policy.reports_per_10min_max)
    record_report(now.reports, event, now.position, now.at_ms, now.policy)


def _names_forgotten(now: StateMutation, event: NamesForgotten) -> None:
    for who in event.connection_ids:
        now.connections.forget_name(who)


def _policy_adopted(now: StateMutation, event: PolicyAdopted) -> None:
    now.policy = event.policy


EFFECTS: Mapping[type[Event], Callable[[StateMutation, Any], None]] = {
    MessageSent: _message_sent,
    QueueEntered: _queue_entered,
    QueueLeft: _queue_left,
    RoomOpened: _room_opened,
    RoomClosed: _room_closed,
    PartnerBlocked: _partner_blocked,
    PartnerReported: _partner_reported,
    NamesForgotten: _names_forgotten,
    PolicyAdopted: _policy_adopted,
}


def _canonical(value: Any) -> Any:
    """Return `value` as plain lists in an order that does not depend on hashing.

    A tuple holds only plain values or such tuples, and is written as a list.
    """
    kind = type(value)
    if kind is str or kind is int or value is None or isinstance(value, tuple):  # the most frequent types first
        return value
    if kind is Map:
        items = sorted(value.items(), key=_KEY)
        return [(key, item if type(item) is int else _canonical(item)) for key, item in items]
    if kind is Order:
        return list(value.items())
    assert isinstance(value, msgspec.Struct)
    later = _LATER_FIELDS.get(kind.__name__, _NO_FIELDS)
    fields = [
        (_DIGEST_NAMES.get(name, name), _canonical(field))
        for name, field in zip(value.__struct_fields__, astuple(value), strict=True)
        if name not in later or field != later[name]
    ]
    return [_DIGEST_NAMES.get(kind.__name__, kind.__name__), *fields]


_DIGEST_NAMES: Final = {"Connections": "Places", "connections": "places"}
"""Earlier names of renamed classes and fields: a digest covers names, and must be the same in every version."""

_NO_FIELDS: Final[Mapping[str, Any]] = {}
_LATER_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "Waiting": {"entered_at_ms": None},
    "Connection": {"salt": None, "partners": (), "blocked": (), "reports_spent_until_us": 0, "idle_grace_ms": None},
    "Room": {"first_entry": None, "second_entry": None, "reporters": ()},
    "State": {"reports": Order()},
    "Policy": {
        "confirm_grace_ms": 0,
        "requeue_on_missed_match": 0,
        "rematch_after_ms": 0,
        "rematch_patience_ms": 0,
        "blocks_per_connection_max": 0,
        "reports_per_10min_max": 0,
        "evidence_keep_ms": 0,
        "reports_kept": 10_000,
    },
}
"""Fields that came later, with their defaults: a state without them has the digest that it had before."""


_KEY = itemgetter(0)
