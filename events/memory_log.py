"""A log that lives and dies with its process.

Ordering and atomicity come from the event loop: an append never awaits. Durability: none, which is why its
epoch is new each time. Bounded by whoever calls `compact`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence

from events.commit import EMPTY_TIP, Commit, Tip
from events.ids import Position
from events.log import Conflict, Snapshot


class MemoryLog:
    """`EventLog` over a list."""

    def __init__(self, epoch: str | None = None) -> None:
        self.epoch = epoch if epoch is not None else secrets.token_hex(8)
        self.base: Snapshot | None = None
        self._commits: list[Commit] = []  # the one at position p stands at p - 1 - base position
        self._grown = asyncio.Event()
        self._closed = False

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits`; see `EventLog.append`. Never suspends."""
        if expected == self._tip:
            assert all(c.position == expected.position + n for n, c in enumerate(commits, 1))
            self._commits.extend(commits)
            self._wake_followers()
        elif not commits or not self._has_landed(commits):
            raise Conflict
        return self._tip

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Commits behind `after`; see `EventLog.read`. Never suspends."""
        start = max(0, after - self._base_tip.position)
        return self._commits[start : start + limit]

    async def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Each commit behind `after`; see `EventLog.follow`."""
        while not self._closed:
            grown = self._grown
            commits = await self.read(after, 1_000)
            for commit in commits:
                yield commit
                after = commit.position
            if not commits:
                await grown.wait()

    async def tip(self) -> Tip:
        """The last commit; see `EventLog.tip`."""
        return self._tip

    async def compact(self, snapshot: Snapshot) -> None:
        """Forget the commits that `snapshot` stands in for; see `EventLog.compact`."""
        dropped = snapshot.tip.position - self._base_tip.position
        if dropped <= 0:
            return
        assert dropped <= len(self._commits)
        assert self._commits[dropped - 1].tip == snapshot.tip
        del self._commits[:dropped]
        self.base = snapshot

    async def close(self) -> None:
        """End the followers."""
        self._closed = True
        self._wake_followers()

    @property
    def _base_tip(self) -> Tip:
        return self.base.tip if self.base is not None else EMPTY_TIP

    @property
    def _tip(self) -> Tip:
        return self._commits[-1].tip if self._commits else self._base_tip

    def _has_landed(self, commits: Sequence[Commit]) -> bool:
        start = commits[0].position - 1 - self._base_tip.position
        stored = self._commits[start : start + len(commits)] if start >= 0 else []
        return [c.commit_id for c in stored] == [c.commit_id for c in commits]

    def _wake_followers(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
