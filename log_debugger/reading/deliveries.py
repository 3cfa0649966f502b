"""Delivery records: the times at which the notifications of a commit were handed over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from math import inf
from typing import Any, NamedTuple

from events.commit import Commit
from events.events import Event, MessageSent, RoomClosed, RoomOpened
from events.ids import ConnectionId, Position
from events.log import DeliveredBy, DeliveryRecord, OperationRecord
from log_debugger.reading.operations import (
    RECORD_DELAY_MS_MAX,
    next_unclean_end,
    proved_until_ms,
    unclean_ends,
    unclean_spans,
)
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.sources import Source
from log_debugger.reading.times import end_of, span
from projections.notifications import METHODS, ChatroomFound, MessageReceived, PartnerDisconnected, recipients
from projections.state import State

METHOD_OF: Mapping[type[Event], str] = {
    RoomOpened: METHODS[ChatroomFound],
    MessageSent: METHODS[MessageReceived],
    RoomClosed: METHODS[PartnerDisconnected],
}
"""The notification that an event leads to."""

WAYS: dict[DeliveredBy, str] = {
    "get": "the GET stream of a session",
    "listen": "a subscriptions/listen stream",
    "result": "a tool's result",
    "inbox": "a reading of their inbox",
}
NOT_NOTED = "when a notification was handed over is not noted in a dump; a broker's own log has it"
NOT_NOTED_HERE = "when a notification was handed over is not noted in this log, which was loaded from a dump"


class NotificationDelivery(NamedTuple):
    """One notification and its delivery records, oldest first; `None` if none would have been kept."""

    connection_id: ConnectionId
    method: str
    delivery_records: tuple[DeliveryRecord, ...] | None


def recipients_of(events: Iterable[Event]) -> list[tuple[ConnectionId, str]]:
    """Return each recipient of `events` with the method of its notification."""
    return [(who, METHOD_OF[type(event)]) for event in events for who in recipients(event)]


class Deliveries:
    """The delivery records of a log's commits up to `last`."""

    def __init__(self, source: Source, last: Position) -> None:
        self._source, self._last = source, last
        self._newest: dict[ConnectionId, Position] = {}
        self._times: dict[Position, int] = {}  # of the commits before unclean ends
        self._after = source.recorded_after
        base: Position = source.base.tip.position
        self._has_records = self._after is not None and (
            self._after < last or bool(source.delivery_records(base, last, None))
        )

    def heading(self) -> str | None:
        """Return why the log has no delivery records at all; `None` if it has some."""
        return None if self._has_records else NOT_NOTED if self._after is None else NOT_NOTED_HERE

    def of(self, commit: Commit, events: Sequence[Event]) -> list[NotificationDelivery]:
        """Return the notifications of `events`, a part of `commit`'s, with their delivery records."""
        notified = recipients_of(events)
        has_any = notified and self._has_records
        records = self._source.delivery_records(commit.position - 1, commit.position, None) if has_any else []
        is_complete = self._after is not None and self._after < commit.position
        deliveries = []
        for who, method in notified:
            theirs = tuple(record for record in records if record.connection_id == who)
            deliveries.append(NotificationDelivery(who, method, theirs if theirs or is_complete else None))
        return deliveries

    def lines(
        self, names: ShortNames, state: State, commit: Commit, deliveries: list[NotificationDelivery]
    ) -> Iterator[str]:
        """Yield `deliveries` in words; nothing if the log has no records at all."""
        for one in deliveries if self._has_records else ():
            who = names.person_in(state, one.connection_id)
            if one.delivery_records is None:
                yield f"whether it was handed to {who} is not noted: {self._notes_begin()}"
                continue
            ways = [f"{WAYS[by.to]} after {span(max(0, by.at_ms - commit.at_ms))}" for by in one.delivery_records]
            yield f"handed to {who}: {', '.join(ways)}" if ways else self._missing(who, one.connection_id, commit)

    def _notes_begin(self) -> str:
        return f"the notes of this log begin after position {self._after:,}"

    def _missing(self, who: str, connection_id: ConnectionId, commit: Commit) -> str:
        if self._ends_at_ms - commit.at_ms < RECORD_DELAY_MS_MAX:
            why = "it is of the last second of the log, and notes come up to a second late"
            return f"no note yet that it was handed to {who}: {why}"
        if commit.at_ms > self._proved_until_ms - RECORD_DELAY_MS_MAX:
            why = "one of the brokers has given no sign of life since, and may have ended"
            return f"no note yet that it was handed to {who}: {why}"
        if self._is_cut_off(commit):
            why = "the broker ended without storing its last notes, up to a second of them"
            return f"no conclusion whether it was handed to {who}: {why}"
        if self._newest_of(connection_id) > commit.position:
            why = "most likely they fetched from a later cursor on, or the note was lost"
            return f"no note that it was handed to {who}, though something later was: {why}"
        why = "most likely no stream of theirs was open, and no call of theirs has fetched it since"
        return f"no note that it was handed to {who}: {why}"

    def _is_cut_off(self, commit: Commit) -> bool:
        """Return whether a broker may have ended uncleanly within `RECORD_DELAY_MS_MAX` of `commit`.

        An idle broker commits nothing, so the time of its end is only known to be after its last commit's.
        """
        if any(first_ms <= commit.at_ms <= last_ms for first_ms, last_ms in self._unclean_spans):
            return True
        end = next_unclean_end(self._unclean_ends, commit.position)
        if end is None:
            return False
        if end not in self._times:
            self._times[end] = end_of(self._source, end)
        return self._times[end] - commit.at_ms < RECORD_DELAY_MS_MAX

    @cached_property
    def _operations(self) -> Sequence[OperationRecord]:
        return self._source.operation_records() or ()

    @cached_property
    def _unclean_ends(self) -> list[Position]:
        return unclean_ends(self._operations)

    @cached_property
    def _unclean_spans(self) -> list[tuple[int, int]]:
        return unclean_spans(self._operations)

    @cached_property
    def _proved_until_ms(self) -> float:
        proved_ms = proved_until_ms(self._operations)
        return inf if proved_ms is None else proved_ms

    @cached_property
    def _ends_at_ms(self) -> int:
        return end_of(self._source, self._last)

    def _newest_of(self, connection_id: ConnectionId) -> Position:
        if connection_id not in self._newest:
            noted = self._source.delivery_records(self._source.base.tip.position, self._last, connection_id)
            self._newest[connection_id] = max((one.position for one in noted), default=0)
        return self._newest[connection_id]


def deliveries_json(deliveries: list[NotificationDelivery]) -> list[dict[str, Any]]:
    """Return `deliveries` as JSON objects."""
    return [
        {
            "connection_id": one.connection_id,
            "method": one.method,
            "handed": None
            if one.delivery_records is None
            else [{"to": by.to, "at_ms": by.at_ms} for by in one.delivery_records],
        }
        for one in deliveries
    ]
