"""Waits in the queue that a commit ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from broker.verification.scenario import connections_in
from events.ids import ConnectionId
from log_debugger.reading.sources import Step


class Wait(NamedTuple):
    """A stay in the queue."""

    connection_id: ConnectionId
    since_ms: int  # Unix time
    until_ms: int

    @property
    def lasted_ms(self) -> int:
        """The length of the stay."""
        return self.until_ms - self.since_ms


def ended_waits(step: Step) -> Iterator[Wait]:
    """Yield the stays in the queue that `step` ends; one that it also begins is none."""
    before, after = step.before.queue.entered, step.after.queue.entered
    for who in dict.fromkeys(connections_in(step.commit)):
        if who in before and before[who] != after.get(who):
            since_ms = step.before.connections.by_id[who].waiting_since_ms()
            yield Wait(who, since_ms, step.commit.at_ms)
