"""A plain `MemoryLog`, watched: each call is repeated on the simulation's store in the same step.

The broker carries a command out at once over a plain `MemoryLog` only, not over a subclass or a wrapper, so the
methods of the one object are watched, and its type stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from events.commit import Commit, Tip
from events.ids import Position
from events.log import Snapshot
from events.memory import MemoryLog
from tests.simulation.disk import Disk
from tests.simulation.loop import World


def watched_memory_log(disk: Disk, world: World, on_append: Callable[[Sequence[Commit]], None]) -> MemoryLog:
    """Return an empty log; `disk` gets the same content, and `on_append` the commits before they are stored."""
    log = MemoryLog(disk.epoch)
    log.session_records = disk.session_records  # its secret comes from the seed
    append, compact, redact = log.append, log.compact, log.redact

    async def watched_append(commits: Sequence[Commit], *, expected: Tip) -> Tip:
        on_append(commits)
        tip = await append(commits, expected=expected)
        world.note("memory", f"append {[commit.position for commit in commits]}")
        if disk.append(commits, expected) != tip:
            world.fail(f"the log in memory ends at {tip}, and what was appended to it at {disk.tip}")
        return tip

    async def watched_compact(snapshot: Snapshot) -> None:
        await compact(snapshot)
        disk.compact(snapshot)

    async def watched_redact(
        positions: Sequence[Position], *, done_to: Position, snapshots_before: Position = 0
    ) -> None:
        await redact(positions, done_to=done_to, snapshots_before=snapshots_before)
        disk.redact(positions, done_to, snapshots_before)

    log.append = watched_append
    log.compact = watched_compact
    log.redact = watched_redact
    return log
