"""Going on in a log that somebody may trim at any moment: the next commits, or what stands in for them."""

from __future__ import annotations

from collections.abc import Sequence

from events.commit import BrokenChainError, Commit
from events.ids import Position
from events.log import EventLog, Snapshot

READ_PAGE = 1_000


async def read_on(log: EventLog, position: Position) -> Sequence[Commit] | Snapshot:
    """The commits next behind `position`, none at the end of `log`; a snapshot further on where they are gone.

    Raises:
        BrokenChainError: they are gone, and nothing stands in for them.
        LogUnavailableError: the store did not answer.
    """
    commits = await log.read(position, READ_PAGE)
    next_position = commits[0].position if commits else log.base.position + 1
    if next_position <= position + 1:
        return commits
    snapshot = await log.newest_snapshot()
    if snapshot is None or snapshot.tip.position <= position:
        raise BrokenChainError(f"the commits behind position {position} are gone")
    return snapshot
