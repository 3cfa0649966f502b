"""`python -m benchmarks.debugger`: what the debugger's commands take on a long log of short lives.

CPU time and peak memory of a process for each command, the median of several rounds. The log is a broker's file with
snapshots; people come, have a few conversations, and go for good.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.fold import NOON_MS, a_wish
from benchmarks.histories import digits
from broker.decide import decide
from broker.decision import Rejection
from events.codec import encode_commit
from events.commands import LeaveRoom
from events.commit import Commit, Facts, commit_after
from events.ids import ConnectionId, RoomId
from events.log import Snapshot
from events.sqlite.file import SqliteFile
from projections.snapshots import STATE_CODEC
from projections.state import INITIAL_STATE, State, evolve

PRESENT: Final = 200
PAGE: Final = 2_000
SNAPSHOT_EVERY: Final = INITIAL_STATE.policy.snapshot_every_commits
KIB: Final = 1_024


class Cost(NamedTuple):
    """The cost of one process."""

    cpu_s: float
    peak_mib: float


def short_lives() -> Iterator[tuple[Commit, State]]:
    """Yield commits without end, each with the state after it; always the same."""
    dice, state, now_ms, number, born = random.Random(1), INITIAL_STATE, NOON_MS, 0, PRESENT
    people = [_person(each) for each in range(PRESENT)]
    while True:
        number += 1
        now_ms += dice.randrange(5, 790)
        place = dice.randrange(PRESENT)
        command = a_wish(state, people[place], number, dice)
        facts = Facts(now_ms, RoomId(f"r_{digits(number)}"), digits(number))
        if command is None or isinstance(decision := decide(state, command, facts), Rejection) or not decision:
            continue
        commit = commit_after(state.tip, command, facts, decision)
        state = evolve(state, commit)
        yield commit, state
        if isinstance(command, LeaveRoom):
            people[place], born = _person(born), born + 1


def _person(number: int) -> ConnectionId:
    return ConnectionId(f"c_{digits(number)}")


def write(directory: Path, commits: int) -> tuple[str, str]:
    """Write a log as a broker's file and as a dump; return the names of both."""
    file_path, dump_path = directory / "long.db", directory / "long.jsonl"
    made, saved = islice(short_lives(), commits), 0
    with closing(SqliteFile(file_path, "write", synchronous="NORMAL")) as file, dump_path.open("wb") as dump:
        while page := list(islice(made, PAGE)):
            tip = file.append([commit for commit, _ in page], expected=file.tip())
            dump.writelines(encode_commit(commit) + b"\n" for commit, _ in page)
            if tip.position - saved >= SNAPSHOT_EVERY:
                file.save(Snapshot(tip, page[-1][1]), STATE_CODEC)
                saved = tip.position
    return f"sqlite:{file_path}", str(dump_path)


def run(arguments: list[str], stdin: Path | None = None) -> Cost:
    """Run a command to its end; return its cost."""
    command = [sys.executable, "-m", "mcp_facade.main", *arguments]
    with (stdin or Path(os.devnull)).open("rb") as given:
        process = subprocess.Popen(command, stdin=given, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / KIB)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.debugger", description=__doc__)
    parser.add_argument("--commits", type=int, default=210_000, help="of the log (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each command (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        log, dump = write(path, options.commits)
        middle = options.commits // 2
        person, room = _met_at(middle)
        commands = {
            "trace --connection": ["trace", log, "--connection", person],
            "trace --room": ["trace", log, "--room", room],
            "replay --to the middle --state-only": ["replay", log, "--to", str(middle), "--state-only"],
            "replay --state-only": ["replay", log, "--state-only"],
            "replay --state-only, of a dump": ["replay", dump, "--state-only"],
            "diff of the last 1,000": ["diff", log, str(options.commits - 1_000), str(options.commits)],
            "whatif --matching interests": ["whatif", log, "--matching", "interests"],
        }
        for what, arguments in commands.items():
            _print(what, [run(arguments) for _ in range(options.rounds)])
        loads = [["log", "load", f"sqlite:{path}/loaded{number}.db"] for number in range(options.rounds)]
        _print("log load", [run(arguments, Path(dump)) for arguments in loads])


def _met_at(position: int) -> tuple[ConnectionId, RoomId]:
    """Return somebody who chats at `position`, and their room."""
    _, state = next(islice(short_lives(), position - 1, None))
    room = next(room for room in state.rooms.by_id.values() if room.is_open)
    return room.first, room.room_id


def _print(what: str, costs: list[Cost]) -> None:
    seconds, peaks = [cost.cpu_s for cost in costs], [cost.peak_mib for cost in costs]
    extremes = f"{min(seconds):.1f} to {max(seconds):.1f}"
    print(f"{what:40}{median(seconds):>8.1f} s of CPU ({extremes}){max(peaks):>8,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
