"""Explanations of matches: the choices of the log's matching at that moment, and the reason for its pick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

from broker.matching import MATCHINGS, Seeker
from events.commands import MatchDue
from events.events import QueueEntered, RoomOpened
from events.ids import ConnectionId
from events.policy import MatchingName
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.sources import Step
from log_debugger.reading.times import span
from log_debugger.telling.narrative import count, interests_text, shared_with
from projections.state import State

OTHERS_MAX = 5

NameOf = Callable[[ConnectionId], str]


class OtherWaiting(NamedTuple):
    """Another connection in the queue at that moment."""

    connection_id: ConnectionId
    display_name: str
    waited_ms: int
    shared: tuple[str, ...]  # with the seeker


class MatchExplanation(NamedTuple):
    """A match, and the reasons for it."""

    matching: MatchingName
    seeker: ConnectionId  # the one who entered, or whose patience ended
    met: ConnectionId
    seeker_waited_ms: int
    met_waited_ms: int
    shared: tuple[str, ...]
    others: tuple[OtherWaiting, ...]  # the most shared interests first, then the longest wait
    others_count: int
    others_sharing: int
    patience_ms: int
    by_the_rules: bool  # the matching, run again, gives the same result


def explain_match(step: Step, opened: RoomOpened) -> MatchExplanation:
    """Explain the pair in `opened`, an event of `step`."""
    before, commit = step.before, step.commit
    seeker = opened.first if getattr(commit.command, "connection_id", None) == opened.first else opened.second
    met = opened.second if seeker == opened.first else opened.first
    interests = _interests(step, seeker)
    waited = _waited(before, seeker, commit.at_ms) if isinstance(commit.command, MatchDue) else 0
    others, others_count, others_sharing = _others(before, {seeker, met}, interests, commit.at_ms)
    return MatchExplanation(
        before.policy.matching,
        seeker,
        met,
        waited,
        _waited(before, met, commit.at_ms),
        shared_with(before, met, interests),
        others,
        others_count,
        others_sharing,
        before.policy.interest_patience_ms,
        _named_again(before, Seeker(seeker, interests, waited), commit.at_ms) == met,
    )


def explanation_lines(names: ShortNames, state: State, reason: MatchExplanation) -> Iterator[str]:
    """Yield `reason` in words, with the display names in `state`."""
    yield (_first_come if reason.matching == "first-come" else _by_interests)(partial(names.person_in, state), reason)
    if not reason.by_the_rules:
        yield "asked again, the matching names somebody else: the log was made under other rules"
    if not reason.others_count:
        yield "nobody else waited"
        return
    yield (
        f"{count(reason.others_count, 'other')} waited too: "
        + ", ".join(
            f"{names.person(other.connection_id, other.display_name)} ({_about(other, reason)})"
            for other in reason.others
        )
        + (f" and {reason.others_count - OTHERS_MAX:,} more" if reason.others_count > OTHERS_MAX else "")
    )


def no_match_lines(step: Step) -> Iterator[str]:
    """Yield why an entry into the queue led to no match at once."""
    entered = any(isinstance(event, QueueEntered) for event in step.commit.events)
    if not entered or any(isinstance(event, RoomOpened) for event in step.commit.events):
        return
    waited = len(step.before.queue)
    if not waited:
        return  # the narrative says "alone"
    if step.before.policy.matching == "interests":
        others, patience = count(waited, "other"), span(step.before.policy.interest_patience_ms)
        yield f"{others} waited, but none shared an interest with them, and nobody's patience ({patience}) had ended"
    else:
        yield f"{count(waited, 'other')} waited, and first come, first served would have let them meet"


def _first_come(who: NameOf, reason: MatchExplanation) -> str:
    return f"first come, first served: {who(reason.met)} was the head of the queue, with {span(reason.met_waited_ms)}"


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


def _about(other: OtherWaiting, reason: MatchExplanation) -> str:
    shares = f", shares {interests_text(other.shared)}" if other.shared else ", shares nothing"
    return span(other.waited_ms) + (shares if reason.matching == "interests" else "")


def _interests(step: Step, seeker: ConnectionId) -> tuple[str, ...]:
    """Return the seeker's interests: from the entry in the same commit, or from the state before it."""
    for event in step.commit.events:
        if isinstance(event, QueueEntered) and event.connection_id == seeker:
            return event.interests
    known = step.before.connections.get(seeker)
    return known.interests if known is not None else ()


def _waited(state: State, who: ConnectionId, at_ms: int) -> int:
    known = state.connections.get(who)
    return at_ms - known.last_at_ms if known is not None and who in state.queue.entered else 0


def _others(
    state: State, pair: set[ConnectionId], interests: tuple[str, ...], at_ms: int
) -> tuple[tuple[OtherWaiting, ...], int, int]:
    """Return the first others in the queue, the number of all, and the number with a shared interest."""
    sharing = {who for interest in interests for _, who in _sharing(state, interest)} - pair
    best = sorted(sharing, key=lambda who: (-len(shared_with(state, who, interests)), state.queue.entered[who]))
    longest = (who for _, who in state.queue.entries.items() if who not in pair and who not in sharing)
    shown = [*best[:OTHERS_MAX], *islice(longest, max(0, OTHERS_MAX - len(best)))]
    others = tuple(_other_waiting(state, who, interests, at_ms) for who in shown)
    return others, len(state.queue) - sum(who in state.queue.entered for who in pair), len(sharing)


def _other_waiting(state: State, who: ConnectionId, interests: tuple[str, ...], at_ms: int) -> OtherWaiting:
    known = state.connections.by_id[who]
    return OtherWaiting(who, known.display_name, at_ms - known.last_at_ms, shared_with(state, who, interests))


def _sharing(state: State, interest: str) -> Iterator[tuple[int, ConnectionId]]:
    found = state.queue.sharing(interest)
    return found.items() if found is not None else iter(())


def _named_again(state: State, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    return MATCHINGS[state.policy.matching](state, seeker, at_ms)
