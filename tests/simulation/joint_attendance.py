"""Presence by the joint knowledge of all brokers of one log.

A second implementation of the rule, from the beginnings and ends of streams and calls at each process, and from the
times when a process could tell the others.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from events.commands import Disconnect
from events.commit import Commit
from events.events import QueueEntered, RoomOpened
from events.ids import POSITION_MAX, ConnectionId

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.surroundings import Surroundings

FOREVER = float("inf")
TOLD_WITHIN_MS = 700.0
"""What begins is told within so long, by a process without trouble."""

SETTLED_MS = 2_500.0
"""So long after its trouble has ended, a process has told everything."""

UNDER_WAY_MS = 3_000.0
"""The age of the knowledge that a decision rests on."""

MATCHED_WITHIN_MS = 3_000.0
QUIET_MS = 25_000.0
KEPT = 60


class _Sign:
    """A stream or a call, from its beginning to its end."""

    __slots__ = ("began_ms", "by_stream", "ended_ms", "known_to")

    def __init__(self, began_ms: float, *, by_stream: bool) -> None:
        self.began_ms = began_ms
        self.ended_ms = FOREVER
        self.known_to = FOREVER
        self.by_stream = by_stream


class _Heard(NamedTuple):
    """A sign of life as known to the others."""

    began_ms: float
    ended_ms: float
    by_stream: bool
    known_to: float
    """The last position that its process knew at its end."""


class JointAttendance:
    """The signs of life at all processes."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._signs: defaultdict[tuple[int, ConnectionId], list[_Sign]] = defaultdict(list)

    def begins(self, process: Process, who: ConnectionId, *, by_stream: bool) -> None:
        """Note the beginning of a stream or a call at `process`."""
        signs = self._signs[process.number, who]
        signs.append(_Sign(self._around.world.now_ms, by_stream=by_stream))
        del signs[:-KEPT]

    def ends(self, process: Process, who: ConnectionId, *, by_stream: bool) -> None:
        """Note the end of the earliest open one."""
        for sign in self._signs[process.number, who]:
            if sign.ended_ms == FOREVER and sign.by_stream == by_stream:
                sign.ended_ms, sign.known_to = self._around.world.now_ms, process.broker.state.position
                return

    def dies(self, process: Process) -> None:
        """Note the end of everything open at `process`."""
        for (number, _), signs in self._signs.items():
            if number == process.number:
                for sign in signs:
                    sign.ended_ms = min(sign.ended_ms, self._around.world.now_ms)

    def check(self, process: Process, commits: list[Commit]) -> None:
        """Check the decisions of `process`: no present connection is removed, and no long absent one matched."""
        fresh: set[ConnectionId] = set()
        for commit in commits:
            command = commit.command
            if isinstance(command, Disconnect) and command.since != POSITION_MAX:
                self._check_disconnect(process, command)
            for event in commit.events:
                if isinstance(event, QueueEntered):
                    fresh.add(event.connection_id)
                if isinstance(event, RoomOpened) and self._is_quiet():
                    asked = getattr(command, "connection_id", None)
                    for who in (event.first, event.second):
                        if who not in fresh and (who != asked or type(command).__name__ == "MatchDue"):
                            self._check_matched(process, who)

    def _check_disconnect(self, process: Process, command: Disconnect) -> None:
        who, now_ms = command.connection_id, self._around.world.now_ms
        self._around.sometimes.reached("someone absent was taken out")
        deadline_ms = self._deadline_ms(process, who, [self._told(other, who) for other in self._around.processes])
        if deadline_ms > now_ms:
            self._around.world.fail(
                f"{who} is taken out by {process.name}, though present until {deadline_ms:.0f} by what all could tell"
            )

    def _check_matched(self, process: Process, who: ConnectionId) -> None:
        signs = [
            [
                _Heard(sign.began_ms, sign.ended_ms, sign.by_stream, sign.known_to)
                for sign in self._signs[other.number, who]
            ]
            for other in self._around.processes
        ]
        deadline_ms, now_ms = self._deadline_ms(process, who, signs), self._around.world.now_ms
        anew_ms = min(other.broker.roster.anew_ms for other in self._around.processes if other.broker.roster)
        begun_ms = anew_ms + self._around.plan.longest_grace_ms  # graces begin anew at a start
        moved_ms = self._around.record.landed_ms[self._around.record.person(who).places[-1][0]]  # to a shorter grace
        if now_ms - max(deadline_ms, begun_ms, moved_ms) > MATCHED_WITHIN_MS + self._around.plan.lag_ms:
            self._around.world.fail(
                f"{who} was matched by {process.name}, though absent since {deadline_ms:.0f}, and it is {now_ms:.0f}"
            )

    def _is_quiet(self) -> bool:
        """Return whether the last fault is long past."""
        return self._around.world.now_ms > self._around.calm_since_ms + QUIET_MS

    def _told(self, process: Process, who: ConnectionId) -> list[_Heard]:
        """Return the signs of life of `who` at `process` that it could tell the others."""
        told_to_ms = self.told_to_ms(process)
        return [
            _Heard(
                sign.began_ms,
                sign.ended_ms if told_to_ms == FOREVER else min(sign.ended_ms, told_to_ms),
                sign.by_stream,
                sign.known_to,
            )
            for sign in self._signs[process.number, who]
            if sign.began_ms + TOLD_WITHIN_MS <= min(told_to_ms, self._around.world.now_ms)
        ]

    def told_to_ms(self, process: Process) -> float:
        """Return the end of the time in which it could tell everything; `FOREVER` if it still can."""
        now_ms, told_to_ms = self._around.world.now_ms, FOREVER
        for trouble in reversed(process.troubles):
            ended_ms = FOREVER if trouble.until_ms is None else trouble.until_ms
            if ended_ms + SETTLED_MS <= min(told_to_ms, now_ms):
                break
            told_to_ms = trouble.since_ms - TOLD_WITHIN_MS
        return told_to_ms

    def _deadline_ms(self, process: Process, who: ConnectionId, signs: list[list[_Heard]]) -> float:
        """Return the end of the grace of `who`; after a return from absence, the end before the return.

        A return is not known at once: one of the last `UNDER_WAY_MS` counts if it was within the grace.
        """
        around, policy = self._around, self._around.plan.policy
        person = around.record.people.get(who)
        kind = person.place_at(process.broker.state.position)[0] if person is not None else "idle"
        if person is None or kind == "idle":
            return FOREVER
        idle_grace_ms = policy.idle_grace_room_ms if kind == "chatting" else policy.idle_grace_queue_ms
        if person.idle_grace_ms is not None:
            idle_grace_ms = person.idle_grace_ms
        places = [(0, ("idle", None)), *person.places]
        entered = [
            there[0]
            for before, there in pairwise(places)
            if before[1][0] == "idle" != there[1][0] and before[0] != there[0]
        ][-1]
        deadline_ms = around.record.landed_ms[entered] + idle_grace_ms
        for heard in sorted(heard for each in signs for heard in each if heard.known_to >= entered):
            if heard.began_ms >= deadline_ms and around.world.now_ms - heard.began_ms < UNDER_WAY_MS:
                break
            grace_ms = policy.stream_grace_ms if heard.by_stream else idle_grace_ms
            deadline_ms = max(deadline_ms, heard.ended_ms + grace_ms)
        return deadline_ms
