"""Operation records: what a broker noted beside its log that made no commit."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from events.ids import ConnectionId, Position
from events.log import OperationRecord
from log_debugger.reading.filters import CommitFilter
from log_debugger.reading.sources import Source


class Note(NamedTuple):
    """An operation record; `is_unclean` if it is a start that no orderly end is known to come before."""

    record: OperationRecord
    is_unclean: bool


def notes_of(records: Iterable[OperationRecord]) -> Iterator[Note]:
    """Yield each of `records`, the oldest first, as a note.

    The oldest start that is known is unclean too, unless the log was empty: what came before it is not known. One
    process at a time writes a log that has operation records, so starts follow each other.
    """
    was_stopped = False
    for record in records:
        yield Note(record, record.kind == "started" and not was_stopped and record.after > 0)
        if record.kind in ("started", "stopped"):
            was_stopped = record.kind == "stopped"


def unclean_ends(source: Source) -> list[Position]:
    """Return the last position before each unclean start in the log, ascending; several starts may share one."""
    return [note.record.after for note in notes_of(source.operation_records() or ()) if note.is_unclean]


def next_unclean_end(ends: Sequence[Position], position: Position) -> Position | None:
    """Return the first of the ascending `ends` at `position` or after it; `None` if there is none."""
    index = bisect_left(ends, position)
    return ends[index] if index < len(ends) else None


class Notes:
    """Some notes, in the order of the commits between which they stand; each is taken once."""

    def __init__(self, notes: Iterable[Note]) -> None:
        self._left = deque(sorted(notes, key=lambda note: note.record.after))

    def before(self, position: Position) -> Iterator[Note]:
        """Take the notes that stand before the commit at `position`."""
        while self._left and self._left[0].record.after < position:
            yield self._left.popleft()


def notes_matching(source: Source, commit_filter: CommitFilter) -> Notes:
    """Return the notes that `commit_filter` lets through: all, those of its connection, or none.

    A filter with a room or an expression is about commits alone.
    """
    if commit_filter.room is not None or commit_filter.when is not None:
        return Notes(())
    who = commit_filter.connection
    notes = notes_of(source.operation_records() or ())
    return Notes(note for note in notes if who in (None, note.record.connection_id))


def notes_about(source: Source, who: ConnectionId) -> Notes:
    """Return the notes of the refusals of `who`, and all that are about the broker as a whole."""
    notes = notes_of(source.operation_records() or ())
    return Notes(note for note in notes if note.record.connection_id == who or note.record.kind != "refused")
