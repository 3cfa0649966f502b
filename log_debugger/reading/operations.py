"""Operation records: what a broker noted beside its log that made no commit."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from broker.record_buffer import RUNNING_EVERY_MS
from events.ids import ConnectionId, Position
from events.log import OperationRecord
from log_debugger.reading.filters import CommitFilter
from log_debugger.reading.sources import Source

SILENT_MS = 3 * RUNNING_EVERY_MS
"""The silence of one of several brokers, beside signs of life of others, after which it has ended."""

RECORD_DELAY_MS_MAX = 1_200
"""The greatest delay of a record: `broker.record_buffer` buffers it for a second, and a store for a little longer."""


class Note(NamedTuple):
    """An operation record, and whether it shows an unclean end.

    In a file that is a start without an orderly end before it. Where several brokers write a log, other starts say
    nothing of an end: there it is the last sign of life of a broker that has fallen silent.
    """

    record: OperationRecord
    is_unclean: bool


def notes_of(records: Sequence[OperationRecord]) -> Iterator[Note]:
    """Yield `records`, the oldest first, as notes. Signs of life but the last ones of brokers are left out."""
    return _notes_of_several(records) if any(record.broker for record in records) else _notes_of_one(records)


def _notes_of_one(records: Iterable[OperationRecord]) -> Iterator[Note]:
    """Yield the notes of brokers that follow each other: one process at a time writes a file.

    The oldest start that is known is unclean too, unless the log was empty: what came before it is not known.
    """
    was_stopped = False
    for record in records:
        yield Note(record, record.kind == "started" and not was_stopped and record.after > 0)
        if record.kind in ("started", "stopped"):
            was_stopped = record.kind == "stopped"


def _notes_of_several(records: Sequence[OperationRecord]) -> Iterator[Note]:
    """Yield the notes of brokers beside each other."""
    last = {record.broker: record for record in records}
    newest_ms = max(record.at_ms for record in records)
    notes = [Note(record, is_unclean=False) for record in records if record.kind != "running"]
    for record in last.values():
        if record.kind != "stopped" and newest_ms - record.at_ms > SILENT_MS:
            sign = OperationRecord("running", record.at_ms, record.after, broker=record.broker)
            notes.append(Note(sign, is_unclean=True))
    yield from sorted(notes, key=lambda note: note.record.at_ms)


def unclean_ends(source: Source) -> list[Position]:
    """Return the last position before each unclean start in the log, ascending; several starts may share one."""
    notes = notes_of(source.operation_records() or ())
    return [note.record.after for note in notes if note.is_unclean and note.record.kind == "started"]


def unclean_spans(source: Source) -> list[tuple[int, int]]:
    """Return the times between which one of several brokers may have lost its last records, each with both ends."""
    notes = notes_of(source.operation_records() or ())
    signs = [note.record.at_ms for note in notes if note.is_unclean and note.record.kind == "running"]
    return [(at_ms - RECORD_DELAY_MS_MAX, at_ms + RUNNING_EVERY_MS + RECORD_DELAY_MS_MAX) for at_ms in signs]


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
