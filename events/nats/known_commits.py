"""The last commits from or to a broker. They need not be decoded when they come again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from events.commit import Commit
from events.ids import Position
from events.nats.entries import Entry, commit_of

KNOWN_COMMITS_MAX = 1_024


class KnownCommits:
    """The last commits of one broker, by position.

    While several brokers write, a commit of another one comes twice: with a turn or a conflict, and to a follower.
    """

    def __init__(self) -> None:
        self._by_position: OrderedDict[Position, Commit] = OrderedDict()

    def add(self, commits: Iterable[Commit]) -> None:
        """Take commits of the log, or of an append; it does no harm if that is refused."""
        for commit in commits:
            self._by_position[commit.position] = commit
        while len(self._by_position) > KNOWN_COMMITS_MAX:
            self._by_position.popitem(last=False)

    def commits_of(self, entries: Sequence[Entry]) -> list[Commit]:
        """Return the commits of entries; raises as `commit_of`."""
        commits = [self._commit(entry) for entry in entries]
        self.add(commits)
        return commits

    def _commit(self, entry: Entry) -> Commit:
        known = self._by_position.get(entry.position)
        if known is None or known.commit_id != entry.commit_id or entry.is_stand_in:
            return commit_of(entry)
        return known
