"""The commits that a broker appended or received last: what brings them again need not be decoded again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from events.commit import Commit
from events.ids import Position
from events.redis.entries import Entry, commit_of, is_redacted, position_of, with_missing

KNOWN_COMMITS_MAX = 1_024


class KnownCommits:
    """The last commits of one broker, by position.

    While several brokers write, a commit of another one comes twice: with a turn or a conflict, and to a follower.
    """

    def __init__(self) -> None:
        self._by_position: OrderedDict[Position, Commit] = OrderedDict()

    def add(self, commits: Iterable[Commit]) -> None:
        """Take commits that are in the log, or about to be appended; it does no harm if they are not."""
        for commit in commits:
            self._by_position[commit.position] = commit
        while len(self._by_position) > KNOWN_COMMITS_MAX:
            self._by_position.popitem(last=False)

    def commits_of(self, entries: Sequence[Entry], texts: Sequence[bytes | None]) -> list[Commit]:
        """Return the commits of entries; raises as `commit_of`."""
        commits = [self._commit(entry, missing) for entry, missing in with_missing(entries, texts)]
        self.add(commits)
        return commits

    def _commit(self, entry: Entry, missing: bytes | None) -> Commit:
        known = self._by_position.get(position_of(entry))
        if known is None or known.commit_id != entry[1][1].decode() or is_redacted(entry, missing):
            return commit_of(entry, missing)
        return known
