"""Presence of connections. The only evidence is an open stream, a call in flight, or the time since either.

In a shared log, the evidence of the other brokers counts as well (`broker.roster`).

While a stream is open or a call of the connection is in flight, it is present. Otherwise it is absent from
max(last stream closed + stream grace, last call over + idle grace of its place) on. An attended connection has an
idle grace of its own, in every place. After a postponed deadline, a
connection is checked when its old deadline comes up, so being active costs nothing but a note of the time. A move to
another place adds a deadline, so a connection has at most as many deadlines as moves within a grace
(`queue_commands_per_10s_max`). A call or a stream also confirms a match (`broker.confirmation`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from broker.clock import Clock
from broker.confirmation import MatchConfirmation
from broker.deadlines import Deadlines
from broker.hub import participants
from broker.notes import Confirmed
from broker.own_rows import OwnRows
from broker.replica import Replica
from broker.roster import JUDGE_LAG_MS, LINGER_MS_MAX, NOT_HEARD, Heard, Roster
from events.commands import AbsenceReason, CancelMatch, Disconnect
from events.commit import Commit
from events.ids import ConnectionId
from projections.connections import Chatting, Idle
from projections.state import State

NEVER = -1.0
LOOK_AGAIN_MS = 1_000
JUDGE_AGAIN_MS = 500
"""The time between two tries to judge a deadline of a shared log that has passed."""

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
        self,
        clock: Clock,
        deadlines: Deadlines,
        replica: Replica,
        submit: Callable[[Disconnect | CancelMatch], object],
        roster: Roster | None = None,
        attended_grace_ms: int = ATTENDED_GRACE_MS,
        tell_confirmed: Callable[[Confirmed], None] = lambda confirmed: None,
    ) -> None:
        """`submit` takes the command to take out an absent connection, at its deadline and each second after it.

        It also takes the commands of the confirmation. `roster`: what the other brokers of a shared log hear;
        `tell_confirmed` tells them of a member of a match that has given a sign of life here.
        """
        self.confirmation = MatchConfirmation(
            clock, deadlines, replica, submit, self.is_present, roster, tell_confirmed
        )
        self.own_rows = OwnRows(self.is_idle, self._linger_ms) if roster is not None else None
        """What the other brokers are told of connections heard here."""
        self._roster = roster
        self._attended_grace_ms = attended_grace_ms
        self._clock = clock
        self._deadlines = deadlines
        self._replica = replica
        self._submit = submit
        self.activities: dict[ConnectionId, _Activity] = {}
        self._absent: dict[ConnectionId, None] = {}  # those found absent, in that order, until they are gone
        self._is_asked = False  # by `overdue`, which returns the commands that are submitted otherwise

    def start(self) -> None:
        """Schedule every connection in the queue or a room; without a known activity, it counts as heard just now."""
        people = self._replica.state.connections.by_id.items()
        # A map is in the order of hashes, and of two equal deadlines the first added comes first.
        active = sorted((known.last_position, who) for who, known in people if not isinstance(known.place, Idle))
        for _, connection_id in active:
            self._schedule(self._activity(connection_id))

    def call(self, connection_id: ConnectionId) -> AbstractContextManager[None]:
        """Count a call of `connection_id` in flight for as long as the context is open; it confirms a match."""
        if connection_id in self.confirmation.unconfirmed:
            self.confirmation.confirm(connection_id)
        activity = self.activities.get(connection_id) or self._activity(connection_id)
        if self.own_rows is not None:
            self._touch_at_edge(activity)
        return activity

    def call_ends(self, activity: _Activity) -> None:
        """Count one call less in flight, and note the time."""
        activity.calls -= 1
        activity.call_over_ms = activity.heard_ms = self._clock.now_ms()
        if self.own_rows is not None:
            self._touch_at_edge(activity)
        if activity.next_check_ms is None:
            self._schedule(activity)

    def stream_opened(self, connection_id: ConnectionId) -> None:
        """Count one more open stream of `connection_id`; it confirms a match."""
        self.confirmation.confirm(connection_id)
        activity = self._activity(connection_id)
        self._touch_at_edge(activity)
        activity.streams += 1

    def stream_closed(self, connection_id: ConnectionId) -> None:
        """Count one open stream less, and note the time."""
        activity = self.activities[connection_id]
        activity.streams -= 1
        assert activity.streams >= 0
        activity.stream_closed_ms = activity.heard_ms = self._clock.now_ms()
        self._touch_at_edge(activity)
        self._schedule(activity)

    def _touch_at_edge(self, activity: _Activity) -> None:
        """Have the other brokers told of a connection about to be heard, or heard no more."""
        if self.own_rows is not None and not (activity.streams or activity.calls):
            self.own_rows.touch(activity)

    def is_heard_since(self, connection_id: ConnectionId, since_ms: float) -> bool:
        """Return whether it has a stream or a call now, or had one that ended after `since_ms`."""
        activity = self.activities.get(connection_id)
        if activity is not None and (activity.streams or activity.calls or activity.heard_ms > since_ms):
            return True
        elsewhere = self._heard_elsewhere(connection_id)
        return elsewhere.is_heard or max(elsewhere.stream_closed_ms, elsewhere.call_over_ms) > since_ms

    def is_present(self, connection_id: ConnectionId) -> bool:
        """Return whether it has a stream, a call in flight, or some of its grace left; for one that is not idle."""
        activity = self.activities[connection_id]
        deadline = self._deadline(activity, self._replica.state)
        return deadline is None or deadline[0] > self._clock.now_ms()

    def silent_ms(self, connection_id: ConnectionId) -> float | None:
        """Return how long it has had neither a stream nor a call, for one that is not idle.

        Return `None` if that is not known: it was not heard since this broker began.
        """
        activity = self.activities.get(connection_id)
        elsewhere = self._heard_elsewhere(connection_id)
        if elsewhere.is_heard or (activity is not None and (activity.streams or activity.calls)):
            return 0
        heard_ms = max(
            activity.heard_ms if activity is not None else NEVER, elsewhere.stream_closed_ms, elsewhere.call_over_ms
        )
        return max(0, self._clock.now_ms() - heard_ms) if heard_ms != NEVER else None

    def is_idle(self, connection_id: ConnectionId) -> bool:
        """Return whether it is neither in the queue nor in a room."""
        connection = self._replica.state.connections.get(connection_id)
        return connection is None or isinstance(connection.place, Idle)

    def reconsider(self, people: Iterable[ConnectionId]) -> None:
        """Check the deadlines of connections whose broker was lost."""
        for connection_id in people:
            activity = self.activities.get(connection_id)
            if activity is not None:
                self._schedule(activity)

    @property
    def longest_grace_ms(self) -> int:
        """Return the longest time from the last sign of life of a connection to its end."""
        policy = self._replica.state.policy
        return max(policy.stream_grace_ms, policy.idle_grace_queue_ms, policy.idle_grace_room_ms)

    def _linger_ms(self) -> float:
        """Return a quarter of the shortest grace, and no more than `LINGER_MS_MAX`."""
        policy = self._replica.state.policy
        graces = policy.stream_grace_ms, policy.idle_grace_queue_ms, policy.idle_grace_room_ms, self._attended_grace_ms
        return min(LINGER_MS_MAX, *(grace / 4 for grace in graces))

    def calls_of(self, connection_id: ConnectionId) -> int:
        """Return how many calls of `connection_id` are in flight."""
        activity = self.activities.get(connection_id)
        return activity.calls if activity is not None else 0

    def observe(self, commit: Commit, state: State) -> None:
        """Schedule the connections moved by `commit`, by their new grace. A message moves none."""
        self.confirmation.observe(commit)
        for event in commit.events:
            for connection_id in participants(event):
                activity = self.activities.get(connection_id)
                if activity is None and not self.is_idle(connection_id):
                    activity = self._activity(connection_id)
                if activity is not None:
                    activity.next_check_ms = None  # the grace of its new place may be shorter
                    self._schedule(activity)
                    if self.own_rows is not None and (activity.streams or activity.calls):
                        self.own_rows.touch(activity)

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
        activity = self.activities.get(connection_id)
        if activity is None or activity.next_check_ms != at_ms:
            return
        activity.next_check_ms = None
        command = self._command_if_absent(connection_id)
        if command is None:
            self._schedule(activity)
            return
        is_first = connection_id not in self._absent
        self._absent[connection_id] = None
        self._add(activity, self._clock.now_ms() + LOOK_AGAIN_MS)  # the command may fail
        if not self._is_asked and not (is_first and self._is_of_another(connection_id)):
            self._submit(command)

    def _is_of_another(self, connection_id: ConnectionId) -> bool:
        """Return whether another broker is the one to take it out first."""
        return self._roster is not None and not self._roster.is_named(connection_id)

    def _command_if_absent(self, connection_id: ConnectionId) -> Disconnect | None:
        activity, state = self.activities.get(connection_id), self._replica.state
        deadline = self._deadline(activity, state) if activity is not None else None
        if deadline is None or deadline[0] > self._judged_by_ms():
            self._absent.pop(connection_id, None)
            return None
        return Disconnect(connection_id, deadline[1], state.connections.by_id[connection_id].last_position)

    def _judged_by_ms(self) -> float:
        """Return the time up to which deadlines can be judged."""
        now_ms = self._clock.now_ms()
        return self._roster.judged_by_ms(now_ms) if self._roster is not None else now_ms

    def _heard_elsewhere(self, connection_id: ConnectionId) -> Heard:
        return self._roster.heard(connection_id) if self._roster is not None else NOT_HEARD

    def _deadline(self, activity: _Activity, state: State) -> tuple[float, AbsenceReason] | None:
        """Return the time of its absence and the reason, by the later grace; `None` while it is present or idle."""
        connection_id = activity.connection_id
        if activity.streams or activity.calls or self.is_idle(connection_id):
            return None
        call_over_ms, stream_closed_ms = activity.call_over_ms, activity.stream_closed_ms
        if self._roster is not None:
            elsewhere, anew_ms = self._roster.heard(connection_id), self._roster.anew_ms
            if elsewhere.is_heard:
                return None
            call_over_ms = max(call_over_ms, elsewhere.call_over_ms, anew_ms)
            stream_closed_ms = max(stream_closed_ms, elsewhere.stream_closed_ms, anew_ms)
        by_call_ms = call_over_ms + _idle_grace_ms(state, connection_id)
        by_stream_ms = stream_closed_ms + state.policy.stream_grace_ms if stream_closed_ms != NEVER else 0
        return (by_stream_ms, "disconnected") if by_stream_ms > by_call_ms else (by_call_ms, "timeout")

    def _activity(self, connection_id: ConnectionId) -> _Activity:
        activity = self.activities.get(connection_id)
        if activity is None:
            activity = self.activities[connection_id] = _Activity(self, connection_id, self._clock.now_ms())
        return activity

    def _schedule(self, activity: _Activity) -> None:
        """Have the connection checked no later than its deadline; forget it if it has left."""
        if activity.streams or activity.calls:
            return
        if self.is_idle(activity.connection_id):
            self.activities.pop(activity.connection_id, None)
            self._absent.pop(activity.connection_id, None)
            return
        check_ms = self._check_ms(activity)
        if activity.next_check_ms is None or activity.next_check_ms > check_ms:
            self._add(activity, check_ms)

    def _check_ms(self, activity: _Activity) -> float:
        """Return when to check a connection that is not heard here."""
        state, now_ms = self._replica.state, self._clock.now_ms()
        deadline = self._deadline(activity, state)
        if deadline is None:  # if its end is told later, by a quarter of its grace at most, this is early enough
            grace_ms = min(state.policy.stream_grace_ms, _idle_grace_ms(state, activity.connection_id))
            return now_ms + max(grace_ms * 3 / 4, JUDGE_AGAIN_MS)
        if self._roster is None:
            return deadline[0]
        return max(deadline[0] + JUDGE_LAG_MS, now_ms + JUDGE_AGAIN_MS)

    def _add(self, activity: _Activity, at_ms: float) -> None:
        activity.next_check_ms = at_ms
        self._deadlines.add(at_ms, self._check, activity.connection_id, at_ms)


def _idle_grace_ms(state: State, connection_id: ConnectionId) -> int:
    connection = state.connections.by_id[connection_id]
    if connection.idle_grace_ms is not None:
        return connection.idle_grace_ms
    is_chatting = isinstance(connection.place, Chatting)
    return state.policy.idle_grace_room_ms if is_chatting else state.policy.idle_grace_queue_ms
