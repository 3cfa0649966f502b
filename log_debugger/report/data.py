"""The data of a report's page: a log folded once, with every promise checked on the way."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

import msgspec

from events.codec import UnreadableCommitError
from events.commit import BrokenChainError, Commit, check_link
from events.ids import Position
from events.log import DeliveryRecord, OperationRecord
from events.policy import MatchingName
from log_debugger.reading.iterate import FOLD_ERRORS
from log_debugger.reading.operations import (
    RECORD_DELAY_MS_MAX,
    Note,
    notes_of,
    proved_until_ms,
    unclean_ends,
    unclean_spans,
)
from log_debugger.report.columns import COMMANDS, EVENTS, REASONS, RefusalTable, ReportColumns
from log_debugger.report.tables import StringTable, ascending, packed
from log_debugger.telling.passed_over import avoided_in
from projections.invariants import Violation, check_events, check_state, check_step
from projections.state import State, evolve

FORMAT = 1
"""The version of the data format; the page and its data are written together."""

PageData = dict[str, Any]

_CHAIN, _FOLDS = 5, 6
"""The numbers of two promises: the chain is whole, and folding it gives the state."""


class FoldedLog:
    """A log, folded up to the first commit that can't be."""

    def __init__(self, base: State, *, texts: bool = True) -> None:
        """Begin at `base`; without `texts`, drop texts, names and interests."""
        self.base = base
        self.state = base
        self.columns = ReportColumns(base, texts=texts)
        self.breaches: list[Violation] = []
        self.stopped: str | None = None
        """The fault at the end, if the log can't be folded further."""

    @property
    def last(self) -> Position:
        """The last position in the columns."""
        return self.base.position + len(self.columns.commits)

    def fold(self, commits: Iterable[Commit]) -> Iterator[Position]:
        """Fold `commits`, yielding each position; faults are recorded, not raised."""
        try:
            for commit in commits:
                self._step(commit)
                yield commit.position
                if self.stopped is not None:
                    break
        except (BrokenChainError, UnreadableCommitError) as error:
            self._stop(_CHAIN, self.last + 1, str(error))
        self.columns.close()
        if self.stopped is None:
            self.breaches += check_state(self.state)

    def _step(self, commit: Commit) -> None:
        before, link = self.state, _link(self.state, commit)
        if commit.position != before.position + 1:
            self._stop(_CHAIN, before.position + 1, str(link))
            return
        self.columns.add(commit)
        self._note_avoided(before, commit)
        try:
            self.state = evolve(before, commit)
        except FOLD_ERRORS as error:
            # `evolve` trusts the stored events; the checks name impossible ones where they can.
            self.breaches += check_events(before, commit)
            self._stop(_FOLDS, commit.position, f"the commit can't be folded: {type(error).__name__}")
            return
        if len(self.state.connections) != len(before.connections):
            self.columns.connections.add(len(self.columns.commits), len(self.state.connections))
        found = check_step(before, commit, self.state)
        if link is not None and not any(one.promise == _CHAIN for one in found):
            found = [Violation(_CHAIN, commit.position, str(link)), *found]
        self.breaches += found

    def _note_avoided(self, before: State, commit: Commit) -> None:
        """Note the waiting connections that the search of `commit` had to avoid, and a meeting in spite of that."""
        try:
            avoided = avoided_in(before, commit)
        except FOLD_ERRORS:
            return  # no broker made this commit
        if avoided:
            number = self.columns.people.number
            rows = [[number(who), why.reason, why.met_ago_ms] for who, why in avoided.items()]
            self.columns.avoided.add(len(self.columns.commits), rows)

    def _stop(self, promise: int, position: Position, why: str) -> None:
        self.stopped = why
        self.breaches.append(Violation(promise, position, why))


def _link(state: State, commit: Commit) -> BrokenChainError | None:
    try:
        check_link(state.tip, commit)
    except BrokenChainError as error:
        return error
    return None


def page_data(
    name: str,
    folded: FoldedLog,
    delivery_records: Sequence[DeliveryRecord] | None,
    recorded_after: Position = 0,
    operation_records: Sequence[OperationRecord] = (),
) -> PageData:
    """Return the page's data as plain JSON.

    Args:
        name: the log's name, for the title.
        folded: the log.
        delivery_records: its delivery records; `None` if it keeps none.
        recorded_after: the position after which a missing record means a missing delivery.
        operation_records: what its brokers noted beside it.
    """
    columns, base, notes = folded.columns, folded.base, [*notes_of(operation_records)]
    handed = None
    if delivery_records is not None:  # first, since it may add a person
        handed = _handed(folded, delivery_records) | {"unsure": _unsure(folded, operation_records)}
    at_ms = columns.commits["at_ms"]
    start_ms = base.at_ms if base.position or not at_ms else at_ms[0]
    return {
        "format": FORMAT,
        "log": name,
        "base": base.position,
        "start_ms": start_ms,
        "texts": columns.texts,
        "base_policy": msgspec.structs.asdict(base.policy),
        "base_counts": {
            "rooms_closed": base.rooms_closed,
            "connections": len(base.connections),
            "messages": base.messages_sent,
        },
        "commands": COMMANDS,
        "kinds": EVENTS,
        "matchings": get_args(MatchingName),
        "reasons": REASONS,
        "people": columns.people.texts,
        "rooms": columns.room_ids.texts,
        "names": columns.names.texts,
        "interests": columns.interests,
        **_tables(columns, base.position, start_ms),
        "handed": handed,
        "handed_after": max(0, recorded_after - base.position),
        "broker": _broker_notes(folded, notes, start_ms),
        "refused": _refusals(folded, notes, start_ms),
        "breaches": [[one.position - base.position, one.promise, one.what] for one in folded.breaches],
        "stopped": folded.stopped,
    }


def _tables(columns: ReportColumns, base: Position, start_ms: int) -> PageData:
    commit = columns.commits.packed()
    since_start = [at_ms - start_ms for at_ms in columns.commits["at_ms"]]
    return {
        "commit": commit | {"at_ms": ascending(since_start)},
        "event": columns.events.packed(),
        "wait": columns.waits.packed(rising=("start",)),
        "room": columns.rooms.packed(rising=("start",)),
        "said": columns.said,
        "message_id": columns.message_ids.packed(),
        "absent_since": columns.absent_since.packed(),
        "drawn": columns.drawn.packed(),
        "policy": columns.policies.packed(),
        "connections": columns.connections.packed(),
        "note": columns.notes.packed(),
        "forgotten": columns.forgotten.packed(),
        "avoided": columns.avoided.packed(),
        "requeued": [[moment, at - base, at_ms - start_ms] for moment, at, at_ms in columns.requeued],
        "waiting_since": [at_ms - start_ms for at_ms in columns.waiting_since_ms],
        "waiting_at": [position - base for position in columns.waiting_positions],
        "opened_positions": columns.opened_positions,
    }


def _broker_notes(folded: FoldedLog, notes: Iterable[Note], start_ms: int) -> list[list[Any]]:
    """Return the moment before each note, its time, its kind, and whether it is unclean."""
    base = folded.base.position
    return [
        [max(0, record.after - base), record.at_ms - start_ms, record.kind, int(is_unclean)]
        for record, is_unclean in notes
        if record.kind != "refused" and record.after <= folded.last
    ]


def _refusals(folded: FoldedLog, notes: Iterable[Note], start_ms: int) -> PageData:
    """Return the refusals as columns, in the order of the moments before them.

    A caller in the log is one of `who`, another one of `words`, and an unknown caller is neither.
    """
    people, words, columns = folded.columns.people, StringTable(), RefusalTable()
    noted = [record for record, _ in notes if record.kind == "refused" and record.after <= folded.last]
    for one in sorted(noted, key=lambda record: (record.after, record.at_ms)):
        columns.add(
            max(0, one.after - folded.base.position),
            one.at_ms - start_ms,
            people.known(one.connection_id),
            words.number(one.connection_id) if not people.known(one.connection_id) else 0,
            words.number(one.command),
            words.number(one.code),
            one.times,
        )
    return columns.packed(rising=("moment",)) | {"words": words.texts}


def _unsure(folded: FoldedLog, records: Sequence[OperationRecord]) -> list[tuple[int, int, str]]:
    """Return spans of moments, both ends included, whose missing delivery records prove nothing, and why.

    They are those of `Deliveries`: the last records of a broker are `lost`, or those of a silent one come `late`.
    """
    at_ms, base = folded.columns.commits["at_ms"], folded.base.position
    spans = [(first_ms, last_ms, len(at_ms), "lost") for first_ms, last_ms in unclean_spans(records)]
    for end in unclean_ends(records):
        last = min(end, folded.last) - base
        if last > 0:
            spans.append((at_ms[last - 1] - RECORD_DELAY_MS_MAX + 1, at_ms[last - 1], last, "lost"))
    if (proved_ms := proved_until_ms(records)) is not None and at_ms:
        spans.insert(0, (proved_ms - RECORD_DELAY_MS_MAX + 1, at_ms[-1], len(at_ms), "late"))
    found = [
        (bisect_left(at_ms, first_ms) + 1, min(bisect_right(at_ms, last_ms), last), why)
        for first_ms, last_ms, last, why in spans
    ]
    return [(low, high, why) for low, high, why in found if low <= high]


def _handed(folded: FoldedLog, delivery_records: Sequence[DeliveryRecord]) -> PageData:
    columns, first = folded.columns, folded.base.position
    at_ms, ways = columns.commits["at_ms"], StringTable()
    known = sorted(
        (one for one in delivery_records if first < one.position <= folded.last), key=lambda one: one.position
    )
    return {
        "moment": ascending([one.position - first for one in known]),
        "who": packed([columns.people.number(one.connection_id) for one in known]),
        "to": packed([ways.number(one.to) for one in known]),
        "after_ms": packed([one.at_ms - at_ms[one.position - first - 1] for one in known]),
        "ways": ways.texts,
    }
