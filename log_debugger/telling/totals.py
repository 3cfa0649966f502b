"""Totals over the commits of a connection or a room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from events.events import Event, MessageSent, QueueEntered, RoomOpened
from events.ids import ConnectionId
from log_debugger.reading.deliveries import NotificationDelivery
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.sources import Step
from log_debugger.reading.times import span
from log_debugger.telling.narrative import count
from projections.connections import Waiting
from projections.state import State


class Totals:
    """Counters over commits."""

    def __init__(self) -> None:
        self.stays = self.rooms = self.messages = self.handed = self.not_noted = self.waited_ms = 0
        self.said_by: dict[ConnectionId, int] = {}
        self.first_at_ms: int | None = None
        self.last_at_ms: int | None = None

    def add(
        self, step: Step, events: Sequence[Event], deliveries: list[NotificationDelivery], whose: ConnectionId | None
    ) -> None:
        """Count `events` of one more commit, and their `deliveries`; stays in the queue are `whose`."""
        commit = step.commit
        self.first_at_ms = commit.at_ms if self.first_at_ms is None else self.first_at_ms
        self.last_at_ms = commit.at_ms
        for event in events:
            if isinstance(event, MessageSent):
                self.messages += 1
                self.said_by[event.sender] = self.said_by.get(event.sender, 0) + 1
                self.handed += any(one.delivery_records for one in deliveries)
                self.not_noted += all(one.delivery_records is None for one in deliveries)
            elif isinstance(event, RoomOpened):
                self.rooms += 1
            elif isinstance(event, QueueEntered) and event.connection_id == whose:
                self.stays += 1
        if whose is not None:
            self.waited_ms += _waited_until(step, whose)

    def messages_text(self, names: ShortNames, state: State) -> str:
        """Return the number of messages, by sender, and the number recorded as handed over."""
        by = ", ".join(f"{said} by {names.person_in(state, who)}" for who, said in self.said_by.items())
        not_noted = f", {self.not_noted:,} not noted" if self.not_noted else ""
        handed = f"; {self.handed:,} handed over{not_noted}" if self.not_noted < self.messages else ""
        return count(self.messages, "message") + (f" ({by}{handed})" if by else "")

    def lasted_text(self) -> str:
        """Return the time between the first and last commit."""
        return span((self.last_at_ms or 0) - (self.first_at_ms or 0))

    def to_json(self) -> dict[str, Any]:
        """Return all totals as a JSON object."""
        return {
            "stays_in_queue": self.stays,
            "waited_ms": self.waited_ms,
            "rooms": self.rooms,
            "messages": self.messages,
            "messages_by": [{"connection_id": who, "messages": said} for who, said in self.said_by.items()],
            "messages_handed": self.handed if self.not_noted < self.messages or not self.messages else None,
            "messages_not_noted": self.not_noted,
            "first_at_ms": self.first_at_ms,
            "last_at_ms": self.last_at_ms,
        }


def _waited_until(step: Step, who: ConnectionId) -> int:
    """Return the length of the stay in the queue that `step` ends, in ms; 0 if it ends none."""
    known, now = step.before.connections.get(who), step.after.connections.get(who)
    if known is None or not isinstance(known.place, Waiting) or (now is not None and isinstance(now.place, Waiting)):
        return 0
    return step.commit.at_ms - known.last_at_ms
