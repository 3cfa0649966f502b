"""Notes between the commits, in words and as objects: starts and ends of brokers, refusals, outages of the log."""

from __future__ import annotations

from typing import Any

from broker.verification.safe_text import safe
from events.log import OperationKind, OperationRecord
from log_debugger.reading.operations import Note
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.times import clock
from projections.state import State

BROKER_DIGITS = 4
UNKNOWN = "an unknown caller"

_WORDS: dict[OperationKind, str] = {
    "started": "{} starts",
    "running": "{} is seen for the last time, with no note of an orderly end",
    "stopped": "{} stops in good order",
    "log_unavailable": "the log takes no commits any more",
    "log_available": "the log takes commits again",
}


def note_line(names: ShortNames, state: State, note: Note, start_ms: int) -> str:
    """Return `note` as a line like a commit's, without a position; `state` is the one at its time."""
    return f"   note  {clock(since_ms(note, start_ms))}  {note_text(names, state, note)}"


def note_json(note: Note) -> dict[str, Any]:
    """Return `note` as a JSON object."""
    unclean = {"is_unclean": note.is_unclean} if note.record.kind in ("started", "running") else {}
    return {"note": note.record._asdict() | unclean}


def since_ms(note: Note, start_ms: int) -> int:
    """Return the time of `note` since the log's first commit, in ms; a broker starts before it makes that commit."""
    return max(0, note.record.at_ms - start_ms)


def note_text(names: ShortNames, state: State, note: Note) -> str:
    """Return `note` in words."""
    record = note.record
    if record.kind != "refused":
        return _broker_text(record, is_unclean=note.is_unclean)
    if record.command is None or record.code is None:
        return f"{record.times:,} more refused, too many to note each"
    who = names.person_in(state, record.connection_id) if record.connection_id is not None else UNKNOWN
    return f"{who} is refused {safe(record.command)}: {safe(record.code)}"


def _broker_text(record: OperationRecord, *, is_unclean: bool) -> str:
    broker = f"broker {record.broker[:BROKER_DIGITS]}" if record.broker else "the broker"
    text = _WORDS[record.kind].format(broker)
    if record.broker and broker not in text:
        return f"{broker}: {text}"
    is_after_another = is_unclean and record.kind == "started"
    return f"{text}, with no note of an orderly end before" if is_after_another else text
