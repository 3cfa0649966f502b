"""`python -m benchmarks.chaos`: workers and their store are killed while people talk; exit status 1 if it shows.

Each round has an engine, workers, HAProxy and people of its own. The people use the official SDK's client of both eras.
A worker is killed (`SIGKILL`) every few seconds, and the engine once a round; both are started again. Afterwards the
log is held against what the people saw.
"""

import asyncio
import logging
import sys
import time

from benchmarks.chaos.options import ChaosOptions, parse
from benchmarks.chaos.round import Round
from benchmarks.chaos.verdict import Verdict
from benchmarks.server import end_in_order_on_sigterm

SHOWN = (
    "acknowledged messages",
    "identities",
    "people vanished",
    "taken out",
    "workers killed",
    "engine killed",
    "calls without an answer",
    "gaps read by cursor",
    "streams held against the log",
    "absent people matched, within 3 s of their grace",
    "absent people matched later, with no worker to judge",
)


async def chaos(options: ChaosOptions) -> bool:
    """Run all rounds; return true if nothing was found."""
    verdicts = []
    for number in range(options.rounds):
        began = time.monotonic()
        verdicts.append(await Round(options, number).execute())
        print(_line(number, verdicts[-1], time.monotonic() - began), flush=True)
    print(_summary(options, verdicts))
    return all(verdict.is_well for verdict in verdicts)


def _line(number: int, verdict: Verdict, seconds: float) -> str:
    counts = ", ".join(f"{verdict.counts[name]:,} {name}" for name in SHOWN if verdict.counts[name])
    found = [*verdict.lost, *verdict.taken_out, *verdict.matched, *verdict.other]
    return "\n".join([f"round {number + 1}: {seconds:.0f} s; {counts}", *(f"PROBLEM: {problem}" for problem in found)])


def _summary(options: ChaosOptions, verdicts: list[Verdict]) -> str:
    lost, taken_out = sum(len(one.lost) for one in verdicts), sum(len(one.taken_out) for one in verdicts)
    matched, other = sum(len(one.matched) for one in verdicts), sum(len(one.other) for one in verdicts)
    return (
        f"{options.store}, seed {options.seed}, {len(verdicts)} rounds, {options.workers} workers: "
        f"{lost} acknowledged messages lost, doubled or reordered; {taken_out} present people taken out; "
        f"{matched} absent people matched over 3 s after their grace; {other} other faults"
    )


def main() -> int:
    """The command line."""
    options = parse()
    end_in_order_on_sigterm()
    logging.getLogger("mcp").setLevel(logging.CRITICAL)  # it logs each broken stream with its traceback
    logging.getLogger("client").setLevel(logging.CRITICAL)
    print(f"seed {options.seed}", file=sys.stderr)
    return 0 if asyncio.run(chaos(options)) else 1


if __name__ == "__main__":
    sys.exit(main())
