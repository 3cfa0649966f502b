"""`python -m benchmarks.replay`: what folding, checking and starting from a log cost.

CPU time, on whatever else the machine does meanwhile; the least of some rounds where a round is short. Memory is the
peak of a process of its own that checks a log in a file, beside one that checks a log several times as long.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks.histories import history
from broker.clock import SystemClock
from broker.debugger.checking import check_log
from broker.debugger.sources import open_source
from broker.runtime import Runtime
from events.codec import decode_commit, encode_commit
from events.commit import Commit
from events.log import Snapshot
from events.sqlite_file import SqliteFile
from events.sqlite_log import SqliteLog
from projections.snapshots import STATE_CODEC
from projections.state import INITIAL_STATE, StateMutation, digest, fold

ROUNDS: Final = 3
PAGE: Final = 2_000

_PEAK_OF_VERIFY: Final = """
import resource, sys
from broker.command_line import main
assert main(["verify", sys.argv[1]], {}, print) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    """Measure and print."""
    options = _parse()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        _fold_and_verify(path, options.commits)
        _memory(path, options.commits)
        _cold_start(path / "cold.db", options.cold_commits, options.cold_tail)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--commits", type=int, default=100_000, help="to fold and to check (%(default)s)")
    parser.add_argument("--cold-commits", type=int, default=1_000_000, help="of the file to start from (%(default)s)")
    parser.add_argument("--cold-tail", type=int, default=25_000, help="behind its snapshot (%(default)s)")
    return parser.parse_args()


def _fold_and_verify(path: Path, commits: int) -> None:
    log = path / "log.jsonl"
    made = list(history(commits))
    log.write_bytes(b"".join(encode_commit(commit) + b"\n" for commit in made))
    state = fold(made)
    _rate("folded, with the chain checked", commits, lambda: fold(made))
    _rate("folded from its lines", commits, lambda: fold(map(decode_commit, log.read_bytes().splitlines())))
    made.clear()
    _rate("verified", commits, lambda: _verify(log, digest(state)))


def _verify(log: Path, expected: str) -> None:
    source = open_source(str(log))
    try:
        verdict = check_log(source)
    finally:
        source.close()
    assert verdict.fault is None, verdict.fault
    assert verdict.digest == expected


def _rate(what: str, commits: int, work: Callable[[], object]) -> None:
    best_s = min(_cpu_s(work) for _ in range(ROUNDS))
    print(f"{what:40}{commits / best_s:>12,.0f} commits/s of CPU{best_s / commits * 1e6:>8.1f} us a commit")


def _cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _memory(path: Path, commits: int) -> None:
    for size in (commits // 4, commits):
        name = f"sqlite:{_filled(path / f'memory{size}.db', size, None)}"
        done = subprocess.run(  # our own program, on our own file
            [sys.executable, "-c", _PEAK_OF_VERIFY, name], capture_output=True, text=True, check=True
        )
        print(f"{f'peak of verify, {size:,} commits':40}{int(done.stdout.split()[-1]) / 1_024:>12,.0f} MiB")


def _filled(path: Path, commits: int, snapshot_at: int | None) -> Path:
    """A broker's file with a history, and with a snapshot in it."""
    now: StateMutation = INITIAL_STATE.mutate()
    with SqliteFile(path, "write", synchronous="NORMAL") as file:
        assert isinstance(file, SqliteFile)
        for page in _pages(history(commits)):
            file.append(page, expected=file.tip())
            if snapshot_at is None or now.position >= snapshot_at:
                continue
            for commit in page:
                now.fold(commit)
            if now.position >= snapshot_at:
                state = now.finish()
                file.save(Snapshot(state.tip, state), STATE_CODEC)
    return path


def _pages(commits: Iterator[Commit]) -> Iterator[list[Commit]]:
    while page := list(islice(commits, PAGE)):
        yield page


def _cold_start(path: Path, commits: int, tail: int) -> None:
    began = time.perf_counter()
    _filled(path, commits, commits - tail)
    print(f"(a file of {commits:,} commits made in {time.perf_counter() - began:.0f} s)")
    asyncio.run(_start(path, commits))


async def _start(path: Path, commits: int) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    log = SqliteLog(path, STATE_CODEC)
    runtime = Runtime(log, SystemClock())
    await runtime.start(INITIAL_STATE.policy)
    took_ms, cpu_ms = (time.perf_counter() - began) * 1e3, (time.process_time() - cpu) * 1e3
    snapshot = await log.newest_snapshot()
    assert snapshot is not None
    assert runtime.state.position == commits
    behind = commits - snapshot.tip.position
    print(f"{f'cold start, snapshot {behind:,} commits back':40}{took_ms:>12,.0f} ms, {cpu_ms:,.0f} ms of CPU")
    await runtime.stop(1_000)
    await log.close()


if __name__ == "__main__":
    main()
