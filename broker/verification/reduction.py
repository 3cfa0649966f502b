"""Reducing a scenario: few commands, no gaps in time, and nothing without an effect on the decision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from broker.decision import Rejection
from broker.verification.delta_debugging import ddmin
from broker.verification.scenario import LoggedCommand, Scenario, is_alike, replay_scenario, restated, rooms_of
from events.commands import AdoptPolicy, SendMessage
from events.policy import Policy

WORK_MAX = 500_000
"""After so many decisions, the reduction stops with the result so far."""

Rewrite = Callable[[Any], Any]
"""Returns a command or an event in a simpler form."""

StillHolds = Callable[[Scenario], bool]
"""Returns true if a reduced scenario still has the property that the caller wants."""


class ReducedScenario(NamedTuple):
    """A reduced scenario; `is_minimal` is false if the reduction stopped at `WORK_MAX`."""

    scenario: Scenario
    is_minimal: bool


def reduce_scenario(scenario: Scenario, still_holds: StillHolds = lambda scenario: True) -> ReducedScenario:
    """Return `scenario` with as little past as leads to the same decision.

    `scenario.past` must lead to `scenario.decided`. `still_holds` is a further condition on the result.
    """
    work, rooms = 0, rooms_of(scenario.past)

    def is_enough(past: Sequence[LoggedCommand]) -> bool:
        nonlocal work
        work += len(past)
        if work > WORK_MAX:
            return False
        replayed = replay_scenario(past, scenario.target, rooms)
        if not is_alike(replayed.decided, scenario.decided):
            return False
        stored = restated(scenario.stored, scenario.decided, replayed.decided)
        return still_holds(Scenario(*replayed, stored))

    replayed = replay_scenario(ddmin(_short_past(scenario, is_enough), is_enough), scenario.target, rooms)
    # The replayed commands are a log of their own now, so a further replay changes nothing.
    past = tuple(logged._replace(position=number, fallback=None) for number, logged in enumerate(replayed.done, 1))
    stored = restated(scenario.stored, scenario.decided, replayed.decided)
    simplified = _simplified(Scenario(past, replayed.target, replayed.decided, stored), still_holds)
    return ReducedScenario(simplified, work <= WORK_MAX)


def _short_past(scenario: Scenario, is_enough: Callable[[Sequence[LoggedCommand]], bool]) -> Sequence[LoggedCommand]:
    """Return a short past to begin with: the last commands of the target's connections, or else of all."""
    past, people = scenario.past, scenario.target.connection_ids
    policies = [logged for logged in past if isinstance(logged.command, AdoptPolicy)]
    quiet = [logged for logged in past if not isinstance(logged.command, AdoptPolicy | SendMessage)]
    theirs = [logged for logged in quiet if logged.connection_ids & people]
    some = 1
    while some < len(past):
        for those in (theirs, quiet):
            start = [*policies, *those[-some:]]
            if is_enough(start):
                return start
        some *= 2
    return past


def _simplified(scenario: Scenario, still_holds: StillHolds) -> Scenario:
    for rewrite in (_without_interests, _without_message_ids):
        scenario = _accept(rewrite_scenario(scenario, rewrite), scenario, still_holds)
    for number in range(len(scenario.past) + 1):
        scenario = _accept(_without_avoid(scenario, number), scenario, still_holds)
        scenario = _accept(_without_gap(scenario, number), scenario, still_holds)
    for number in range(len(scenario.past)):
        scenario = _accept(_without_delay(scenario, number), scenario, still_holds)
    for number, logged in enumerate(scenario.past):
        if isinstance(logged.command, AdoptPolicy):
            for policy in _defaults(logged.command.policy):
                scenario = _accept(_with_policy(scenario, number, policy), scenario, still_holds)
    return scenario


def rewrite_scenario(scenario: Scenario, rewrite: Rewrite) -> Scenario:
    """Return `scenario` with `rewrite` applied to all of its commands and events."""
    decided = scenario.decided
    return Scenario(
        tuple(
            logged._replace(command=rewrite(logged.command), opened=rewrite(logged.opened) if logged.opened else None)
            for logged in scenario.past
        ),
        scenario.target._replace(command=rewrite(scenario.target.command)),
        decided if isinstance(decided, Rejection) else [rewrite(event) for event in decided],
        [rewrite(event) for event in scenario.stored],
    )


def _accept(candidate: Scenario, scenario: Scenario, still_holds: StillHolds) -> Scenario:
    replayed = replay_scenario(candidate.past, candidate.target, {})
    if not is_alike(replayed.decided, candidate.decided) or replayed.done != candidate.past:
        return scenario
    stored = restated(candidate.stored, candidate.decided, replayed.decided)
    candidate = candidate._replace(decided=replayed.decided, stored=stored)
    is_as_faulty = (candidate.decided == candidate.stored) == (scenario.decided == scenario.stored)
    return candidate if is_as_faulty and still_holds(candidate) else scenario


def _without_interests(value: Any) -> Any:
    return msgspec.structs.replace(value, interests=()) if hasattr(value, "interests") else value


def _without_message_ids(value: Any) -> Any:
    return msgspec.structs.replace(value, client_message_id=None) if hasattr(value, "client_message_id") else value


def _without_avoid(scenario: Scenario, number: int) -> Scenario:
    """Return `scenario` with no connection to avoid in the facts of command `number`."""
    logged = [*scenario.past, scenario.target]
    logged[number] = logged[number]._replace(facts=msgspec.structs.replace(logged[number].facts, avoid=()))
    return scenario._replace(past=tuple(logged[:-1]), target=logged[-1])


def _without_gap(scenario: Scenario, number: int) -> Scenario:
    """Return `scenario` with command `number` and all after it moved earlier, by the gap before that command."""
    logged = [*scenario.past, scenario.target]
    gap_ms = _gap_ms(scenario, number)
    logged[number:] = [_moved_earlier(one, gap_ms) for one in logged[number:]]
    return scenario._replace(past=tuple(logged[:-1]), target=logged[-1])


def _without_delay(scenario: Scenario, number: int) -> Scenario:
    """Return `scenario` with command `number` at the time of the one before, and no other moved."""
    past = list(scenario.past)
    past[number] = _moved_earlier(past[number], _gap_ms(scenario, number))
    return scenario._replace(past=tuple(past))


def _gap_ms(scenario: Scenario, number: int) -> int:
    """Return the time between command `number` and the one before; before the first, the time is 0."""
    times = [0, *(logged.facts.at_ms for logged in scenario.past), scenario.target.facts.at_ms]
    return times[number + 1] - times[number]


def _moved_earlier(logged: LoggedCommand, by_ms: int) -> LoggedCommand:
    return logged._replace(facts=msgspec.structs.replace(logged.facts, at_ms=logged.facts.at_ms - by_ms))


def _defaults(policy: Policy) -> Iterator[Rewrite]:
    """Return rewrites of a policy, each with one more value at its default."""
    for name in policy.__struct_fields__:
        default = getattr(Policy(), name)
        if getattr(policy, name) != default:
            yield partial(msgspec.structs.replace, **{name: default})


def _with_policy(scenario: Scenario, number: int, rewrite: Rewrite) -> Scenario:
    logged = scenario.past[number]
    assert isinstance(logged.command, AdoptPolicy)
    command = AdoptPolicy(rewrite(logged.command.policy))
    past = (*scenario.past[:number], logged._replace(command=command), *scenario.past[number + 1 :])
    return scenario._replace(past=past)
