"""Whom a newcomer meets: a pure choice among those who wait."""

from __future__ import annotations

from collections.abc import Callable

from events.ids import ConnectionId
from projections.queue import Queue

Matching = Callable[[Queue, ConnectionId], ConnectionId | None]
"""From those who wait and the newcomer to the one they meet, or `None`; never the newcomer."""


def first_come(queue: Queue, newcomer: ConnectionId) -> ConnectionId | None:
    """The one who has waited longest. Costs the same whether 10 or 100,000 wait."""
    head = queue.head()
    assert head != newcomer, "who waits does not enter again"
    return head
