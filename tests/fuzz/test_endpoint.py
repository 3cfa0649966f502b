"""The endpoint of a real server process under requests that are wrong in every way that could be thought of.

`EXAMPLES` says how many scenarios Hypothesis makes; ten times as many are bred from them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.breed import bred, smaller
from tests.fuzz.requests import Scenario, to_text
from tests.fuzz.strategies import scenarios
from tests.fuzz.target import Target, under_fire

EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
BRED = 10 * EXAMPLES
SEED = int(os.environ.get("SEED", "0")) or None

SCENARIOS_A_BATCH = 100
WARM_UP_ROUNDS = 4
ROUNDS = 8
GROWTH_BYTES_MAX = 1_048_576
"""In the rounds after the warm-up, together; a request that left 1 KB behind would be over it."""


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """One server takes all of it."""
    with under_fire() as target:
        yield target


class Attack:
    """Carries out scenarios one after the other; after each batch the server has to come to rest."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._done = 0

    def carry_out(self, scenario: Scenario) -> None:
        """One more.

        Raises:
            AssertionError: something does not hold; a note says how to see it again.
        """
        try:
            self._target.attack(scenario)
            self._done += 1
            if self._done % SCENARIOS_A_BATCH == 0:
                self._target.rest()
        except Exception as error:
            self._target.scenarios_a_cast = 1  # from now on each has its own, so that it can be made smaller
            error.add_note(f"\n{scenario}\n\nreplay it with: python -m tests.fuzz replay {_written(scenario)}")
            raise

    def fails(self, scenario: Scenario) -> bool:
        """Whether something does not hold."""
        try:
            self._target.attack(scenario)
            self._target.rest()
        except AssertionError:
            return True
        return False


def made(examples: int, *, anew: bool = True) -> list[Scenario]:
    """So many scenarios of Hypothesis's making; the same every time unless they are made `anew`."""
    pool: list[Scenario] = []

    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        derandomize=not anew,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(scenarios())
    def take(scenario: Scenario) -> None:
        pool.append(scenario)

    take()
    return pool


def test_nothing_that_is_sent_upsets_the_endpoint(target: Target) -> None:
    """No 5xx, no hang, no traceback, no secret, no leak; and strangers are paired in between."""
    attack = Attack(target)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(scenarios())
    def attacked(scenario: Scenario) -> None:
        attack.carry_out(scenario)

    attacked()
    target.rest()


def test_nothing_that_is_bred_of_it_upsets_the_endpoint(target: Target) -> None:
    """The same of many more, in which what belongs to one request is found in another."""
    attack, random = Attack(target), Random(SEED)  # noqa: S311 - no secret
    pool = made(EXAMPLES)
    for _ in range(BRED):
        scenario = bred(pool, random)
        try:
            attack.carry_out(scenario)
        except AssertionError:
            if attack.fails(scenario):
                attack.carry_out(smaller(scenario, attack.fails))
            raise
    target.rest()


def test_memory_does_not_grow(target: Target) -> None:
    """The same scenarios round after round leave nothing more behind, once the server has seen all of them."""
    pool = made(min(EXAMPLES, 100), anew=False)
    attack = Attack(target)
    memory_bytes: list[int] = []
    for _ in range(ROUNDS):
        for scenario in pool:
            attack.carry_out(scenario)
        target.rest()
        memory_bytes.append(target.memory_bytes())
    growth_bytes = memory_bytes[-1] - memory_bytes[WARM_UP_ROUNDS - 1]
    shown = ", ".join(f"{one / 1_048_576:.1f}" for one in memory_bytes)
    print(f"\nmemory after each round of {len(pool)} scenarios: {shown} MiB")
    assert growth_bytes <= GROWTH_BYTES_MAX, shown


def _written(scenario: Scenario) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="fuzz-", suffix=".json", delete=False) as file:
        file.write(to_text(scenario))
    return file.name
