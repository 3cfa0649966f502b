"""The commits that a broker has stored or received, for its followers: they need not come over the network again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from events.commit import Commit
from events.ids import Position

KNOWN_COMMITS_MAX = 1_024


class KnownCommits:
    """The last commits that were stored here or came with a turn, by position, while there are followers."""

    def __init__(self) -> None:
        self._by_position: dict[Position, Commit] = {}
        self._followers = 0

    @property
    def has_followers(self) -> bool:
        """True if a follower may ask for commits."""
        return self._followers > 0

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Count one follower more."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self._by_position.clear()

    def add(self, commits: Iterable[Commit]) -> None:
        """Keep `commits`, and forget the oldest beyond `KNOWN_COMMITS_MAX`."""
        if self._followers:
            for commit in commits:
                self._by_position[commit.position] = commit
            while len(self._by_position) > KNOWN_COMMITS_MAX:
                del self._by_position[next(iter(self._by_position))]

    def after(self, position: Position) -> Sequence[Commit]:
        """Return the known commits that follow position `position` without a gap. A lone follower takes them away."""
        found = []
        while (commit := self._by_position.get(position + 1)) is not None:
            found.append(commit)
            position += 1
            if self._followers == 1:
                del self._by_position[position]
        return found

    def forget(self, positions: Iterable[Position]) -> None:
        """Forget the commits at `positions`."""
        for position in positions:
            self._by_position.pop(position, None)
