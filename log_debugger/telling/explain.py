"""Explanations of matches: the choices of the log's matching at that moment, and the reason for its pick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

from broker.matching import MATCHINGS, MatchingError, Seeker, find_partner
from broker.own_matching import matching_of_log
from broker.verification.repetition import is_choice_hidden
from events.commit import Facts
from events.events import QueueEntered, RoomOpened
from events.ids import ConnectionId
from log_debugger.reading.short_names import ShortNames, plain_name
from log_debugger.reading.sources import Step
from log_debugger.reading.times import span
from log_debugger.telling.narrative import count, interests_text, seeker_first, shared_with
from log_debugger.telling.passed_over import PassedOver, passed_over_text, seeker_in, why_avoided, why_passed_over
from projections.state import State

OTHERS_MAX = 5

NameOf = Callable[[ConnectionId], str]


class OtherWaiting(NamedTuple):
    """Another connection in the queue at that moment."""

    connection_id: ConnectionId
    display_name: str
    waited_ms: int
    shared: tuple[str, ...]  # with the seeker
    passed_over: PassedOver | None  # `None` if the rules would have chosen it


class MatchExplanation(NamedTuple):
    """A match, and the reasons for it."""

    matching: str
    seeker: ConnectionId  # the one who entered, or whose patience ended
    met: ConnectionId
    seeker_waited_ms: int
    met_waited_ms: int
    shared: tuple[str, ...]
    others: tuple[OtherWaiting, ...]  # the most shared interests first, then the longest wait
    others_count: int
    others_sharing: int
    patience_ms: int
    by_the_rules: bool  # the matching, run again, gives the same result, as far as interests are not redacted
    not_asked: str | None  # why an operator's own matching could not be run again
    is_longest: bool  # no other had waited longer than `met`
    in_spite_of: PassedOver | None  # the reason for the two not to meet, which their patience overcame


def explain_match(step: Step, opened: RoomOpened) -> MatchExplanation:
    """Explain the pair in `opened`, an event of `step`."""
    before, commit = step.before, step.commit
    who, met = seeker_first(commit, opened)
    seeker = seeker_in(before, commit, who)
    others, others_count, others_sharing = _others(before, seeker, met, commit.facts)
    by_the_rules, not_asked = _asked_again(step, seeker, met)
    return MatchExplanation(
        before.policy.matching,
        who,
        met,
        seeker.waited_ms,
        _waited(before, met, commit.at_ms),
        shared_with(before, met, seeker.interests),
        others,
        others_count,
        others_sharing,
        before.policy.interest_patience_ms,
        by_the_rules,
        not_asked,
        next((one for _, one in before.queue.entries.items() if one != who), None) == met,
        why_avoided(before, seeker, met, commit.facts) if met in before.queue.entered else None,
    )


def _asked_again(step: Step, seeker: Seeker, met: ConnectionId) -> tuple[bool, str | None]:
    """Return whether the log's matching names `met` again, and why it could not be asked, if so."""
    before, commit = step.before, step.commit
    try:
        named = find_partner(before, seeker, commit.facts, matching_of_log(before.policy))
    except MatchingError as error:
        return False, str(error)
    return named == met or is_choice_hidden(before, commit), None


def explanation_lines(names: ShortNames, state: State, reason: MatchExplanation) -> Iterator[str]:
    """Yield `reason` in words, with the display names in `state`."""
    person = partial(names.person_in, state)
    yield _TEXTS.get(reason.matching, _by_own_matching)(person, reason)
    if reason.in_spite_of is not None and reason.by_the_rules:
        yield _in_spite_of(person, reason, reason.in_spite_of, state.policy.rematch_patience_ms)
    if reason.not_asked is not None:
        yield f"it can't be asked again: {reason.not_asked}"
    elif not reason.by_the_rules:
        yield "asked again, the matching names somebody else: the log was made under other rules"
    if not reason.others_count:
        yield "nobody else waited"
        return
    others = [
        f"{names.person(other.connection_id, other.display_name)} ({_about(person, other, reason)})"
        for other in reason.others
    ]
    yield f"{count(reason.others_count, 'other')} waited too: {_listed(others, reason.others_count)}"


def _in_spite_of(who: NameOf, reason: MatchExplanation, in_spite_of: PassedOver, patience_ms: int) -> str:
    subject = "they had" if in_spite_of.reason == "met" else f"{who(reason.met)} is"
    what = f"{subject} {passed_over_text(who, in_spite_of, reason.met)}"
    return f"{what}, but both had waited {span(patience_ms)} (rematch_patience_ms), and there was no other to meet"


def no_match_lines(names: ShortNames, step: Step) -> Iterator[str]:
    """Yield why an entry into the queue led to no match at once."""
    entered = [event for event in step.commit.events if isinstance(event, QueueEntered) and event.earlier is None]
    if not entered or any(isinstance(event, RoomOpened) for event in step.commit.events):
        return
    seeker = seeker_in(step.before, step.commit, entered[0].connection_id)
    waiting = [who for _, who in step.before.queue.entries.items()]
    avoided = {who: why for who in waiting if (why := why_avoided(step.before, seeker, who, step.commit.facts))}
    if avoided:
        person = partial(names.person_in, step.after)
        some = [f"{person(who)} ({passed_over_text(person, why, who)})" for who, why in avoided.items()]
        yield f"{count(len(avoided), 'other')} waited whom they may not meet: {_listed(some, len(some))}"
    waited = len(waiting) - len(avoided)
    if not waited:
        return  # the narrative says "alone"
    if step.before.policy.matching not in MATCHINGS:
        yield f"{count(waited, 'other')} waited, and the matching {step.before.policy.matching} named none of them"
    elif step.before.policy.matching == "interests":
        others, patience = count(waited, "other"), span(step.before.policy.interest_patience_ms)
        yield f"{others} waited, but none shared an interest with them, and nobody's patience ({patience}) had ended"
    else:
        yield f"{count(waited, 'other')} waited, and first come, first served would have let them meet"


def _listed(some: list[str], total: int) -> str:
    more = f" and {total - OTHERS_MAX:,} more" if total > OTHERS_MAX else ""
    return ", ".join(some[:OTHERS_MAX]) + more


def _first_come(who: NameOf, reason: MatchExplanation) -> str:
    met, waited = who(reason.met), span(reason.met_waited_ms)
    if reason.is_longest:
        return f"first come, first served: {met} was the head of the queue, with {waited}"
    return f"first come, first served: of those whom {who(reason.seeker)} may meet, {met} had waited longest, {waited}"


def _by_interests(who: NameOf, reason: MatchExplanation) -> str:
    seeker, met = who(reason.seeker), who(reason.met)
    if reason.shared:
        best = "nobody shared more" if reason.others_sharing else "nobody else shared any"
        return f"by interests: {met} shares {interests_text(reason.shared)} with {seeker}, and {best}"
    patient, waited = met, reason.met_waited_ms
    if reason.seeker_waited_ms >= reason.patience_ms:
        patient, waited = seeker, reason.seeker_waited_ms
    if waited < reason.patience_ms:
        return f"by interests: they share none, and the patience of neither had ended ({span(reason.patience_ms)})"
    ended = f"the patience of {patient} had ended ({span(reason.patience_ms)}) after {span(waited)}"
    return f"by interests: nobody shared any with {seeker}, but {ended}, and {met} had waited longest"


def _by_own_matching(who: NameOf, reason: MatchExplanation) -> str:
    named = f"{reason.matching} named {who(reason.met)} for {who(reason.seeker)}"
    shares = f"they share {interests_text(reason.shared)}" if reason.shared else "they share nothing"
    return f"by the operator's own matching: {named}, after {span(reason.met_waited_ms)}; {shares}"


_TEXTS = {"first-come": _first_come, "interests": _by_interests}


def _about(who: NameOf, other: OtherWaiting, reason: MatchExplanation) -> str:
    shares = f", shares {interests_text(other.shared)}" if other.shared else ", shares nothing"
    why = passed_over_text(who, other.passed_over, other.connection_id) if other.passed_over is not None else ""
    return span(other.waited_ms) + (shares if reason.matching != "first-come" else "") + (f", {why}" if why else "")


def _waited(state: State, who: ConnectionId, at_ms: int) -> int:
    known = state.connections.get(who)
    return at_ms - known.waiting_since_ms() if known is not None and who in state.queue.entered else 0


def _others(state: State, seeker: Seeker, met: ConnectionId, facts: Facts) -> tuple[tuple[OtherWaiting, ...], int, int]:
    """Return the first others in the queue, the number of all, and the number with a shared interest."""
    pair, interests = {seeker.connection_id, met}, seeker.interests
    sharing = {who for interest in interests for _, who in _sharing(state, interest)} - pair
    best = sorted(sharing, key=lambda who: (-len(shared_with(state, who, interests)), state.queue.entered[who]))
    longest = (who for _, who in state.queue.entries.items() if who not in pair and who not in sharing)
    shown = [*best[:OTHERS_MAX], *islice(longest, max(0, OTHERS_MAX - len(best)))]
    others = tuple(_other_waiting(state, seeker, who, met, facts) for who in shown)
    return others, len(state.queue) - sum(who in state.queue.entered for who in pair), len(sharing)


def _other_waiting(state: State, seeker: Seeker, who: ConnectionId, met: ConnectionId, facts: Facts) -> OtherWaiting:
    known = state.connections.by_id[who]
    name, waited_ms = plain_name(known.display_name), facts.at_ms - known.waiting_since_ms()
    shared = shared_with(state, who, seeker.interests)
    return OtherWaiting(who, name, waited_ms, shared, why_passed_over(state, seeker, who, met, facts))


def _sharing(state: State, interest: str) -> Iterator[tuple[int, ConnectionId]]:
    found = state.queue.sharing(interest)
    return found.items() if found is not None else iter(())
