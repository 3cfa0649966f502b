"""Replay of failed scenarios, byte for byte; each time against a fresh server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from broker.errors import EXIT_USAGE, UsageError
from tests.fuzz.mutate import smaller
from tests.fuzz.target import fails, under_fire, written
from tests.hostile.scenarios import Scenario, from_text
from tests.support.commands import command_of


def main(arguments: list[str]) -> int:
    """Run the command; return the exit status."""
    if len(arguments) != 2 or arguments[0] not in ("replay", "smaller"):
        print(__doc__)
        return EXIT_USAGE
    try:
        scenarios = _scenarios_in(arguments[1])
    except UsageError as error:
        print(f"tests.fuzz: {error}; name a file that make fuzz has written", file=sys.stderr)
        return EXIT_USAGE
    return _replay(scenarios) if arguments[0] == "replay" else _smaller(scenarios)


def _scenarios_in(file: str) -> Sequence[Scenario]:
    try:
        scenarios = from_text(Path(file).read_text())
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{file} holds no scenarios: {error}") from None
    if not scenarios:
        raise UsageError(f"{file} holds no scenarios")
    return scenarios


def _replay(scenarios: Sequence[Scenario]) -> int:
    with under_fire() as target:
        for scenario in scenarios:
            for act in scenario:
                print(act.connection, act.cut, act.then, act.request)
            for dialogue in target.attack(scenario):
                for response in dialogue.responses:
                    print(response)
        target.rest()
    print("nothing wrong")
    return 0


def _smaller(scenarios: Sequence[Scenario]) -> int:
    if not _fails(scenarios):
        return 0
    left = smaller(scenarios, _fails)
    print(*left, sep="\n")
    print(f"{len(left)} of {len(scenarios)} scenarios: {command_of('tests.fuzz', 'replay', written(left))}")
    return 1


def _fails(scenarios: Sequence[Scenario]) -> bool:
    failed = fails(scenarios)
    acts = sum(map(len, scenarios))
    print(f"{len(scenarios)} scenarios with {acts} acts: {'fails' if failed else 'nothing wrong'}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
