"""Timing of snapshots: they bound the commits to fold at start, and the commits held by a log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from broker.clock import Clock
from broker.outage_lines import OutageLines
from events.commit import BrokenChainError, Commit
from events.ids import Position
from events.log import EventLog, LogRolledBackError, LogUnavailableError, Snapshot, UnusableLogError
from projections.state import State


class SnapshotKeeper:
    """Saves a snapshot every so many commits, and compacts a log of limited length."""

    def __init__(self, log: EventLog, clock: Clock, keep_commits: int | None, is_caretaker: Callable[[], bool]) -> None:
        """Do nothing unless `is_caretaker`: of the brokers of a shared log, one suffices."""
        self._log = log
        self._is_caretaker = is_caretaker
        self._keep_commits = keep_commits
        self._outage = OutageLines(clock, "compaction_failed", "compaction_resumed")
        self._halfway: Snapshot | None = None
        self._saved_position = 0
        self._working: asyncio.Task[None] | None = None  # it saves or compacts

    def start_at(self, position: Position) -> None:
        """Record that the log was folded from the snapshot at `position` on."""
        self._saved_position = position

    async def on_committed(self, state: State) -> None:
        """Save or compact if due, now that `state` is stored. A task does it, so no batch waits for a snapshot.

        In a log that never waits, the commits are gone when this returns.
        """
        if state.tip.position - self._saved_position >= state.policy.snapshot_every_commits and self._is_free():
            self._saved_position = state.position
            if self._is_caretaker():
                self._working = asyncio.get_running_loop().create_task(self._log.save(Snapshot(state.tip, state)))
        if self._keep_commits is not None:
            await self._bound(state, self._keep_commits)

    def stop(self) -> None:
        """Cancel the snapshot in progress: a later start does without it."""
        if self._working is not None:
            self._working.cancel()

    def _is_free(self) -> bool:
        return self._working is None or self._working.done()

    async def _bound(self, state: State, keep_commits: int) -> None:
        """Compact a log of `keep_commits` commits to the state half its length ago.

        Each broker remembers such a state, so that it has one when it becomes the caretaker. If it has none that is old
        enough, it waits until it does.
        """
        base, half = self._log.base.position, keep_commits // 2
        held, halfway = state.position - base, self._halfway
        if held < half:
            return
        if halfway is None or halfway.tip.position <= base:
            self._halfway = Snapshot(state.tip, state)
        elif held >= keep_commits and state.position - halfway.tip.position >= half and self._is_free():
            self._halfway = Snapshot(state.tip, state)
            if self._log.never_waits:
                await self._log.compact(halfway)
            elif self._is_caretaker():
                self._working = asyncio.get_running_loop().create_task(self._compact(halfway))

    async def _compact(self, halfway: Snapshot) -> None:
        try:
            await self._log.compact(halfway)
        except (LogUnavailableError, LogRolledBackError, UnusableLogError) as error:
            self._outage.failed(error)
            self._halfway = halfway  # the next batch tries again
        else:
            self._outage.succeeded()


READ_PAGE = 1_000


async def read_next_page(log: EventLog, position: Position) -> Sequence[Commit] | Snapshot:
    """Return the next commits after `position`, none at the end of `log`; a later snapshot if they are gone.

    Raises:
        BrokenChainError: they are gone, and no snapshot replaces them.
        LogUnavailableError: the store did not answer.
    """
    commits = await log.read(position, READ_PAGE)
    next_position = commits[0].position if commits else log.base.position + 1
    if next_position <= position + 1:
        return commits
    snapshot = await log.newest_snapshot()
    if snapshot is None or snapshot.tip.position <= position:
        raise BrokenChainError(f"the commits after position {position} are gone")
    return snapshot
