"""Operation records: what a broker noted beside its log that made no commit."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from events.ids import ConnectionId, Position
from events.log import RUNNING_EVERY_MS, LogUnavailableError, OperationRecord
from events.store_reader import CLOCKS_DIFFER_MS
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


def unclean_ends(records: Sequence[OperationRecord]) -> list[Position]:
    """Return the last position before each unclean start in the log, ascending; several starts may share one."""
    return [note.record.after for note in notes_of(records) if note.is_unclean and note.record.kind == "started"]


def unclean_spans(records: Sequence[OperationRecord]) -> list[tuple[int, int]]:
    """Return the times between which one of several brokers may have lost its last records, each with both ends."""
    signs = [note.record.at_ms for note in notes_of(records) if note.is_unclean and note.record.kind == "running"]
    return [(at_ms - RECORD_DELAY_MS_MAX, at_ms + RUNNING_EVERY_MS + RECORD_DELAY_MS_MAX) for at_ms in signs]


def proved_until_ms(records: Iterable[OperationRecord]) -> int | None:
    """Return the newest sign of life of the broker that has been silent longest, of those that may live.

    Return `None` if no broker of several may live, or if the log is one broker's file.
    """
    last = {record.broker: record for record in records if record.broker}
    newest_ms = max((record.at_ms for record in last.values()), default=0)
    return min(
        (one.at_ms for one in last.values() if one.kind != "stopped" and newest_ms - one.at_ms <= SILENT_MS),
        default=None,
    )


def next_unclean_end(ends: Sequence[Position], position: Position) -> Position | None:
    """Return the first of the ascending `ends` at `position` or after it; `None` if there is none."""
    index = bisect_left(ends, position)
    return ends[index] if index < len(ends) else None


class Notes:
    """Some notes, in the order of the commits between which they stand; each is taken once."""

    def __init__(self, notes: Iterable[Note]) -> None:
        self._left = deque(sorted(notes, key=lambda note: note.record.after))

    def add(self, notes: Iterable[Note]) -> None:
        """Take in more notes, each behind those of its position."""
        self._left = deque(sorted([*self._left, *notes], key=lambda note: note.record.after))

    def before(self, position: Position) -> Iterator[Note]:
        """Take the notes before the commit at `position`."""
        while self._left and self._left[0].record.after < position:
            yield self._left.popleft()


def notes_matching(source: Source, commit_filter: CommitFilter, until_ms: int | None = None) -> Notes:
    """Return the notes let through by `commit_filter`; none after Unix time `until_ms`, if given."""
    notes = notes_of(source.operation_records() or ())
    chosen = (note for note in notes if until_ms is None or note.record.at_ms <= until_ms)
    return Notes(note for note in chosen if _matches(note, commit_filter))


def _matches(note: Note, commit_filter: CommitFilter) -> bool:
    """Return whether `commit_filter` lets `note` through: each one, those of its connection, or none.

    A filter with a room or an expression is about commits alone.
    """
    is_about_commits = commit_filter.room is not None or commit_filter.when is not None
    return not is_about_commits and commit_filter.connection in (None, note.record.connection_id)


def notes_about(source: Source, who: ConnectionId | None) -> Notes:
    """Return the notes of the refusals of `who`, or of all known callers, and all about the broker as a whole."""
    notes = notes_of(source.operation_records() or ())
    return Notes(note for note in notes if note.record.kind != "refused" or _is_of(note.record, who))


def _is_of(refusal: OperationRecord, who: ConnectionId | None) -> bool:
    return refusal.connection_id is not None and who in (None, refusal.connection_id)


class GrowingNotes(Notes):
    """`notes_matching` of a log that brokers write to.

    Records come late, and in any order. So at each look all of the last `CLOCKS_DIFFER_MS` are read, counted from the
    newest; one that comes still later is never seen.
    """

    def __init__(self, source: Source, commit_filter: CommitFilter, start: Position | None) -> None:
        """Notes before the commit behind `start` are not wanted; `None`: none that is there already."""
        super().__init__(())
        self._source, self._filter = source, commit_filter
        self._recent = Counter[OperationRecord]()
        self._lasting = list[OperationRecord]()  # all but refusals, since notes depend on those before
        self._seen = set[Note]()
        self._newest_ms = 0
        self.look()
        if start is None:
            self._left.clear()
        else:
            self._left = deque(note for note in self._left if note.record.after >= start)

    def look(self) -> None:
        """Read the new records, if the store answers."""
        try:
            records = Counter(self._source.operation_records(max(0, self._newest_ms - CLOCKS_DIFFER_MS)) or ())
        except LogUnavailableError:
            return
        new = list((records - self._recent).elements())
        if not new:
            return
        self._recent, self._newest_ms = records, max(record.at_ms for record in records)
        notes = [Note(record, is_unclean=False) for record in new if record.kind == "refused"]
        notes += self._new_lasting([record for record in new if record.kind != "refused"])
        self.add(note for note in sorted(notes, key=lambda note: note.record.at_ms) if _matches(note, self._filter))

    def _new_lasting(self, records: Sequence[OperationRecord]) -> list[Note]:
        """Return the notes of starts, ends and outages that were not there before `records` came."""
        signs = {record.broker for record in records if record.kind == "running"}
        older = (one for one in self._lasting if one.kind != "running" or one.broker not in signs)
        self._lasting = [*older, *records]
        new = [note for note in notes_of(self._lasting) if note not in self._seen]
        self._seen.update(new)
        return new
