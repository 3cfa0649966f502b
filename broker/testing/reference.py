"""The rules of chat a second time, as naively as can be: lists, and looking through all of them.

It is the second witness. With `broker.testing.world` it shares no code with `broker.decide`, `broker.matching` or
`projections` (an import contract sees to that), so a slip in one of them is not repeated here. It was written from
the rules as they are described, and is slow: what it costs grows with all that is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from broker.testing.world import TEN_SECONDS_US, Chat, Person, Told, World, spent
from events.commands import (
    AdoptPolicy,
    Command,
    Disconnect,
    EnterQueue,
    LeaveQueue,
    LeaveRoom,
    MatchDue,
    NextPartner,
    SendMessage,
)
from events.commit import Facts
from events.events import Event
from events.ids import ConnectionId, RoomId
from events.policy import Policy

Choose = Callable[[ConnectionId, tuple[str, ...], int, int], ConnectionId | None]
"""A matching that is not written down here: from who looks for a partner, their interests, for how long they have
waited and what time it is (both in ms) to whom they meet, if anyone."""


@dataclass(frozen=True)
class Answer:
    """What became of a command: `events` and whom they tell, or a refusal's `code`, or none of it: already done."""

    events: tuple[Event, ...] = ()
    told: tuple[Told, ...] = ()
    code: str | None = None
    retry_after_ms: int | None = None


class IllegalChoiceError(AssertionError):
    """A matching named someone who does not wait, or the one who asks."""


class _Refused(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, code: str, retry_after_ms: int | None = None) -> None:
        self.code = code
        self.retry_after_ms = retry_after_ms


class Reference:
    """A log's meaning: `apply` each of its commands, in order, with the facts stored with it. `world` is what there is.

    It begins where a log does, at position 0.
    """

    def __init__(self, choose: Choose | None = None) -> None:
        """`choose` stands in for the matchings that a policy can name; whom it names is met, if that is possible."""
        self.world = World()
        self._choose = choose

    def apply(self, command: Command, facts: Facts) -> Answer:
        """What follows from `command`; if it is accepted, it has happened.

        Raises:
            IllegalChoiceError: `choose` named someone who can't be met; nothing has happened.
        """
        self.world.begin(facts)
        try:
            self._carry_out(command, facts)
        except _Refused as refused:
            return Answer(code=refused.code, retry_after_ms=refused.retry_after_ms)
        self.world.end()
        return Answer(tuple(self.world.events), tuple(self.world.told))

    def _carry_out(self, command: Command, facts: Facts) -> None:
        match command:
            case EnterQueue():
                self._enter(command, facts)
            case NextPartner(connection_id=who, room_id=room_id):
                self._move_on(who, room_id, facts)
            case SendMessage():
                self._send(command, facts)
            case LeaveQueue(connection_id=who):
                self._leave_queue(who)
            case LeaveRoom(connection_id=who, room_id=room_id):
                self._leave_room(who, room_id)
            case Disconnect():
                self._disconnect(command)
            case MatchDue(connection_id=who):
                self._match_due(who, facts)
            case AdoptPolicy(policy=policy):
                self._adopt(policy)

    def _enter(self, command: EnterQueue, facts: Facts) -> None:
        person = self.world.person(command.connection_id)
        if person is not None and person.place == "waiting":
            return
        if person is not None and person.place == "chatting":
            raise _Refused("already_chatting")
        met = self._admitted(person, command.connection_id, command.interests, facts)
        entered = self.world.wait(command.connection_id, command.display_name, command.interests)
        self._meet(met, entered, facts)

    def _move_on(self, who: ConnectionId, room_id: RoomId, facts: Facts) -> None:
        person, chat = self._own_room(who, room_id)
        if person is None:
            raise _Refused("unknown_handle")
        if chat.closed is not None and person.place != "idle":
            return
        met = self._admitted(person, who, person.interests, facts)
        if chat.closed is None:
            self.world.close(chat, person, "next")
        entered = self.world.wait(who, person.name, person.interests)
        self._meet(met, entered, facts)

    def _send(self, command: SendMessage, facts: Facts) -> None:
        sender, chat = self._own_room(command.connection_id, command.room_id)
        for by, message_id, _ in chat.newer_ids + chat.older_ids:
            if (by, message_id) == (command.connection_id, command.client_message_id):
                return
        if sender is None or chat.closed is not None:
            raise _Refused("chat_ended")
        _check_rate(sender.messages_spent_until_us, self.world.policy.messages_per_10s_max, facts)
        self.world.say(chat, sender, command)

    def _leave_queue(self, who: ConnectionId) -> None:
        person = self.world.person(who)
        if person is not None and person.place == "waiting":
            self.world.leave_queue(person, "left")

    def _leave_room(self, who: ConnectionId, room_id: RoomId) -> None:
        person, chat = self._own_room(who, room_id)
        if person is not None and chat.closed is None:
            self.world.close(chat, person, "left")

    def _adopt(self, policy: Policy) -> None:
        if policy != self.world.policy:
            self.world.adopt(policy)

    def _disconnect(self, command: Disconnect) -> None:
        person = self.world.person(command.connection_id)
        if person is None or person.last_position > command.since:
            return
        if person.place == "waiting":
            self.world.leave_queue(person, command.reason)
        elif person.room_id is not None:
            _, chat = self._own_room(person.who, person.room_id)
            self.world.close(chat, person, command.reason)

    def _match_due(self, who: ConnectionId, facts: Facts) -> None:
        person = self.world.person(who)
        if person is not None and person.place == "waiting":
            met = self._partner(who, person.interests, facts.at_ms - person.last_at_ms, facts)
            if met is not None and self.world.queue.index(met) > self.world.queue.index(person):
                self._meet(person, met, facts)
            else:
                self._meet(met, person, facts)

    def _own_room(self, who: ConnectionId, room_id: RoomId) -> tuple[Person | None, Chat]:
        chat = self.world.room(room_id)
        if chat is None or who not in (chat.first.who, chat.second.who):
            raise _Refused("room_not_found")
        return self.world.person(who), chat

    def _meet(self, first: Person | None, second: Person, facts: Facts) -> None:
        if first is not None:
            assert facts.room_id is not None, "a command that can match brings a fresh room id"
            self.world.open(facts.room_id, first, second)

    def _admitted(
        self, person: Person | None, who: ConnectionId, interests: tuple[str, ...], facts: Facts
    ) -> Person | None:
        """Whom someone who wants to wait meets at once; refused is who may not."""
        if person is not None:
            _check_rate(person.queue_spent_until_us, self.world.policy.queue_commands_per_10s_max, facts)
        met = self._partner(who, interests, 0, facts)
        if met is None and len(self.world.queue) >= self.world.policy.queue_connections_max:
            raise _Refused("queue_full")
        return met

    def _partner(self, who: ConnectionId, interests: tuple[str, ...], waited_ms: int, facts: Facts) -> Person | None:
        others = [person for person in self.world.queue if person.who != who]
        if self._choose is not None:
            met = _chosen(self._choose(who, interests, waited_ms, facts.at_ms), others)
        elif self.world.policy.matching == "first-come":
            met = others[0] if others else None
        else:
            met = self._by_interests(interests, waited_ms, facts.at_ms, others)
        open_rooms = [chat for chat in self.world.rooms if chat.closed is None]
        if met is not None and len(open_rooms) >= self.world.policy.rooms_open_max:
            raise _Refused("queue_full")
        return met

    def _by_interests(
        self, interests: tuple[str, ...], waited_ms: int, at_ms: int, others: list[Person]
    ) -> Person | None:
        best, most = None, 0
        for person in others:
            shared = len([interest for interest in interests if interest in person.interests])
            if shared > most:
                best, most = person, shared
        if best is None and others:
            longest_ms = max(waited_ms, at_ms - others[0].last_at_ms)
            return others[0] if longest_ms >= self.world.policy.interest_patience_ms else None
        return best


def _chosen(who: ConnectionId | None, others: list[Person]) -> Person | None:
    for person in others:
        if person.who == who:
            return person
    if who is not None:
        raise IllegalChoiceError(f"the matching named {who}, who is not among the others who wait")
    return None


def _check_rate(until_us: int, per_10s_max: int, facts: Facts) -> None:
    """Refuse a use that would be spent more than ten seconds ahead, and say in how many whole ms it would not be."""
    too_much_us = spent(until_us, per_10s_max, facts.at_ms) - facts.at_ms * 1_000 - TEN_SECONDS_US
    if too_much_us > 0:
        raise _Refused("rate_limited", ceil(too_much_us / 1_000))
