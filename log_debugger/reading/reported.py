"""The reports in a log, each with the commits of its room."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from events.commit import Commit, Tip, check_link
from events.events import Event, MessageSent, PartnerReported, RoomOpened
from events.ids import ConnectionId, Position, RoomId
from events.text import Text
from log_debugger.reading.iterate import commit_at
from log_debugger.reading.sources import Source

NO_ROOM = RoomId("")

# A dump may have spaces, as other programs write JSON. Both quotes of a typed text inside a string would be escaped.
_REPORTED = b'"partner_reported"'
_ROOM = re.compile(rb'"room_id"\s*:\s*"([^"\\]+)"')


class Report(NamedTuple):
    """A report, and its evidence: the commits of its room that are still in the log."""

    commit: Commit
    event: PartnerReported
    room: Sequence[Commit]

    @property
    def id(self) -> Position:
        """The position of its commit."""
        return self.commit.position

    def name_of(self, who: ConnectionId) -> Text | None:
        """Return the name of a member in the room; `None` if its opening was trimmed."""
        opened = self._opened()
        if opened is None:
            return None
        return opened.first_name if opened.first == who else opened.second_name

    def messages(self) -> list[MessageSent]:
        """Return the messages of the room that are in the log, in order."""
        return [event for event in self._events() if isinstance(event, MessageSent)]

    def redacted_count(self) -> int:
        """Return the number of messages whose texts are gone."""
        return sum(not isinstance(message.text, str) for message in self.messages())

    def is_trimmed(self) -> bool:
        """Return true if the log begins after the opening of the room."""
        return self._opened() is None

    def _opened(self) -> RoomOpened | None:
        return next((event for event in self._events() if isinstance(event, RoomOpened)), None)

    def _events(self) -> Iterator[Event]:
        return (event for commit in self.room for event in events_of(commit, self.event.room_id))


def events_of(commit: Commit, room_id: RoomId) -> Iterator[Event]:
    """Return the events of `commit` about a room."""
    return (event for event in commit.events if getattr(event, "room_id", None) == room_id)


def reports_in(source: Source) -> list[Report]:
    """Return all reports of a log in order, after two scans of it; few commits are decoded.

    Raises:
        UnreadableCommitError: a commit of a reported room can't be decoded.
        BrokenChainError: a commit of a reported room was altered; the others are not checked.
        UnusableLogError: the file is damaged.
    """
    found: list[tuple[Commit, PartnerReported]] = []
    for position, line in enumerate(source.lines(0), source.base.tip.position + 1):
        if _REPORTED in line:
            commit = _checked(position, line)
            found += [(commit, event) for event in commit.events if isinstance(event, PartnerReported)]
    rooms = _rooms_in(source, [event for _, event in found])
    return [
        Report(commit, event, [one for one in rooms[event.room_id] if one.position <= event.last])
        for commit, event in found
    ]


def _checked(position: Position, line: bytes) -> Commit:
    """Return the commit in `line`. It is evidence, so what it says must be what its id was made from."""
    commit = commit_at(position, line)
    check_link(Tip(position - 1, commit.previous_id), commit)
    return commit


def _rooms_in(source: Source, reports: Sequence[PartnerReported]) -> dict[RoomId, list[Commit]]:
    """Return the commits about each reported room, from the first position of all evidence to the last."""
    rooms: dict[RoomId, list[Commit]] = {event.room_id: [] for event in reports}
    if not reports:
        return rooms
    first = max(min(event.first for event in reports), source.base.tip.position + 1)
    last = max(event.last for event in reports)
    wanted = {room_id.encode() for room_id in rooms}
    for position, line in enumerate(source.lines(first - 1), first):
        if position > last:
            break
        if not wanted.isdisjoint(_ROOM.findall(line)):
            commit = _checked(position, line)
            for room_id in dict.fromkeys(getattr(event, "room_id", NO_ROOM) for event in commit.events):
                if room_id in rooms:
                    rooms[room_id].append(commit)
    return rooms
