"""Choice of a partner: pure functions over the waiting connections.

A matching is asked when a connection enters the queue, and again at its match timeout, by a `MatchDue`. It names a
waiting connection, or none: then the seeker waits on. It reads the state, its arguments and nothing else, so a
decision can be repeated.

A matching need not know the forbidden pairs. `find_partner` asks it, and shows it a queue without the connections
to be avoided by the seeker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from events.commit import Commit, Facts, Tip
from events.ids import ConnectionId, Position
from events.policy import MatchingName, Policy
from events.text import known_interests
from projections.avoidance import avoid_reason, patient_others
from projections.ordered_map import Order
from projections.queue import Queue
from projections.view import ConnectionsView, RoomsView, StateView


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
    shared: Counter[Position] = Counter()
    for interest in seeker.interests:
        shared.update(entered for entered, who in _sharing(state, interest).items() if who != seeker.connection_id)
    if shared:
        return state.queue.entries.get(min(shared, key=lambda entered: (-shared[entered], entered)))
    other = _longest_waiting(state, seeker)
    if other is None:
        return None
    waited_ms = max(seeker.waited_ms, at_ms - state.connections.by_id[other].waiting_since_ms())
    return other if waited_ms >= state.policy.interest_patience_ms else None


MATCHINGS: Mapping[MatchingName, Matching] = {"first-come": first_come, "interests": most_shared}
"""The matchings that a policy can name."""


class _NarrowedView(NamedTuple):
    """A state with another queue."""

    tip: Tip | Commit
    position: Position
    at_ms: int
    policy: Policy
    queue: Queue
    rooms: RoomsView
    connections: ConnectionsView


def find_partner(state: StateView, seeker: Seeker, facts: Facts, matching: Matching) -> ConnectionId | None:
    """Return the partner named by `matching` among those permitted to `seeker`; `None` if it waits on.

    Partners permitted in spite of a recent meeting (`projections.avoidance`) come only if there is no other.
    """
    view = state
    while (named := matching(view, seeker, facts.at_ms)) is not None:
        assert named in view.queue.entered, "a matching names a waiting connection"
        if avoid_reason(state, seeker.connection_id, named, facts) is None:
            return named
        view = _with_queue(state, view.queue.without(named))
    if view is state:
        return None
    patient = [*patient_others(state, seeker.connection_id, facts)]
    if not patient:
        return None
    # The seeker is shown in its place, as before: a matching may look it up.
    shown = sorted(
        (state.queue.entered[who], who, known_interests(state.connections.by_id[who].interests))
        for who in (seeker.connection_id, *patient)
    )
    return matching(_with_queue(state, Queue.of(shown)), seeker, facts.at_ms)


def _with_queue(state: StateView, queue: Queue) -> StateView:
    return _NarrowedView(state.tip, state.position, state.at_ms, state.policy, queue, state.rooms, state.connections)


def patience_steps_ms(policy: Policy) -> list[int]:
    """Return the waits after which a matching may name further partners, ascending; 0 is a newcomer's."""
    first_ms = policy.interest_patience_ms if policy.matching == "interests" else 0
    if not policy.rematch_after_ms:
        return [first_ms]
    # A newcomer has no patience; so where none is asked for, it is matched again a moment after.
    return sorted({first_ms, min(policy.rematch_after_ms, max(1, policy.rematch_patience_ms))})


def _longest_waiting(state: StateView, seeker: Seeker) -> ConnectionId | None:
    return next((who for _, who in state.queue.entries.items() if who != seeker.connection_id), None)


_NOBODY: Order[ConnectionId] = Order()


def _sharing(state: StateView, interest: str) -> Order[ConnectionId]:
    return state.queue.sharing(interest) or _NOBODY
