"""What stands after a cursor: the way to the truth for every client, whatever it has heard on its streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from events.ids import ConnectionId, Position
from events.log import EventLog
from projections.deliveries import Notification, deliveries
from projections.inbox import EMPTY_INBOX, Inbox
from projections.state import State

READ_AHEAD = 16
RUN_MAX = 1_000


class Page(msgspec.Struct, frozen=True):
    """Notifications after a cursor, oldest first, and the cursor that comes after them."""

    events: Sequence[Notification]
    cursor: Position
    missed: bool = False  # something older is not kept any more


def inbox_of(state: State, connection_id: ConnectionId) -> Inbox:
    """What `connection_id` was told, by position; empty where nothing was."""
    return state.inboxes.get(connection_id, EMPTY_INBOX)


async def page_after(log: EventLog, state: State, connection_id: ConnectionId, cursor: Position, limit: int) -> Page:
    """Up to `limit` notifications of `connection_id` after `cursor`.

    The cursor that it answers never passes a notification that it does not give: it is the last one's position
    where more may follow, and the state's where nothing does.
    """
    inbox = inbox_of(state, connection_id)
    base = log.base.tip.position if log.base is not None else 0
    wanted = inbox.after(cursor, limit)
    page = await _page(log, connection_id, wanted, missed=cursor < max(base, inbox.dropped_through))
    full = len(wanted) == limit
    return msgspec.structs.replace(page, cursor=page.cursor if full else max(cursor, state.position))


async def newest_page(log: EventLog, state: State, connection_id: ConnectionId, limit: int) -> Page:
    """The newest `limit` notifications of `connection_id`, and the cursor after them."""
    wanted = inbox_of(state, connection_id).last(limit)
    page = await _page(log, connection_id, wanted, missed=False)
    return msgspec.structs.replace(page, cursor=state.position)


async def replay(
    log: EventLog, state: State, connection_ids: Sequence[ConnectionId], first: Position
) -> AsyncIterator[tuple[Position, list[tuple[ConnectionId, Notification]]]]:
    """What `connection_ids` were told from position `first` up to `state`'s, each position once, in order.

    Within a position, the connections are in ascending order.
    """
    listening = frozenset(connection_ids)
    inboxes = (inbox_of(state, connection_id) for connection_id in listening)
    wanted = sorted({position for inbox in inboxes for position in inbox.after(first - 1, len(inbox))})
    for start, end in _runs(wanted):
        for commit in await log.read(start - 1, end - start + 1):
            if commit.position <= end:
                told = [(who, what) for who, what in deliveries(commit) if who in listening]
                if told:
                    yield commit.position, sorted(told, key=lambda one: one[0])


async def _page(log: EventLog, connection_id: ConnectionId, wanted: Sequence[Position], *, missed: bool) -> Page:
    events: list[Notification] = []
    for start, end in _runs(wanted):
        commits = {commit.position: commit for commit in await log.read(start - 1, end - start + 1)}
        for position in (p for p in wanted if start <= p <= end):
            commit = commits.get(position)
            if commit is None:
                missed = True  # the log was compacted since
                continue
            events += [told for who, told in deliveries(commit) if who == connection_id]
    return Page(events, wanted[-1] if wanted else 0, missed)


def _runs(wanted: Sequence[Position]) -> list[tuple[Position, Position]]:
    """`wanted` as few spans, so that what stands close together is read at once."""
    runs: list[tuple[Position, Position]] = []
    for position in wanted:
        if runs and position - runs[-1][1] <= READ_AHEAD and position - runs[-1][0] < RUN_MAX:
            runs[-1] = (runs[-1][0], position)
        else:
            runs.append((position, position))
    return runs
