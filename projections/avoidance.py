"""The reasons for two connections not to meet, whatever the matching: pure functions of a state and the facts.

A block holds for good. After a recent meeting, their own or their peers', two connections may meet again once both
have waited for `rematch_patience_ms` and the seeker has no other partner.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from events.commit import Facts
from events.ids import ConnectionId
from projections.view import FoldView

AvoidReason = Literal["blocked", "met", "peer"]


def avoid_reason(state: FoldView, seeker: ConnectionId, other: ConnectionId, facts: Facts) -> AvoidReason | None:
    """Return the reason for `seeker` and the waiting `other` not to meet now; `None` if they may.

    `blocked`: one has blocked the other. `met`: their last room closed less than `rematch_after_ms` ago, as far as one
    of them remembers it. `peer`: the facts say so.
    """
    people = state.connections.by_id
    known, waiting = people.get(seeker), people.get(other)
    if waiting is not None and seeker in waiting.blocked:
        return "blocked"
    if known is not None and other in known.blocked:
        return "blocked"
    if state.policy.rematch_after_ms:
        since_ms = facts.at_ms - state.policy.rematch_after_ms
        if (known is not None and known.has_met_since(other, since_ms)) or (
            waiting is not None and waiting.has_met_since(seeker, since_ms)
        ):
            return "met"
    return "peer" if other in facts.avoid else None


def is_patient(state: FoldView, waiting_since_ms: int, at_ms: int) -> bool:
    """Return whether a wait has been long enough for a repeated meeting."""
    return at_ms - waiting_since_ms >= state.policy.rematch_patience_ms


def patient_others(state: FoldView, seeker: ConnectionId, facts: Facts) -> Iterator[ConnectionId]:
    """Yield the waiting connections `seeker` may meet in spite of a meeting, by their entry; none for a newcomer.

    Each has waited for `rematch_patience_ms`, and so has `seeker`.
    """
    known = state.connections.by_id.get(seeker)
    if seeker not in state.queue.entered or known is None:
        return
    if not is_patient(state, known.waiting_since_ms(), facts.at_ms):
        return
    for _, other in state.queue.entries.items():  # noqa: PERF102 - an order has no `values`
        if (
            other != seeker
            and is_patient(state, state.connections.by_id[other].waiting_since_ms(), facts.at_ms)
            and avoid_reason(state, seeker, other, facts) in ("met", "peer")
        ):
            yield other
