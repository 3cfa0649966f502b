"""Presence of connections. The only evidence is an open stream, a call in flight, or the time since either.

While a stream is open or a call of the connection is in flight, it is present. Otherwise it is absent from
max(last stream closed + stream grace, last call over + idle grace of its place) on. An attended connection has an
idle grace of its own, in every place. After a postponed deadline, a
connection is checked when its old deadline comes up, so being active costs nothing but a note of the time. A move to
another place adds a deadline, so a connection has at most as many deadlines as moves within a grace
(`queue_commands_per_10s_max`). A call or a stream also confirms a match (`broker.confirmation`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from broker.clock import Clock
from broker.confirmation import MatchConfirmation
from broker.deadlines import Deadlines
from broker.hub import participants
from broker.replica import Replica
from events.commands import AbsenceReason, CancelMatch, Disconnect
from events.commit import Commit
from events.ids import ConnectionId
from events.policy import Policy
from projections.connections import Chatting, Idle
from projections.state import State

NEVER = -1.0
LOOK_AGAIN_MS = 1_000
ATTENDED_GRACE_MS = 45_000
"""The default idle grace of an attended connection: its client's waits last 25 seconds, and it retries for a while."""


class _Activity:
    """The signs of life of one connection. As a context, it is a call in flight."""

    # No `contextmanager` for a call: there is one for every call, and a generator costs more.
    __slots__ = (
        "call_over_ms",
        "calls",
        "connection_id",
        "heard_ms",
        "next_check_ms",
        "presence",
        "stream_closed_ms",
        "streams",
    )

    def __init__(self, presence: Presence, connection_id: ConnectionId, now_ms: float) -> None:
        self.presence = presence
        self.connection_id = connection_id
        self.streams = 0
        self.calls = 0
        self.stream_closed_ms = NEVER
        self.call_over_ms = now_ms  # at first, when it was first heard of
        self.heard_ms = NEVER  # when a call or a stream of it ended last
        self.next_check_ms: float | None = None  # its valid deadline; earlier added ones are ignored

    def __enter__(self) -> None:
        self.calls += 1

    def __exit__(self, *raised: object) -> None:
        self.presence.call_ends(self)


class Presence:
    """Activity of every connection that waits or chats, listens or calls."""

    def __init__(
        self, clock: Clock, deadlines: Deadlines, replica: Replica, submit: Callable[[Disconnect | CancelMatch], object]
    ) -> None:
        """`submit` takes the command to take out an absent connection, at its deadline and each second after it.

        It also takes the commands of the confirmation.
        """
        self.confirmation = MatchConfirmation(clock, deadlines, replica, submit, self.is_present, self.is_heard_since)
        self._clock = clock
        self._deadlines = deadlines
        self._replica = replica
        self._submit = submit
        self._activities: dict[ConnectionId, _Activity] = {}
        self._absent: dict[ConnectionId, None] = {}  # those found absent, in that order, until they are gone
        self._is_asked = False  # by `overdue`, which returns the commands that are submitted otherwise
        self._foreign_commit_ms = NEVER

    def start(self) -> None:
        """Schedule every connection in the queue or a room; without a known activity, it counts as heard just now."""
        people = self._replica.state.connections.by_id.items()
        # A map is in the order of hashes, and of two equal deadlines the first added comes first.
        active = sorted((known.last_position, who) for who, known in people if not isinstance(known.place, Idle))
        for _, connection_id in active:
            self._schedule(self._activity(connection_id))

    def on_foreign_commits(self) -> None:
        """Start every idle grace anew: another broker lives, and the connections it hears are not known here.

        So no connection heard elsewhere is taken out while the other brokers write. Two limits remain: an absent
        connection stays for as long as they write, and a broker that writes nothing for a whole grace does not
        protect the connections it hears.
        """
        self._foreign_commit_ms = self._clock.now_ms()
        self.confirmation.on_foreign_commits()

    def call(self, connection_id: ConnectionId) -> AbstractContextManager[None]:
        """Count a call of `connection_id` in flight for as long as the context is open; it confirms a match."""
        self.confirmation.unconfirmed.pop(connection_id, None)
        return self._activities.get(connection_id) or self._activity(connection_id)

    def call_ends(self, activity: _Activity) -> None:
        """Count one call less in flight, and note the time."""
        activity.calls -= 1
        activity.call_over_ms = activity.heard_ms = self._clock.now_ms()
        if activity.next_check_ms is None:
            self._schedule(activity)

    def stream_opened(self, connection_id: ConnectionId) -> None:
        """Count one more open stream of `connection_id`; it confirms a match."""
        self.confirmation.unconfirmed.pop(connection_id, None)
        self._activity(connection_id).streams += 1

    def stream_closed(self, connection_id: ConnectionId) -> None:
        """Count one open stream less, and note the time."""
        activity = self._activities[connection_id]
        activity.streams -= 1
        assert activity.streams >= 0
        activity.stream_closed_ms = activity.heard_ms = self._clock.now_ms()
        self._schedule(activity)

    def is_heard_since(self, connection_id: ConnectionId, since_ms: float) -> bool:
        """Return whether it has a stream or a call now, or had one that ended after `since_ms`."""
        activity = self._activities.get(connection_id)
        return activity is not None and bool(activity.streams or activity.calls or activity.heard_ms > since_ms)

    def is_present(self, connection_id: ConnectionId) -> bool:
        """Return whether it has a stream, a call in flight, or some of its grace left; for one that is not idle."""
        activity = self._activities[connection_id]
        deadline = self._deadline(activity, self._replica.state)
        return deadline is None or deadline[0] > self._clock.now_ms()

    def silent_ms(self, connection_id: ConnectionId) -> float | None:
        """Return how long it has had neither a stream nor a call, for one that is not idle.

        Return `None` if it was not heard here, or not since another broker wrote, which may have heard it.
        """
        activity = self._activities.get(connection_id)
        if activity is not None and (activity.streams or activity.calls):
            return 0
        if activity is None or activity.heard_ms <= self._foreign_commit_ms:
            return None
        return self._clock.now_ms() - activity.heard_ms

    def calls_of(self, connection_id: ConnectionId) -> int:
        """Return how many calls of `connection_id` are in flight."""
        activity = self._activities.get(connection_id)
        return activity.calls if activity is not None else 0

    def observe(self, commit: Commit, state: State) -> None:
        """Schedule the connections moved by `commit`, by their new grace. A message moves none."""
        self.confirmation.observe(commit)
        for event in commit.events:
            for connection_id in participants(event):
                activity = self._activities.get(connection_id)
                if activity is None and not _is_idle(state, connection_id):
                    activity = self._activity(connection_id)
                if activity is not None:
                    activity.next_check_ms = None  # the grace of its new place may be shorter
                    self._schedule(activity)

    def overdue(self) -> list[Disconnect]:
        """Return the commands to take out all absent connections: the same ones again until they are carried out.

        No timer needs to have fired for them.
        """
        self._is_asked = True
        try:
            self._deadlines.run_due()
        finally:
            self._is_asked = False
        return [command for who in tuple(self._absent) if (command := self._command_if_absent(who)) is not None]

    def _check(self, connection_id: ConnectionId, at_ms: float) -> None:
        """Note and take out the connection if it is absent by now; else schedule it anew."""
        activity = self._activities.get(connection_id)
        if activity is None or activity.next_check_ms != at_ms:
            return
        activity.next_check_ms = None
        command = self._command_if_absent(connection_id)
        if command is None:
            self._schedule(activity)
            return
        self._absent[connection_id] = None
        self._add(activity, self._clock.now_ms() + LOOK_AGAIN_MS)  # the command may fail
        if not self._is_asked:
            self._submit(command)

    def _command_if_absent(self, connection_id: ConnectionId) -> Disconnect | None:
        activity, state = self._activities.get(connection_id), self._replica.state
        deadline = self._deadline(activity, state) if activity is not None else None
        if deadline is None or deadline[0] > self._clock.now_ms():
            self._absent.pop(connection_id, None)
            return None
        return Disconnect(connection_id, deadline[1], state.connections.by_id[connection_id].last_position)

    def _deadline(self, activity: _Activity, state: State) -> tuple[float, AbsenceReason] | None:
        """Return the time of its absence and the reason, by the later grace; `None` while it is present or idle."""
        connection_id = activity.connection_id
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
            activity = self._activities[connection_id] = _Activity(self, connection_id, self._clock.now_ms())
        return activity

    def _schedule(self, activity: _Activity) -> None:
        """Have the connection checked no later than its deadline; forget it if it has left."""
        if activity.streams or activity.calls:
            return
        deadline = self._deadline(activity, self._replica.state)
        if deadline is None:
            self._activities.pop(activity.connection_id, None)
            self._absent.pop(activity.connection_id, None)
        elif activity.next_check_ms is None or activity.next_check_ms > deadline[0]:
            self._add(activity, deadline[0])

    def _add(self, activity: _Activity, at_ms: float) -> None:
        activity.next_check_ms = at_ms
        self._deadlines.add(at_ms, self._check, activity.connection_id, at_ms)


def _is_idle(state: State, connection_id: ConnectionId) -> bool:
    connection = state.connections.get(connection_id)
    return connection is None or isinstance(connection.place, Idle)


def _idle_grace_ms(state: State, connection_id: ConnectionId, policy: Policy) -> int:
    connection = state.connections.by_id[connection_id]
    if connection.idle_grace_ms is not None:
        return connection.idle_grace_ms
    place = connection.place
    return policy.idle_grace_room_ms if isinstance(place, Chatting) else policy.idle_grace_queue_ms
