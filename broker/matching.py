"""Choice of a partner: pure functions over the waiting connections.

A matching is asked when a connection enters the queue, and again at its match timeout, by a `MatchDue`. It names a
waiting connection, or none: then the seeker waits on. It reads the state, its arguments and nothing else, so a
decision can be repeated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from events.ids import ConnectionId, Position
from events.policy import MatchingName, Policy
from projections.ordered_map import Order
from projections.view import StateView


class Seeker(NamedTuple):
    """A connection in search of a partner: a newcomer, or one in the queue already."""

    connection_id: ConnectionId
    interests: tuple[str, ...]
    waited_ms: int  # 0 for a newcomer


Matching = Callable[[StateView, Seeker, int], ConnectionId | None]
"""From a state, a seeker and the time (Unix, ms) to a waiting connection other than the seeker, or to `None`."""


def first_come(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Return the connection that has waited longest. Costs the same whether 10 or 100,000 wait."""
    return _longest_waiting(state, seeker)


def most_shared(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Return the connection sharing most interests with the seeker; of equals, the one that has waited longest.

    Without a common interest, two connections meet only once one of them has waited `interest_patience_ms`. The cost
    grows with the waiting connections that share an interest: few, since those would have met.
    """
    shared: Counter[Position] = Counter()
    for interest in seeker.interests:
        shared.update(entered for entered, who in _sharing(state, interest).items() if who != seeker.connection_id)
    if shared:
        return state.queue.entries.get(min(shared, key=lambda entered: (-shared[entered], entered)))
    other = _longest_waiting(state, seeker)
    patience_ms = state.policy.interest_patience_ms
    if other is None or max(seeker.waited_ms, at_ms - state.connections.by_id[other].last_at_ms) < patience_ms:
        return None
    return other


MATCHINGS: Mapping[MatchingName, Matching] = {"first-come": first_come, "interests": most_shared}
"""The matchings that a policy can name."""


def patience_ms(policy: Policy) -> int:
    """Return the wait before another matching is worth it: 0 under first come, first served."""
    return policy.interest_patience_ms if policy.matching == "interests" else 0


def _longest_waiting(state: StateView, seeker: Seeker) -> ConnectionId | None:
    return next((who for _, who in state.queue.entries.items() if who != seeker.connection_id), None)


_NOBODY: Order[ConnectionId] = Order()


def _sharing(state: StateView, interest: str) -> Order[ConnectionId]:
    return state.queue.sharing(interest) or _NOBODY
