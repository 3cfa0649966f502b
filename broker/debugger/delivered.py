"""When what a commit told somebody was handed over to them, as far as that was noted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from broker.debugger.names import Names
from broker.debugger.sources import Source
from broker.debugger.times import span
from broker.debugger.told import told_by
from events.commit import Commit
from events.events import Event
from events.ids import ConnectionId, Position
from events.log import HandedTo, Handing
from projections.state import State

WAYS: dict[HandedTo, str] = {
    "get": "the GET stream of a session",
    "listen": "a subscriptions/listen stream",
    "result": "a tool's result",
    "inbox": "a reading of their inbox",
}
NOT_NOTED = "when a notification was handed over is not noted in a dump; a broker's own file (sqlite:PATH) has it"


class Told(NamedTuple):
    """One notification, and its handings in the order of their time; `None` where none are noted of any."""

    connection_id: ConnectionId
    method: str
    handings: tuple[Handing, ...] | None


class Deliveries:
    """What was handed over of the commits up to `last`."""

    def __init__(self, source: Source, last: Position) -> None:
        self._source, self._last = source, last
        self._newest: dict[ConnectionId, Position] = {}

    def of(self, commit: Commit, events: Sequence[Event]) -> list[Told]:
        """What `events`, which are of `commit`, told whom, and when they were handed it."""
        told = told_by(events)
        if not self._source.has_handings:
            return [Told(who, method, None) for who, method in told]
        noted = self._source.handings(commit.position - 1, commit.position, None) if told else []
        return [Told(who, method, tuple(one for one in noted if one.connection_id == who)) for who, method in told]

    def lines(self, names: Names, state: State, commit: Commit, told: list[Told]) -> Iterator[str]:
        """The same in words; nothing where nothing is noted of any."""
        for one in told:
            if one.handings is None:
                continue
            who = names.known(state, one.connection_id)
            ways = [f"{WAYS[by.to]} after {span(max(0, by.at_ms - commit.at_ms))}" for by in one.handings]
            yield f"handed to {who}: {', '.join(ways)}" if ways else self._missing(who, one.connection_id, commit)

    def _missing(self, who: str, connection_id: ConnectionId, commit: Commit) -> str:
        if self._newest_of(connection_id) > commit.position:
            return (
                f"no note that it was handed to {who}, though something later was: "
                "they fetched from a later cursor on, or the note was lost"
            )
        return f"not handed to {who} yet: no stream of theirs was open, and no call of theirs has fetched it since"

    def _newest_of(self, connection_id: ConnectionId) -> Position:
        if connection_id not in self._newest:
            noted = self._source.handings(self._source.base.tip.position, self._last, connection_id)
            self._newest[connection_id] = max((one.position for one in noted), default=0)
        return self._newest[connection_id]


def told_json(told: list[Told]) -> list[dict[str, Any]]:
    """`told` for a program."""
    return [
        {
            "connection_id": one.connection_id,
            "method": one.method,
            "handed": None if one.handings is None else [{"to": by.to, "at_ms": by.at_ms} for by in one.handings],
        }
        for one in told
    ]
