"""`python -m benchmarks.replay`: cost of folding, checking and starting from a log.

CPU time, a page of commits at a time, each in several rounds; the best counts, since other work on the machine can only
add to it. Memory is the peak of a process that checks a log in a file (Linux), of three lengths, each four times the
one before: once with a state that grows with the log, since no closed room and no notification is forgotten yet, and
once with a state that does not, since few are kept.
"""

import argparse
import asyncio
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import Final

from benchmarks.fold import a_log
from benchmarks.histories import ChatHistory, history
from broker.clock import SystemClock
from broker.metrics import Metrics
from broker.verification.checking import check_log
from broker.verification.worker_pool import cores
from broker.writer import LogWriter
from events.codec import decode_commit, encode_commit
from events.commit import Commit
from events.log import Snapshot
from events.policy import Policy
from events.sqlite.file import SqliteFile
from events.sqlite.log import SqliteLog
from log_debugger.reading.sources import open_source
from projections.snapshots import STATE_CODEC
from projections.state import INITIAL_STATE, fold

ROUNDS: Final = 4
PAGE: Final = 2_000

STEADY: Final = Policy(closed_rooms_kept=100, inbox_events_max=50)
STEADY_TALK: Final = 25
"""With these the state is full after some 5,000 commits: every pair has met anew, and every inbox is at its limit."""

_PEAK_OF_VERIFY: Final = """
import sys
from pathlib import Path
from mcp_facade.cli import main
assert main(["verify", sys.argv[1]], {}, print) == 0
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
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
    parser.add_argument("--commits", type=int, default=20_000, help="to fold and to check (%(default)s)")
    parser.add_argument("--cold-commits", type=int, default=1_000_000, help="of the file to start from (%(default)s)")
    parser.add_argument("--cold-tail", type=int, default=25_000, help="behind its snapshot (%(default)s)")
    return parser.parse_args()


def _fold_and_verify(path: Path, commits: int) -> None:
    log = path / "log.jsonl"
    log.write_bytes(b"".join(encode_commit(commit) + b"\n" for commit in history(commits)))
    lines = log.read_bytes().splitlines()
    made = [decode_commit(line) for line in lines]
    gc.freeze()  # only commits that come and go are measured
    _rate("folded, with the chain checked", commits, lambda: _pages_folded(made))
    made.clear()
    _rate("folded from its lines", commits, lambda: _pages_folded(lines))
    _rate("verified by one process", commits, lambda: _pages_verified(log))
    _verified_by_all(log)
    log.write_bytes(b"".join(line + b"\n" for line in a_log(commits)))
    _rate("the same, of short conversations", commits, lambda: _pages_verified(log))
    _verified_by_all(log)


def _pages_folded(log: Sequence[Commit] | Sequence[bytes]) -> Iterator[float]:
    state = INITIAL_STATE
    for start in range(0, len(log), PAGE):
        page = log[start : start + PAGE]
        began = time.process_time()
        state = fold((decode_commit(one) if isinstance(one, bytes) else one for one in page), state)
        yield time.process_time() - began


def _pages_verified(log: Path) -> Iterator[float]:
    readings = [time.process_time()]
    with closing(open_source(str(log))) as source:
        verdict = check_log(source, lambda commits: readings.append(time.process_time()), workers=1)
    readings.append(time.process_time())
    assert verdict.fault is None, verdict.fault
    return (later - earlier for earlier, later in pairwise(readings))


def _verified_by_all(log: Path) -> None:
    """Measure by the wall clock, since more cores shorten only that."""
    took_s = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        with closing(open_source(str(log))) as source:
            verdict = check_log(source, workers=cores())
        took_s.append(time.perf_counter() - began)
    print(f"{f'verified by {cores()} processes':40}{verdict.commits / min(took_s):>12,.0f} commits/s by the clock")


def _rate(what: str, commits: int, seconds: Callable[[], Iterator[float]]) -> None:
    best_s = sum(map(min, zip(*(seconds() for _ in range(ROUNDS)), strict=True)))
    print(f"{what:40}{commits / best_s:>12,.0f} commits/s of CPU{best_s / commits * 1e6:>8.1f} us a commit")


def _memory(path: Path, commits: int) -> None:
    _peaks(path / "growing.db", commits, "state grows", ChatHistory)
    _peaks(path / "steady.db", commits, "state does not", lambda: ChatHistory(talk=STEADY_TALK, policy=STEADY))


def _peaks(path: Path, commits: int, how: str, talking: Callable[[], ChatHistory]) -> None:
    for size in (commits // 4, commits, commits * 4):
        name = f"sqlite:{_filled(path, size, talking())}"
        done = subprocess.run(  # our own program, on our own file
            [sys.executable, "-c", _PEAK_OF_VERIFY, name], capture_output=True, text=True, check=True
        )
        path.unlink()
        what = f"peak of verify, {size:,}, {how}"
        print(f"{what:40}{int(done.stdout.split()[-1]) / 1_024:>12,.0f} MiB")


def _filled(path: Path, commits: int, talking: ChatHistory, snapshot_at: int = 0) -> Path:
    """Write a broker's file with a history, and with a snapshot unless `snapshot_at` is 0."""
    with closing(SqliteFile(path, "write", synchronous="NORMAL")) as file:
        is_saved = not snapshot_at
        for page in _pages(islice(talking.commits(), commits)):
            tip = file.append(page, expected=file.tip())
            if not is_saved and tip.position >= snapshot_at:
                file.save(Snapshot(tip, talking.state()), STATE_CODEC)
                is_saved = True
    return path


def _pages(commits: Iterator[Commit]) -> Iterator[list[Commit]]:
    while page := list(islice(commits, PAGE)):
        yield page


def _cold_start(path: Path, commits: int, tail: int) -> None:
    began = time.perf_counter()
    _filled(path, commits, ChatHistory(), commits - tail)
    print(f"(a file of {commits:,} commits made in {time.perf_counter() - began:.0f} s)")
    asyncio.run(_start(path, commits))


async def _start(path: Path, commits: int) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    log = SqliteLog(path, STATE_CODEC)
    clock = SystemClock()
    runtime = LogWriter(log, clock, Metrics(lambda: INITIAL_STATE, lambda: 0))
    await runtime.start(INITIAL_STATE.policy)
    took_ms, cpu_ms = (time.perf_counter() - began) * 1e3, (time.process_time() - cpu) * 1e3
    snapshot = await log.newest_snapshot()
    assert snapshot is not None
    assert runtime.replica.state.position == commits
    behind = commits - snapshot.tip.position
    print(f"{f'cold start, snapshot {behind:,} commits back':40}{took_ms:>12,.0f} ms, {cpu_ms:,.0f} ms of CPU")
    await runtime.stop(1_000)
    await log.close()


if __name__ == "__main__":
    main()
