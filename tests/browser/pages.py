"""The HTML of a report, straight from commits."""

from __future__ import annotations

from collections.abc import Sequence

from events.commit import Commit
from events.ids import Position
from events.log import DeliveryRecord, OperationRecord
from log_debugger.report.data import FoldedLog, page_data
from log_debugger.report.html import page
from projections.state import INITIAL_STATE, State


def html_of(
    commits: Sequence[Commit],
    base: State = INITIAL_STATE,
    *,
    name: str = "chat.jsonl",
    texts: bool = True,
    delivery_records: Sequence[DeliveryRecord] | None = None,
    recorded_after: Position = 0,
    operation_records: Sequence[OperationRecord] = (),
) -> str:
    """Return the page of `chat-broker report` for a log of `commits` after `base`."""
    folded = FoldedLog(base, texts=texts)
    for _ in folded.fold(commits):
        pass
    return page(page_data(name, folded, delivery_records, recorded_after, operation_records))
