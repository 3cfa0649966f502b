"""All that the broker knows: the composition of the projections, and the fold that makes it from a log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import immutables
import msgspec

from events.commit import EMPTY_TIP, Commit, Tip, check_link
from events.events import Event, PolicyAdopted
from events.ids import ConnectionId
from events.policy import Policy
from projections.deliveries import recipients
from projections.inbox import EMPTY_INBOX, Inboxes
from projections.places import Places, places_after
from projections.queue import Queue, queue_after
from projections.rooms import Rooms, rooms_after


class State(msgspec.Struct, frozen=True, gc=False):
    """The meaning of a log up to `tip`. Immutable: to keep an old one is free, to go back to it is too."""

    tip: Tip = EMPTY_TIP
    at_ms: int = 0  # of the last commit; time never goes back
    policy: Policy = Policy()
    queue: Queue = Queue()
    rooms: Rooms = Rooms()
    places: Places = Places()
    inboxes: Inboxes = immutables.Map()

    @property
    def position(self) -> int:
        """The last commit's position."""
        return self.tip.position


INITIAL_STATE = State()


def evolve(state: State, commit: Commit) -> State:
    """The state after `commit`. Never refuses: what was stored has happened."""
    assert commit.position == state.tip.position + 1
    position, at_ms, policy = commit.position, commit.at_ms, state.policy
    queue, rooms, places, inboxes = state.queue, state.rooms, state.places, state.inboxes
    for event in commit.events:
        queue = queue_after(queue, event, position)
        rooms = rooms_after(rooms, event, position, at_ms, policy)
        places = places_after(places, event, position, at_ms, policy)
        inboxes = _inboxes_after(inboxes, event, commit, policy.inbox_events_max)
        if isinstance(event, PolicyAdopted):
            policy = event.policy
    if len(places) > policy.connections_kept:
        places, gone = places.without_oldest_idle(policy.connections_kept)
        inboxes = _without(inboxes, gone)
    return State(commit.tip, at_ms, policy, queue, rooms, places, inboxes)


def fold(commits: Iterable[Commit], state: State = INITIAL_STATE) -> State:
    """The state after `commits`, which must follow `state` without a gap and be what was stored.

    Raises:
        BrokenChainError: a commit is missing, was altered, or belongs to another log.
    """
    for commit in commits:
        check_link(state.tip, commit)
        state = evolve(state, commit)
    return state


def digest(state: State) -> str:
    """A hash over all of `state`: equal digests are equal states, under any hash seed, on any machine."""
    return hashlib.sha256(msgspec.json.encode(_canonical(state))).hexdigest()


def _inboxes_after(inboxes: Inboxes, event: Event, commit: Commit, kept_max: int) -> Inboxes:
    for who in recipients(event):
        inbox = inboxes.get(who, EMPTY_INBOX).with_event(commit.position, commit.at_ms, kept_max)
        inboxes = inboxes.set(who, inbox)
    return inboxes


def _without(inboxes: Inboxes, gone: tuple[ConnectionId, ...]) -> Inboxes:
    for who in gone:
        inboxes = inboxes.delete(who) if who in inboxes else inboxes
    return inboxes


def _canonical(value: Any) -> Any:
    """`value` as plain lists in an order that does not depend on hashing."""
    if isinstance(value, immutables.Map):
        return [[_canonical(key), _canonical(item)] for key, item in sorted(value.items())]
    if isinstance(value, msgspec.Struct):
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
        return [type(value).__name__, *([name, _canonical(item)] for name, item in fields)]
    if isinstance(value, tuple | list):
        return [_canonical(item) for item in value]
    return value
