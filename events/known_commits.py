"""The last commits from or to a broker. They need not be decoded when they come again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from events.commit import Commit
from events.ids import Position

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

    def find(self, position: Position, commit_id: str) -> Commit | None:
        """Return the commit at `position` if it is known, and is that one."""
        known = self._by_position.get(position)
        return known if known is not None and known.commit_id == commit_id else None
