"""Presence by a second implementation of its rule, from the beginnings and ends of streams and calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from events.commands import Disconnect
from events.commit import Commit
from events.events import QueueEntered, RoomClosed, RoomOpened
from events.ids import POSITION_MAX, ConnectionId

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.surroundings import Surroundings

NEVER = -1.0
SLACK_MS = 0.01


class _Seen:
    """One process's observations of one connection."""

    def __init__(self, now_ms: float) -> None:
        self.streams_and_calls = 0
        self.stream_closed_ms = NEVER
        self.call_over_ms = now_ms
        self.absent_until_ms = NEVER  # last return after the end of its grace
        self.heard_ms = NEVER  # last end of a stream or a call


class Attendance:
    """One process's observations."""

    def __init__(self, around: Surroundings, process: Process) -> None:
        self._around = around
        self._process = process
        self._seen: dict[ConnectionId, _Seen] = {}
        self.since_ms = 0.0
        """When the process started last."""

    def begins(self, now_ms: float) -> None:
        """Note a start of the process: all graces begin anew."""
        self._seen = {}
        self.since_ms = now_ms

    def arrives(self, who: ConnectionId) -> None:
        """Note that a stream of `who` opens, or a call begins."""
        seen, now_ms = self._of(who), self._around.world.now_ms
        if seen.streams_and_calls == 0 and now_ms >= self._deadline_ms(who, seen) - SLACK_MS:
            seen.absent_until_ms = now_ms
        if seen.streams_and_calls == 0 and self._is_nowhere(who):
            seen.stream_closed_ms = NEVER  # a stream that closed before the entry does not count
        seen.streams_and_calls += 1
        self._process.matches.shows(who)

    def leaves(self, who: ConnectionId, *, by_stream: bool) -> None:
        """Note the end of a stream or a call."""
        seen = self._of(who)
        seen.streams_and_calls -= 1
        seen.heard_ms = self._around.world.now_ms
        if by_stream:
            seen.stream_closed_ms = self._around.world.now_ms
        else:
            seen.call_over_ms = self._around.world.now_ms

    def announced(self, commit: Commit) -> None:
        """Note that the process knows of `commit`: a connection that enters the queue gets a whole grace.

        A connection heard meanwhile keeps the grace of its stream or call, even if the call ended before its commit was
        stored.
        """
        for event in commit.events:
            if isinstance(event, QueueEntered) and not isinstance(commit.events[0], RoomClosed):
                seen = self._of(event.connection_id)
                if not seen.streams_and_calls:
                    seen.call_over_ms = self._around.world.now_ms
                    seen.stream_closed_ms = NEVER

    def is_present(self, who: ConnectionId) -> bool:
        """Return whether a stream or a call of `who` is open here, or some of its grace is left."""
        seen = self._of(who)
        return self.is_there(who) or self._around.world.now_ms < self._deadline_ms(who, seen)

    def is_there(self, who: ConnectionId) -> bool:
        """Return whether a stream or a call of `who` is open here."""
        return self._of(who).streams_and_calls > 0

    def silent_ms(self, who: ConnectionId) -> float | None:
        """Return the time without a stream or a call of `who` here; `None` if there never was one."""
        seen = self._of(who)
        if self.is_there(who):
            return 0
        return self._around.world.now_ms - seen.heard_ms if seen.heard_ms != NEVER else None

    def check(self, commits: list[Commit]) -> None:
        """Check decided `commits`: no absent connection is matched, and no present one removed."""
        not_judged: set[ConnectionId] = set()
        for commit in commits:
            command = commit.command
            if isinstance(command, Disconnect):
                not_judged.add(command.connection_id)
                if command.since != POSITION_MAX:
                    self._check_disconnect(command)
            for event in commit.events:
                if isinstance(event, QueueEntered):
                    not_judged.add(event.connection_id)  # their grace begins with this batch
                if isinstance(event, RoomOpened):
                    asked = getattr(command, "connection_id", None)
                    for who in (event.first, event.second):
                        if who not in not_judged and (who != asked or type(command).__name__ == "MatchDue"):
                            self._check_matched(who)

    def _check_disconnect(self, command: Disconnect) -> None:
        who, now_ms = command.connection_id, self._around.world.now_ms
        self._around.sometimes.reached("someone absent was taken out")
        seen = self._of(who)
        deadline_ms = self._deadline_ms(who, seen)
        absent_now = seen.streams_and_calls == 0 and now_ms >= deadline_ms - SLACK_MS
        if not absent_now and seen.absent_until_ms == NEVER:
            self._around.world.fail(
                f"{who} is taken out by {self._process.name} though present: {seen.streams_and_calls} streams and "
                f"calls are open, or the grace ends at {deadline_ms:.1f}: {command}"
            )

    def _check_matched(self, who: ConnectionId) -> None:
        seen = self._of(who)
        if seen.streams_and_calls == 0 and self._around.world.now_ms > self._deadline_ms(who, seen) + SLACK_MS:
            self._around.world.fail(f"{who} was matched by {self._process.name} though absent since their grace ended")

    def _of(self, who: ConnectionId) -> _Seen:
        seen = self._seen.get(who)
        if seen is None:
            seen = self._seen[who] = _Seen(self.since_ms)
            person, known = self._around.record.people.get(who), self._process.broker.state.position
            moved = [place[0] for place in person.places if place[0] <= known] if person is not None else []
            if moved:  # a commit unknown to this process begins no grace here
                seen.call_over_ms = max(self.since_ms, self._around.record.landed_ms[moved[-1]])
        return seen

    def _is_nowhere(self, who: ConnectionId) -> bool:
        """Return whether `who` is idle, as far as this process knows."""
        person = self._around.record.people.get(who)
        return person is None or person.place_at(self._process.broker.state.position)[0] == "idle"

    def _deadline_ms(self, who: ConnectionId, seen: _Seen) -> float:
        policy = self._around.plan.policy
        person = self._around.record.people.get(who)
        kind = person.place_at(self._process.broker.state.position)[0] if person is not None else "idle"
        if kind == "idle":
            return float("inf")
        idle_grace_ms = policy.idle_grace_room_ms if kind == "chatting" else policy.idle_grace_queue_ms
        if person is not None and person.idle_grace_ms is not None:
            idle_grace_ms = person.idle_grace_ms
        deadline_ms = max(seen.call_over_ms, self.since_ms) + idle_grace_ms
        if seen.stream_closed_ms != NEVER:
            deadline_ms = max(deadline_ms, seen.stream_closed_ms + policy.stream_grace_ms)
        return deadline_ms
