"""Operation records: what a broker noted beside its log that made no commit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from events.ids import Position
from events.log import OperationRecord


def unclean_ends(records: Sequence[OperationRecord]) -> list[Position]:
    """Return the last position before each start that no orderly end came before, ascending.

    Several starts may have the same one. The oldest start that is known counts too, unless the log was empty: what came
    before it is not known. One process at a time writes a log that has operation records, so starts follow each other.
    """
    ends: list[Position] = []
    was_stopped = False
    for record in records:
        if record.kind == "started":
            if not was_stopped and record.after:
                ends.append(record.after)
            was_stopped = False
        elif record.kind == "stopped":
            was_stopped = True
    return ends


def next_unclean_end(ends: Sequence[Position], position: Position) -> Position | None:
    """Return the first of the ascending `ends` at `position` or after it; `None` if there is none."""
    index = bisect_left(ends, position)
    return ends[index] if index < len(ends) else None
