"""Narrative lines: a commit as one line of English."""

from __future__ import annotations

from typing import Literal

from broker.verification.safe_text import printable
from events.commands import Disconnect, MatchDue, NextPartner
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
    RoomOpened,
)
from events.ids import ClientMessageId, ConnectionId, RoomId
from events.policy import Policy
from events.text import Interests, RedactedText, Text, known_interests
from log_debugger.reading.iterate import Conversation, Conversations
from log_debugger.reading.short_names import ShortNames, name_in, shown_name
from log_debugger.reading.sources import Step
from log_debugger.reading.times import clock, span
from log_debugger.telling.conduct import forgotten_text, missed_text, reported_text
from projections.avoidance import avoid_reason
from projections.connections import Waiting
from projections.notifications import REDACTED_TEXT
from projections.state import State

TEXT_CHARS_MAX = 100

_AND = "and "
"""The beginning of a clause that no comma goes before."""


def narrative_line(names: ShortNames, step: Step, conversations: Conversations | None, start_ms: int) -> str:
    """Return position, time since `start_ms`, and the narrative of `step`."""
    return f"{step.commit.position:>7}  {clock(step.commit.at_ms - start_ms)}  {narrative(names, step, conversations)}"


def narrative(
    names: ShortNames, step: Step, conversations: Conversations | None, chars_max: int | None = TEXT_CHARS_MAX
) -> str:
    """Return one line about `step`.

    Args:
        names: the short names of the log.
        step: the commit, and the states around it.
        conversations: the open conversations before it; if `None`, the line does not mention them.
        chars_max: the length at which message texts are cut; `None` for no limit.
    """
    narrator = _Narrator(names, step, conversations, chars_max)
    text = narrator.opening()
    for number, event in enumerate(step.commit.events):
        part = narrator.part(event)
        text += part if not number or part.startswith(",") else f" {part}" if part.startswith(_AND) else f", {part}"
    return text if step.commit.events else f"{text}{narrator.actor()} asks for what is done already"


def quoted(text: Text, chars_max: int | None = TEXT_CHARS_MAX) -> str:
    """Return a message's text in quotes, cut to `chars_max` characters, or the length of a redacted one."""
    if isinstance(text, RedactedText):
        return f"[redacted {text.length_bytes:,} bytes]"
    if chars_max is None or len(text) <= chars_max:
        return printable(text)
    return f"{printable(text[:chars_max])}… ({len(text):,} characters)"


def interests_text(interests: Interests) -> str:
    """Return interests, in their order; nothing if there are none."""
    if isinstance(interests, RedactedText):
        return REDACTED_TEXT if interests.length_bytes > len("[]") else ""
    return ", ".join(shown_name(one) for one in interests)


def policy_changes_text(before: Policy, after: Policy) -> str:
    """Return the changed fields of a policy, in words."""
    fields = [f for f in Policy.__struct_fields__ if getattr(before, f) != getattr(after, f)]
    text = [f"{field} from {getattr(before, field)} to {getattr(after, field)}" for field in fields]
    return ", ".join(text) or "nothing"


def grace_text(before: State, commit: Commit, who: ConnectionId) -> str:
    """Return the grace period that ended before a disconnection; periods are those of `before`."""
    command, known = commit.command, before.connections.get(who)
    if not isinstance(command, Disconnect) or known is None:
        return "for no reason that the log holds"
    if command.reason == "timeout":
        if known.idle_grace_ms is not None:
            return f"no call for {span(known.idle_grace_ms)} (the idle grace of its entry)"
        field = "idle_grace_queue_ms" if isinstance(known.place, Waiting) else "idle_grace_room_ms"
        return f"no call for {span(getattr(before.policy, field))} ({field})"
    if commit.at_ms - known.last_at_ms < before.policy.stream_grace_ms:
        return "their call was cut off before it was answered"
    return f"no stream for {span(before.policy.stream_grace_ms)} (stream_grace_ms)"


def message_id_text(message_id: ClientMessageId | None) -> str:
    """Return the client's id for a message in parentheses, if there is one."""
    return f" ({shown_message_id(message_id)})" if message_id is not None else ""


def shown_message_id(message_id: str) -> str:
    """Return a message's id as it is, or quoted if a broker would refuse it."""
    plain = message_id.isascii() and message_id.isprintable() and " " not in message_id
    return message_id[:64] if plain else printable(message_id[:64])


def shared_with(state: State, one: ConnectionId, interests: tuple[str, ...]) -> tuple[str, ...]:
    """Return the `interests` that a connection in `state` has too, in their order."""
    known = state.connections.get(one)
    return tuple(i for i in interests if known is not None and i in known_interests(known.interests))


class _Narrator:
    """Writes the clauses of one commit."""

    def __init__(
        self, names: ShortNames, step: Step, conversations: Conversations | None, chars_max: int | None
    ) -> None:
        self._names, self._conversations, self._chars_max = names, conversations, chars_max
        self._before, self._commit, self._after = step

    def person(self, connection_id: ConnectionId, name: Text | None = None) -> str:
        """Return a person's short name, with the display name at that moment."""
        known = name or name_in(self._after, connection_id) or name_in(self._before, connection_id)
        return self._names.person(connection_id, known)

    def actor(self) -> str:
        """Return the author of the command."""
        who = getattr(self._commit.command, "connection_id", None)
        return self.person(who) if who is not None else "the broker"

    def opening(self) -> str:
        """Return the clause before the events; empty unless the command says more than they do."""
        command = self._commit.command
        if isinstance(command, MatchDue):
            return f"{self.person(command.connection_id)} {self._why_due(command)}: "
        return ""

    def _why_due(self, command: MatchDue) -> str:
        """Return the cause of a `MatchDue`: the end of patience, or another look after something else."""
        policy, who = self._before.policy, command.connection_id
        if self._meets_in_spite_of_a_meeting():
            return f"has waited long enough to meet someone again ({span(policy.rematch_patience_ms)})"
        if policy.matching != "first-come" and self._waited(who) >= policy.interest_patience_ms:
            return f"has held out long enough ({span(policy.interest_patience_ms)})"
        known = self._before.connections.get(who)
        if known is not None and isinstance(known.place, Waiting) and known.place.entered_at_ms is not None:
            return "is looked at again, after a missed match"
        return "is looked at again" + (", under first come, first served" if policy.matching == "first-come" else "")

    def _meets_in_spite_of_a_meeting(self) -> bool:
        opened = [event for event in self._commit.events if isinstance(event, RoomOpened)]
        facts = self._commit.facts
        return any(avoid_reason(self._before, *seeker_first(self._commit, event), facts) for event in opened)

    def part(self, event: Event) -> str:
        """Return the clause for `event`."""
        match event:
            case QueueEntered():
                return self._entered(event)
            case QueueLeft():
                return self._left(event)
            case RoomOpened():
                return self._opened(event)
            case MessageSent(sender=sender, recipient=recipient, text=text):
                to = f"{self.person(sender)} tells {self.person(recipient)} in {self._names.room(event.room_id)}"
                return f"{to}: {quoted(text, self._chars_max)}{message_id_text(event.client_message_id)}"
            case RoomClosed():
                return self._closed(event)
            case PartnerReported():
                note = quoted(event.note, self._chars_max) if event.note is not None else ""
                return reported_text(self.person, self._names.room(event.room_id), event, note)
            case PartnerBlocked(blocker=blocker, blocked=blocked):
                is_told = self._has(PartnerReported)
                return "blocks them" if is_told else f"{self.person(blocker)} blocks {self.person(blocked)}"
            case NamesForgotten():
                return forgotten_text(self.person, event)
            case PolicyAdopted(policy=policy):
                return f"the policy changes: {policy_changes_text(self._before.policy, policy)}"

    def _entered(self, event: QueueEntered) -> str:
        """Return the clause for an entry; it names the person unless a closed room did before."""
        name = self.person(event.connection_id, event.display_name)
        subject = "" if self._has(RoomClosed) else f"{name}{self._after_what()} "
        queue = self._after.queue
        if event.earlier is not None and event.connection_id in queue.entered:
            again = f"{name} waits again in the old place, {self._place(event.connection_id)}"
            return f", and {again}" if self._has(RoomClosed) else again
        interests = interests_text(event.interests)
        named = f" (interests: {interests})" if interests else ""
        if event.connection_id not in queue.entered:
            return f"{subject}enters the queue{named}"
        return f"{subject}enters the queue{named} and waits, {self._place(event.connection_id)}"

    def _place(self, who: ConnectionId) -> str:
        queue = self._after.queue
        return f"{ordinal(queue.place_of(who))} of {len(queue):,}" if len(queue) > 1 else "alone"

    def _after_what(self) -> str:
        """Return how the room in a `next_partner` command had ended, if it was closed before and is known."""
        command = self._commit.command
        if not isinstance(command, NextPartner):
            return ""
        room = self._names.room(command.room_id)
        end = self._conversations.end_of(command.room_id) if self._conversations is not None else None
        if end is None:
            return f", who was in {room} until it closed,"
        if end.missed_by:
            who = "who has" if command.connection_id in end.missed_by else "whose partner has"
            return f", {who} missed the match in {room},"
        if end.closed_by == command.connection_id:
            return f", who {'has left' if end.reason in ('left', 'next') else 'was taken out of'} {room},"
        match end.reason:
            case "timeout":
                return f", whose partner in {room} has timed out,"
            case "disconnected":
                return f", whose partner in {room} has disconnected,"
            case reason:
                return f", whose partner has left {room}{' for somebody else' if reason == 'next' else ''},"

    def _left(self, event: QueueLeft) -> str:
        who, waited = self.person(event.connection_id), span(self._waited(event.connection_id))
        if event.reason == "left":
            return f"{who} leaves the queue after {waited}"
        return f"{who} is taken out of the queue after {waited}: {self._grace(event.connection_id)}"

    def _opened(self, event: RoomOpened) -> str:
        seeker, met = seeker_first(self._commit, event)
        met_name = event.first_name if met == event.first else event.second_name
        meets = "and meets " if self._has(QueueEntered) else f"after {span(self._waited(seeker))} they meet "
        also = shared_with(self._after, seeker, shared_with(self._before, met, self._interests(met)))
        shares = f" and shares {interests_text(also)}" if also else ""
        waited = f"who waited {span(self._waited(met))}{shares}"
        return f"{meets}{self.person(met, met_name)}, {waited}, in {self._names.room(event.room_id)}"

    def _closed(self, event: RoomClosed) -> str:
        room, by, other = self._names.room(event.room_id), self.person(event.closed_by), self.person(event.other)
        talked = self._conversation_text(event.room_id)
        if event.missed_by:
            return missed_text(self.person, room, event, self._before.policy)
        if event.reason == "left" and (self._has(PartnerBlocked) or self._has(PartnerReported)):
            return f"and leaves {room}{talked}"
        if event.reason == "next":
            return f"{by} leaves {other} in {room} for somebody else{talked}"
        if event.reason == "left":
            return f"{by} leaves {other} in {room}{talked}"
        return f"{by} is taken out of {room}, which closes it for {other} too{talked}: {self._grace(event.closed_by)}"

    def _conversation_text(self, room_id: RoomId) -> str:
        if self._conversations is None:
            return ""
        return f" ({conversation_text(self._conversations.get(room_id), self._commit.at_ms)})"

    def _has(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self._commit.events)

    def _interests(self, who: ConnectionId) -> tuple[str, ...]:
        known = self._before.connections.get(who)
        return known_interests(known.interests) if known is not None else ()

    def _waited(self, who: ConnectionId) -> int:
        known = self._before.connections.get(who)
        is_waiting = known is not None and isinstance(known.place, Waiting)
        return self._commit.at_ms - known.waiting_since_ms() if known is not None and is_waiting else 0

    def _grace(self, who: ConnectionId) -> str:
        return grace_text(self._before, self._commit, who)


def seeker_first(commit: Commit, opened: RoomOpened) -> tuple[ConnectionId, ConnectionId]:
    """Return the members of a new room: first the one for whom `commit` sought a partner."""
    if getattr(commit.command, "connection_id", None) == opened.first:
        return opened.first, opened.second
    return opened.second, opened.first


def conversation_text(conversation: Conversation | None, at_ms: int) -> str:
    """Return the number of messages in a room, and its duration."""
    if conversation is None:
        return "nothing is known of what was said"
    messages = count(conversation.messages, "message")
    if conversation.opened_at_ms is None:
        return f"{messages} or more"
    return f"{messages} in {span(at_ms - conversation.opened_at_ms)}"


def count(number: int, noun: str, plural: Literal["s", "es"] = "s") -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def ordinal(number: int) -> str:
    """Return a number as 1st, 2nd, 3rd, 4th."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"
