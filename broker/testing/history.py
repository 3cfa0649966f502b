"""Commits in memory as a log that can be checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from events.codec import encode_commit
from events.commit import Commit, Tip
from events.ids import Position
from events.log import Snapshot
from projections.state import INITIAL_STATE, State


class History:
    """A `CheckedLog` over `commits`, which are of the present schema and follow `before`."""

    def __init__(self, commits: Sequence[Commit], before: State = INITIAL_STATE) -> None:
        self.base = Snapshot(before.tip, before)
        self._commits = commits

    def tip(self) -> Tip:
        """See `CheckedLog.tip`."""
        return self._commits[-1].tip if self._commits else self.base.tip

    def lines(self, after: Position) -> Iterator[bytes]:
        """See `CheckedLog.lines`."""
        for commit in self._commits[max(0, after - self.base.tip.position) :]:
            yield encode_commit(commit)

    def snapshots(self) -> Sequence[Position]:
        """See `CheckedLog.snapshots`: there is none but the base."""
        return [self.base.tip.position]

    def snapshot(self, at_most: Position) -> Snapshot:
        """See `CheckedLog.snapshot`."""
        return self.base
