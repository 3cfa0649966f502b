"""The data of a report as columns of numbers: commits, events, waits, rooms, messages.

A moment is counted from the base: 0 is the base itself, and `n` is after the n-th commit. A wait or a room is a span of
moments, without the last one. In columns of references, 0 means none.
"""

from __future__ import annotations

from typing import get_args

import msgspec

from events.commands import Command, ReportCategory
from events.commit import Commit
from events.events import (
    Event,
    MessageSent,
    NamesForgotten,
    PartnerBlocked,
    PartnerReported,
    PolicyAdopted,
    QueueEntered,
    QueueLeft,
    RoomClosed,
    RoomClosedReason,
    RoomOpened,
)
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from events.text import Interests, RedactedText, Text, known_interests
from log_debugger.reading.short_names import plain_name
from log_debugger.report.tables import SparseColumn, StringTable, Table
from projections.notifications import recipients
from projections.rooms import Room
from projections.state import State

COMMANDS = tuple(str(kind.__struct_config__.tag) for kind in get_args(Command))
EVENTS = tuple(str(kind.__struct_config__.tag) for kind in get_args(Event))
MISSED, MISSED_BY_BOTH = "missed", "missed_by_both"
"""The reasons for the end of a room whose match was missed."""
REASONS = ("", *get_args(RoomClosedReason), MISSED, MISSED_BY_BOTH, *get_args(ReportCategory))


class CommitTable(Table):
    """`room` is the command's, `id` the first 28 bits of the commit's, `events` the number of its events."""

    columns = ("at_ms", "command", "who", "room", "id", "events")


class EventTable(Table):
    """`a` and `b` take part; in `told`, bit 1 marks a notification of `a`, bit 2 one of `b`."""

    columns = ("kind", "a", "b", "room", "reason", "told")


class WaitTable(Table):
    """`room` is set if a room ended the wait, `reason` if something else did."""

    columns = ("who", "start", "end", "name", "interests", "room", "reason")


class RoomTable(Table):
    """One row for each opening, and one, never open, for each other room id in use."""

    columns = ("id", "first", "second", "first_name", "second_name", "start", "end", "closer", "reason")


class RefusalTable(Table):
    """`moment` is that before the refusal; `times` is above 1 for those that were not noted each."""

    columns = ("moment", "at", "who", "other", "command", "code", "times")


class ReportColumns:
    """All columns of a log; grows by one commit at a time. No content of a commit makes it fail."""

    def __init__(self, base: State, *, texts: bool) -> None:
        """Begin at `base`: waits and rooms in it start at moment 0.

        Args:
            base: the state before the first commit.
            texts: keep texts, names and interests.
        """
        self.texts = texts
        self.people, self.room_ids, self.names = StringTable(), StringTable(), StringTable()
        self.interests: list[list[str]] = []
        self.commits, self.events, self.waits, self.rooms = CommitTable(), EventTable(), WaitTable(), RoomTable()
        self.said: list[str | int] = []  # a number is the length in bytes of an omitted text
        self.message_ids, self.absent_since, self.drawn = SparseColumn(), SparseColumn(), SparseColumn()
        self.policies, self.connections = SparseColumn(), SparseColumn()  # `connections`: how many are known
        self.notes, self.forgotten = SparseColumn(), SparseColumn()  # of reports; whose names
        self.requeued: list[tuple[int, Position, int]] = []  # moments, with the old place and its time
        self.avoided = SparseColumn()  # by a search for a partner: see `FoldedLog`
        self.waiting_since_ms: list[int] = []  # of the waits in the base
        self.waiting_positions: list[Position] = []  # likewise
        self.opened_positions: list[int] = []  # of the rooms in the base
        self._policy = base.policy
        self._interests: dict[tuple[str, ...], int] = {}
        self._waiting: dict[ConnectionId, int] = {}
        self._open: dict[RoomId, int] = {}
        self._begin(base)

    def add(self, commit: Commit) -> None:
        """Append one commit."""
        moment = len(self.commits) + 1
        command = commit.command
        self._note_facts(moment, commit)
        self.commits.add(
            commit.at_ms,
            COMMANDS.index(str(type(command).__struct_config__.tag)),
            self.people.number(getattr(command, "connection_id", None)),
            self._room(getattr(command, "room_id", None)),
            int(commit.commit_id[:7], 16) if _is_hexadecimal(commit.commit_id[:7]) else 0,
            len(commit.events),
        )
        for event in commit.events:
            self._apply(moment, event)

    def close(self) -> None:
        """End the waits and rooms still open, after the last moment."""
        for ends in (self.waits["end"], self.rooms["end"]):
            ends[:] = [end or len(self.commits) + 1 for end in ends]

    def _begin(self, base: State) -> None:
        for who in sorted(base.queue.entered, key=base.queue.entered.__getitem__):
            known = base.connections.by_id[who]
            self._wait(0, who, known.display_name, known.interests)
            self.waiting_since_ms.append(known.waiting_since_ms())
            self.waiting_positions.append(base.queue.entered[who])
        kept: list[Room] = [room for room in base.rooms.by_id.values() if room.is_open]
        for room in sorted(kept, key=lambda room: room.opened_position):
            self._open_room(0, room.room_id, (room.first, room.second), (room.first_name, room.second_name))
            self.opened_positions.append(room.opened_position)

    def _note_facts(self, moment: int, commit: Commit) -> None:
        drawn = commit.facts.room_id
        if drawn is not None and not any(isinstance(one, RoomOpened) and one.room_id == drawn for one in commit.events):
            self.drawn.add(moment, drawn)
        since = getattr(commit.command, "since", None)
        if since is not None:
            self.absent_since.add(moment, since)

    def _apply(self, moment: int, event: Event) -> None:
        match event:
            case QueueEntered(connection_id=who):
                self._row(event, who)
                self._wait(moment, who, event.display_name, event.interests)
                if event.earlier is not None:
                    self.requeued.append((moment, event.earlier.position, event.earlier.at_ms))
            case QueueLeft(connection_id=who, reason=reason):
                self._row(event, who, reason=reason)
                self._end_wait(moment, who, reason=reason)
            case RoomOpened(room_id=room_id, first=first, second=second):
                room = self._open_room(moment, room_id, (first, second), (event.first_name, event.second_name))
                self._row(event, first, second, room)
                for who in (first, second):
                    self._end_wait(moment, who, room=room)
            case MessageSent(room_id=room_id, sender=sender, recipient=recipient):
                self._row(event, sender, recipient, self._room(room_id))
                self._say(moment, event)
            case RoomClosed(room_id=room_id, closed_by=by, other=other):
                self._row(event, by, other, self._room(room_id), _reason(event))
                self._close_room(moment, event)
            case PolicyAdopted(policy=policy):
                self._row(event)
                self.policies.add(moment, _changes(self._policy, policy))
                self._policy = policy
            case _:
                self._apply_conduct(moment, event)

    def _apply_conduct(self, moment: int, event: PartnerBlocked | PartnerReported | NamesForgotten) -> None:
        match event:
            case PartnerBlocked(blocker=blocker, blocked=blocked):
                self._row(event, blocker, blocked)
            case PartnerReported(reporter=reporter, reported=reported, category=category, note=note):
                self._row(event, reporter, reported, self._room(event.room_id), category)
                if note is not None:
                    self.notes.add(moment, self._text(note))
            case NamesForgotten(connection_ids=connection_ids):
                self._row(event)
                self.forgotten.add(moment, [self.people.number(who) for who in connection_ids])

    def _row(self, event: Event, a: str | None = None, b: str | None = None, room: int = 0, reason: str = "") -> None:
        told = recipients(event)
        kind = EVENTS.index(str(type(event).__struct_config__.tag))
        people = self.people.number(a), self.people.number(b)
        self.events.add(kind, *people, room, REASONS.index(reason), (a in told) + 2 * (b in told))

    def _wait(self, moment: int, who: ConnectionId, name: Text, interests: Interests) -> None:
        self._end_wait(moment, who)
        typed = (self._name(name), self._interest(known_interests(interests))) if self.texts else (0, 0)
        self._waiting[who] = self.waits.add(self.people.number(who), moment, 0, *typed, 0, 0)

    def _end_wait(self, moment: int, who: ConnectionId, room: int = 0, reason: str = "") -> None:
        number = self._waiting.pop(who, 0)
        if number:
            self.waits["end"][number - 1] = moment
            self.waits["room"][number - 1] = room
            self.waits["reason"][number - 1] = REASONS.index(reason)

    def _open_room(
        self, moment: int, room_id: RoomId, members: tuple[ConnectionId, ConnectionId], names: tuple[Text, Text]
    ) -> int:
        people = (self.people.number(one) for one in members)
        named = (self._name(one) for one in names)
        number = self.rooms.add(self.room_ids.number(room_id), *people, *named, moment, 0, 0, 0)
        self._open[room_id] = number
        return number

    def _close_room(self, moment: int, event: RoomClosed) -> None:
        index = self._room(event.room_id) - 1
        if not self.rooms["end"][index]:
            self.rooms["end"][index] = moment
            self.rooms["closer"][index] = self.people.number(event.closed_by)
            self.rooms["reason"][index] = REASONS.index(_reason(event))

    def _room(self, room_id: RoomId | None) -> int:
        """Return the number of the newest room with that id, adding one that is never open if there is none."""
        if room_id is None:
            return 0
        number = self._open.get(room_id)
        if number is None:
            moment = max(1, len(self.commits))
            number = self.rooms.add(self.room_ids.number(room_id), 0, 0, 0, 0, moment, moment, 0, 0)
            self._open[room_id] = number
        return number

    def _say(self, moment: int, event: MessageSent) -> None:
        self.said.append(self._text(event.text))
        if self.texts and event.client_message_id is not None:
            self.message_ids.add(moment, event.client_message_id)

    def _name(self, name: Text) -> int:
        return self.names.number(plain_name(name)) if self.texts else 0

    def _text(self, text: Text) -> str | int:
        """Return `text`, or the length in bytes of an omitted one."""
        if isinstance(text, RedactedText):
            return text.length_bytes
        return text if self.texts else len(text.encode())

    def _interest(self, interests: tuple[str, ...]) -> int:
        if not interests:
            return 0
        number = self._interests.setdefault(interests, len(self.interests) + 1)
        if number > len(self.interests):
            self.interests.append(list(interests))
        return number


def _reason(event: RoomClosed) -> str:
    if event.missed_by:
        return MISSED if len(event.missed_by) == 1 else MISSED_BY_BOTH
    return event.reason


def _changes(before: Policy, after: Policy) -> dict[str, list[object]]:
    old, new = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    return {name: [old[name], new[name]] for name in new if old[name] != new[name]}


def _is_hexadecimal(text: str) -> bool:
    return bool(text) and all(one in "0123456789abcdef" for one in text)
