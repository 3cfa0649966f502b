"""A log that lives and dies with its process.

Ordering and atomicity come from the event loop: an append never awaits. Durability: none, which is why its
epoch is new each time. Bounded by whoever calls `compact`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence

from events.commit import EMPTY_TIP, Commit, Tip, redact
from events.ids import Position
from events.log import Conflict, DeliveryRecord, Snapshot


class MemoryLog:
    """`EventLog` over a list."""

    def __init__(self, epoch: str | None = None) -> None:
        self.epoch = epoch if epoch is not None else secrets.token_hex(8)
        self.redacted_to: Position = 0
        self._base: Snapshot | None = None
        self._commits: list[Commit] = []  # the one at position p stands at p - 1 - base position
        self._grown: asyncio.Event | None = None  # what followers at the tip wait for
        self._closed = False

    @property
    def base(self) -> Tip:
        """Up to where the commits are gone; see `EventLog.base`."""
        return self._base.tip if self._base is not None else EMPTY_TIP

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits`; see `EventLog.append`. Never suspends."""
        if expected == self._tip:
            assert not commits or commits[-1].position == expected.position + len(commits)
            self._commits.extend(commits)
            self._wake_followers()
        elif not commits or not self._has_landed(commits):
            raise Conflict
        return self._tip

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Commits behind `after`; see `EventLog.read`. Never suspends."""
        start = max(0, after - self.base.position)
        return self._commits[start : start + limit]

    async def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Each commit behind `after`; see `EventLog.follow`."""
        while not self._closed:
            commits = await self.read(after, 1_000)
            for commit in commits:
                yield commit
                after = commit.position
            if not commits:
                self._grown = self._grown or asyncio.Event()
                await self._grown.wait()

    async def tip(self) -> Tip:
        """The last commit; see `EventLog.tip`."""
        return self._tip

    async def newest_snapshot(self) -> Snapshot | None:
        """What stands in for the commits that are gone; see `EventLog.newest_snapshot`."""
        return self._base

    async def save(self, snapshot: Snapshot) -> None:
        """Nothing: there is no later start."""

    async def compact(self, snapshot: Snapshot) -> None:
        """Forget the commits that `snapshot` stands in for; see `EventLog.compact`."""
        dropped = snapshot.tip.position - self.base.position
        if dropped <= 0:
            return
        assert dropped <= len(self._commits)
        assert self._commits[dropped - 1].tip == snapshot.tip
        del self._commits[:dropped]
        self._base = snapshot

    async def redact(self, positions: Sequence[Position], *, done_to: Position) -> None:
        """Forget what was said there; see `EventLog.redact`. Never suspends."""
        for position in positions:
            index = position - 1 - self.base.position
            if 0 <= index < len(self._commits):
                self._commits[index] = redact(self._commits[index])
        self.redacted_to = done_to

    async def record(self, delivery_records: Sequence[DeliveryRecord]) -> None:
        """Nothing: nobody can look into this log later."""

    async def close(self) -> None:
        """End the followers."""
        self._closed = True
        self._wake_followers()

    @property
    def _tip(self) -> Tip:
        return self._commits[-1].tip if self._commits else self.base

    def _has_landed(self, commits: Sequence[Commit]) -> bool:
        start = commits[0].position - 1 - self.base.position
        stored = self._commits[start : start + len(commits)]  # one before the base is none of them, wherever this is
        return [c.commit_id for c in stored] == [c.commit_id for c in commits]

    def _wake_followers(self) -> None:
        grown, self._grown = self._grown, None
        if grown is not None:
            grown.set()
