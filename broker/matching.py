"""Whom a newcomer meets: a pure choice among those who wait."""

from __future__ import annotations

from events.ids import ConnectionId
from projections.queue import Queue


def first_come(queue: Queue, newcomer: ConnectionId) -> ConnectionId | None:
    """The one who has waited longest. Costs the same whether 10 or 100,000 wait."""
    head = queue.head()
    assert head != newcomer, "who waits does not enter again"
    return head
