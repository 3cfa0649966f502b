"""Whom someone meets: pure choices among those who wait.

A matching is asked when someone enters the queue, and again when a `MatchDue` says that their patience has ended.
It names one of those who wait, or nobody: then they wait on. It reads the state, its arguments and nothing else, so
that a decision can be repeated.
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
    """Who looks for a partner: a newcomer, or someone who stands in the queue already."""

    connection_id: ConnectionId
    interests: tuple[str, ...]
    waited_ms: int  # 0 for a newcomer


Matching = Callable[[StateView, Seeker, int], ConnectionId | None]
"""From a state, a seeker and the time (Unix, ms) to one who waits and is not the seeker, or to nobody."""


def first_come(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """The one who has waited longest. Costs the same whether 10 or 100,000 wait."""
    return _longest_waiting(state, seeker)


def most_shared(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Whoever shares most interests with the seeker; of equals, the one who has waited longest.

    Who shares none is met only once one of the two has waited `interest_patience_ms`. Costs as much as there are
    people who wait and share something: few, since those would have met.
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
    """How long someone waits before another look is worth it: under first come, first served, not at all."""
    return policy.interest_patience_ms if policy.matching == "interests" else 0


def _longest_waiting(state: StateView, seeker: Seeker) -> ConnectionId | None:
    return next((who for _, who in state.queue.entries.items() if who != seeker.connection_id), None)


_NOBODY: Order[ConnectionId] = Order()


def _sharing(state: StateView, interest: str) -> Order[ConnectionId]:
    return state.queue.sharing(interest) or _NOBODY
