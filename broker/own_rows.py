"""The rows of this broker in the roster: which connections it hears, told to the others as edges.

A connection that waits or chats is told of once it is heard. Its end is told `linger_ms` later, with its age, and not
at all if it is heard again meanwhile. So a client that calls, and calls again, costs no row. A connection heard first
by a short call is told of at once. Connections that are nowhere are not told of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from broker.notes import Gone
from events.ids import ConnectionId

NEVER = -1.0


class Activity(Protocol):
    """The signs of life of one connection at this broker."""

    connection_id: ConnectionId
    streams: int
    calls: int
    stream_closed_ms: float
    call_over_ms: float
    heard_ms: float


class Rows(NamedTuple):
    """What to tell of connections."""

    here: list[ConnectionId]
    gone: list[Gone]


class _Told(NamedTuple):
    """What the others were told last of a connection."""

    is_here: bool
    end_ms: float  # when a call or a stream ended last, as was told
    told_ms: float


class OwnRows:
    """What the other brokers were told, and what they are still to be told."""

    def __init__(self, is_idle: Callable[[ConnectionId], bool], linger_ms: Callable[[], float]) -> None:
        """Take `linger_ms`, a quarter of the shortest grace at most, so no end is told after its grace."""
        self._is_idle = is_idle
        self._linger_ms = linger_ms
        self._touched: dict[ConnectionId, Activity] = {}
        self._lingering: list[tuple[float, ConnectionId]] = []  # a heap
        self._last: dict[ConnectionId, Activity] = {}  # of those that linger
        self._told: dict[ConnectionId, _Told] = {}

    def touch(self, activity: Activity) -> None:
        """Note that it begins to be heard, or is heard no more; or that it has come to wait or chat."""
        self._touched[activity.connection_id] = activity

    @property
    def has_news(self) -> bool:
        """Return whether something was touched since the last rows."""
        return bool(self._touched)

    def take(self, now_ms: float, *, is_final: bool = False) -> Rows:
        """Return what to tell now; nothing lingers if `is_final`."""
        while self._lingering and (is_final or self._lingering[0][0] <= now_ms):
            who = heappop(self._lingering)[1]
            if who in self._last:
                self._touched.setdefault(who, self._last.pop(who))
        rows = Rows([], [])
        touched, self._touched = self._touched, {}
        for who, activity in touched.items():
            self._last.pop(who, None)
            if activity.streams or activity.calls:
                self._tell_here(who, now_ms, rows)
            else:
                self._tell_gone(who, activity, now_ms, rows, is_final=is_final)
        return rows

    def take_all(self, activities: Iterable[Activity], now_ms: float) -> Rows:
        """Return rows of all connections heard here, those gone included."""
        rows = Rows([], [])
        self._touched.clear()
        self._last.clear()
        self._lingering.clear()
        self._told.clear()
        for activity in activities:
            who = activity.connection_id
            if self._is_idle(who):
                continue
            if activity.streams or activity.calls:
                self._tell_here(who, now_ms, rows)
            elif activity.heard_ms != NEVER:
                rows.gone.append(_gone(activity, now_ms))
                self._told[who] = _Told(is_here=False, end_ms=activity.heard_ms, told_ms=now_ms)
        return rows

    def forget(self) -> None:
        """Drop what was told of connections that have gone and are idle."""
        for who in [who for who, told in self._told.items() if not told.is_here and self._is_idle(who)]:
            del self._told[who]

    def _tell_here(self, who: ConnectionId, now_ms: float, rows: Rows) -> None:
        told = self._told.get(who)
        if (told is None or not told.is_here) and not self._is_idle(who):
            rows.here.append(who)
            self._told[who] = _Told(is_here=True, end_ms=NEVER, told_ms=now_ms)

    def _tell_gone(self, who: ConnectionId, activity: Activity, now_ms: float, rows: Rows, *, is_final: bool) -> None:
        told, end_ms = self._told.get(who), activity.heard_ms
        if end_ms == NEVER or (self._is_idle(who) and (told is None or not told.is_here)):
            return
        due_ms = self._due_ms(told, end_ms)
        if due_ms > now_ms and not is_final:
            self._last[who] = activity
            heappush(self._lingering, (due_ms, who))
            return
        rows.gone.append(_gone(activity, now_ms))
        self._told[who] = _Told(is_here=False, end_ms=end_ms, told_ms=now_ms)

    def _due_ms(self, told: _Told | None, end_ms: float) -> float:
        """Return when an end at `end_ms` is to be told."""
        if told is None:
            return NEVER
        linger_ms = self._linger_ms()
        if told.is_here:
            return end_ms + linger_ms
        return NEVER if end_ms - told.end_ms >= linger_ms else told.told_ms + linger_ms


def _gone(activity: Activity, now_ms: float) -> Gone:
    closed_ms = activity.stream_closed_ms
    return Gone(
        activity.connection_id,
        int(now_ms - closed_ms) if closed_ms != NEVER else None,
        int(now_ms - activity.call_over_ms),
    )
