"""A second reading of the store: owed notifications, places, and messages.

It is made from the stored events by rules of its own, so that the check of a client's events shares no code with
their sender.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from broker.decide import decide
from broker.testing.reference_model import ReferenceModel
from events.commit import Commit
from events.events import (
    MessageSent,
    NamesForgotten,
    PartnerBlocked,
    PartnerReported,
    PolicyAdopted,
    QueueEntered,
    QueueEntry,
    QueueLeft,
    RoomClosed,
    RoomOpened,
)
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from projections.invariants import check_step
from projections.state import State
from tests.simulation.loop import World
from tests.simulation.meetings import Meetings
from tests.simulation.sometimes import Sometimes

REDACTED = "[redacted]"
UNDER_WAY_MS = 30_000.0  # the longest pause of a process and delay of a store
CLOCKS_MS = 3_600_000.0  # the largest error of a clock
UNIX = datetime(1970, 1, 1, tzinfo=UTC)
OWN_ENDING = {"left": "you_left", "next": "you_left", "disconnected": "you_timed_out", "timeout": "you_timed_out"}
PARTNERS_ENDING = {
    "left": "partner_left",
    "next": "partner_next",
    "disconnected": "partner_gone",
    "timeout": "partner_gone",
}


class Said(NamedTuple):
    """A stored message."""

    position: Position
    room_id: RoomId
    sender: ConnectionId
    text: str
    client_message_id: str | None
    timestamp: str


class Person:
    """The stored facts about one connection."""

    def __init__(self) -> None:
        self.positions: list[Position] = []
        self.owed: list[dict[str, Any]] = []
        self.places: list[tuple[Position, tuple[str, Any]]] = []
        self.entry = QueueEntry(0, 0)  # the last own entry into the queue
        self.endings: list[tuple[Position, str]] = []  # reasons for being idle
        self.partners: set[ConnectionId] = set()
        self.heard_to: Position = 0  # the newest position known to the client, by a result or a stream
        self.idle_grace_ms: int | None = None  # for a window, from its first entry on
        self.known_since: Position = 0  # the entry after being forgotten, before notice of that could arrive

    def owes(self, position: Position, method: str, **params: Any) -> None:
        """Record a notification owed from `position` on."""
        self.positions.append(position)
        self.owed.append({"method": method, "params": params})

    def hears(self, position: Position) -> None:
        """Note that the event at `position` has reached their client."""
        self.heard_to = max(self.heard_to, position)

    def between(self, after: Position, through: Position) -> list[Position]:
        """Return the positions of owed notifications."""
        return self.positions[bisect_right(self.positions, after) : bisect_right(self.positions, through)]

    def place_at(self, position: Position) -> tuple[str, Any]:
        """Return the place right after `position`."""
        index = bisect_right(self.places, position, key=lambda entry: entry[0])
        return self.places[index - 1][1] if index else ("idle", None)

    def kinds(self, after: Position, through: Position) -> list[str]:
        """Return the kind of place right after `after`, and each later kind up to `through`."""
        moves = [place for position, place in self.places if after < position <= through]
        return [kind for kind, _ in (self.place_at(after), *moves)]

    def idle_reasons(self, after: Position, through: Position) -> list[str]:
        """Return the reasons for being idle right after `after`, and each later one up to `through`."""
        before = [reason for position, reason in self.endings if position <= after][-1:]
        return before + [reason for position, reason in self.endings if after < position <= through]

    @property
    def place(self) -> tuple[str, Any]:
        """The present place."""
        return self.places[-1][1] if self.places else ("idle", None)


class Record:
    """The record of a whole run."""

    def __init__(self, world: World, sometimes: Sometimes) -> None:
        self.people: dict[ConnectionId, Person] = {}
        self.rooms: dict[RoomId, RoomOpened] = {}
        self.opened: dict[RoomId, Position] = {}
        self.closed: dict[RoomId, Position] = {}
        self.said: list[Said] = []
        self.by_text: dict[str, list[Said]] = {}
        self.landed_ms: list[float] = [0.0]
        self.ids: list[str] = [""]
        self.forgotten = False  # texts may be redacted
        self.reference = ReferenceModel()
        self.meetings = Meetings(world, sometimes)
        self.reports: dict[tuple[RoomId, ConnectionId], PartnerReported] = {}
        self.reported_ms: dict[RoomId, float] = {}
        self.policy = Policy()
        self._world = world
        self._sometimes = sometimes
        self._message_ids: set[tuple[RoomId, ConnectionId, str]] = set()

    def person(self, who: ConnectionId) -> Person:
        """Return the facts about `who`."""
        known = self.people.get(who)
        if known is None:
            known = self.people[who] = Person()
        return known

    def on_commit(self, before: State, commit: Commit, after: State) -> None:
        """Check a stored commit against the promises, and record it."""
        self._world.note("log", f"{commit.position} {type(commit.command).__name__} {_names(commit)}")
        for breach in check_step(before, commit, after):
            self._world.fail(str(breach))
        again = decide(before, commit.command, commit.facts)
        if again != list(commit.events):
            self._world.fail(f"promise 6: at {commit.position}, {commit.command} decides to {again} when asked again")
        expected = self.reference.apply(commit.command, commit.facts).events
        if expected != commit.events:
            self._world.fail(f"at {commit.position}, the reference makes {expected} of {commit.command}")
        self.landed_ms.append(self._world.now_ms)
        self.ids.append(commit.commit_id)
        hearers: set[ConnectionId] = set()
        for event in commit.events:
            if isinstance(event, QueueEntered) and event.connection_id not in before.connections.by_id:
                self.person(event.connection_id).known_since = commit.position
                self.meetings.begins_anew(event.connection_id)
            self._keep(commit, event, hearers)

    def _keep(self, commit: Commit, event: Any, told: set[ConnectionId]) -> None:
        position, stamp = commit.position, timestamp(commit.at_ms)
        if isinstance(event, QueueEntered):
            self._keep_entry(commit, event)
        elif isinstance(event, QueueLeft):
            self._moves(event.connection_id, position, "idle", None, ("waiting",))
            self.person(event.connection_id).endings.append((position, OWN_ENDING[event.reason]))
        elif isinstance(event, RoomOpened):
            self._keep_room(commit, event, told)
        elif isinstance(event, MessageSent):
            self._keep_message(position, stamp, event, told)
        elif isinstance(event, RoomClosed):
            self._keep_end(commit, event, told)
        elif isinstance(event, PartnerBlocked):
            self.meetings.blocks(event, self.policy)
        elif isinstance(event, PartnerReported):
            self._keep_report(position, event)
        elif isinstance(event, PolicyAdopted):
            self.policy = event.policy
        else:
            assert isinstance(event, NamesForgotten)

    def _keep_entry(self, commit: Commit, event: QueueEntered) -> None:
        who, position = event.connection_id, commit.position
        person = self.person(who)
        if person.idle_grace_ms not in (None, event.idle_grace_ms) and person.known_since != position:
            self._world.fail(f"at {position}, {who} is a window's no longer")
        person.idle_grace_ms = event.idle_grace_ms
        if event.earlier is None:
            person.entry = QueueEntry(position, commit.at_ms)
        elif event.earlier != person.entry:
            self._world.fail(f"at {position}, {who} is back at {event.earlier}, and had come at {person.entry}")
        self._moves(who, position, "waiting", position, ("idle",))

    def _keep_room(self, commit: Commit, event: RoomOpened, told: set[ConnectionId]) -> None:
        position, stamp = commit.position, timestamp(commit.at_ms)
        if event.room_id in self.rooms:
            self._world.fail(f"promise 5: {event.room_id} is opened twice")
        self.rooms[event.room_id] = event
        self.opened[event.room_id] = position
        since_ms = {who: self.person(who).entry.at_ms for who in (event.first, event.second)}
        self.meetings.check_opened(commit, event, self.policy, since_ms)
        for who, other, name in (
            (event.first, event.second, event.second_name),
            (event.second, event.first, event.first_name),
        ):
            self.person(who).partners.add(other)
            self._moves(who, position, "chatting", event.room_id, ("waiting",))
            self._tell(told, who, position, "chatroom.found", room_id=event.room_id, partner=name, timestamp=stamp)

    def _keep_end(self, commit: Commit, event: RoomClosed, told: set[ConnectionId]) -> None:
        position = commit.position
        self.closed[event.room_id] = position
        self.meetings.closes(event, commit.at_ms)
        back = [e.connection_id for e in commit.events if isinstance(e, QueueEntered) and e.earlier is not None]
        if event.is_other_requeued != (back == [event.other]) or (back and not self.policy.requeue_on_missed_match):
            self._world.fail(f"at {position}, {back} wait again, and {event}")
        if event.missed_by and (event.reason != "timeout" or event.closed_by not in event.missed_by):
            self._world.fail(f"at {position}, a match was missed by {event.missed_by}, and {event}")
        for who in (event.closed_by, event.other):
            self._moves(who, position, "idle", None, ("chatting",))
            by_itself = OWN_ENDING if who == event.closed_by else PARTNERS_ENDING
            reason = "missed_match" if who in event.missed_by else by_itself[event.reason]
            self.person(who).endings.append((position, reason))
        if event.missed_by:
            self._sometimes.reached("a match was missed")
        requeued = {"requeued": True} if event.is_other_requeued else {}
        if requeued:
            self._sometimes.reached("the partner of a ghost waits again")
        self._tell(
            told, event.other, position, "partner.disconnected",
            room_id=event.room_id, reason=event.reason, timestamp=timestamp(commit.at_ms), **requeued,
        )  # fmt: skip

    def check_redacted(self, positions: Sequence[Position]) -> None:
        """Check that a reported room keeps its texts for long enough, except for redactions already under way."""
        kept_ms = self.policy.evidence_keep_ms
        for said in self.said:
            since_ms = self._world.now_ms - self.reported_ms.get(said.room_id, self._world.now_ms)
            if said.position in positions and UNDER_WAY_MS < since_ms < kept_ms - CLOCKS_MS:
                self._world.fail(
                    f"position {said.position} is redacted {since_ms:.0f} ms after {said.room_id} was reported"
                )

    def _keep_report(self, position: Position, event: PartnerReported) -> None:
        """Check that the evidence holds all messages, and that each member reports a room once."""
        self._sometimes.reached("someone was reported")
        key = (event.room_id, event.reporter)
        if key in self.reports:
            self._world.fail(f"at {position}, {event.room_id} is reported once more by {event.reporter}")
        self.reports[key] = event
        self.reported_ms.setdefault(event.room_id, self._world.now_ms)
        said = [said.position for said in self.said if said.room_id == event.room_id]
        if event.first != self.opened[event.room_id] or any(one > event.last for one in said):
            self._world.fail(f"at {position}, {event} leaves out what was said at {said}")

    def _keep_message(self, position: Position, stamp: str, event: MessageSent, told: set[ConnectionId]) -> None:
        room, text = self.rooms[event.room_id], event.text
        assert isinstance(text, str)
        if {event.sender, event.recipient} != {room.first, room.second} or event.room_id in self.closed:
            self._world.fail(f"promise 4: at {position}, {event.sender} spoke where they could not")
        if event.client_message_id is not None:
            key = (event.room_id, event.sender, str(event.client_message_id))
            if key in self._message_ids:
                self._world.fail(f"promise 4: at {position}, {key} is stored twice")
            self._message_ids.add(key)
        said = Said(position, event.room_id, event.sender, text, event.client_message_id, stamp)
        self.said.append(said)
        self.by_text.setdefault(text, []).append(said)
        self._tell(
            told, event.recipient, position, "message.received",
            room_id=event.room_id, message=text, timestamp=stamp, sender="stranger",
        )  # fmt: skip

    def _moves(self, who: ConnectionId, position: Position, kind: str, where: Any, from_kinds: tuple[str, ...]) -> None:
        person = self.person(who)
        if person.place[0] not in from_kinds:
            self._world.fail(f"promise 1: at {position}, {who} is {person.place[0]} and becomes {kind}")
        person.places.append((position, (kind, where)))

    def _tell(self, told: set[ConnectionId], who: ConnectionId, position: Position, method: str, **params: Any) -> None:
        if who in told:
            self._world.fail(f"promise 7: at {position}, {who} is told two things")
        told.add(who)
        self.person(who).owes(position, method, cursor=position, **params)

    def check_heard(self, who: ConnectionId, method: str, params: dict[str, Any], way: str) -> None:
        """Check that a notification for `who` equals the stored one, word for word."""
        position = params.get("cursor")
        person = self.people.get(who)
        index = bisect_right(person.positions, position) - 1 if person is not None and type(position) is int else -1
        if person is None or index < 0 or person.positions[index] != position:
            self._world.fail(f"{who} heard {method} at {position} by {way}, which is not stored as theirs")
            return
        person.hears(position)
        owed = person.owed[index]
        heard = {key: value for key, value in params.items() if key != "_meta"}
        if self.forgotten and heard.get("message") == REDACTED:
            self._sometimes.reached("a text was redacted")
            heard["message"] = owed["params"]["message"]
        if self.forgotten and heard.get("partner") == REDACTED:
            self._sometimes.reached("a name was redacted")
            heard["partner"] = owed["params"]["partner"]
        if owed["method"] != method or owed["params"] != heard:
            self._world.fail(f"{who} heard {method} {heard} by {way}, stored is {owed}")


def timestamp(at_ms: int) -> str:
    """Return ISO 8601 in UTC with milliseconds."""
    moment = UNIX + timedelta(milliseconds=at_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _names(commit: Commit) -> str:
    who = getattr(commit.command, "connection_id", "")
    events = ", ".join(type(event).__name__ for event in commit.events)
    return f"{who[:10]}: {events}"
