"""`python -m tests.simulation`: run seeds, or one of them again with its trace."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from events.codec import encode_commit
from tests.simulation.campaign import Campaign, outcomes
from tests.simulation.loop import STOPPED
from tests.simulation.plan import SHARED
from tests.simulation.run import Outcome, Simulation
from tests.simulation.trace import last_lines, print_trace
from tests.support.commands import command_of

FAILED_MAX = 5


def main(arguments: list[str]) -> int:
    """Return 0 if all is well, 1 if a seed failed or the run has a complaint; wrong arguments exit with 2."""
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--shared", action="store_true", help="seeds of two to four brokers that share a log")
    parser.add_argument("--steps", type=int, help="stop once so many steps are done in all, though seeds are left")
    parser.add_argument("--jobs", type=int, default=1, help="on so many cores")
    parser.add_argument("--seed", help="run this one alone")
    parser.add_argument("--to-step", type=int, help="with --seed: stop after it and show where everything stands")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happens")
    parser.add_argument("--steps-too", action="store_true", help="with --trace: print every step")
    asked = parser.parse_args(arguments)
    if asked.seed is None and (asked.trace or asked.to_step):
        parser.error("--trace and --to-step need a --seed")
    if asked.jobs < 1:
        parser.error("--jobs must be at least 1")
    return _one(asked) if asked.seed is not None else _many(asked)


def _one(asked: argparse.Namespace) -> int:
    simulation = Simulation(asked.seed)
    print(f"seed {asked.seed}: {simulation.plan}")
    if asked.trace:
        print_trace(simulation.world, steps_too=asked.steps_too)
    if asked.to_step:
        simulation.world.stop_after = asked.to_step
    outcome = simulation.run()
    if outcome.failure == STOPPED:
        print(last_lines(simulation.world))
        return 0
    print(
        f"{outcome.steps} steps, {outcome.commits} commits, trace {outcome.digest:016x}, state {outcome.state_digest}"
    )
    return _failed(outcome, simulation) if outcome.failure is not None else 0


def _many(asked: argparse.Namespace) -> int:
    campaign, kind = Campaign(is_shared=asked.shared), SHARED if asked.shared else ""
    seeds = (f"{kind}{number}" for number in range(asked.first, asked.first + asked.seeds))
    for outcome in outcomes(seeds, asked.jobs):
        campaign.add(outcome)
        if outcome.failure is not None:
            again = Simulation(outcome.seed)
            _failed(again.run(), again)
        if len(campaign.failed) >= FAILED_MAX or (asked.steps and campaign.steps >= asked.steps):
            break
    print(campaign.report())
    complaints = [] if campaign.failed else campaign.complaints()
    for complaint in complaints:
        print(complaint)
    if campaign.failed:
        print(f"{len(campaign.failed)} of {campaign.seeds} seeds failed: {', '.join(o.seed for o in campaign.failed)}")
    return 1 if campaign.failed or complaints else 0


def _failed(outcome: Outcome, simulation: Simulation) -> int:
    print(last_lines(simulation.world))
    print(f"seed {outcome.seed} failed at step {outcome.steps}: {outcome.failure}")
    again = command_of("tests.simulation", "--seed", outcome.seed, "--to-step", outcome.steps, "--trace")
    print(f"again: {again}")
    log = _log_of(simulation)
    print(f"its log: {command_of('mcp_facade.main', 'report', log, '-o', log.with_suffix('.html'))}\n")
    return 1


def _log_of(simulation: Simulation) -> Path:
    """Write the log of a seed as a dump, including trimmed commits."""
    path = Path(tempfile.gettempdir()) / f"chat-broker-seed-{simulation.around.seed}.jsonl"
    path.write_bytes(b"".join(encode_commit(commit) + b"\n" for commit in simulation.around.disk.commits))
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
