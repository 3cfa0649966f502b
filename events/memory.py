"""A log in memory; it ends with its process.

Ordering and atomicity come from the event loop: an append never awaits. Durability: none, so the epoch is new each
time. Its size is bounded by the calls of `compact`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from events.commit import EMPTY_TIP, Commit, Tip, redact
from events.ids import Position
from events.log import MISSED_COMMITS_MAX, Conflict, DeliveryRecord, OperationRecord, Snapshot
from events.session_records import MemorySessionRecords


class MemoryLog:
    """`EventLog` over a list."""

    is_shared = False
    is_contended = False
    coordination = None
    survives = "nothing: it ends with this process"
    never_waits = True
    keeps_delivery_records = False
    keeps_operation_records = False

    def __init__(self, epoch: str | None = None) -> None:
        self.epoch = epoch if epoch is not None else secrets.token_hex(8)
        self.redacted_to: Position = 0
        self.session_records = MemorySessionRecords()
        self._base: Snapshot | None = None
        self._tip = EMPTY_TIP
        self._commits: list[Commit] = []  # index: position - 1 - base position
        self._grown: asyncio.Event | None = None  # set when the log grows; for followers at the tip
        self._closed = False

    @property
    def base(self) -> Tip:
        """The last forgotten commit; see `EventLog.base`."""
        return self._base.tip if self._base is not None else EMPTY_TIP

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits`; see `EventLog.append`. Never suspends."""
        tip = self._tip
        if expected != tip:
            if not commits or not self._has_landed(commits):
                raise Conflict(self._missed(expected))
            return tip
        assert not commits or commits[-1].position == expected.position + len(commits)
        self._commits.extend(commits)
        if self._grown is not None:
            self._wake_followers()
        if commits:
            self._tip = commits[-1].tip
        return self._tip

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Return the commits after `after`; see `EventLog.read`. Never suspends."""
        start = max(0, after - self.base.position)
        return self._commits[start : start + limit]

    async def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Follow the commits after `after`; see `EventLog.follow`."""
        while not self._closed:
            commits = await self.read(after, 1_000)
            for commit in commits:
                yield commit
                after = commit.position
            if not commits:
                self._grown = self._grown or asyncio.Event()
                await self._grown.wait()

    async def tip(self) -> Tip:
        """Return the last commit's tip; see `EventLog.tip`."""
        return self._tip

    def turn(self, after: Position) -> AbstractAsyncContextManager[Sequence[Commit]]:
        """None: there is one writer; see `EventLog.turn`."""
        return nullcontext(())

    async def newest_snapshot(self) -> Snapshot | None:
        """Return the base, if there is one; see `EventLog.newest_snapshot`."""
        return self._base

    async def save(self, snapshot: Snapshot) -> None:
        """Do nothing: there is no later start."""

    async def compact(self, snapshot: Snapshot) -> None:
        """Replace commits by `snapshot`; see `EventLog.compact`."""
        dropped = snapshot.tip.position - self.base.position
        if dropped <= 0:
            return
        assert dropped <= len(self._commits)
        assert self._commits[dropped - 1].tip == snapshot.tip
        del self._commits[:dropped]
        self._base = snapshot

    async def redact(self, positions: Sequence[Position], *, done_to: Position, snapshots_before: Position = 0) -> None:
        """Redact the texts at `positions`; see `EventLog.redact`. Never suspends."""
        for position in positions:
            index = position - 1 - self.base.position
            if 0 <= index < len(self._commits):
                self._commits[index] = redact(self._commits[index])
        self.redacted_to = max(self.redacted_to, done_to)

    async def record(
        self, delivery_records: Sequence[DeliveryRecord], operation_records: Sequence[OperationRecord] = ()
    ) -> None:
        """Nothing: nobody can look into this log later."""

    async def probe(self) -> None:
        """Nothing: memory takes every append; see `EventLog.probe`."""

    async def close(self) -> None:
        """End the followers."""
        self._closed = True
        self._wake_followers()

    def _missed(self, expected: Tip) -> Sequence[Commit]:
        """The commits after `expected`, if that is a tip which this log had."""
        start = expected.position - self.base.position
        if start < 0 or expected != (self._commits[start - 1].tip if 0 < start <= len(self._commits) else self.base):
            return ()
        return self._commits[start : start + MISSED_COMMITS_MAX]

    def _has_landed(self, commits: Sequence[Commit]) -> bool:
        start = commits[0].position - 1 - self.base.position
        stored = self._commits[start : start + len(commits)]  # a commit before the base matches none of them
        return [c.commit_id for c in stored] == [c.commit_id for c in commits]

    def _wake_followers(self) -> None:
        grown, self._grown = self._grown, None
        if grown is not None:
            grown.set()
