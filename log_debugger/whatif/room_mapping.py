"""The rooms of a counterfactual run, in place of those of the log: by their pairs, or by their newest members."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from events.events import Event, RoomOpened
from events.ids import ConnectionId, RoomId
from projections.state import State
from projections.view import FoldView

_Pair = frozenset[ConnectionId]


class RoomMapping:
    """The rooms of each pair in the log and in the run, and the last room of each connection in the run."""

    def __init__(self, base: State) -> None:
        self._meetings: dict[RoomId, tuple[_Pair, int]] = {}  # of the log's rooms: the pair, and how many came before
        self._logged: dict[_Pair, int] = defaultdict(int)
        self._run: dict[_Pair, list[RoomId]] = defaultdict(list)
        self._newest: dict[ConnectionId, RoomId] = {}
        for room in sorted(base.rooms.by_id.values(), key=lambda room: room.opened_position):
            self._note_log(room.room_id, _Pair({room.first, room.second}))
            self._note_run(room.room_id, _Pair({room.first, room.second}))

    def record_log(self, events: Sequence[Event]) -> None:
        """Take note of the rooms that the log opens."""
        for event in events:
            if isinstance(event, RoomOpened):
                self._note_log(event.room_id, _Pair({event.first, event.second}))

    def record_run(self, events: Sequence[Event]) -> None:
        """Take note of the rooms that the run opens."""
        for event in events:
            if isinstance(event, RoomOpened):
                self._note_run(event.room_id, _Pair({event.first, event.second}))

    def run_room(self, state: FoldView, who: ConnectionId, room_id: RoomId) -> RoomId | None:
        """Return the run's room for the log's `room_id`, one that `who` is or was in; `None` if `state` keeps none.

        It is a room of the same pair if they met: that of the same meeting, or their last one. Otherwise it is the last
        one of `who`.
        """
        pair, number = self._meetings.get(room_id, (_Pair(), 0))
        theirs = self._run.get(pair, [])
        found = theirs[min(number, len(theirs) - 1)] if theirs else self._newest.get(who)
        return found if found is not None and state.rooms.by_id.get(found) is not None else None

    def is_same_pair(self, room_id: RoomId, run_room_id: RoomId) -> bool:
        """Return whether the log's `room_id` and the run's `run_room_id` have the same members."""
        return room_id in self._meetings and run_room_id in self._run.get(self._meetings[room_id][0], [])

    def _note_log(self, room_id: RoomId, pair: _Pair) -> None:
        self._meetings[room_id] = pair, self._logged[pair]
        self._logged[pair] += 1

    def _note_run(self, room_id: RoomId, pair: _Pair) -> None:
        self._run[pair].append(room_id)
        for who in pair:
            self._newest[who] = room_id
