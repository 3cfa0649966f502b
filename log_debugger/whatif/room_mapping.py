"""The rooms of a counterfactual run, in place of those of the log: by their pairs, or by their newest members."""

from __future__ import annotations

from collections.abc import Sequence

from events.events import Event, RoomOpened
from events.ids import ConnectionId, RoomId
from projections.state import State

_Pair = frozenset[ConnectionId]


class RoomMapping:
    """The pair of each room of the log, and the last room of each pair and of each connection in the run."""

    def __init__(self, base: State) -> None:
        self._pairs: dict[RoomId, _Pair] = {}
        self._newest: dict[_Pair | ConnectionId, RoomId] = {}
        for room in sorted(base.rooms.by_id.values(), key=lambda room: room.opened_position):
            self._pairs[room.room_id] = _Pair({room.first, room.second})
            self._note(room.room_id, room.first, room.second)

    def record_log(self, events: Sequence[Event]) -> None:
        """Take note of the rooms that the log opens."""
        for event in events:
            if isinstance(event, RoomOpened):
                self._pairs[event.room_id] = _Pair({event.first, event.second})

    def record_run(self, events: Sequence[Event]) -> None:
        """Take note of the rooms that the run opens."""
        for event in events:
            if isinstance(event, RoomOpened):
                self._note(event.room_id, event.first, event.second)

    def run_room(self, state: State, who: ConnectionId, room_id: RoomId) -> RoomId | None:
        """Return the run's room for the log's `room_id`, one that `who` is or was in.

        It is the last one of the same pair, or else the last one of `who`; `None` if `state` keeps neither.
        """
        pair = self._pairs.get(room_id)
        theirs = [self._newest.get(pair) if pair is not None else None, self._newest.get(who)]
        return next((one for one in theirs if one is not None and state.rooms.get(one) is not None), None)

    def has_pair_of(self, room_id: RoomId, run_room_id: RoomId) -> bool:
        """Return whether the log's `room_id` and the run's `run_room_id`, a pair's last one, are of the same pair."""
        pair = self._pairs.get(room_id)
        return pair is not None and self._newest.get(pair) == run_room_id

    def _note(self, room_id: RoomId, first: ConnectionId, second: ConnectionId) -> None:
        self._newest[_Pair({first, second})] = self._newest[first] = self._newest[second] = room_id
