"""Presence of connections. The only evidence is an open stream, a call in flight, or the time since either.

While a stream is open or a call of the connection is in flight, it is present. Otherwise it is absent from
max(last stream closed + stream grace, last call over + idle grace of its place) on. Deadlines are kept in one heap
with one timer. After a postponed deadline, a connection is checked when its old entry comes up, so being active costs
nothing but a note of the time. A move to a place with a shorter grace adds an entry, so a connection has at most as
many entries as moves within a grace (`queue_commands_per_10s_max`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from heapq import heappop, heappush

from broker.clock import Clock, Timer
from broker.hub import participants
from events.commands import AbsenceReason, Disconnect
from events.commit import Commit
from events.events import MessageSent
from events.ids import ConnectionId
from events.policy import Policy
from projections.connections import Chatting, Idle
from projections.state import State

NEVER = -1.0
LOOK_AGAIN_MS = 1_000


class _Activity:
    """The signs of life of one connection."""

    __slots__ = ("call_over_ms", "calls", "heard_ms", "next_check_ms", "stream_closed_ms", "streams")

    def __init__(self, now_ms: float) -> None:
        self.streams = 0
        self.calls = 0
        self.stream_closed_ms = NEVER
        self.call_over_ms = now_ms  # at first, when it was first heard of
        self.heard_ms = NEVER  # when a call or a stream of it ended last
        self.next_check_ms: float | None = None  # when its earliest entry in the heap comes up


class Presence:
    """Activity of every connection that waits or chats, listens or calls."""

    def __init__(self, clock: Clock, state_now: Callable[[], State]) -> None:
        self.on_absent: Callable[[Disconnect], None] = lambda command: None
        """Called with the command to take out an absent connection, at its deadline."""
        self._clock = clock
        self._state_now = state_now
        self._activities: dict[ConnectionId, _Activity] = {}
        self._heap: list[tuple[float, ConnectionId]] = []
        self._timer: Timer | None = None
        self._timer_at_ms = 0.0
        self._foreign_commit_ms = NEVER

    def start(self) -> None:
        """Schedule every connection in the queue or a room; without a known activity, it counts as heard just now."""
        for connection_id, connection in self._state_now().connections.by_id.items():
            if not isinstance(connection.place, Idle):
                self._schedule(connection_id, self._activity(connection_id))

    def on_foreign_commits(self) -> None:
        """Start every idle grace anew: another broker lives, and the connections it hears are not known here.

        So no connection heard elsewhere is taken out while the other brokers write. Two limits remain: an absent
        connection stays for as long as they write, and a broker that writes nothing for a whole grace does not
        protect the connections it hears.
        """
        self._foreign_commit_ms = self._clock.now_ms()

    def stop(self) -> None:
        """Report no more absent connections."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.on_absent = lambda command: None

    def call(self, connection_id: ConnectionId) -> AbstractContextManager[None]:
        """Count a call of `connection_id` in flight for as long as the context is open."""
        return _Call(self, connection_id)

    def call_begins(self, connection_id: ConnectionId) -> None:
        """Count one more call of `connection_id` in flight."""
        self._activity(connection_id).calls += 1

    def call_ends(self, connection_id: ConnectionId) -> None:
        """Count one call less in flight, and note the time."""
        activity = self._activities[connection_id]
        activity.calls -= 1
        activity.call_over_ms = activity.heard_ms = self._clock.now_ms()
        self._schedule(connection_id, activity)

    def stream_opened(self, connection_id: ConnectionId) -> None:
        """Count one more open stream of `connection_id`."""
        self._activity(connection_id).streams += 1

    def stream_closed(self, connection_id: ConnectionId) -> None:
        """Count one open stream less, and note the time."""
        activity = self._activities[connection_id]
        activity.streams -= 1
        assert activity.streams >= 0
        activity.stream_closed_ms = activity.heard_ms = self._clock.now_ms()
        self._schedule(connection_id, activity)

    def is_heard_since(self, connection_id: ConnectionId, since_ms: float) -> bool:
        """Return whether it has a stream or a call now, or had one that ended after `since_ms`."""
        activity = self._activities.get(connection_id)
        return activity is not None and bool(activity.streams or activity.calls or activity.heard_ms > since_ms)

    def calls_of(self, connection_id: ConnectionId) -> int:
        """Return how many calls of `connection_id` are in flight."""
        activity = self._activities.get(connection_id)
        return activity.calls if activity is not None else 0

    def observe(self, commit: Commit, state: State) -> None:
        """Schedule the connections moved by `commit`, by their new grace (an `Observer` of the replica)."""
        for event in commit.events:
            if type(event) is MessageSent:
                continue  # moves no connection
            for connection_id in participants(event):
                activity = self._activities.get(connection_id)
                if activity is None and not _is_idle(state, connection_id):
                    activity = self._activity(connection_id)
                if activity is not None:
                    self._schedule(connection_id, activity)

    def overdue(self) -> list[Disconnect]:
        """Return the commands to take out all absent connections: the same ones again until they are carried out."""
        now_ms, found, put_off = self._clock.now_ms(), [], []
        while self._heap and self._heap[0][0] <= now_ms:
            at_ms, connection_id = heappop(self._heap)
            activity = self._activities.get(connection_id)
            if activity is None or activity.next_check_ms != at_ms:
                continue  # an earlier entry replaces it
            activity.next_check_ms = None
            command = self._command_if_absent(connection_id, activity, now_ms)
            if command is None:
                self._schedule(connection_id, activity)
            else:
                found.append(command)
                put_off.append((connection_id, activity))
        for connection_id, activity in put_off:
            activity.next_check_ms = now_ms
            heappush(self._heap, (now_ms, connection_id))
        if put_off and self._timer is None:
            self._set_timer(now_ms + LOOK_AGAIN_MS)
        return found

    def _command_if_absent(self, connection_id: ConnectionId, activity: _Activity, now_ms: float) -> Disconnect | None:
        state = self._state_now()
        deadline = self._deadline(connection_id, activity, state)
        if deadline is None or deadline[0] > now_ms:
            return None
        return Disconnect(connection_id, deadline[1], state.connections.by_id[connection_id].last_position)

    def _deadline(
        self, connection_id: ConnectionId, activity: _Activity, state: State
    ) -> tuple[float, AbsenceReason] | None:
        """Return the time of its absence and the reason, by the later grace; `None` while it is present or idle."""
        if activity.streams or activity.calls or _is_idle(state, connection_id):
            return None
        policy = state.policy
        call_over_ms = max(activity.call_over_ms, self._foreign_commit_ms)
        by_call_ms = call_over_ms + _idle_grace_ms(state, connection_id, policy)
        by_stream_ms = activity.stream_closed_ms + policy.stream_grace_ms if activity.stream_closed_ms != NEVER else 0
        return (by_stream_ms, "disconnected") if by_stream_ms > by_call_ms else (by_call_ms, "timeout")

    def _activity(self, connection_id: ConnectionId) -> _Activity:
        activity = self._activities.get(connection_id)
        if activity is None:
            activity = self._activities[connection_id] = _Activity(self._clock.now_ms())
        return activity

    def _schedule(self, connection_id: ConnectionId, activity: _Activity) -> None:
        """Have `connection_id` checked no later than its deadline; forget it if it has left."""
        if activity.streams or activity.calls:
            return
        deadline = self._deadline(connection_id, activity, self._state_now())
        if deadline is None:
            self._activities.pop(connection_id, None)
        elif activity.next_check_ms is None or activity.next_check_ms > deadline[0]:
            self._push(connection_id, activity, deadline[0])

    def _push(self, connection_id: ConnectionId, activity: _Activity, at_ms: float) -> None:
        activity.next_check_ms = at_ms
        heappush(self._heap, (at_ms, connection_id))
        if self._timer is None or at_ms < self._timer_at_ms:
            self._set_timer(at_ms)

    def _set_timer(self, at_ms: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at_ms = at_ms
        self._timer = self._clock.call_at(at_ms, self._ring)

    def _ring(self) -> None:
        self._timer = None
        for command in self.overdue():
            self.on_absent(command)
        if self._heap:
            # A connection just reported stays at the top until its command is carried out.
            now_ms, next_ms = self._clock.now_ms(), self._heap[0][0]
            self._set_timer(next_ms if next_ms > now_ms else now_ms + LOOK_AGAIN_MS)


class _Call:
    """A call in flight. No `contextmanager`: there is one of these for every call, and a generator costs more."""

    __slots__ = ("_connection_id", "_presence")

    def __init__(self, presence: Presence, connection_id: ConnectionId) -> None:
        self._presence = presence
        self._connection_id = connection_id

    def __enter__(self) -> None:
        self._presence.call_begins(self._connection_id)

    def __exit__(self, *raised: object) -> None:
        self._presence.call_ends(self._connection_id)


def _is_idle(state: State, connection_id: ConnectionId) -> bool:
    connection = state.connections.get(connection_id)
    return connection is None or isinstance(connection.place, Idle)


def _idle_grace_ms(state: State, connection_id: ConnectionId, policy: Policy) -> int:
    place = state.connections.by_id[connection_id].place
    return policy.idle_grace_room_ms if isinstance(place, Chatting) else policy.idle_grace_queue_ms
