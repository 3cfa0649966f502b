"""Choice of a partner: pure functions over the waiting connections.

A matching is asked when a connection enters the queue, and again at its match timeout, by a `MatchDue`. It names a
waiting connection, or none: then the seeker waits on. It reads the state, its arguments and nothing else, so a
decision can be repeated.

A matching need not know the forbidden pairs. `find_partner` asks it, and shows it a queue without the connections
to be avoided by the seeker.

An operator's own matching is registered by `broker.own_matching`, under the name that the log's policy gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from broker.errors import UsageError
from events.commit import Commit, Facts, Tip
from events.ids import ConnectionId, Position
from events.policy import MatchingName, Policy
from events.text import known_interests
from projections.avoidance import avoid_reason, patient_others
from projections.connections import ConnectionsMutation
from projections.ordered_map import Order
from projections.queue import Queue
from projections.rooms import RoomsMutation
from projections.view import ConnectionsView, FoldView, RoomsView, StateView


class Seeker(NamedTuple):
    """A connection in search of a partner: a newcomer, or one in the queue already."""

    connection_id: ConnectionId
    interests: tuple[str, ...]
    waited_ms: int  # 0 for a newcomer


Matching = Callable[[StateView, Seeker, int], ConnectionId | None]
"""From a state, a seeker and the time (Unix, ms) to a waiting connection other than the seeker, or to `None`."""


def first_come(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Return the longest waiting connection. Costs the same whether 10 or 100,000 wait."""
    return _longest_waiting(state, seeker)


def most_shared(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Return the connection sharing most interests with the seeker; of equals, the longest waiting one.

    Without a common interest, two connections meet only once one of them has waited `interest_patience_ms`. The cost
    grows with the waiting connections that share an interest: few, since those would have met.
    """
    shared: dict[Position, int] = {}
    for interest in seeker.interests:
        for entered, who in _sharing(state, interest).items():
            if who != seeker.connection_id:
                shared[entered] = shared.get(entered, 0) + 1
    if shared:
        return state.queue.entries.get(min(shared, key=lambda entered: (-shared[entered], entered)))
    other = _longest_waiting(state, seeker)
    if other is None:
        return None
    waited_ms = max(seeker.waited_ms, at_ms - state.connections.by_id[other].waiting_since_ms())
    return other if waited_ms >= state.policy.interest_patience_ms else None


MATCHINGS: Mapping[str, Matching] = {"first-come": first_come, "interests": most_shared}
"""The matchings that every broker has, by their `MatchingName`."""

OWN_MATCHINGS: dict[str, Matching] = {}
"""The operator's own matchings that this process has, by their names in a policy."""


class MatchingError(UsageError):
    """An operator's own matching is missing, failed, or named no one who waits. Nothing was decided."""


def matching_of(policy: Policy) -> Matching:
    """Return the matching named by `policy`.

    Raises:
        MatchingError: it is an operator's own, and this process does not have it.
    """
    found = MATCHINGS.get(policy.matching) or OWN_MATCHINGS.get(policy.matching)
    if found is None:
        raise MatchingError(f"the policy names the matching {policy.matching}, which this process does not have")
    return found


def counted_as(policy: Policy) -> MatchingName:
    """Return the matching that clients are told: `interests` if interests may count."""
    return "first-come" if policy.matching == "first-come" else "interests"


class _OtherQueue(NamedTuple):
    """A state with another queue."""

    tip: Tip | Commit
    position: Position
    at_ms: int
    policy: Policy
    queue: Queue
    rooms: RoomsView
    connections: ConnectionsView


def find_partner(state: FoldView, seeker: Seeker, facts: Facts, matching: Matching) -> ConnectionId | None:
    """Return the partner named by `matching` among those permitted to `seeker`; `None` if it waits on.

    Partners permitted in spite of a recent meeting (`projections.avoidance`) come only if there is no other.
    """
    whole = _whole(state, matching)
    view = whole
    while (named := matching(view, seeker, facts.at_ms)) is not None:
        assert named in view.queue.entered, "a matching names a waiting connection"
        if avoid_reason(state, seeker.connection_id, named, facts) is None:
            return named
        view = _with_queue(view, view.queue.without(named))
    if view is whole:
        return None
    patient = [*patient_others(state, seeker.connection_id, facts)]
    if not patient:
        return None
    # The seeker is shown in its place, as before: a matching may look it up.
    shown = sorted(
        (state.queue.entered[who], who, known_interests(state.connections.by_id[who].interests))
        for who in (seeker.connection_id, *patient)
    )
    return matching(_with_queue(view, Queue.of(shown)), seeker, facts.at_ms)


def _whole(state: FoldView, matching: Matching) -> StateView:
    """Return `state` as one that can be listed. The matchings above list nothing, so any state will do for them."""
    rooms, connections = state.rooms, state.connections
    if matching in (first_come, most_shared) or not isinstance(connections, ConnectionsMutation):
        return cast("StateView", state)
    assert isinstance(rooms, RoomsMutation)
    tip, position, at_ms, policy, queue = state.tip, state.position, state.at_ms, state.policy, state.queue
    return _OtherQueue(tip, position, at_ms, policy, queue, rooms.so_far(), connections.so_far())


def _with_queue(state: StateView, queue: Queue) -> StateView:
    return _OtherQueue(state.tip, state.position, state.at_ms, state.policy, queue, state.rooms, state.connections)


LOOK_AGAIN_MS = 1_000
"""The time after which a `MatchDue` that was refused is asked for again."""


def patience_steps_ms(policy: Policy) -> list[int]:
    """Return the waits after which a matching may name further partners, ascending; 0 is a newcomer's."""
    first_ms = policy.interest_patience_ms if policy.matching != "first-come" else 0
    if not policy.rematch_after_ms:
        return [first_ms]
    # A newcomer has no patience; so where none is asked for, it is matched again a moment after.
    return sorted({first_ms, min(policy.rematch_after_ms, max(1, policy.rematch_patience_ms))})


def _longest_waiting(state: StateView, seeker: Seeker) -> ConnectionId | None:
    return next((who for _, who in state.queue.entries.items() if who != seeker.connection_id), None)


_NOBODY: Order[ConnectionId] = Order()


def _sharing(state: StateView, interest: str) -> Order[ConnectionId]:
    return state.queue.sharing(interest) or _NOBODY
