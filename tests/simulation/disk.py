"""The store, alone to outlive every process: compare-and-append, and states as lines of JSON beside the commits.

Each operation is immediate and whole; delays, failures and losses on the way are in `store_client`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from events.commit import EMPTY_TIP, Commit, Tip, redact
from events.ids import Position
from events.log import (
    MISSED_COMMITS_MAX,
    Conflict,
    LogUnavailableError,
    Snapshot,
    UnreadableSnapshotError,
    UnusableLogError,
)
from events.session_records import MemorySessionRecords
from projections.snapshots import STATE_CODEC
from projections.state import INITIAL_STATE, State, evolve
from tests.support.turns import TurnLine

SNAPSHOTS_KEPT = 3


class Disk:
    """One log's commits, base and snapshots, and the line of its writers."""

    def __init__(self, epoch: str, turns: TurnLine) -> None:
        self.epoch = epoch
        self.turns = turns
        self.redacted_to: Position = 0
        self.session_records = MemorySessionRecords(epoch.encode())
        self.base: Tip = EMPTY_TIP
        self.commits: list[Commit] = []  # including the trimmed ones, up to the base
        self.state: State = INITIAL_STATE  # folded here, commit by commit
        self.on_commit: Callable[[State, Commit, State], None] = lambda before, commit, after: None
        self.on_redact: Callable[[Sequence[Position]], None] = lambda positions: None
        self.on_grown: list[Callable[[], None]] = []
        self._snapshots: list[tuple[Tip, list[bytes]]] = []
        self._base_snapshot: Snapshot | None = None
        self._states: dict[Position, State] = {}

    @property
    def tip(self) -> Tip:
        """The tip of the last commit."""
        return self.state.tip

    def state_at(self, position: Position) -> State | None:
        """Return the state after `position`; `None` if it is too old."""
        return INITIAL_STATE if position == 0 else self._states.get(position)

    def append(self, commits: Sequence[Commit], expected: Tip) -> Tip:
        """See `EventLog.append`.

        Raises:
            Conflict: the tip is another.
        """
        if expected != self.tip:
            start = commits[0].position - 1 if commits else len(self.commits)
            stored = self.commits[start : start + len(commits)] if start >= self.base.position else []
            if not commits or [c.commit_id for c in stored] != [c.commit_id for c in commits]:
                raise Conflict(self._missed(expected))
            return self.tip
        for commit in commits:
            before, after = self.state, evolve(self.state, commit)
            self.commits.append(commit)
            self.state = self._states[commit.position] = after
            self._states.pop(commit.position - 400, None)
            self.on_commit(before, commit, after)
        if commits:
            for woken in tuple(self.on_grown):
                woken()
        return self.tip

    def read(self, after: Position, limit: int) -> Sequence[Commit]:
        """See `EventLog.read`."""
        start = max(after, self.base.position)
        return self.commits[start : start + limit]

    def _missed(self, expected: Tip) -> Sequence[Commit]:
        """Return the commits after `expected`; none if the log never had that tip, or has trimmed commits after it."""
        had = expected in (EMPTY_TIP, self.base) or (
            0 < expected.position <= len(self.commits) and self.commits[expected.position - 1].tip == expected
        )
        return self.next(expected.position, MISSED_COMMITS_MAX) if had else ()

    def next(self, after: Position, limit: int) -> Sequence[Commit]:
        """Return the commits right after `after`; none if some of them are trimmed."""
        return self.read(after, limit) if after >= self.base.position else ()

    def newest_snapshot(self, passed_over: Callable[[], None]) -> Snapshot | None:
        """See `EventLog.newest_snapshot`; call `passed_over` for each unreadable one.

        Raises:
            UnusableLogError: see there.
        """
        for tip, lines in reversed(self._snapshots):
            if tip.position >= self.base.position:
                try:
                    return Snapshot(tip, STATE_CODEC.decode(lines))
                except UnreadableSnapshotError:
                    passed_over()
        if self.base == EMPTY_TIP:
            return None
        if self._base_snapshot is None:
            raise UnusableLogError("commits are gone, and nothing stands in for them")
        return self._base_snapshot

    def save(self, snapshot: Snapshot) -> None:
        """See `EventLog.save`."""
        if snapshot.tip.position >= self.base.position:
            self._snapshots.append((snapshot.tip, list(STATE_CODEC.encode(snapshot.state))))
            del self._snapshots[:-SNAPSHOTS_KEPT]

    def spoil_newest_snapshot(self, byte: int) -> bool:
        """Flip a bit of the newest snapshot; return whether there was one."""
        if not self._snapshots:
            return False
        tip, lines = self._snapshots.pop()
        whole = bytearray(b"\n".join(lines))
        whole[byte % len(whole)] ^= 1
        self._snapshots.append((tip, bytes(whole).split(b"\n")))
        return True

    def compact(self, snapshot: Snapshot) -> None:
        """See `EventLog.compact`."""
        if snapshot.tip.position > self.base.position:
            assert self.commits[snapshot.tip.position - 1].tip == snapshot.tip, "a snapshot of another log"
            self.base, self._base_snapshot = snapshot.tip, Snapshot(snapshot.tip, _written_and_read(snapshot.state))

    def trim(self, keep: int) -> bool:
        """Shorten the log to its newest `keep` commits, as another program would; return whether it was longer."""
        state = self._states.get(self.tip.position - keep)
        if state is None or state.position <= self.base.position:
            return False
        self.compact(Snapshot(state.tip, state))
        return True

    def redact(self, positions: Sequence[Position], done_to: Position, snapshots_before: Position) -> None:
        """See `EventLog.redact`."""
        self.on_redact(positions)
        self._snapshots = [kept for kept in self._snapshots if kept[0].position >= snapshots_before]
        for position in positions:
            if self.base.position < position <= len(self.commits):
                self.commits[position - 1] = redact(self.commits[position - 1])
        self.redacted_to = max(self.redacted_to, done_to)


def _written_and_read(state: State) -> State:
    """Return `state` as read back from a file.

    Raises:
        LogUnavailableError: never; a state that can't be read back is a bug, and this names it.
    """
    try:
        return STATE_CODEC.decode(STATE_CODEC.encode(state))
    except UnreadableSnapshotError as error:
        raise LogUnavailableError(f"a state that can't be read back: {error}") from error
