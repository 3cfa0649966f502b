"""The endpoint of a real server process under requests that are wrong in every known way.

`EXAMPLES` is the number of scenarios from Hypothesis; ten times as many are mutations of them and of the named cases.
The same `SEED` makes the same of both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random, randrange

import pytest

from tests.fuzz.mutate import mutated
from tests.fuzz.target import ServerUnderFire, under_fire, written
from tests.hostile.messages import modern
from tests.hostile.scenarios import Act, Scenario, from_cases, made, scenarios
from tests.support.commands import command_of

EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
MUTATED = 10 * EXAMPLES
SEED = int(os.environ.get("SEED", "0")) or randrange(1, 1 << 32)

SCENARIOS_A_BATCH = 100
WARM_UP_ROUNDS = 4
ROUNDS = 8
GROWTH_BYTES_MAX = 1_048_576
"""The bound for the rounds after the warm-up, together; a leak of 1 KB a request would exceed it."""


@pytest.fixture(scope="module")
def target() -> Iterator[ServerUnderFire]:
    """Start one server for all of the scenarios."""
    with under_fire() as target:
        yield target


class Attack:
    """Runs scenarios one after the other; after each batch the server must return to rest."""

    def __init__(self, target: ServerUnderFire) -> None:
        self._target = target
        self._batch: list[Scenario] = []

    def carry_out(self, scenario: Scenario) -> None:
        """Carry out one more scenario.

        Raises:
            AssertionError, HungUpError: a check fails; notes give the commands that repeat it.
        """
        self._batch.append(scenario)
        with self._told():
            self._target.attack(scenario)
        if len(self._batch) == SCENARIOS_A_BATCH:
            self.rest()

    def rest(self) -> None:
        """Check the server's return to its first state; only now does a leak of one scenario show.

        Raises:
            AssertionError, HungUpError: as above.
        """
        with self._told():
            self._target.rest()
        self._batch.clear()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            file = written(self._batch)
            last = self._batch[-1] if self._batch else ()
            error.add_note(f"\nthe last of {len(self._batch)} scenarios: {last}")
            error.add_note(f"\nthe end of the server's log:\n{self._target.log_end}")
            error.add_note(f"\nsee all of them again with: {command_of('tests.fuzz', 'replay', file)}")
            error.add_note(f"and which of them it was:    {command_of('tests.fuzz', 'smaller', file)}")
            error.add_note(f"and the same run with:       make fuzz SEED={SEED} EXAMPLES={EXAMPLES}")
            raise


def test_an_id_is_held_against_what_was_sent(target: ServerUnderFire) -> None:
    """A scenario may use a live value as an id; its answer has that value."""
    request = modern("tools/list", {}, request_id="@OTHER@").request()
    (dialogue,) = target.attack((Act(0, request),))
    assert b"@OTHER@" not in dialogue.sent
    assert dialogue.responses[0].status == 200


def test_nothing_that_is_sent_upsets_the_endpoint(target: ServerUnderFire) -> None:
    """No scenario causes a 5xx, a hang, a traceback, a leaked secret or a leak; strangers are paired in between."""
    attack = Attack(target)
    for scenario in [*from_cases(), *made(scenarios(), EXAMPLES, SEED)]:
        attack.carry_out(scenario)
    attack.rest()


def test_no_mutation_of_it_upsets_the_endpoint(target: ServerUnderFire) -> None:
    """Many more scenarios pass the same checks, with parts of one request in another."""
    attack, random = Attack(target), Random(SEED)
    pool = [*from_cases(), *made(scenarios(), EXAMPLES, SEED + 1)]
    for _ in range(MUTATED):
        attack.carry_out(mutated(pool, random))
    attack.rest()


def test_memory_does_not_grow(target: ServerUnderFire) -> None:
    """The same scenarios, round after round, leave nothing more behind, once the server has seen all of them."""
    pool = made(scenarios(), min(EXAMPLES, 100), 0)
    attack = Attack(target)
    memory_bytes: list[int] = []
    for _ in range(ROUNDS):
        for scenario in pool:
            attack.carry_out(scenario)
        attack.rest()
        memory_bytes.append(target.memory_bytes())
    growth_bytes = memory_bytes[-1] - memory_bytes[WARM_UP_ROUNDS - 1]
    shown = ", ".join(f"{one / 1_048_576:.1f}" for one in memory_bytes)
    print(f"\nmemory after each round of {len(pool)} scenarios: {shown} MiB")
    assert growth_bytes <= GROWTH_BYTES_MAX, shown
