"""A limit of log lines: an event within a client's reach, however often repeated, is one line a minute."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from traceback import extract_tb

LINES_EVERY_MS = 60_000


class LineLimit:
    """Admits a line of each kind a minute, and counts the others. Kinds are the program's own, so they are few."""

    def __init__(self, now_ms: Callable[[], float]) -> None:
        """Take `now_ms`, a clock that never goes back."""
        self._now_ms = now_ms
        self._silent_until_ms: dict[Hashable, float] = {}
        self._suppressed: dict[Hashable, int] = {}

    def admit(self, kind: Hashable) -> dict[str, int] | None:
        """Return the fields to add to a line of `kind`; `None` if the line is to be left out.

        The fields are empty, or `suppressed`: the number of lines left out since the last one.
        """
        now_ms = self._now_ms()
        if now_ms < self._silent_until_ms.get(kind, now_ms):
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return None
        self._silent_until_ms[kind] = now_ms + LINES_EVERY_MS
        suppressed = self._suppressed.pop(kind, 0)
        return {"suppressed": suppressed} if suppressed else {}

    def admit_fault(self, event: str, fault: BaseException) -> dict[str, int] | None:
        """Return the same for a line of `event` with a raised `fault`; each place in the code is a kind."""
        place = extract_tb(fault.__traceback__)[-1]
        return self.admit((event, type(fault), place.filename, place.lineno))
