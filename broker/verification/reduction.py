"""The smallest scenario in which the same is decided: few commands, no gaps in time, nothing that plays no part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from broker.decide import Rejection
from broker.verification.delta_debugging import ddmin
from broker.verification.scenario import LoggedCommand, Scenario, replay_scenario, rooms_of
from events.commands import AdoptPolicy, SendMessage
from events.policy import Policy

WORK_MAX = 500_000
"""After so many decisions, what is left is taken as it is."""

Rewrite = Callable[[Any], Any]
"""From a command or an event to what it is in a plainer scenario."""

StillHolds = Callable[[Scenario], bool]
"""Whether something holds of a scenario that is smaller or plainer than the one it came from."""


class ReducedScenario(NamedTuple):
    """What was found, and whether nothing more can be left out of it, or there was no time to find out."""

    scenario: Scenario
    is_minimal: bool


def reduce_scenario(scenario: Scenario, still_holds: StillHolds = lambda scenario: True) -> ReducedScenario:
    """`scenario`, whose past must lead to what is decided in it, with as little as still does.

    Something else that has to hold of what is left can be logged for with `still`.
    """
    work, rooms = 0, rooms_of(scenario.past)

    def is_enough(past: Sequence[LoggedCommand]) -> bool:
        nonlocal work
        work += len(past)
        if work > WORK_MAX:
            return False
        replayed = replay_scenario(past, scenario.target, rooms)
        return replayed.decided == scenario.decided and still_holds(Scenario(*replayed, scenario.stored))

    replayed = replay_scenario(ddmin(_starting_point(scenario, is_enough), is_enough), scenario.target, rooms)
    # What it has become is a log of its own now: to replay it changes nothing more.
    past = tuple(logged._replace(position=number, fallback=None) for number, logged in enumerate(replayed.done, 1))
    return ReducedScenario(_simplified(scenario._replace(past=past, target=replayed.target), still), work <= WORK_MAX)


def _starting_point(scenario: Scenario, is_enough: Callable[[Sequence[LoggedCommand]], bool]) -> Sequence[LoggedCommand]:
    """Few commands to begin with: the last ones of those whom it is about, or else of everybody."""
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
        scenario = _accept(_without_gap(scenario, number), scenario, still_holds)
    for number in range(len(scenario.past)):
        scenario = _accept(_without_delay(scenario, number), scenario, still_holds)
    for number, logged in enumerate(scenario.past):
        if isinstance(logged.command, AdoptPolicy):
            for policy in _defaults(logged.command.policy):
                scenario = _accept(_with_policy(scenario, number, policy), scenario, still_holds)
    return scenario


def rewrite_scenario(scenario: Scenario, rewrite: Rewrite) -> Scenario:
    """`scenario` with `change` in all of its commands and events."""
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


def _accept(changed: Scenario, scenario: Scenario, still_holds: StillHolds) -> Scenario:
    replayed = replay_scenario(changed.past, changed.target, {})
    is_alike = replayed.decided == changed.decided and replayed.done == changed.past
    is_as_faulty = (changed.decided == changed.stored) == (scenario.decided == scenario.stored)
    return changed if is_alike and is_as_faulty and still_holds(changed) else scenario


def _without_interests(value: Any) -> Any:
    return msgspec.structs.replace(value, interests=()) if hasattr(value, "interests") else value


def _without_message_ids(value: Any) -> Any:
    return msgspec.structs.replace(value, client_message_id=None) if hasattr(value, "client_message_id") else value


def _without_gap(scenario: Scenario, number: int) -> Scenario:
    """`scenario` with the command `number` at the time of the one before, and all behind it so much earlier."""
    logged = [*scenario.past, scenario.target]
    gap_ms = _gap_ms(scenario, number)
    logged[number:] = [_moved_earlier(one, gap_ms) for one in logged[number:]]
    return scenario._replace(past=tuple(logged[:-1]), target=logged[-1])


def _without_delay(scenario: Scenario, number: int) -> Scenario:
    """`scenario` with the command `number` at the time of the one before, and nothing else earlier."""
    past = list(scenario.past)
    past[number] = _moved_earlier(past[number], _gap_ms(scenario, number))
    return scenario._replace(past=tuple(past))


def _gap_ms(scenario: Scenario, number: int) -> int:
    """How long before the command `number` nothing happens; the time before the first one is 0."""
    times = [0, *(logged.facts.at_ms for logged in scenario.past), scenario.target.facts.at_ms]
    return times[number + 1] - times[number]


def _moved_earlier(logged: LoggedCommand, by_ms: int) -> LoggedCommand:
    return logged._replace(facts=msgspec.structs.replace(logged.facts, at_ms=logged.facts.at_ms - by_ms))


def _defaults(policy: Policy) -> Iterator[Rewrite]:
    """Each way to let one more value of `policy` be what it is by default."""
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
