"""Confirmation of matches: a member without a sign of life after the opening of its room has missed the match.

Its client may have vanished while it waited. A call or a stream begun after the opening confirms a member, and so does
a notification about the room written to an open connection. A client that thinks for long between two calls is
confirmed by its result. The broker submits `CancelMatch` once the grace is over. In a shared log, each broker tells the
others of the members that it confirms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from broker.clock import Clock
from broker.deadlines import Deadlines
from broker.notes import Confirmed
from broker.replica import Replica
from broker.roster import JUDGE_LAG_MS, Roster
from events.commands import CancelMatch
from events.commit import Commit
from events.events import RoomClosed, RoomOpened
from events.ids import ConnectionId, Position, RoomId

NEVER = -1.0
LOOK_AGAIN_MS = 1_000
BEHIND_MS = 60_000
"""A broker further behind than that may cancel a match that another has confirmed."""


class _Match(NamedTuple):
    """A match to be confirmed by both members."""

    room_id: RoomId
    members: tuple[ConnectionId, ConnectionId]
    opened_position: Position
    since_ms: float
    grace_ms: int
    is_from_before: bool  # opened before this broker started


class MatchConfirmation:
    """The members of open rooms without a sign of life so far."""

    def __init__(
        self,
        clock: Clock,
        deadlines: Deadlines,
        replica: Replica,
        submit: Callable[[CancelMatch], object],
        is_present: Callable[[ConnectionId], bool],
        roster: Roster | None,
        tell: Callable[[Confirmed], None],
    ) -> None:
        """`submit` takes the command at the end of the grace, and each second after it while the room is open.

        `is_present` returns whether a member of a room is present now. `tell` tells the other brokers of a shared log.
        """
        self.unconfirmed: dict[ConnectionId, _Match] = {}
        """The members to be confirmed."""
        self._clock = clock
        self._deadlines = deadlines
        self._replica = replica
        self._submit = submit
        self._is_present = is_present
        self._roster = roster
        self._tell = tell
        self._told: dict[ConnectionId, tuple[Position, float]] = {}  # what other brokers were told, and when
        self._early: dict[ConnectionId, Position] = {}  # confirmed elsewhere in a room not known here yet

    def start(self) -> None:
        """Start a grace anew in the rooms opened less than a grace ago; all other matches are confirmed.

        Members confirmed before the restart are not known, and one may think for long before its next call.
        So the grace of a waiting connection applies, if it is longer. A member that has spoken since the opening
        counts as confirmed.
        """
        state = self._replica.state
        if not state.policy.confirm_grace_ms:
            return
        grace_ms = max(state.policy.confirm_grace_ms, state.policy.idle_grace_queue_ms)
        opened_after_ms = self._clock.wall_ms() - grace_ms
        rooms = [room for room in state.rooms.by_id.values() if room.is_open]
        for room in sorted(rooms, key=lambda room: room.opened_position):
            if room.first_entry is not None:
                people = [state.connections.by_id[who] for who in (room.first, room.second)]
                opened_at_ms = min(known.last_at_ms for known in people)
                if opened_at_ms > opened_after_ms:
                    members = room.first, room.second
                    self._expect(room.room_id, members, room.opened_position, grace_ms, is_from_before=True)

    def confirm_all(self) -> None:
        """Count every match as confirmed: the openings of some of them were not announced."""
        self.unconfirmed.clear()
        position = self._replica.state.position
        self._early = {who: early for who, early in self._early.items() if early > position}

    def confirm(self, connection_id: ConnectionId) -> None:
        """Note a sign of life of `connection_id`, and tell the other brokers if it confirms a match."""
        match = self.unconfirmed.pop(connection_id, None)
        if match is not None and self._roster is not None:
            self._told[connection_id] = match.opened_position, self._clock.now_ms()
            self._tell(Confirmed(connection_id, match.opened_position))

    def told_lately(self) -> list[Confirmed]:
        """Return the members confirmed here whose matches other brokers may still expect to be confirmed."""
        since_ms = self._clock.now_ms() - self._replica.state.policy.confirm_grace_ms - BEHIND_MS
        self._told = {who: told for who, told in self._told.items() if told[1] > since_ms}
        return [Confirmed(who, opened_position) for who, (opened_position, _) in self._told.items()]

    def confirmed_elsewhere(self, confirmed: Confirmed) -> None:
        """Note that another broker had a sign of life of a member of a match."""
        match = self.unconfirmed.get(confirmed.connection_id)
        if match is not None and match.opened_position == confirmed.opened_position:
            del self.unconfirmed[confirmed.connection_id]
        elif confirmed.opened_position > self._replica.state.position:
            early = self._early.get(confirmed.connection_id, 0)
            self._early[confirmed.connection_id] = max(early, confirmed.opened_position)

    def observe(self, commit: Commit) -> None:
        """Expect the members of a room opened by `commit`, and no longer the members of a room closed by it."""
        for event in commit.events:
            if isinstance(event, RoomClosed):
                self.unconfirmed.pop(event.closed_by, None)
                self.unconfirmed.pop(event.other, None)
            elif isinstance(event, RoomOpened) and event.first_entry is not None:
                grace_ms = self._replica.state.policy.confirm_grace_ms
                self._expect(event.room_id, (event.first, event.second), commit.position, grace_ms)

    def told(self, connection_id: ConnectionId, position: Position) -> None:
        """Note that a notification at `position` was written to an open connection of `connection_id`.

        It confirms a member, unless it is from before its room.
        """
        match = self.unconfirmed.get(connection_id)
        if match is not None and position >= match.opened_position:
            self.confirm(connection_id)

    def _expect(
        self,
        room_id: RoomId,
        members: tuple[ConnectionId, ConnectionId],
        opened_position: Position,
        grace_ms: int,
        *,
        is_from_before: bool = False,
    ) -> None:
        match = _Match(room_id, members, opened_position, self._clock.now_ms(), grace_ms, is_from_before)
        for who in members:
            early = self._early.get(who, 0)
            if early < opened_position:
                self.unconfirmed[who] = match
            if early <= opened_position:
                self._early.pop(who, None)
        lag_ms = JUDGE_LAG_MS if self._roster is not None else 0
        self._deadlines.add(match.since_ms + grace_ms + lag_ms, self._check, match)

    def _check(self, match: _Match) -> None:
        """Cancel `match` if members of it are still to be confirmed; look again later, since the command may fail."""
        missed_by = self._missed_by(match)
        if not missed_by:
            return
        now_ms = self._clock.now_ms()
        self._deadlines.add(now_ms + LOOK_AGAIN_MS, self._check, match)
        if self._is_due(match, now_ms):
            is_other_present = any(self._is_present(who) for who in match.members if who not in missed_by)
            self._submit(CancelMatch(match.room_id, missed_by, is_other_present))

    def _is_due(self, match: _Match, now_ms: float) -> bool:
        """Return whether all signs of life within the grace would be known by now."""
        roster = self._roster
        if roster is None:
            return True
        if match.is_from_before and roster.brokers > 1:
            return False  # the others know more of it
        return max(match.since_ms, roster.lost_ms) + match.grace_ms <= roster.judged_by_ms(now_ms)

    def _missed_by(self, match: _Match) -> tuple[ConnectionId, ...]:
        """Return the members still to be confirmed; a member is also confirmed by speaking at another broker."""
        people = self._replica.state.connections.by_id
        for who in match.members:
            if self.unconfirmed.get(who) is match and people[who].last_position > match.opened_position:
                del self.unconfirmed[who]
        return tuple(who for who in match.members if self.unconfirmed.get(who) is match)
