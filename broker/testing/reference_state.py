"""The state of the reference model: connections, a queue and rooms, in plain lists.

It shares no code with `projections` (an import contract enforces this), and every lookup is a linear search.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from events.commands import ReportPartner, SendMessage
from events.commit import Facts
from events.events import (
    Event,
    MessageSent,
    NamesForgotten,
    PartnerBlocked,
    PartnerReported,
    PolicyAdopted,
    QueueEntered,
    QueueEntry,
    QueueLeft,
    QueueLeftReason,
    RoomClosed,
    RoomClosedReason,
    RoomOpened,
)
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from events.text import Interests, Text

TEN_SECONDS_US = 10_000_000
TEN_MINUTES_US = 600_000_000
PARTNERS_REMEMBERED = 8

PlainNotification = tuple[ConnectionId, str, dict[str, Any]]
"""A notification as its recipient, its method and its params."""


@dataclass(eq=False)
class ReferenceConnection:
    """A connection that has entered the queue at least once and is not forgotten."""

    connection_id: ConnectionId
    name: Text
    interests: Interests
    salt: str | None = None  # of the name and the interests
    place: Literal["idle", "waiting", "chatting"] = "idle"
    entered: Position = 0  # where the present or the last wait began
    entered_at_ms: int = 0
    room_id: RoomId | None = None  # of the open room, while chatting
    last_position: Position = 0  # of its last message or change of place
    last_at_ms: int = 0
    queue_spent_until_us: int = 0
    messages_spent_until_us: int = 0
    reports_spent_until_us: int = 0
    met: list[tuple[ConnectionId, int]] = field(default_factory=list)  # the last partners, and when each chat ended
    blocked: list[ConnectionId] = field(default_factory=list)
    known_since: Position = 0
    idle_grace_ms: int | None = None  # of one whose client calls all the time
    notifications: list[tuple[Position, PlainNotification]] = field(default_factory=list)


@dataclass(eq=False)
class ReferenceRoom:
    """A room, open or kept. Message ids are in two lists: when the newer is half full, the older is dropped."""

    room_id: RoomId
    first: ReferenceConnection
    second: ReferenceConnection
    first_name: Text
    second_name: Text
    opened: Position
    closed: Position | None = None
    first_entry: QueueEntry | None = None  # where and when their waits began, if the match has to be confirmed
    second_entry: QueueEntry | None = None
    reporters: list[ConnectionId] = field(default_factory=list)
    newer_ids: list[tuple[ConnectionId, str, int]] = field(default_factory=list)  # sender, message id, Unix ms
    older_ids: list[tuple[ConnectionId, str, int]] = field(default_factory=list)

    def partner_of(self, connection_id: ConnectionId) -> ReferenceConnection:
        """Return the other member."""
        return self.second if self.first.connection_id == connection_id else self.first


class ReferenceState:
    """Changed in place. `events` and `notifications` are those since the last `begin`."""

    def __init__(self) -> None:
        self.position: Position = 0
        self.at_ms = 0
        self.policy = Policy()
        self.connections: list[ReferenceConnection] = []
        self.queue: list[ReferenceConnection] = []  # longest waiting first
        self.idle: list[ReferenceConnection] = []  # longest idle first
        self.rooms: list[ReferenceRoom] = []  # in the order of their opening
        self.closed: list[ReferenceRoom] = []  # the closed ones among them, in the order of their closing
        self.reports: list[tuple[Position, RoomId, int]] = []  # those that hold evidence: position, room, Unix ms
        self.messages_sent = 0
        self.rooms_closed = 0
        self.events: list[Event] = []
        self.notifications: list[PlainNotification] = []
        self._now_ms = 0

    def connection(self, connection_id: ConnectionId) -> ReferenceConnection | None:
        """Return the connection, or `None` if it is not known."""
        for connection in self.connections:
            if connection.connection_id == connection_id:
                return connection
        return None

    def room(self, room_id: RoomId) -> ReferenceRoom | None:
        """Return the room, or `None` if it is not kept."""
        for room in self.rooms:
            if room.room_id == room_id:
                return room
        return None

    def begin(self, facts: Facts) -> None:
        """Begin a command at the time of `facts`. Its changes are at the next position."""
        self.events, self.notifications, self._now_ms = [], [], facts.at_ms

    def end(self) -> None:
        """End the command. If it led to events, they are one commit."""
        if self.events:
            self.position += 1
            self.at_ms = self._now_ms
            while len(self.connections) > self.policy.connections_kept and self.idle:
                self.connections.remove(self.idle.pop(0))

    def adopt(self, policy: Policy) -> None:
        """Replace the policy."""
        self.policy = policy
        self.events.append(PolicyAdopted(policy))

    def wait(
        self,
        connection_id: ConnectionId,
        name: Text,
        interests: Interests,
        salt: str | None,
        earlier: QueueEntry | None = None,
        *,
        idle_grace_ms: int | None,
    ) -> ReferenceConnection:
        """Put a new or idle connection at the end of the queue, or at its `earlier` place, which costs nothing."""
        connection = self.connection(connection_id)
        if connection is None:
            connection = ReferenceConnection(connection_id, name, interests, known_since=self.position + 1)
            self.connections.append(connection)
        else:
            self.idle.remove(connection)
        connection.name, connection.interests, connection.salt = name, interests, salt
        connection.idle_grace_ms = idle_grace_ms
        connection.place = "waiting"
        if earlier is None:
            connection.entered, connection.entered_at_ms = self.position + 1, self._now_ms
            limit = self.policy.queue_commands_per_10s_max
            connection.queue_spent_until_us = spent_until(connection.queue_spent_until_us, limit, self._now_ms)
        else:
            connection.entered, connection.entered_at_ms = earlier.position, earlier.at_ms
        self.queue.append(connection)
        self.queue.sort(key=lambda waiting: waiting.entered)
        self._touch(connection)
        self.events.append(QueueEntered(connection_id, name, interests, salt, earlier, idle_grace_ms))
        return connection

    def leave_queue(self, connection: ReferenceConnection, reason: QueueLeftReason) -> None:
        """Take a waiting connection out of the queue."""
        self.queue.remove(connection)
        self._set_idle(connection)
        self.events.append(QueueLeft(connection.connection_id, reason))

    def open(self, room_id: RoomId, first: ReferenceConnection, second: ReferenceConnection) -> None:
        """Pair two waiting connections in a new room."""
        room = ReferenceRoom(room_id, first, second, first.name, second.name, self.position + 1)
        if self.policy.confirm_grace_ms > 0:
            room.first_entry = QueueEntry(first.entered, first.entered_at_ms)
            room.second_entry = QueueEntry(second.entered, second.entered_at_ms)
        self.rooms.append(room)
        for connection in (first, second):
            self.queue.remove(connection)
            connection.place, connection.room_id = "chatting", room_id
            self._touch(connection)
        self.events.append(
            RoomOpened(
                room_id,
                first.connection_id,
                second.connection_id,
                first.name,
                second.name,
                first.salt,
                second.salt,
                room.first_entry,
                room.second_entry,
            )
        )
        self._notify(first, "chatroom.found", room, partner=shown(second.name))
        self._notify(second, "chatroom.found", room, partner=shown(first.name))

    def send(self, room: ReferenceRoom, sender: ReferenceConnection, command: SendMessage) -> None:
        """Pass a message of a member of an open room to the other member."""
        if command.client_message_id is not None:
            if 2 * len(room.newer_ids) >= self.policy.message_ids_kept:
                room.older_ids, room.newer_ids = room.newer_ids, []
            room.newer_ids.append((sender.connection_id, command.client_message_id, self._now_ms))
        limit = self.policy.messages_per_10s_max
        sender.messages_spent_until_us = spent_until(sender.messages_spent_until_us, limit, self._now_ms)
        self._touch(sender)
        self.messages_sent += 1
        recipient = room.partner_of(sender.connection_id)
        text = command.text
        self.events.append(
            MessageSent(room.room_id, sender.connection_id, recipient.connection_id, text, command.client_message_id)
        )
        self._notify(recipient, "message.received", room, message=shown(text), sender="stranger")

    def close(
        self,
        room: ReferenceRoom,
        closer: ReferenceConnection,
        reason: RoomClosedReason,
        missed_by: tuple[ConnectionId, ...] = (),
        *,
        is_partner_requeued: bool = False,
    ) -> None:
        """Close an open room for one of its members. Only the newest closed rooms are kept.

        The members have met, unless one of them missed the match.
        """
        partner = room.partner_of(closer.connection_id)
        room.closed = self.position + 1
        if _is_redactable(room.first):
            room.first_name = "Anonymous"
        if _is_redactable(room.second):
            room.second_name = "Anonymous"
        self.closed.append(room)
        while len(self.closed) > self.policy.closed_rooms_kept:
            self.rooms.remove(self.closed.pop(0))
        self._set_idle(closer)
        self._set_idle(partner)
        self.rooms_closed += 1
        if self.policy.rematch_after_ms > 0 and missed_by == ():
            self._meet(closer, partner)
            self._meet(partner, closer)
        self.events.append(
            RoomClosed(
                room.room_id, closer.connection_id, partner.connection_id, reason, missed_by, is_partner_requeued
            )
        )
        requeued: dict[str, Any] = {"requeued": True} if is_partner_requeued else {}
        self._notify(partner, "partner.disconnected", room, reason=reason, **requeued)

    def block(self, blocker: ReferenceConnection, partner: ConnectionId) -> None:
        """Let `blocker` never meet `partner` again. Only the newest blocks are kept."""
        blocker.blocked.append(partner)
        while len(blocker.blocked) > self.policy.blocks_per_connection_max:
            blocker.blocked.pop(0)
        self.events.append(PartnerBlocked(blocker.connection_id, partner))

    def report(self, room: ReferenceRoom, reporter: ReferenceConnection, command: ReportPartner) -> None:
        """Report the other member of a room. The evidence goes from the room's opening to its end, or to here."""
        here = self.position + 1
        room.reporters.append(reporter.connection_id)
        limit = self.policy.reports_per_10min_max
        if limit > 0:
            until_us = reporter.reports_spent_until_us
            reporter.reports_spent_until_us = spent_until(until_us, limit, self._now_ms, TEN_MINUTES_US)
        if self.policy.evidence_keep_ms > 0:
            newest = [*self.reports, (here, room.room_id, self._now_ms)][-self.policy.reports_kept :]
            self.reports = [held for held in newest if self._now_ms - held[2] < self.policy.evidence_keep_ms]
        reported = room.partner_of(reporter.connection_id).connection_id
        last = room.closed if room.closed is not None else here
        self.events.append(
            PartnerReported(
                room.room_id,
                reporter.connection_id,
                reported,
                command.category,
                room.opened,
                last,
                command.note,
            )
        )

    def forget_names(self, connections: list[ReferenceConnection]) -> None:
        """Forget the names and interests of idle connections."""
        for connection in connections:
            connection.name, connection.interests, connection.salt = "Anonymous", (), None
        self.events.append(NamesForgotten(tuple(connection.connection_id for connection in connections)))

    def _meet(self, connection: ReferenceConnection, partner: ReferenceConnection) -> None:
        """Let `connection` remember `partner` as its last one."""
        before = [met for met in connection.met if met[0] != partner.connection_id]
        connection.met = [*before, (partner.connection_id, self._now_ms)][-PARTNERS_REMEMBERED:]

    def _set_idle(self, connection: ReferenceConnection) -> None:
        connection.place, connection.room_id = "idle", None
        self.idle.append(connection)
        self._touch(connection)

    def _touch(self, connection: ReferenceConnection) -> None:
        connection.last_position, connection.last_at_ms = self.position + 1, self._now_ms

    def _notify(self, recipient: ReferenceConnection, method: str, room: ReferenceRoom, **fields: Any) -> None:
        moment = datetime(1970, 1, 1) + timedelta(milliseconds=self._now_ms)  # noqa: DTZ001 - UTC, as the Z below says
        timestamp = moment.isoformat(timespec="milliseconds") + "Z"
        params = {"room_id": room.room_id, "timestamp": timestamp, "cursor": self.position + 1, **fields}
        self.notifications.append((recipient.connection_id, method, params))
        recipient.notifications.append((self.position + 1, self.notifications[-1]))


def spent_until(until_us: int, limit: int, at_ms: int, window_us: int = TEN_SECONDS_US) -> int:
    """Return the end of a spent allowance after one more use at `at_ms`; a use costs its share of the window."""
    return max(until_us, at_ms * 1_000) + window_us // limit


def _is_redactable(connection: ReferenceConnection) -> bool:
    """Return whether the name of a connection can be redacted in the log, or was."""
    return connection.salt is not None or not isinstance(connection.name, str)


def shown(text: Text) -> str:
    """Return a text as others are told it."""
    return text if isinstance(text, str) else "[redacted]"
