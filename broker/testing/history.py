"""Commits in memory as something that the debugger can look into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from events.codec import encode_commit
from events.commit import Commit, Tip
from events.ids import ConnectionId, Position
from events.log import Handing, Snapshot
from projections.state import INITIAL_STATE, State


class History:
    """A `broker.debugger.sources.Source` over `commits`, which are of the present schema and follow `before`."""

    name = "the history"
    handings_after = None

    def __init__(self, commits: Sequence[Commit], before: State = INITIAL_STATE) -> None:
        self.base = Snapshot(before.tip, before)
        self._commits = commits

    def tip(self) -> Tip:
        """See `Source.tip`."""
        return self._commits[-1].tip if self._commits else self.base.tip

    def lines(self, after: Position) -> Iterator[bytes]:
        """See `Source.lines`."""
        for commit in self._commits[max(0, after - self.base.tip.position) :]:
            yield encode_commit(commit)

    def snapshots(self) -> Sequence[Position]:
        """See `Source.snapshots`: there is none but the base."""
        return [self.base.tip.position]

    def snapshot(self, at_most: Position) -> Snapshot:
        """See `Source.snapshot`."""
        return self.base

    def position_at(self, at_ms: int) -> Position:
        """See `Source.position_at`."""
        return max((c.position for c in self._commits if c.at_ms <= at_ms), default=self.base.tip.position)

    def handings(self, after: Position, last: Position, connection_id: ConnectionId | None) -> Sequence[Handing]:
        """See `Source.handings`: there are none."""
        return []

    def close(self) -> None:
        """Nothing is held."""
