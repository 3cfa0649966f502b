"""Statistics of matches: pairs and waiting times."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from events.events import Event, MessageSent, QueueEntered, QueueLeft, RoomClosed, RoomOpened
from events.ids import ConnectionId, Position
from log_debugger.reading.short_names import plain_name
from projections.state import State

MatchedPair = tuple[ConnectionId, ConnectionId]
"""Two matched connections, ordered by id."""


class Moment(msgspec.Struct, frozen=True, gc=False, order=True):
    """The time of a match, in a log or in a run.

    `position` is that of the log's commit that leads to it. If `is_after`, the end of someone's patience leads to it,
    after that commit and before the next.
    """

    position: Position
    is_after: bool
    at_ms: int


class MatchSummary(msgspec.Struct, frozen=True):
    """The results of a run. A time is the longest wait among that share of those matched; 0 if there are none."""

    pairs: int
    missed: int  # matches of these pairs
    half_met_within_ms: int
    nine_in_ten_met_within_ms: int
    all_met_within_ms: int
    gave_up: int
    left_waiting: list[ConnectionId]  # at the end, the longest first
    messages: int


class MatchStats:
    """Counts the matches of one run; collections keep the order of first occurrence."""

    def __init__(self, base: State) -> None:
        people = base.connections.by_id
        self.meetings: dict[MatchedPair, list[Moment]] = {}
        self.names = {who: plain_name(known.display_name) for who, known in sorted(people.items())}
        self.waited_ms: dict[ConnectionId, int] = {}
        """The total waiting time of each, matched or not."""
        self._gave_up = self._missed = self._messages = 0
        self._met_ms: list[int] = []
        self._since = {who: people[who].waiting_since_ms() for who in sorted(base.queue.entered)}

    def record(self, events: Sequence[Event], at_ms: int, position: Position, *, is_after: bool = False) -> None:
        """Count the events of one commit. See `Moment` for `position` and `is_after`."""
        for event in events:
            if type(event) is MessageSent:  # nearly all of them
                self._messages += 1
                continue
            match event:
                case QueueEntered(connection_id=who, display_name=name):
                    self.names[who], self._since[who] = plain_name(name), at_ms
                case QueueLeft(connection_id=who):
                    self._end(who, at_ms)
                    self._gave_up += 1
                case RoomOpened(first=first, second=second):
                    pair = min(first, second), max(first, second)
                    self.meetings.setdefault(pair, []).append(Moment(position, is_after, at_ms))
                    self._met_ms += [self._end(first, at_ms), self._end(second, at_ms)]
                case RoomClosed(missed_by=missed_by):
                    self._missed += bool(missed_by)

    def finish(self, at_ms: int) -> MatchSummary:
        """Return the results at `at_ms`, after all events up to then were recorded."""
        waiting = sorted(self._since, key=lambda who: (self._since[who], who))
        for who in waiting:
            self._end(who, at_ms)
        met = sorted(self._met_ms)
        pairs = sum(map(len, self.meetings.values()))
        half, nine_in_ten, all_of_them = (_share(met, percent) for percent in (50, 90, 100))
        return MatchSummary(pairs, self._missed, half, nine_in_ten, all_of_them, self._gave_up, waiting, self._messages)

    def _end(self, who: ConnectionId, at_ms: int) -> int:
        waited_ms = at_ms - self._since.pop(who, at_ms)
        self.waited_ms[who] = self.waited_ms.get(who, 0) + waited_ms
        return waited_ms


def _share(ordered: Sequence[int], percent: int) -> int:
    """Return the smallest value at or above `percent` percent of `ordered`."""
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else 0
