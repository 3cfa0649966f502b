"""What a report shows of a log, as columns of numbers: commits, events, waits, rooms, messages.

A moment is counted from the base: 0 is the base itself, and `n` is after the n-th commit. A wait or a room is a span of
moments, of which the last one is no part. Wherever a number names something, 0 is nobody or nothing.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import get_args

import msgspec

from events.commands import Command
from events.commit import Commit
from events.events import (
    Event,
    MessageSent,
    PolicyAdopted,
    QueueEntered,
    QueueLeft,
    RoomClosed,
    RoomClosedReason,
    RoomOpened,
)
from events.ids import ConnectionId, RoomId
from events.policy import Policy
from events.text import RedactedText
from projections.notifications import recipients
from projections.rooms import Room
from projections.state import State

COMMANDS = tuple(str(kind.__struct_config__.tag) for kind in get_args(Command))
EVENTS = tuple(str(kind.__struct_config__.tag) for kind in get_args(Event))
REASONS = ("", *get_args(RoomClosedReason))

_WIDTHS = {"B": (0, 2**8 - 1), "H": (0, 2**16 - 1), "i": (-(2**31), 2**31 - 1)}


def packed(values: Sequence[int]) -> str:
    """`values` in base64 as numbers of the least width that holds them all, least byte first; the width goes before.

    `B` and `H` are unsigned of 1 and 2 bytes, `i` is signed of 4, `d` is a double.
    """
    low, high = min(values, default=0), max(values, default=0)
    width = next((width for width, (least, most) in _WIDTHS.items() if least <= low and high <= most), "d")
    column = array(width, values)
    if sys.byteorder == "big":
        column.byteswap()
    return width + base64.b64encode(column.tobytes()).decode()


def ascending(values: Sequence[int]) -> str:
    """As `packed`, but each number stands as what it adds to the one before; `+` goes before that."""
    return "+" + packed([after - before for before, after in pairwise((0, *values))])


class StringTable:
    """Texts by number from 1 on, in the order in which they were first seen."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """The number of `text`, new if it has none; 0 for none."""
        if text is None:
            return 0
        number = self._numbers.setdefault(text, len(self.texts) + 1)
        if number > len(self.texts):
            self.texts.append(text)
        return number


class Table:
    """Columns of equal length; a subclass names them."""

    columns: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._of = {name: list[int]() for name in self.columns}

    def __len__(self) -> int:
        return len(self._of[self.columns[0]])

    def __getitem__(self, name: str) -> list[int]:
        return self._of[name]

    def add(self, *values: int) -> int:
        """One row more, and its number from 1 on."""
        for column, value in zip(self._of.values(), values, strict=True):
            column.append(value)
        return len(self)

    def packed(self, rising: Iterable[str] = ()) -> dict[str, str]:
        """The columns by name; those in `rising` as `ascending`."""
        return {name: (ascending if name in rising else packed)(column) for name, column in self._of.items()}


class CommitTable(Table):
    """`room` is the command's, `id` the first 28 bits of the commit's, `events` how many there are of them."""

    columns = ("at_ms", "command", "who", "room", "id", "events")


class EventTable(Table):
    """`a` and `b` are who takes part; of `told`, bit 1 is that `a` is told of it, bit 2 that `b` is."""

    columns = ("kind", "a", "b", "room", "reason", "told")


class WaitTable(Table):
    """`room` is the one that ended it, `reason` why it ended without one."""

    columns = ("who", "start", "end", "name", "interests", "room", "reason")


class RoomTable(Table):
    """One row for each opening, and one that is never open for each other id that something names."""

    columns = ("id", "first", "second", "first_name", "second_name", "start", "end", "closer", "reason")


class SparseColumn:
    """What few commits have: at which moment, and what."""

    def __init__(self) -> None:
        self.moments: list[int] = []
        self.values: list[object] = []

    def add(self, moment: int, value: object) -> None:
        """That commit has it."""
        self.moments.append(moment)
        self.values.append(value)

    def packed(self) -> dict[str, object]:
        """Both columns."""
        return {"moment": ascending(self.moments), "value": self.values}


class ReportColumns:
    """All of a log's columns; grows by a commit at a time. Nothing that a commit may say makes it fail."""

    def __init__(self, base: State, *, texts: bool) -> None:
        """Whoever waits or chats at `base` does so from moment 0 on. Without `texts`, nothing that a person typed."""
        self.texts = texts
        self.people, self.room_ids, self.names = StringTable(), StringTable(), StringTable()
        self.interests: list[list[str]] = []
        self.commits, self.events, self.waits, self.rooms = CommitTable(), EventTable(), WaitTable(), RoomTable()
        self.said: list[str | int] = []  # a number is the length of a text that is not there, in bytes
        self.message_ids, self.absent_since, self.drawn = SparseColumn(), SparseColumn(), SparseColumn()
        self.policies = SparseColumn()
        self.waiting_since_ms: list[int] = []  # of the waits that began before the base
        self.opened_positions: list[int] = []  # of the rooms that opened before it
        self._policy = base.policy
        self._interests: dict[tuple[str, ...], int] = {}
        self._waiting: dict[ConnectionId, int] = {}
        self._open: dict[RoomId, int] = {}
        self._begin(base)

    def add(self, commit: Commit) -> None:
        """One commit more."""
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
        """What is still going on ends behind the last moment."""
        for ends in (self.waits["end"], self.rooms["end"]):
            ends[:] = [end or len(self.commits) + 1 for end in ends]

    def _begin(self, base: State) -> None:
        for who in sorted(base.queue.entered, key=base.queue.entered.__getitem__):
            known = base.connections.by_id[who]
            self._wait(0, who, known.display_name, known.interests)
            self.waiting_since_ms.append(known.last_at_ms)
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
            case RoomClosed(room_id=room_id, closed_by=by, other=other, reason=reason):
                self._row(event, by, other, self._room(room_id), reason)
                self._close_room(moment, event)
            case PolicyAdopted(policy=policy):
                self._row(event)
                self.policies.add(moment, _changes(self._policy, policy))
                self._policy = policy

    def _row(self, event: Event, a: str | None = None, b: str | None = None, room: int = 0, reason: str = "") -> None:
        told = recipients(event)
        kind = EVENTS.index(str(type(event).__struct_config__.tag))
        people = self.people.number(a), self.people.number(b)
        self.events.add(kind, *people, room, REASONS.index(reason), (a in told) + 2 * (b in told))

    def _wait(self, moment: int, who: ConnectionId, name: str, interests: tuple[str, ...]) -> None:
        self._end_wait(moment, who)
        typed = (self._name(name), self._interest(interests)) if self.texts else (0, 0)
        self._waiting[who] = self.waits.add(self.people.number(who), moment, 0, *typed, 0, 0)

    def _end_wait(self, moment: int, who: ConnectionId, room: int = 0, reason: str = "") -> None:
        number = self._waiting.pop(who, 0)
        if number:
            self.waits["end"][number - 1] = moment
            self.waits["room"][number - 1] = room
            self.waits["reason"][number - 1] = REASONS.index(reason)

    def _open_room(
        self, moment: int, room_id: RoomId, members: tuple[ConnectionId, ConnectionId], names: tuple[str, str]
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
            self.rooms["reason"][index] = REASONS.index(event.reason)

    def _room(self, room_id: RoomId | None) -> int:
        """The newest room of that id; one that is never open, if there is none."""
        if room_id is None:
            return 0
        number = self._open.get(room_id)
        if number is None:
            moment = max(1, len(self.commits))
            number = self.rooms.add(self.room_ids.number(room_id), 0, 0, 0, 0, moment, moment, 0, 0)
            self._open[room_id] = number
        return number

    def _say(self, moment: int, event: MessageSent) -> None:
        text = event.text
        if isinstance(text, RedactedText):
            self.said.append(text.length_bytes)
        else:
            self.said.append(text if self.texts else len(text.encode()))
        if self.texts and event.client_message_id is not None:
            self.message_ids.add(moment, event.client_message_id)

    def _name(self, name: str) -> int:
        return self.names.number(name) if self.texts else 0

    def _interest(self, interests: tuple[str, ...]) -> int:
        if not interests:
            return 0
        number = self._interests.setdefault(interests, len(self.interests) + 1)
        if number > len(self.interests):
            self.interests.append(list(interests))
        return number


def _changes(before: Policy, after: Policy) -> dict[str, list[object]]:
    old, new = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    return {name: [old[name], new[name]] for name in new if old[name] != new[name]}


def _is_hexadecimal(text: str) -> bool:
    return bool(text) and all(one in "0123456789abcdef" for one in text)
