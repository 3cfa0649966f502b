"""The reports whose evidence is still held: their rooms are not redacted yet."""

from __future__ import annotations

import msgspec

from events.events import PartnerReported
from events.ids import Position, RoomId
from events.policy import Policy
from projections.ordered_map import Order, OrderMutation


class Report(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A report by its room; the log has the rest, at the report's position."""

    room_id: RoomId
    at_ms: int


Reports = Order[Report]
"""By position."""


def record_report(
    reports: OrderMutation[Report], event: PartnerReported, position: Position, at_ms: int, policy: Policy
) -> None:
    """Hold the evidence of a report, and release what has been held for `evidence_keep_ms`.

    At most `reports_kept` are held: the newest.
    """
    if not policy.evidence_keep_ms:
        return
    reports.append(position, Report(event.room_id, at_ms))
    while (oldest := reports.head()) is not None and (
        reports.count > policy.reports_kept or oldest[1].at_ms <= at_ms - policy.evidence_keep_ms
    ):
        reports.pop_head()
