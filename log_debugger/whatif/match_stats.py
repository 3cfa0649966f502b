"""Who met whom, and how long everybody waited: what a matching is judged by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from events.events import Event, PolicyAdopted, QueueEntered, QueueLeft, RoomOpened
from events.ids import ConnectionId
from projections.state import State

MatchedPair = tuple[ConnectionId, ConnectionId]
"""Two people who met, in the order of their ids."""


class MatchSummary(msgspec.Struct, frozen=True):
    """What came of it, in numbers. A time is within how long so many of those who met somebody did; 0 if nobody did."""

    pairs: int
    half_met_within_ms: int
    nine_in_ten_met_within_ms: int
    all_met_within_ms: int
    gave_up: int
    left_waiting: list[ConnectionId]  # at the end, the longest first


class MatchStats:
    """Counts the meetings in one world; who and what comes first there stands first in it."""

    def __init__(self, base: State) -> None:
        self.pairs: Counter[MatchedPair] = Counter()
        self.matchings: dict[str, None] = {}
        """Those that were in force when somebody entered the queue."""
        self.names = {who: known.display_name for who, known in sorted(base.connections.by_id.items())}
        self.waited_ms: dict[ConnectionId, int] = {}
        """How long each waited in all, whatever came of it."""
        self._policy = base.policy
        self._gave_up = 0
        self._met_ms: list[int] = []
        self._since = {who: base.connections.by_id[who].last_at_ms for who in sorted(base.queue.entered)}

    def record(self, events: Sequence[Event], at_ms: int) -> None:
        """Take in one commit's events."""
        for event in events:
            match event:
                case QueueEntered(connection_id=who, display_name=name):
                    self.names[who], self._since[who] = name, at_ms
                    self.matchings[self._policy.matching] = None
                case QueueLeft(connection_id=who):
                    self._end(who, at_ms)
                    self._gave_up += 1
                case RoomOpened(first=first, second=second):
                    self.pairs[min(first, second), max(first, second)] += 1
                    self._met_ms += [self._end(first, at_ms), self._end(second, at_ms)]
                case PolicyAdopted(policy=policy):
                    self._policy = policy

    def finish(self, at_ms: int) -> MatchSummary:
        """The numbers, once everything has been noted that happened up to then."""
        waiting = sorted(self._since, key=lambda who: (self._since[who], who))
        for who in waiting:
            self._end(who, at_ms)
        met = sorted(self._met_ms)
        pairs = self.pairs.total()
        return MatchSummary(pairs, _share(met, 50), _share(met, 90), _share(met, 100), self._gave_up, waiting)

    def _end(self, who: ConnectionId, at_ms: int) -> int:
        waited_ms = at_ms - self._since.pop(who, at_ms)
        self.waited_ms[who] = self.waited_ms.get(who, 0) + waited_ms
        return waited_ms


def _share(ordered: Sequence[int], percent: int) -> int:
    """The lowest that so many percent of `ordered` do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else 0
