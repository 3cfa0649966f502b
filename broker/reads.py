"""What stands after a cursor: the way to the truth for every client, whatever it has heard on its streams.

Everything that the log holds can be read. The inboxes say where the newest of it stands; what is older than they
remember is found by going through the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

import msgspec

from broker.hub import Delivery, deliveries_of
from events.commit import Commit
from events.ids import ConnectionId, Position
from events.log import EventLog
from projections.inbox import EMPTY_INBOX, Inbox
from projections.notifications import Notification, recipients
from projections.state import State

READ_AHEAD = 16
RUN_MAX = 1_000


class Page(msgspec.Struct, frozen=True):
    """Notifications after a cursor, oldest first, and the cursor that comes after them."""

    events: Sequence[Notification]
    cursor: Position
    missed: bool = False  # the log does not go back as far as the cursor that was given


def inbox_of(state: State, connection_id: ConnectionId) -> Inbox:
    """Where the newest of what `connection_id` was told stands; empty where nothing was."""
    return state.inboxes.get(connection_id, EMPTY_INBOX)


async def page_after(log: EventLog, state: State, connection_id: ConnectionId, cursor: Position, limit: int) -> Page:
    """Up to `limit` notifications of `connection_id` after `cursor`.

    The cursor that it answers never passes a notification that it does not give: it is the last one's position
    where the page is full, and `state`'s where nothing remains.
    """
    events: list[Notification] = []
    async for told in notifications_after(log, state, (connection_id,), cursor):
        events += [delivery.notification for delivery in told]
        if len(events) == limit:
            return Page(events, told[-1].position, missed=cursor < log.base.position)
    return Page(events, max(cursor, state.position), missed=cursor < log.base.position)


async def newest_page(log: EventLog, state: State, connection_id: ConnectionId, limit: int) -> Page:
    """The newest `limit` notifications of `connection_id` that its inbox remembers, and the cursor after them."""
    newest = inbox_of(state, connection_id).last(limit)
    if not newest:
        return Page([], state.position)
    page = await page_after(log, state, connection_id, newest[0] - 1, limit)
    return Page(page.events, state.position)


async def notifications_after(
    log: EventLog, state: State, connection_ids: Collection[ConnectionId], cursor: Position
) -> AsyncIterator[list[Delivery]]:
    """What `connection_ids` were told after `cursor`, up to `state`'s position: each position once, in order.

    Within a position, the connections are in ascending order. What the log does not hold any more is left out.
    """
    inboxes = [inbox_of(state, connection_id) for connection_id in connection_ids]
    indexed_from = max([cursor, *(inbox.dropped_through for inbox in inboxes)])
    if any(connection_id not in state.connections.by_id for connection_id in connection_ids):
        indexed_from = max(cursor, state.position)  # forgotten, its inbox too, and perhaps with its last commit
    listening = frozenset(connection_ids)
    async for commit in _between(log, cursor, indexed_from):
        if told := _told(commit, listening):
            yield told
    wanted = sorted({position for inbox in inboxes for position in inbox.after(indexed_from)})
    for start, end in _runs(wanted):
        for commit in await log.read(start - 1, end - start + 1):
            if commit.position <= end and (told := _told(commit, listening)):
                yield told


async def _between(log: EventLog, after: Position, last: Position) -> AsyncIterator[Commit]:
    """Every commit behind `after` up to `last`; others get their turn in between."""
    while after < last:
        commits = await log.read(after, min(RUN_MAX, last - after))
        if not commits:
            return
        for commit in commits:
            if commit.position <= last:
                yield commit
        after = commits[-1].position
        await asyncio.sleep(0)  # the turn of others


def _told(commit: Commit, listening: Collection[ConnectionId]) -> list[Delivery]:
    if not any(who in listening for event in commit.events for who in recipients(event)):
        return []
    return [delivery for delivery in deliveries_of(commit) if delivery.connection_id in listening]


def _runs(wanted: Sequence[Position]) -> list[tuple[Position, Position]]:
    """`wanted` as few spans, so that what stands close together is read at once."""
    runs: list[tuple[Position, Position]] = []
    for position in wanted:
        if runs and position - runs[-1][1] <= READ_AHEAD and position - runs[-1][0] < RUN_MAX:
            runs[-1] = (runs[-1][0], position)
        else:
            runs.append((position, position))
    return runs
