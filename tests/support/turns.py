"""The line of writers waiting for their turn, for stores replaced in tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from events.log import TURN_MS

Leave = Callable[[], bool]
"""Leaves the line, or ends the turn; returns whether it was a turn. Again does no harm."""


class TurnLine:
    """A line in order of arrival. A holder that stays loses its turn after `TURN_MS`."""

    def __init__(self, call_later: Callable[[float, Callable[[], object]], object]) -> None:
        """Make a line; `call_later` runs a callback after a delay in milliseconds."""
        self._call_later = call_later
        self._line: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def join(self, on_turn: Callable[[], None]) -> Leave:
        """Join the line; `on_turn` is called when the turn comes, perhaps at once. Return the way to leave."""

        def entry() -> None:
            self._call_later(TURN_MS, leave)
            on_turn()

        def leave() -> bool:
            if entry not in self._line:
                return False
            was_first = self._line[0] is entry
            self._line.remove(entry)
            if was_first and self._line:
                self._line[0]()
            return was_first

        self._line.append(entry)
        if len(self._line) == 1:
            entry()
        return leave
