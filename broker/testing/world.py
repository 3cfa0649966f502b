"""What there is and what can happen, for the second witness: people, a queue and rooms, in lists.

It shares no code with `projections` (an import contract sees to that), and looks through everything that it looks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from events.commands import SendMessage
from events.commit import Facts
from events.events import (
    Event,
    MessageSent,
    PolicyAdopted,
    QueueEntered,
    QueueLeft,
    QueueLeftReason,
    RoomClosed,
    RoomClosedReason,
    RoomOpened,
)
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy

TEN_SECONDS_US = 10_000_000

Told = tuple[ConnectionId, str, dict[str, Any]]
"""Who is told something, the notification's method, and its params."""


@dataclass(eq=False)
class Person:
    """Someone who has been in the queue once, and is not forgotten."""

    who: ConnectionId
    name: str
    interests: tuple[str, ...]
    place: Literal["idle", "waiting", "chatting"] = "idle"
    entered: Position | None = None  # at which they began to wait
    room_id: RoomId | None = None  # in which they chat
    last_position: Position = 0  # of the last event that they took part in, other than being spoken to
    last_at_ms: int = 0
    queue_spent_until_us: int = 0
    messages_spent_until_us: int = 0
    known_since: Position = 0
    told: list[tuple[Position, Told]] = field(default_factory=list)


@dataclass(eq=False)
class Chat:
    """A room that is kept. The ids of messages are in two lists: when the newer is half full, the older goes."""

    room_id: RoomId
    first: Person
    second: Person
    first_name: str
    second_name: str
    opened: Position
    closed: Position | None = None
    newer_ids: list[tuple[ConnectionId, str, int]] = field(default_factory=list)  # by whom, which, when
    older_ids: list[tuple[ConnectionId, str, int]] = field(default_factory=list)

    def other_than(self, who: ConnectionId) -> Person:
        """The partner of `who`."""
        return self.second if self.first.who == who else self.first


class World:
    """Changed in place. `events` and `told` are what has happened since `begin`."""

    def __init__(self) -> None:
        self.position: Position = 0
        self.at_ms = 0
        self.policy = Policy()
        self.people: list[Person] = []
        self.queue: list[Person] = []  # who has waited longest is first
        self.idle: list[Person] = []  # who has been idle longest is first
        self.rooms: list[Chat] = []  # in the order of their opening
        self.closed: list[Chat] = []  # of these, in the order of their closing
        self.messages_sent = 0
        self.rooms_closed = 0
        self.events: list[Event] = []
        self.told: list[Told] = []
        self._now_ms = 0

    def person(self, who: ConnectionId) -> Person | None:
        """What is known of `who`."""
        for person in self.people:
            if person.who == who:
                return person
        return None

    def room(self, room_id: RoomId) -> Chat | None:
        """The room of that name, if it is kept."""
        for chat in self.rooms:
            if chat.room_id == room_id:
                return chat
        return None

    def begin(self, facts: Facts) -> None:
        """A command comes at the time of `facts`; what happens next is at the next position."""
        self.events, self.told, self._now_ms = [], [], facts.at_ms

    def end(self) -> None:
        """Nothing more follows from it: if anything has happened, that was a commit."""
        if self.events:
            self.position += 1
            self.at_ms = self._now_ms
            while len(self.people) > self.policy.connections_kept and self.idle:
                self.people.remove(self.idle.pop(0))

    def adopt(self, policy: Policy) -> None:
        """Other limits hold."""
        self.policy = policy
        self.events.append(PolicyAdopted(policy))

    def wait(self, who: ConnectionId, name: str, interests: tuple[str, ...]) -> Person:
        """Someone new or idle begins to wait."""
        person = self.person(who)
        if person is None:
            person = Person(who, name, interests, known_since=self.position + 1)
            self.people.append(person)
        else:
            self.idle.remove(person)
        person.name, person.interests = name, interests
        person.place, person.entered = "waiting", self.position + 1
        limit = self.policy.queue_commands_per_10s_max
        person.queue_spent_until_us = spent(person.queue_spent_until_us, limit, self._now_ms)
        self.queue.append(person)
        self._moved(person)
        self.events.append(QueueEntered(who, name, interests))
        return person

    def leave_queue(self, person: Person, reason: QueueLeftReason) -> None:
        """Someone waits no longer."""
        self.queue.remove(person)
        self._rest(person)
        self.events.append(QueueLeft(person.who, reason))

    def open(self, room_id: RoomId, first: Person, second: Person) -> None:
        """Two who wait meet."""
        chat = Chat(room_id, first, second, first.name, second.name, self.position + 1)
        self.rooms.append(chat)
        for person in (first, second):
            self.queue.remove(person)
            person.place, person.entered, person.room_id = "chatting", None, room_id
            self._moved(person)
        self.events.append(RoomOpened(room_id, first.who, second.who, first.name, second.name))
        self._tell(first, "chatroom.found", chat, partner=second.name)
        self._tell(second, "chatroom.found", chat, partner=first.name)

    def say(self, chat: Chat, sender: Person, said: SendMessage) -> None:
        """A member of an open room says something to the other."""
        if said.client_message_id is not None:
            if 2 * len(chat.newer_ids) >= self.policy.message_ids_kept:
                chat.older_ids, chat.newer_ids = chat.newer_ids, []
            chat.newer_ids.append((sender.who, said.client_message_id, self._now_ms))
        limit = self.policy.messages_per_10s_max
        sender.messages_spent_until_us = spent(sender.messages_spent_until_us, limit, self._now_ms)
        self._moved(sender)
        self.messages_sent += 1
        recipient = chat.other_than(sender.who)
        self.events.append(MessageSent(chat.room_id, sender.who, recipient.who, said.text, said.client_message_id))
        words = said.text if isinstance(said.text, str) else "[redacted]"
        self._tell(recipient, "message.received", chat, message=words, sender="stranger")

    def close(self, chat: Chat, closer: Person, reason: RoomClosedReason) -> None:
        """A member of an open room ends it; of the rooms that have ended, the newest are kept."""
        other = chat.other_than(closer.who)
        chat.closed = self.position + 1
        self.closed.append(chat)
        while len(self.closed) > self.policy.closed_rooms_kept:
            self.rooms.remove(self.closed.pop(0))
        self._rest(closer)
        self._rest(other)
        self.rooms_closed += 1
        self.events.append(RoomClosed(chat.room_id, closer.who, other.who, reason))
        self._tell(other, "partner.disconnected", chat, reason=reason)

    def _rest(self, person: Person) -> None:
        person.place, person.entered, person.room_id = "idle", None, None
        self.idle.append(person)
        self._moved(person)

    def _moved(self, person: Person) -> None:
        person.last_position, person.last_at_ms = self.position + 1, self._now_ms

    def _tell(self, person: Person, method: str, chat: Chat, **said: str) -> None:
        moment = datetime(1970, 1, 1) + timedelta(milliseconds=self._now_ms)  # noqa: DTZ001 - UTC, as the Z below says
        timestamp = moment.isoformat(timespec="milliseconds") + "Z"
        params = {"room_id": chat.room_id, "timestamp": timestamp, "cursor": self.position + 1, **said}
        self.told.append((person.who, method, params))
        person.told.append((self.position + 1, self.told[-1]))


def spent(until_us: int, per_10s_max: int, at_ms: int) -> int:
    """Until when an allowance is spent after one more use: each takes its share of ten seconds."""
    return max(until_us, at_ms * 1_000) + TEN_SECONDS_US // per_10s_max
