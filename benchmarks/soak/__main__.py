"""`python -m benchmarks.soak`: many clients on one broker for a while; exit status 1 if there is a problem."""

import asyncio
import gc
import sys
from typing import Final

import uvloop

from benchmarks.connections import WrongAnswer
from benchmarks.server import raise_open_files
from benchmarks.soak.options import SoakOptions, parse
from benchmarks.soak.soak import Soak
from benchmarks.soak.summary import summary
from benchmarks.soak.verdict import Verdict

BESIDES_S: Final = 600.0
"""For starting, leaving, looking and ending; then the run fails."""


async def soak(options: SoakOptions) -> Verdict:
    """One bounded run."""
    with Soak(options) as one:
        try:
            async with asyncio.timeout(options.minutes * 60 + BESIDES_S):
                return await one.execute()
        except BaseException:
            print(f"--- the server's log\n{one.server.log_tail()}", file=sys.stderr)
            raise


def main() -> int:
    """The command line."""
    options = parse()
    raise_open_files()
    print(f"seed {options.seed}", file=sys.stderr)
    gc.set_threshold(50_000, 20, 50)  # the generator must not pause for long
    try:
        verdict = uvloop.run(soak(options))
    except (WrongAnswer, OSError, RuntimeError, TimeoutError) as error:
        print(f"PROBLEM: the soak was broken off: {type(error).__name__}: {error}\nNOT WELL.")
        return 1
    print(summary(verdict))
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
