"""Reads after a cursor: they give every client the full record, regardless of deliveries on its streams.

In a shared log, a read that could be stale is confirmed first (`Replica.confirm`). Everything in the log can be read.
The inboxes give the positions of the newest notifications; older ones are found by going through the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

import msgspec

from broker.delivery_log import DeliveryLog
from broker.hub import Delivery, deliveries_of
from broker.replica import Replica
from events.commit import Commit
from events.ids import ConnectionId, Position
from events.log import DeliveredBy, EventLog
from projections.inbox import EMPTY_INBOX, Inbox
from projections.notifications import Notification, recipients
from projections.state import State

READ_AHEAD = 16
RUN_MAX = 1_000


class Page(msgspec.Struct, frozen=True):
    """Notifications after a cursor, oldest first, and the cursor that comes after them."""

    events: Sequence[Notification]
    cursor: Position
    missed: bool = False  # the log does not go back as far as the given cursor


def inbox_of(state: State, connection_id: ConnectionId) -> Inbox:
    """Return the positions of the newest notifications of `connection_id`; empty if there were none."""
    return state.inboxes.get(connection_id, EMPTY_INBOX)


class Reads:
    """The reads of one broker."""

    def __init__(self, log: EventLog, replica: Replica, delivery_log: DeliveryLog) -> None:
        self._log = log
        self._replica = replica
        self._delivery_log = delivery_log

    async def page(self, connection_id: ConnectionId, cursor: Position | None) -> Page:
        """Return a page of the notifications of `connection_id` after `cursor`; without a cursor, of the newest.

        Raises:
            LogUnavailableError: the log could not be read.
        """
        state = self._replica.state
        limit = state.policy.events_per_page_max
        if cursor is None:
            return await newest_page(self._log, state, connection_id, limit)
        return await page_after(self._log, state, connection_id, cursor, limit)

    def record(self, connection_id: ConnectionId, page: Page, to: DeliveredBy) -> None:
        """Record that `page` is on its way to `connection_id`."""
        for event in page.events:
            self._delivery_log.record(event.params.cursor, connection_id, to)

    async def has_given(self, cursor: Position) -> bool:
        """Return whether this log can have given `cursor`: none is above its tip.

        Raises:
            LogUnavailableError: the log does not answer in time.
        """
        await self._replica.confirm(cursor)
        return 0 <= cursor <= self._replica.state.position

    def knows(self, connection_id: ConnectionId) -> bool:
        """Return whether that connection is known here (still)."""
        return connection_id in self._replica.state.connections.by_id

    async def is_known(self, connection_id: ConnectionId) -> bool:
        """Return whether that connection is known; if not, look again at the log's tip.

        Raises:
            LogUnavailableError: the log does not answer in time.
        """
        if connection_id in self._replica.state.connections.by_id:
            return True
        await self._replica.confirm()
        return self.knows(connection_id)


async def page_after(log: EventLog, state: State, connection_id: ConnectionId, cursor: Position, limit: int) -> Page:
    """Return up to `limit` notifications of `connection_id` after `cursor`.

    The cursor of the page never passes a notification that the page leaves out: it is the last one's position if the
    page is full, and `state`'s if nothing remains.
    """
    events: list[Notification] = []
    async for deliveries in notifications_after(log, state, (connection_id,), cursor):
        events += [delivery.notification for delivery in deliveries]
        if len(events) == limit:
            return Page(events, deliveries[-1].position, missed=cursor < log.base.position)
    return Page(events, max(cursor, state.position), missed=cursor < log.base.position)


async def newest_page(log: EventLog, state: State, connection_id: ConnectionId, limit: int) -> Page:
    """Return the newest `limit` notifications in the inbox of `connection_id`, and the cursor after them."""
    newest = inbox_of(state, connection_id).last(limit)
    if not newest:
        return Page([], state.position)
    page = await page_after(log, state, connection_id, newest[0] - 1, limit)
    return Page(page.events, state.position)


async def notifications_after(
    log: EventLog, state: State, connection_ids: Collection[ConnectionId], cursor: Position
) -> AsyncIterator[list[Delivery]]:
    """Yield the notifications of `connection_ids` after `cursor`, up to `state`'s position.

    Each position comes once, in order, and within it the connections in ascending order. Commits no longer in
    the log are left out.
    """
    inboxes = [inbox_of(state, connection_id) for connection_id in connection_ids]
    indexed_from = max([cursor, *(inbox.dropped_through for inbox in inboxes)])
    if any(connection_id not in state.connections.by_id for connection_id in connection_ids):
        indexed_from = max(cursor, state.position)  # forgotten, its inbox too, and perhaps with its last commit
    listeners = frozenset(connection_ids)
    async for commit in _between(log, cursor, indexed_from):
        if deliveries := _deliveries_to(commit, listeners):
            yield deliveries
    wanted = sorted({position for inbox in inboxes for position in inbox.after(indexed_from)})
    for start, end in _runs(wanted):
        for commit in await log.read(start - 1, end - start + 1):
            if commit.position <= end and (deliveries := _deliveries_to(commit, listeners)):
                yield deliveries


async def _between(log: EventLog, after: Position, last: Position) -> AsyncIterator[Commit]:
    """Yield every commit after `after` up to `last`; other tasks run in between."""
    while after < last:
        commits = await log.read(after, min(RUN_MAX, last - after))
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
