"""The choice of a partner in the reference model: the permitted pairs, and the order of candidates.

It shares no code with `broker.matching` or `projections` (an import contract enforces this).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from broker.testing.reference_state import ReferenceConnection, ReferenceState
from events.commit import Facts
from events.ids import ConnectionId
from events.text import known_interests

ChoosePartner = Callable[[ConnectionId, tuple[str, ...], int, int, Sequence[ConnectionId]], ConnectionId | None]
"""A matching from outside. Arguments: the seeking connection, its interests, its waiting time (ms), the time (Unix ms),
and the waiting connections that it must not name. Returns the partner, or `None` for no match."""


class IllegalChoiceError(AssertionError):
    """A matching named a connection that is not waiting, or the seeker itself, or a forbidden one."""


class Seeking(NamedTuple):
    """A connection in search of a partner. A newcomer has waited 0 ms, and is not in the queue."""

    connection_id: ConnectionId
    interests: tuple[str, ...]
    waited_ms: int
    facts: Facts


def find_partner(state: ReferenceState, seeking: Seeking, choose: ChoosePartner | None) -> ReferenceConnection | None:
    """Return the partner by `choose`, or by the policy's matching if it is `None`.

    Raises:
        IllegalChoiceError: `choose` named a connection that can't be matched.
    """
    others = [waiting for waiting in state.queue if waiting.connection_id != seeking.connection_id]
    free = [
        other for other in others if not _has_blocked(state, seeking, other) and not _met_lately(state, seeking, other)
    ]
    later = [
        other
        for other in others
        if other not in free and not _has_blocked(state, seeking, other) and _are_patient(state, seeking, other)
    ]
    if choose is not None:
        return _Asked(seeking, choose, others).partner(free, later)
    return _by_policy(state, seeking, free) or _by_policy(state, seeking, later)


def _has_blocked(state: ReferenceState, seeking: Seeking, other: ReferenceConnection) -> bool:
    """Return whether one of the two has blocked the other."""
    seeker = state.connection(seeking.connection_id)
    return seeking.connection_id in other.blocked or (seeker is not None and other.connection_id in seeker.blocked)


def _met_lately(state: ReferenceState, seeking: Seeking, other: ReferenceConnection) -> bool:
    """Return whether the two have met lately, as far as one of them remembers, or their peers have."""
    seeker = state.connection(seeking.connection_id)
    ends_ms = [at_ms for partner, at_ms in other.met if partner == seeking.connection_id]
    if seeker is not None:
        ends_ms += [at_ms for partner, at_ms in seeker.met if partner == other.connection_id]
    ago_ms = [seeking.facts.at_ms - end_ms for end_ms in ends_ms]
    return other.connection_id in seeking.facts.avoid or any(ago < state.policy.rematch_after_ms for ago in ago_ms)


def _are_patient(state: ReferenceState, seeking: Seeking, other: ReferenceConnection) -> bool:
    """Return whether both have waited long enough to meet again. A newcomer has not."""
    if seeking.connection_id not in [waiting.connection_id for waiting in state.queue]:
        return False
    waited_ms = min(seeking.waited_ms, seeking.facts.at_ms - other.entered_at_ms)
    return waited_ms >= state.policy.rematch_patience_ms


def _by_policy(
    state: ReferenceState, seeking: Seeking, others: list[ReferenceConnection]
) -> ReferenceConnection | None:
    if state.policy.matching == "first-come":
        return others[0] if others else None
    best, most = None, 0
    for other in others:
        shared = len([interest for interest in seeking.interests if interest in known_interests(other.interests)])
        if shared > most:
            best, most = other, shared
    if best is None and others:
        longest_ms = max(seeking.waited_ms, seeking.facts.at_ms - others[0].entered_at_ms)
        return others[0] if longest_ms >= state.policy.interest_patience_ms else None
    return best


class _Asked(NamedTuple):
    """A matching from outside, and the connections waiting beside the seeker."""

    seeking: Seeking
    choose: ChoosePartner
    others: list[ReferenceConnection]

    def partner(self, free: list[ReferenceConnection], later: list[ReferenceConnection]) -> ReferenceConnection | None:
        """Return the first choice of the matching among `free`; every other choice is hidden from then on.

        If any were hidden, and it names no other, it is asked among `later`.
        """
        shown = list(self.others)
        partner = self._named(shown)
        while partner is not None and partner not in free:
            shown.remove(partner)
            partner = self._named(shown)
        return self._named(later) if partner is None and shown != self.others and later else partner

    def _named(self, shown: list[ReferenceConnection]) -> ReferenceConnection | None:
        hidden = [other.connection_id for other in self.others if other not in shown]
        connection_id, interests, waited_ms, facts = self.seeking
        named = self.choose(connection_id, interests, waited_ms, facts.at_ms, hidden)
        for other in shown:
            if other.connection_id == named:
                return other
        if named is not None:
            raise IllegalChoiceError(f"the matching named {named}, who is not among the others who wait")
        return None
