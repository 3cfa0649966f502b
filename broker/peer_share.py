"""The share of one peer in the latest matches: near 1, it is the stranger of all others."""

from __future__ import annotations

from collections import Counter, deque

MATCHES_COUNTED = 200
"""The window: so many of the latest matches."""

MATCHES_COUNTED_MIN = 20
"""With fewer matches in the window, the share is 0: a first match would make it 1."""


class PeerShare:
    """The peers of the latest matches."""

    def __init__(self) -> None:
        self._latest: deque[frozenset[str]] = deque()
        self._counts: Counter[str] = Counter()

    def add(self, peers: frozenset[str]) -> None:
        """Count a match between members of `peers`, and no longer the oldest one."""
        self._latest.append(peers)
        self._counts.update(peers)
        if len(self._latest) > MATCHES_COUNTED:
            oldest = self._latest.popleft()
            self._counts.subtract(oldest)
            for peer in oldest:
                if not self._counts[peer]:
                    del self._counts[peer]

    def busiest(self) -> float:
        """Return the share of the matches with a member of one peer, the peer in most of them.

        With fewer than `MATCHES_COUNTED_MIN` matches it is 0.
        """
        if len(self._latest) < MATCHES_COUNTED_MIN:
            return 0.0
        return max(self._counts.values(), default=0) / len(self._latest)
