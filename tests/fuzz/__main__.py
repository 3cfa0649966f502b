"""`python -m tests.fuzz replay FILE`: the scenario that failed, once more, byte for byte."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fuzz.requests import from_text
from tests.fuzz.target import under_fire


def main(arguments: list[str]) -> int:
    """Carry out the scenario in a file against a fresh server; the exit status."""
    if len(arguments) != 2 or arguments[0] != "replay":
        print(__doc__)
        return 2
    scenario = from_text(Path(arguments[1]).read_text())
    for act in scenario:
        print(act.connection, act.cut, act.then, act.request.wire({}))
    with under_fire() as target:
        for talk in target.attack(scenario):
            for response in talk.responses:
                print(response)
        target.rest()
    print("nothing wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
