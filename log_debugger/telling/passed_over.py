"""The reasons for two connections not to meet, when a partner was sought for one of them and the other waited."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Literal, NamedTuple

from broker.matching import MATCHINGS, Seeker
from broker.verification.scenario import MAY_MATCH
from events.commit import Commit, Facts
from events.events import QueueEntered
from events.ids import ConnectionId
from events.policy import Policy
from events.text import known_interests
from log_debugger.reading.times import span
from projections.avoidance import AvoidReason, avoid_reason, is_patient
from projections.connections import Connection
from projections.state import State

SCANNED_MAX = 200

NameOf = Callable[[ConnectionId], str]

PassedOverReason = Literal[AvoidReason, "shares_none", "shares_less", "waited_less", "own_matching"]


class PassedOver(NamedTuple):
    """A reason for two not to meet, and the values that it rests on."""

    reason: PassedOverReason
    blockers: tuple[ConnectionId, ...] = ()  # of `blocked`
    met_ago_ms: int | None = None  # of `met`: since their last room closed
    impatient: tuple[ConnectionId, ...] = ()  # of `met` and `peer`: those who had not waited `rematch_patience_ms`


def why_passed_over(
    state: State, seeker: Seeker, other: ConnectionId, met: ConnectionId | None, facts: Facts
) -> PassedOver | None:
    """Return the reason for `seeker` to meet `met`, or to wait on, rather than meet the waiting `other`.

    `None` if the rules of the log give no reason: it was made under other rules.
    """
    avoided = why_avoided(state, seeker, other, facts)
    may_meet_again = avoided is not None and avoided.reason != "blocked" and not avoided.impatient
    if avoided is not None and not (may_meet_again and met is not None and why_avoided(state, seeker, met, facts)):
        return avoided
    if state.policy.matching not in MATCHINGS:
        return PassedOver("own_matching")  # only its code knows more
    if state.policy.matching == "interests":
        shared, best = _shared(state, seeker, other), _shared(state, seeker, met)
        if met is None:
            waited_ms = max(seeker.waited_ms, facts.at_ms - state.connections.by_id[other].waiting_since_ms())
            has_patience = waited_ms < state.policy.interest_patience_ms
            return PassedOver("shares_none") if not shared and has_patience else None
        if shared != best:
            return PassedOver("shares_less" if shared else "shares_none") if shared < best else None
    entered = state.queue.entered
    is_later = met is not None and met in entered and entered[met] < entered[other]
    return PassedOver("waited_less") if is_later else None


def avoided_in(before: State, commit: Commit) -> dict[ConnectionId, PassedOver]:
    """Return those whom the search for a partner in `commit` avoided, among the `SCANNED_MAX` who waited longest.

    A partner who was met in spite of it is one of them.
    """
    if not isinstance(commit.command, MAY_MATCH):
        return {}
    seeker = seeker_in(before, commit, commit.command.connection_id)
    waiting = [who for _, who in islice(before.queue.entries.items(), SCANNED_MAX) if who != seeker.connection_id]
    return {who: why for who in waiting if (why := why_avoided(before, seeker, who, commit.facts)) is not None}


def seeker_in(before: State, commit: Commit, who: ConnectionId) -> Seeker:
    """Return `who` as the one for whom `commit` sought a partner."""
    for event in commit.events:
        if isinstance(event, QueueEntered) and event.connection_id == who:
            return Seeker(who, known_interests(event.interests), 0)
    return seeker_waiting(before, who, commit.at_ms)


def seeker_waiting(state: State, who: ConnectionId, at_ms: int) -> Seeker:
    """Return `who` as a waiting seeker of a partner at that time."""
    known = state.connections.get(who)
    if known is None:
        return Seeker(who, (), 0)
    waited_ms = at_ms - known.waiting_since_ms() if who in state.queue.entered else 0
    return Seeker(who, known_interests(known.interests), waited_ms)


def why_avoided(state: State, seeker: Seeker, other: ConnectionId, facts: Facts) -> PassedOver | None:
    """Return the reason for `seeker` not to meet the waiting `other`, whatever the matching; `None` if they may."""
    who, people = seeker.connection_id, state.connections.by_id
    match avoid_reason(state, who, other, facts):
        case "blocked":
            pairs = ((who, other), (other, who))
            return PassedOver("blocked", tuple(one for one, two in pairs if two in _blocked_by(people.get(one))))
        case "met":
            last_ms = max(_met_at_ms(people.get(who), other), _met_at_ms(people.get(other), who))
            return PassedOver("met", (), facts.at_ms - last_ms, _impatient(state, seeker, other, facts.at_ms))
        case "peer":
            return PassedOver("peer", (), None, _impatient(state, seeker, other, facts.at_ms))
        case _:
            return None


def passed_over_json(passed_over: PassedOver | None) -> dict[str, Any] | None:
    """Return `passed_over` as a JSON object."""
    return passed_over._asdict() if passed_over is not None else None


def passed_over_text(who: NameOf, passed_over: PassedOver, other: ConnectionId) -> str:
    """Return in a few words why the waiting `other` was passed over; nothing for too few shared interests."""
    match passed_over.reason:
        case "blocked":
            by_seeker = [who(one) for one in passed_over.blockers if one != other]
            return f"blocked by {by_seeker[0]}" if by_seeker else "has blocked them"
        case "met":
            return f"met {span(passed_over.met_ago_ms or 0)} ago"
        case "peer":
            return "of a peer that was met lately"
        case "waited_less":
            return "waited less"
        case _:
            return ""


def _shared(state: State, seeker: Seeker, other: ConnectionId | None) -> int:
    """Return the number of shared interests with a waiting connection."""
    return len(set(seeker.interests).intersection(state.queue.interests.get(other, ()))) if other is not None else 0


def _blocked_by(known: Connection | None) -> tuple[ConnectionId, ...]:
    return known.blocked if known is not None else ()


def _met_at_ms(known: Connection | None, partner: ConnectionId) -> int:
    """Return the time at which their last room closed, as far as `known` remembers it; else 0."""
    met = known.partners if known is not None else ()
    return max((one.at_ms for one in met if one.connection_id == partner), default=0)


def _impatient(state: State, seeker: Seeker, other: ConnectionId, at_ms: int) -> tuple[ConnectionId, ...]:
    since_ms = {
        other: state.connections.by_id[other].waiting_since_ms(),
        seeker.connection_id: at_ms - seeker.waited_ms,
    }
    is_newcomer = seeker.connection_id not in state.queue.entered
    return tuple(
        who
        for who, began_ms in since_ms.items()
        if (is_newcomer and who == seeker.connection_id) or not is_patient(state, began_ms, at_ms)
    )


def not_met_text(
    who: NameOf, policy: Policy, seeker: Seeker, other: ConnectionId, met: ConnectionId | None, why: PassedOver | None
) -> str:
    """Return why `seeker` met `met`, or waited on, rather than meet the waiting `other`."""
    searcher, partner = who(seeker.connection_id), who(other)
    match why.reason if why is not None else None:
        case "blocked" if why is not None:
            pairs = {seeker.connection_id: partner, other: searcher}
            return " and ".join(f"{who(one)} has blocked {pairs[one]}" for one in why.blockers)
        case "met" if why is not None:
            after = f"not {span(policy.rematch_after_ms)} (rematch_after_ms)"
            ago = f"their last room had closed {span(why.met_ago_ms or 0)} before, {after}"
            return f"{ago}, and {_impatience_text(who, policy, seeker, why)}"
        case "peer" if why is not None:
            is_of = f"{partner} is of a peer that {searcher} met lately"
            return f"{is_of}, and {_impatience_text(who, policy, seeker, why)}"
        case "shares_none" if met is None:
            patience = span(policy.interest_patience_ms)
            return f"they share no interest, and neither had waited {patience} (interest_patience_ms)"
        case "shares_none" | "shares_less" if met is not None:
            return f"{who(met)} shares more with {searcher}"
        case "waited_less" if met is not None:
            return f"{who(met)} had waited longer than {partner}"
        case "own_matching":
            return f"the matching {policy.matching} named {who(met) if met is not None else 'nobody'} for {searcher}"
        case _:
            return "the rules give no reason"


def _impatience_text(who: NameOf, policy: Policy, seeker: Seeker, why: PassedOver) -> str:
    if not why.impatient:
        return "there was another to meet"
    if not seeker.waited_ms and seeker.connection_id in why.impatient:
        return f"{who(seeker.connection_id)} has only just come"
    patience = f"not waited {span(policy.rematch_patience_ms)} yet (rematch_patience_ms)"
    return f"{' and '.join(map(who, why.impatient))} had {patience}"
