"""Reads after a cursor: they give every client the full record, regardless of deliveries on its streams.

In a shared log, a read that could be stale is confirmed first (`Replica.confirm`). Everything in the log can be read.
The inboxes give the positions of the newest notifications; older ones are found by going through the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import NamedTuple

import msgspec

from broker.hub import Delivery, deliveries_of
from broker.rate_limiter import RateLimiter
from broker.record_buffer import RecordBuffer
from broker.replica import LOG_FAULTS, Replica
from events.commit import Commit
from events.ids import POSITION_MAX, ConnectionId, Position
from events.log import DeliveredBy, EventLog, LogUnavailableError
from projections.connections import Chatting, Idle, Waiting
from projections.endings import Ending, ending_of
from projections.inbox import EMPTY_INBOX, Inbox
from projections.notifications import Notification, recipients
from projections.state import State

READ_AHEAD = 16
RUN_MAX = 1_000
SCAN_COMMITS_MAX = 2_000
"""The most commits that one page goes through, where no index says which concern the connection."""

PAGE_BYTES_MAX = 262_144
READS_PER_10S_MAX = 100


class Page(msgspec.Struct, frozen=True):
    """Notifications after a cursor, oldest first, and the cursor to read on from.

    The cursor is the last notification's, or the given one if there is none. It is a later one without a
    notification only if `is_partial`.
    """

    events: Sequence[Notification]
    cursor: Position
    missed: bool = False  # notifications after the given cursor are no longer in the log
    is_partial: bool = False  # the log has been read up to the cursor, and more of it is to be read


def encoded_bytes(notification: Notification) -> int:
    """Return the bytes of a notification in JSON."""
    return len(msgspec.json.encode(notification))


class ReadLimits(NamedTuple):
    """Limits of reads outside the log's policy: bytes of a page, and the reads of one connection.

    `bytes_of` counts the bytes of a notification, in the form that a front end gives it.
    """

    page_bytes_max: int = PAGE_BYTES_MAX
    per_10s_max: int = READS_PER_10S_MAX
    bytes_of: Callable[[Notification], int] = encoded_bytes


class PageLimits(NamedTuple):
    """Limits of a page: notifications, and their bytes as `bytes_of` counts them."""

    events: int
    bytes: int = PAGE_BYTES_MAX
    bytes_of: Callable[[Notification], int] = encoded_bytes


def inbox_of(state: State, connection_id: ConnectionId) -> Inbox:
    """Return the positions of the newest notifications of `connection_id`; empty if there were none."""
    return state.inboxes.get(connection_id, EMPTY_INBOX)


class Reads:
    """The reads of one broker."""

    def __init__(
        self, log: EventLog, replica: Replica, records: RecordBuffer, limiter: RateLimiter, limits: ReadLimits
    ) -> None:
        self._log = log
        self._replica = replica
        self._records = records
        self._limiter = limiter
        self._limits = limits

    def retry_after_ms(self, connection_id: ConnectionId) -> int:
        """Count a read and return 0, or return the connection's wait for the next, in milliseconds."""
        keys_max = self._replica.state.policy.connections_kept
        return self._limiter.use(connection_id, per_10s_max=self._limits.per_10s_max, keys_max=keys_max)

    async def page(self, connection_id: ConnectionId, cursor: Position | None) -> Page:
        """Return a page of the notifications of `connection_id` after `cursor`; without a cursor, of the newest.

        Raises:
            LogUnavailableError: the log could not be read.
        """
        state = self._replica.state
        limits = PageLimits(state.policy.events_per_page_max, self._limits.page_bytes_max, self._limits.bytes_of)
        if cursor is None:
            return await newest_page(self._log, state, connection_id, limits)
        return await page_after(self._log, state, connection_id, cursor, limits)

    async def ending(self, state: State, connection_id: ConnectionId) -> Ending | None:
        """Return why a connection is idle in `state`; `None` if it is not, or if the log no longer tells.

        Raises:
            LogUnavailableError: the log could not be read.
        """
        known = state.connections.get(connection_id)
        if known is None or not isinstance(known.place, Idle):
            return None
        commits = await _read(self._log, known.place.since_position - 1, 1)  # a later one, if that is gone
        return ending_of(commits[0], connection_id) if commits else None

    async def before_last_room(self, state: State, connection_id: ConnectionId) -> Position:
        """Return the position just before the last room of a known connection opened, also after it closed.

        If the room is not kept any more, it is the position before its last notification. Without a room, it is
        the position of the connection's entry into the queue, or the one just before it became idle.

        Raises:
            LogUnavailableError: the log could not be read.
        """
        place = state.connections.by_id[connection_id].place
        told = inbox_of(state, connection_id).newest[-1:]  # of the last room: each tells its members at once
        if isinstance(place, Chatting):
            return state.rooms.by_id[place.room_id].opened_position - 1
        if not told:
            return place.entered_position if isinstance(place, Waiting) else place.since_position - 1
        commits = await _read(self._log, told[0] - 1, 1)  # a later one, if that is gone
        last = _deliveries_to(commits[0], (connection_id,)) if commits else ()
        room = state.rooms.get(last[0].notification.params.room_id) if last else None
        return room.opened_position - 1 if room is not None else told[0] - 1

    def record(self, connection_id: ConnectionId, page: Page, to: DeliveredBy) -> None:
        """Record that `page` is on its way to `connection_id`."""
        for event in page.events:
            self._records.record_delivery(event.params.cursor, connection_id, to)

    async def has_given(self, connection_id: ConnectionId, cursor: Position) -> bool:
        """Return whether `connection_id` can have been given `cursor`: none is above its own last event.

        A later one is refused even if the log has it, or callers could find out when others speak.

        Raises:
            LogUnavailableError: the log does not answer in time.
        """
        if not self._may_have_given(connection_id, cursor):
            await self._replica.confirm()  # another broker may have given it, of an event that is not known here yet
        return self._may_have_given(connection_id, cursor)

    def _may_have_given(self, connection_id: ConnectionId, cursor: Position) -> bool:
        state = self._replica.state
        is_forgotten = connection_id not in state.connections.by_id  # just now, or its handle would have been refused
        return 0 <= cursor <= (state.position if is_forgotten else last_position_of(state, connection_id))

    def knows(self, connection_id: ConnectionId) -> bool:
        """Return whether a connection is known here (still)."""
        return connection_id in self._replica.state.connections.by_id

    def is_attended(self, connection_id: ConnectionId) -> bool:
        """Return whether a window or a page speaks for a known connection."""
        known = self._replica.state.connections.get(connection_id)
        return known is not None and known.is_attended

    async def is_known(self, connection_id: ConnectionId) -> bool:
        """Return whether a connection is known; if not, look again at the log's tip.

        Raises:
            LogUnavailableError: the log does not answer in time.
        """
        if connection_id in self._replica.state.connections.by_id:
            return True
        await self._replica.confirm()
        return self.knows(connection_id)


def last_position_of(state: State, connection_id: ConnectionId) -> Position:
    """Return the position of the last commit that concerns `connection_id`; 0 if it is not known."""
    known = state.connections.get(connection_id)
    return max(known.last_position if known is not None else 0, *inbox_of(state, connection_id).newest[-1:], 0)


async def page_after(
    log: EventLog, state: State, connection_id: ConnectionId, cursor: Position, limits: PageLimits
) -> Page:
    """Return the next notifications of `connection_id` after `cursor`, as many as the limits allow.

    There is at least one, if there is any. The cursor never passes a notification left out of the page.
    """
    last = end_of_read(state, (connection_id,), cursor)
    is_partial = last < state.position
    events, is_full = await _first(notifications_after(log, state, (connection_id,), cursor, last), limits)
    missed = _has_missed(log, state, connection_id, cursor)  # by now: the log may have been trimmed meanwhile
    if is_partial and not is_full:
        return Page(events, last, missed, is_partial=True)
    if events:
        return Page(events, events[-1].params.cursor, missed)
    gone = inbox_of(state, connection_id).newest[-1:]  # if it is after the cursor
    return Page([], max(cursor, *gone, 0), missed)


async def _first(found: AsyncIterator[list[Delivery]], limits: PageLimits) -> tuple[list[Notification], bool]:
    """Return as many of the notifications as the limits allow, and whether they are reached."""
    events: list[Notification] = []
    page_bytes = 0
    async for deliveries in found:
        notification = deliveries[0].notification
        if events:  # most pages hold one alone
            page_bytes = page_bytes or limits.bytes_of(events[0])
            page_bytes += limits.bytes_of(notification)
            if page_bytes > limits.bytes:
                return events, True
        events.append(notification)
        if len(events) == limits.events:
            return events, True
    return events, False


async def newest_page(log: EventLog, state: State, connection_id: ConnectionId, limits: PageLimits) -> Page:
    """Return the newest notifications in the inbox of `connection_id`, as many as the limits allow.

    The cursor is that of the last one, or of the connection's last commit if there is none.
    """
    newest = inbox_of(state, connection_id).last(limits.events)
    events: list[Notification] = []
    if newest:
        async for deliveries in notifications_after(log, state, (connection_id,), newest[0] - 1):
            events += [delivery.notification for delivery in deliveries]
    page_bytes = 0
    for count, event in enumerate(reversed(events)):
        page_bytes += limits.bytes_of(event)
        if count and page_bytes > limits.bytes:
            events = events[-count:]
            break
    return Page(events, events[-1].params.cursor if events else last_position_of(state, connection_id))


def _has_missed(log: EventLog, state: State, connection_id: ConnectionId, cursor: Position) -> bool:
    """Return whether a notification after `cursor` may be gone from the log."""
    base, inbox = log.base.position, inbox_of(state, connection_id)
    if cursor >= base:
        return False
    is_forgotten = connection_id not in state.connections.by_id
    return is_forgotten or inbox.dropped_through > cursor or any(at <= base for at in inbox.after(cursor))


async def notifications_after(
    log: EventLog,
    state: State,
    connection_ids: Collection[ConnectionId],
    cursor: Position,
    last: Position = POSITION_MAX,
) -> AsyncIterator[list[Delivery]]:
    """Yield the notifications of `connection_ids` after `cursor`, up to `state`'s position, and up to `last`.

    Each position comes once, in order, and within it the connections in ascending order. Commits no longer in
    the log are left out.
    """
    indexed_from = _indexed_from(state, connection_ids, cursor)
    listeners = frozenset(connection_ids)
    async for commit in _between(log, cursor, min(indexed_from, last)):
        if deliveries := _deliveries_to(commit, listeners):
            yield deliveries
    if last <= indexed_from:
        return
    inboxes = [inbox_of(state, connection_id) for connection_id in connection_ids]
    wanted = sorted({position for inbox in inboxes for position in inbox.after(indexed_from)})
    for start, end in _runs(wanted):
        for commit in await _read(log, start - 1, end - start + 1):
            if commit.position <= end and (deliveries := _deliveries_to(commit, listeners)):
                yield deliveries


def has_to_scan(state: State, connection_ids: Collection[ConnectionId], cursor: Position) -> bool:
    """Return whether a read after `cursor` goes through the log, since the inboxes do not reach back so far."""
    return _indexed_from(state, connection_ids, cursor) > cursor


def end_of_read(state: State, connection_ids: Collection[ConnectionId], cursor: Position) -> Position:
    """Return how far one read after `cursor` may go: to the end, unless too much of the log has to be gone through."""
    to_be_scanned = _indexed_from(state, connection_ids, cursor) - cursor
    return cursor + SCAN_COMMITS_MAX if to_be_scanned > SCAN_COMMITS_MAX else max(cursor, state.position)


def _indexed_from(state: State, connection_ids: Collection[ConnectionId], cursor: Position) -> Position:
    """Return the position after which the inboxes list every notification after `cursor`."""
    if any(connection_id not in state.connections.by_id for connection_id in connection_ids):
        return max(cursor, state.position)  # forgotten, its inbox too, and perhaps with its last commit
    return max([cursor, *(inbox_of(state, connection_id).dropped_through for connection_id in connection_ids)])


async def _read(log: EventLog, after: Position, limit: int) -> Sequence[Commit]:
    """Return commits of the log. One that can't be read puts this read off, and no other call.

    Raises:
        LogUnavailableError: the log could not be read.
    """
    try:
        return await log.read(after, limit)
    except LOG_FAULTS as fault:
        raise LogUnavailableError(str(fault)) from fault


async def _between(log: EventLog, after: Position, last: Position) -> AsyncIterator[Commit]:
    """Yield every commit after `after` up to `last`; other tasks run in between."""
    while after < last:
        commits = await _read(log, after, min(RUN_MAX, last - after))
        if not commits:
            return
        for commit in commits:
            if commit.position <= last:
                yield commit
        after = commits[-1].position
        await asyncio.sleep(0)  # let other tasks run


def _deliveries_to(commit: Commit, listeners: Collection[ConnectionId]) -> list[Delivery]:
    if not any(who in listeners for event in commit.events for who in recipients(event)):
        return []
    return [delivery for delivery in deliveries_of(commit) if delivery.connection_id in listeners]


def _runs(wanted: Sequence[Position]) -> list[tuple[Position, Position]]:
    """Group `wanted` into few spans, so positions close together are read at once."""
    runs: list[tuple[Position, Position]] = []
    for position in wanted:
        if runs and position - runs[-1][1] <= READ_AHEAD and position - runs[-1][0] < RUN_MAX:
            runs[-1] = (runs[-1][0], position)
        else:
            runs.append((position, position))
    return runs
