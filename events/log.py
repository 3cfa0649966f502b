"""The ordered log: what every backend promises.

Compare-and-append is the only coordination there is. A writer names the tip that it has folded, and the store
refuses any other; so several brokers can share a log, and none can act on a past that another has changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import msgspec

from events.commit import Commit, Tip
from events.ids import Position


class Conflict(Exception):  # noqa: N818 - the field's name for it
    """The log's tip is not the one that the writer expected; nothing was stored."""


class LogUnavailableError(Exception):
    """The store did not answer. Whether an append landed is to be found out by reading."""


class Snapshot(msgspec.Struct, frozen=True):
    """The state after the commit `tip`, kept so that the commits up to there need not be."""

    tip: Tip
    state: Any  # the fold's own type, opaque to a log


class EventLog(Protocol):
    """An append-only, totally ordered sequence of commits.

    Order: positions run from 1 without a gap. Atomicity: an append stores all of its commits or none.
    Durability: what `append` has answered survives whatever the backend says it survives.
    """

    @property
    def epoch(self) -> str:
        """Identity of this log's lifetime, without a dot; a wiped log has a new one."""
        ...

    @property
    def base(self) -> Snapshot | None:
        """What stands in for the commits that are gone; `None` where all are there."""
        ...

    async def append(self, commits: Sequence[Commit], *, expected: Tip) -> Tip:
        """Store `commits` behind `expected`, and answer the new tip.

        The same commit ids at the same positions are an append that had landed: answered as done.

        Raises:
            Conflict: the tip is another; nothing was stored.
            LogUnavailableError: the store did not answer; the append may have landed.
        """
        ...

    async def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """Up to `limit` commits behind position `after`, in order; from the base on, where `after` is below."""
        ...

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        """Each commit behind `after`, in order, exactly once; waits at the tip for the next."""
        ...

    async def tip(self) -> Tip:
        """The last commit's position and id."""
        ...

    async def compact(self, snapshot: Snapshot) -> None:
        """Let `snapshot` stand in for every commit up to its tip, and forget those.

        One at or below the present base changes nothing.
        """
        ...

    async def close(self) -> None:
        """Give back what the log holds; followers end."""
        ...
