"""Checking a whole log: every commit against the promises.

Nearly all commits are sound, so `bulk_check` only counts the sound ones. The fault is worked out for the first unsound
commit alone.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import NamedTuple, Protocol

from broker.verification.bulk_check import check_lines, fold_lines
from broker.verification.faults import ViolationReport, explain, state_fault
from broker.verification.safe_text import safe
from broker.verification.worker_pool import Task, WorkerPool, cores
from events.codec import UnreadableCommitError, decode_commit
from events.commit import BrokenChainError, Tip, check_link
from events.ids import POSITION_MAX, Position
from events.log import Snapshot, UnusableLogError
from projections.invariants import Violation
from projections.state import State, StateMutation, digest

PROMISES: Mapping[int, str] = {
    1: "A connection is in at most one place: the queue, or one open room.",
    2: "An open room has exactly two different members, each of whom is in it.",
    3: "Whoever entered first is `first` in the room. The log's matching names the pair, of those who may meet.",
    4: "A message is accepted only from a member of an open room, and is stored once per `message_id`.",
    5: "Rooms never reopen, ids never repeat, positions have no gap, and the chain of commits is whole.",
    6: "Folding the log gives the state, and deciding a stored command again gives the stored events.",
    7: "Every opening of a room tells both members, every closing the one who did not close it, and nobody else.",
    9: "No room opens between two of whom one has blocked the other.",
}
"""The promises that a log can show, by their numbers."""

SEGMENT_COMMITS = 10_000
"""The most commits for a worker process at a time; this process folds them meanwhile and goes on."""

PORTION_COMMITS = 1_000
"""The commits checked in this process before it looks for an idle worker again."""

SEGMENTS_WAITING_MAX = 32
"""The most segments in memory whose result is not known yet."""

OnProgress = Callable[[int], None]


class CheckedLog(Protocol):
    """A log that can be read from any position. Commits are as stored, neither decoded nor checked."""

    @property
    def base(self) -> Snapshot:
        """The state at the log's beginning: the initial one, or the snapshot in place of trimmed commits."""
        ...

    def tip(self) -> Tip:
        """Return the last commit's tip; a live log's moves."""
        ...

    def lines(self, after: Position) -> Iterator[bytes]:
        """Return the stored JSON of each commit after `after`, up to the present tip."""
        ...

    def snapshots(self) -> Sequence[Position]:
        """Return the positions of the stored snapshots, ascending; the base is the first."""
        ...

    def snapshot(self, at_most: Position) -> Snapshot:
        """Return the newest snapshot at or below `at_most`, a position not below the base."""
        ...


class CheckResult(NamedTuple):
    """The result of a check: the number of sound commits after the base, their last tip and the digest of its state."""

    commits: int
    tip: Tip
    digest: str
    fault: ViolationReport | None


def check_log(
    source: CheckedLog, on_progress: OnProgress = lambda commits: None, *, workers: int | None = None
) -> CheckResult:
    """Check `source` from its base to its tip, or to the first position that breaks a promise.

    The check covers every commit, the states at both ends, and the stored snapshots between them. A long log is checked
    by several processes, this one among them. Each holds one state and the lines of one segment in memory, however long
    the log is.

    Args:
        source: the log.
        on_progress: called with the number of commits of each checked segment.
        workers: the number of processes; by default one a core for a long log, else 1.

    Raises:
        LogUnavailableError: the log did not answer, or was trimmed meanwhile.
    """
    if workers is None:
        is_long = source.tip().position - source.base.tip.position >= SEGMENT_COMMITS
        workers = cores() if is_long else 1
    start: State = source.base.state
    with _gc_paused(), WorkerPool(workers - 1) as pool:
        fault = state_fault(start)
        end = _LogCheck(source, pool).run(on_progress) if fault is None else _check_end(start, fault)
    return CheckResult(end.state.position - start.position, end.state.tip, end.digest, end.fault)


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Pause garbage collection: states hold no cycles, and scanning them takes a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _CheckEnd(NamedTuple):
    """The last sound state, and the fault after it, if any."""

    state: State
    digest: str
    fault: ViolationReport | None


def _check_end(state: State, fault: ViolationReport | None = None) -> _CheckEnd:
    return _CheckEnd(state, digest(state), fault or state_fault(state))


class _Segment(NamedTuple):
    """Some commits in a row, and the state before them.

    That state is the fold of all lines before, sound or not. It is right once all segments before are known to be
    sound.
    """

    start: State
    lines: Sequence[bytes]
    sound: int | Task[int]  # commits before the first unsound one
    fault_after: ViolationReport | None  # of the line after these, if it can't be read

    def is_checked(self) -> bool:
        """Return true if the number of sound commits is known."""
        return isinstance(self.sound, int) or self.sound.is_done()


class _LogCheck:
    """A check in progress. `state` is the fold so far."""

    def __init__(self, source: CheckedLog, pool: WorkerPool) -> None:
        self.state: State = source.base.state
        self._source = source
        self._snapshots = [at for at in source.snapshots() if at > self.state.position]
        self._pool = pool
        self._tip = source.tip().position

    def run(self, on_progress: OnProgress) -> _CheckEnd:
        """Fold the whole log and check each segment. The first fault in log order counts."""
        waiting: deque[_Segment] = deque()
        for segment in self._segments():
            waiting.append(segment)
            while waiting and (waiting[0].is_checked() or len(waiting) > SEGMENTS_WAITING_MAX):
                if (early := self._end_within(waiting.popleft(), on_progress)) is not None:
                    return early
        end = _check_end(self.state)  # while workers check the last segments
        for segment in waiting:
            if (early := self._end_within(segment, on_progress)) is not None:
                return early
        return end

    def _end_within(self, segment: _Segment, on_progress: OnProgress) -> _CheckEnd | None:
        """Return the end if there is a fault in `segment` or right after it. Waits for its worker."""
        sound = segment.sound if isinstance(segment.sound, int) else segment.sound.result()
        if sound < len(segment.lines):
            return _check_end(*_fault_after(segment, sound))
        if segment.fault_after is not None:
            return _check_end(self.state, segment.fault_after)
        if segment.lines:
            on_progress(len(segment.lines))
        return None

    def _segments(self) -> Iterator[_Segment]:
        """Cut the log into segments at its snapshots, and begin to check each.

        Ends at the first commit that can't be folded.
        """
        lines = self._source.lines(self.state.position)
        for snapshot in [*self._snapshots, POSITION_MAX]:
            while (start := self.state).position < snapshot:
                some, fault = _take(lines, min(self._next_count(), snapshot - start.position), start.position)
                folding = start.mutate()
                sound, passed = self._check_and_fold(folding, some)
                if passed == len(some):
                    self.state = folding.finish()
                    fault = fault or self._fault_at_end(snapshot, is_at_the_end=not some)
                yield _Segment(start, some, sound, fault)
                if fault is not None or not some or passed < len(some):
                    return

    def _next_count(self) -> int:
        """Return the size of the next segment: if a worker is idle, its equal share of the rest."""
        ahead = (self._tip - self.state.position) // (1 + self._pool.size)
        return min(SEGMENT_COMMITS, max(PORTION_COMMITS, ahead)) if self._pool.is_idle() else PORTION_COMMITS

    def _check_and_fold(self, folding: StateMutation, lines: Sequence[bytes]) -> tuple[int | Task[int], int]:
        """Return how many commits are sound and how many are folded. A worker checks a long segment meanwhile."""
        if len(lines) <= PORTION_COMMITS:
            return (sound := check_lines(folding, lines)), sound
        task = self._pool.submit(partial(check_lines, folding, lines))  # a fork has its own copy
        return task, fold_lines(folding, lines)

    def _fault_at_end(self, snapshot: Position, *, is_at_the_end: bool) -> ViolationReport | None:
        """Return the fault of a snapshot at this position, or of a log that ends here."""
        if self.state.position == snapshot:
            return self._snapshot_fault(snapshot)
        return self._rollback_fault() if is_at_the_end else None

    def _snapshot_fault(self, snapshot: Position) -> ViolationReport | None:
        stored = self._source.snapshot(snapshot)
        if stored.tip.position != snapshot:
            is_the_same = snapshot not in self._source.snapshots()  # a running broker may have dropped it meanwhile
        else:
            is_the_same = stored.tip == self.state.tip and stored.state == self.state
        what = "the snapshot that is stored here is not what the log says, or can't be read"
        return None if is_the_same else ViolationReport(Violation(6, snapshot, what))

    def _rollback_fault(self) -> ViolationReport | None:
        """Return the fault of a log that ends before its newest snapshot."""
        newest = max(self._snapshots, default=0)
        if newest <= self.state.position:
            return None
        what = f"the log ends here, and a snapshot of it at position {newest} says that it went on"
        return ViolationReport(Violation(5, self.state.position, what))


def _take(lines: Iterator[bytes], count: int, position: Position) -> tuple[Sequence[bytes], ViolationReport | None]:
    """Return up to `count` lines after `position`, and the fault of the first unreadable one."""
    taken: list[bytes] = []
    try:
        taken.extend(islice(lines, count))
    except (UnreadableCommitError, UnusableLogError) as error:
        return taken, ViolationReport(Violation(5, position + len(taken) + 1, safe(str(error))))
    return taken, None


def _fault_after(segment: _Segment, sound: int) -> tuple[State, ViolationReport]:
    """Return the state after `sound` commits of `segment`, and the fault of the next one."""
    folding = segment.start.mutate()
    fold_lines(folding, segment.lines[:sound])
    state = folding.finish()
    try:
        commit = decode_commit(segment.lines[sound])
        check_link(state.tip, commit)
    except (BrokenChainError, UnreadableCommitError) as error:
        return state, ViolationReport(Violation(5, state.position + 1, safe(str(error))))
    return state, explain(state, commit)
