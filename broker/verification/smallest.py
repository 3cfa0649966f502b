"""The smallest scenario in which the same is decided: few commands, no gaps in time, nothing that plays no part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from broker.decide import Rejection
from broker.verification.delta_debugging import shrunk
from broker.verification.scenario import Asked, Scenario, relive, rooms_of
from events.commands import AdoptPolicy, SendMessage
from events.policy import Policy

WORK_MAX = 500_000
"""After so many decisions, what is left is taken as it is."""

Change = Callable[[Any], Any]
"""From a command or an event to what it is in a plainer scenario."""

Still = Callable[[Scenario], bool]
"""Whether something holds of a scenario that is smaller or plainer than the one it came from."""


class Smallest(NamedTuple):
    """What was found, and whether nothing more can be left out of it, or there was no time to find out."""

    scenario: Scenario
    is_minimal: bool


def smallest(scenario: Scenario, still: Still = lambda scenario: True) -> Smallest:
    """`scenario`, whose past must lead to what is decided in it, with as little as still does.

    Something else that has to hold of what is left can be asked for with `still`.
    """
    work, rooms = 0, rooms_of(scenario.past)

    def is_enough(past: Sequence[Asked]) -> bool:
        nonlocal work
        work += len(past)
        if work > WORK_MAX:
            return False
        relived = relive(past, scenario.target, rooms)
        return relived.decided == scenario.decided and still(Scenario(*relived, scenario.stored))

    relived = relive(shrunk(_start(scenario, is_enough), is_enough), scenario.target, rooms)
    # What it has become is a log of its own now: to relive it changes nothing more.
    past = tuple(asked._replace(position=number, instead=None) for number, asked in enumerate(relived.done, 1))
    return Smallest(_plainer(scenario._replace(past=past, target=relived.target), still), work <= WORK_MAX)


def _start(scenario: Scenario, is_enough: Callable[[Sequence[Asked]], bool]) -> Sequence[Asked]:
    """Few commands to begin with: the last ones of those whom it is about, or else of everybody."""
    past, people = scenario.past, scenario.target.people
    policies = [asked for asked in past if isinstance(asked.command, AdoptPolicy)]
    quiet = [asked for asked in past if not isinstance(asked.command, AdoptPolicy | SendMessage)]
    theirs = [asked for asked in quiet if asked.people & people]
    some = 1
    while some < len(past):
        for those in (theirs, quiet):
            start = [*policies, *those[-some:]]
            if is_enough(start):
                return start
        some *= 2
    return past


def _plainer(scenario: Scenario, still: Still) -> Scenario:
    for change in (_without_interests, _without_message_ids):
        scenario = _if_alike(changed(scenario, change), scenario, still)
    for number in range(len(scenario.past) + 1):
        scenario = _if_alike(_without_gap(scenario, number), scenario, still)
    for number in range(len(scenario.past)):
        scenario = _if_alike(_at_once(scenario, number), scenario, still)
    for number, asked in enumerate(scenario.past):
        if isinstance(asked.command, AdoptPolicy):
            for policy in _defaults(asked.command.policy):
                scenario = _if_alike(_with_policy(scenario, number, policy), scenario, still)
    return scenario


def changed(scenario: Scenario, change: Change) -> Scenario:
    """`scenario` with `change` in all of its commands and events."""
    decided = scenario.decided
    return Scenario(
        tuple(
            asked._replace(command=change(asked.command), opened=change(asked.opened) if asked.opened else None)
            for asked in scenario.past
        ),
        scenario.target._replace(command=change(scenario.target.command)),
        decided if isinstance(decided, Rejection) else [change(event) for event in decided],
        [change(event) for event in scenario.stored],
    )


def _if_alike(changed: Scenario, scenario: Scenario, still: Still) -> Scenario:
    relived = relive(changed.past, changed.target, {})
    is_alike = relived.decided == changed.decided and relived.done == changed.past
    is_as_faulty = (changed.decided == changed.stored) == (scenario.decided == scenario.stored)
    return changed if is_alike and is_as_faulty and still(changed) else scenario


def _without_interests(value: Any) -> Any:
    return msgspec.structs.replace(value, interests=()) if hasattr(value, "interests") else value


def _without_message_ids(value: Any) -> Any:
    return msgspec.structs.replace(value, client_message_id=None) if hasattr(value, "client_message_id") else value


def _without_gap(scenario: Scenario, number: int) -> Scenario:
    """`scenario` with the command `number` at the time of the one before, and all behind it so much earlier."""
    asked = [*scenario.past, scenario.target]
    gap_ms = _gap_ms(scenario, number)
    asked[number:] = [_earlier(one, gap_ms) for one in asked[number:]]
    return scenario._replace(past=tuple(asked[:-1]), target=asked[-1])


def _at_once(scenario: Scenario, number: int) -> Scenario:
    """`scenario` with the command `number` at the time of the one before, and nothing else earlier."""
    past = list(scenario.past)
    past[number] = _earlier(past[number], _gap_ms(scenario, number))
    return scenario._replace(past=tuple(past))


def _gap_ms(scenario: Scenario, number: int) -> int:
    """How long before the command `number` nothing happens; the time before the first one is 0."""
    times = [0, *(asked.facts.at_ms for asked in scenario.past), scenario.target.facts.at_ms]
    return times[number + 1] - times[number]


def _earlier(asked: Asked, by_ms: int) -> Asked:
    return asked._replace(facts=msgspec.structs.replace(asked.facts, at_ms=asked.facts.at_ms - by_ms))


def _defaults(policy: Policy) -> Iterator[Change]:
    """Each way to let one more value of `policy` be what it is by default."""
    for name in policy.__struct_fields__:
        default = getattr(Policy(), name)
        if getattr(policy, name) != default:
            yield partial(msgspec.structs.replace, **{name: default})


def _with_policy(scenario: Scenario, number: int, change: Change) -> Scenario:
    asked = scenario.past[number]
    assert isinstance(asked.command, AdoptPolicy)
    command = AdoptPolicy(change(asked.command.policy))
    past = (*scenario.past[:number], asked._replace(command=command), *scenario.past[number + 1 :])
    return scenario._replace(past=past)
