"""A process's access to the store: an `EventLog` whose calls travel there and back, and may be lost.

A call goes on without its caller: the append of a process that has died meanwhile may land after the start of its
successor. Without faults it keeps the contract of every log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, TypeVar

from events.commit import Commit, Tip
from events.ids import Position
from events.log import (
    MISSED_COMMITS_MAX,
    TURN_MS,
    Conflict,
    DeliveryRecord,
    LogUnavailableError,
    OperationRecord,
    Snapshot,
    UnusableLogError,
)
from events.session_records import SessionRecords
from tests.simulation.channel import SimChannel, SimCoordination
from tests.simulation.disk import Disk
from tests.simulation.faults import Faults
from tests.simulation.loop import SimLoop
from tests.simulation.sometimes import Sometimes
from tests.support.turns import Leave

T = TypeVar("T")

ANSWER_MS = 2.0
SLOW_MS = 900.0
HANG_MS = 12_000.0
FOLLOWED_PAGE = 50


class _Fate(NamedTuple):
    """The fate of an append: its time under way, and whether it or its answer is lost."""

    there_ms: float
    back_ms: float
    lost: bool = False
    unheard: bool = False


def _fate_of_an_append(faults: Faults) -> _Fate:
    there_ms, back_ms = faults.some(ANSWER_MS), faults.some(ANSWER_MS)
    if faults.strike("append slow"):
        there_ms, back_ms = faults.some(SLOW_MS), faults.some(SLOW_MS)
    if faults.strike("append hung"):
        return _Fate(HANG_MS * faults.random.random(), back_ms, lost=True)
    if faults.strike("append hung and landed"):
        return _Fate(HANG_MS * faults.random.random(), HANG_MS * faults.random.random(), unheard=True)
    if faults.strike("append failed"):
        return _Fate(there_ms, back_ms, lost=True)
    return _Fate(there_ms, back_ms, unheard=faults.strike("append landed unanswered"))


class StoreClient:
    """An `EventLog` over a `Disk`, from within a process."""

    survives = "what the disk survives"
    never_waits = False
    keeps_delivery_records = True
    keeps_operation_records = False

    def __init__(
        self,
        disk: Disk,
        loop: SimLoop,
        faults: Faults,
        sometimes: Sometimes,
        *,
        channel: SimChannel | None = None,
        lag_ms: float = 0.0,
    ) -> None:
        """Connect to `disk`; a shared log has a `channel`, and its followers lag by at most `lag_ms`."""
        self.disk = disk
        self.is_shared = channel is not None
        self.cut_until_ms = 0.0
        self.coordination = SimCoordination(channel, loop, self.is_cut) if channel is not None else None
        self.on_append: Callable[[Sequence[Commit]], None] = lambda commits: None
        self._loop = loop
        self._world = loop.world
        self._faults = faults
        self._sometimes = sometimes
        self._base = disk.base
        self._lag_ms = lag_ms
        self._grown = asyncio.Event()
        self._end_turn: Leave = lambda: False
        self.is_contended = False
        self._closed = False
        disk.on_grown.append(self._disk_has_grown)

    def is_cut(self) -> bool:
        """Return whether the process can't reach the store."""
        return self._world.now_ms < self.cut_until_ms

    def cut(self, for_ms: float) -> None:
        """Cut the connection for a while."""
        self.cut_until_ms = self._world.now_ms + for_ms
        if self.coordination is not None:
            self.coordination.cut()

    @property
    def epoch(self) -> str:
        """The epoch of the log."""
        return self.disk.epoch

    @property
    def base(self) -> Tip:
        """The base as of the last answer."""
        return self._base

    @property
    def session_records(self) -> SessionRecords:
        """See `EventLog.session_records`; these calls have no faults."""
        return self.disk.session_records

    @property
    def redacted_to(self) -> Position:
        """See `EventLog.redacted_to`."""
        return self.disk.redacted_to

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Travel to the disk, append there, and return with the answer; it may be lost at any point."""
        self.on_append(commits)
        commits, fate, end_turn = list(commits), _fate_of_an_append(self._faults), self._end_turn

        def land() -> Tip:
            if fate.lost:
                raise LogUnavailableError("the store does not answer")
            had_turn = end_turn()
            before = self.disk.tip
            tip = self.disk.append(commits, expected)
            self.is_contended = not had_turn and bool(self.disk.turns)
            self._note_landing(fate, has_moved=tip != before)
            if fate.unheard:
                raise LogUnavailableError("the store did not answer")
            return tip

        return await self._call(f"append {[c.position for c in commits]}", land, fate.there_ms, fate.back_ms)

    def _note_landing(self, fate: _Fate, *, has_moved: bool) -> None:
        if has_moved and self._loop.dead:
            self._sometimes.reached("an append of a dead process landed")
        if has_moved and fate.unheard:
            self._sometimes.reached("an append landed and was not answered")
        if not has_moved and not fate.unheard:
            self._sometimes.reached("an append that had landed was answered as done")

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """See `EventLog.read`."""
        return await self._read(f"read {after}", lambda: self.disk.read(after, limit))

    async def follow(self, after: Position) -> AsyncIterator[Commit]:
        """See `EventLog.follow`."""
        while not self._closed:
            self._grown.clear()
            for commit in (commits := await self.read(after, FOLLOWED_PAGE)):
                yield commit
                after = commit.position
            if not commits and not self._closed:
                await self._grown.wait()

    async def tip(self) -> Tip:
        """See `EventLog.tip`."""
        return await self._read("tip", lambda: self.disk.tip)

    @asynccontextmanager
    async def turn(self, after: Position) -> AsyncIterator[Sequence[Commit]]:
        """See `EventLog.turn`. A process that dies does not leave the line."""
        if not self.is_shared:
            yield ()
            return
        turn = _Turn(self.disk, self._loop, self._faults, after)
        self._end_turn = turn.end
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(turn.missed), TURN_MS / 1_000)
            self._sometimes.reached("a turn was taken" if turn.missed.done() else "a turn was done without")
            yield turn.missed.result() if turn.missed.done() else ()
        finally:
            if not self._loop.dead:
                self._world.after(self._faults.some(ANSWER_MS), turn.end)

    async def newest_snapshot(self) -> Snapshot | None:
        """See `EventLog.newest_snapshot`."""

        def passed_over() -> None:
            self._sometimes.reached("a snapshot was unreadable, and an older one or none served")

        snapshot = await self._read("newest snapshot", lambda: self.disk.newest_snapshot(passed_over))
        if snapshot is not None:
            self._sometimes.reached("a start from a snapshot")
        return snapshot

    async def save(self, snapshot: Snapshot) -> None:
        """See `EventLog.save`; it may be lost or spoilt."""

        def save() -> None:
            if not self._faults.strike("snapshot lost"):
                self.disk.save(snapshot)
                if self._faults.strikes("snapshot spoilt") and self.disk.spoil_newest_snapshot(
                    self._faults.random.randrange(1 << 20)
                ):
                    self._faults.happens("snapshot spoilt")

        with suppress(LogUnavailableError):
            await self._call(f"save {snapshot.tip.position}", save, self._faults.some(SLOW_MS), 0)

    async def compact(self, snapshot: Snapshot) -> None:
        """See `EventLog.compact`."""
        fails = self._faults.strike("compact failed")

        def compact() -> None:
            if fails:
                raise LogUnavailableError("the store does not answer")
            self.disk.compact(snapshot)

        await self._call(f"compact {snapshot.tip.position}", compact, self._faults.some(ANSWER_MS), 0)

    async def redact(self, positions: Sequence[Position], *, done_to: Position, snapshots_before: Position = 0) -> None:
        """See `EventLog.redact`."""
        fails, positions = self._faults.strike("redact failed"), list(positions)

        def redact() -> None:
            if fails:
                raise LogUnavailableError("the store does not answer")
            self.disk.redact(positions, done_to, snapshots_before)

        await self._call(f"redact {positions}", redact, self._faults.some(ANSWER_MS), 0)

    async def record(
        self, delivery_records: Sequence[DeliveryRecord], operation_records: Sequence[OperationRecord] = ()
    ) -> None:
        """See `EventLog.record`; the records are dropped."""

    async def probe(self) -> None:
        """See `EventLog.probe`; it fails as a read does."""
        await self._read("probe", lambda: None)

    async def close(self) -> None:
        """See `EventLog.close`."""
        self._closed = True
        if self._disk_has_grown in self.disk.on_grown:
            self.disk.on_grown.remove(self._disk_has_grown)
        self._grown.set()

    async def _read(self, what: str, work: Callable[[], T]) -> T:
        faults = self._faults
        slow = faults.strike("read slow")
        there, back = (faults.some(SLOW_MS if slow else ANSWER_MS) for _ in range(2))
        if faults.strike("read failed"):
            raise LogUnavailableError("the store does not answer")
        return await self._call(what, work, there, back)

    async def _call(self, what: str, work: Callable[[], T], there_ms: float, back_ms: float) -> T:
        """Do `work` at the store, even if the caller has gone, and return with the result."""
        world, answer = self._world, self._loop.create_future()

        def arrive() -> None:
            try:
                if self.is_cut():
                    raise LogUnavailableError("the store can't be reached")
                result, error = work(), None
            except (Conflict, LogUnavailableError, UnusableLogError) as refused:
                result, error = None, refused
            outcome = type(error).__name__ if error is not None else "done"
            world.note("store", f"{self._loop.name}: {what}: {outcome}")
            world.after(back_ms, come_back, result, error, self.disk.base)

        def come_back(result: T, error: Exception | None, base: Tip) -> None:
            if self._loop.dead or answer.done():
                return
            self._base = max(self._base, base)
            if self.is_cut():
                error = LogUnavailableError("the answer can't be reached")
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)

        world.after(there_ms, arrive)
        result: T = await answer
        return result

    def _disk_has_grown(self) -> None:
        if self._loop.dead:
            self.disk.on_grown.remove(self._disk_has_grown)
        elif self._lag_ms:
            self._world.after(self._lag_ms * self._faults.random.random(), self._grown.set)
        else:
            self._grown.set()


class _Turn:
    """A requested turn: on its way, in line, held, or over."""

    def __init__(self, disk: Disk, loop: SimLoop, faults: Faults, after: Position) -> None:
        self.missed: asyncio.Future[Sequence[Commit]] = loop.create_future()
        self._disk = disk
        self._loop = loop
        self._faults = faults
        self._after = after
        self._leave: Leave = lambda: False
        self._is_over = False
        loop.world.after(faults.some(ANSWER_MS), self._arrive)

    def _arrive(self) -> None:
        if not self._is_over:
            self._leave = self._disk.turns.join(self._come)

    def _come(self) -> None:
        missed = self._disk.next(self._after, MISSED_COMMITS_MAX)
        self._loop.world.after(self._faults.some(ANSWER_MS), self._come_back, missed)

    def _come_back(self, missed: Sequence[Commit]) -> None:
        if not self._loop.dead and not self.missed.done():
            self.missed.set_result(missed)

    def end(self) -> bool:
        """Leave the line at the store, or pass the turn on; return whether it was a turn."""
        self._is_over = True
        return self._leave()
