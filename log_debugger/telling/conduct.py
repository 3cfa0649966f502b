"""The clauses of a narrative line about missed matches, blocks, reports and forgotten names."""

from __future__ import annotations

from collections.abc import Callable

from events.events import NamesForgotten, PartnerReported, RoomClosed
from events.ids import ConnectionId
from events.policy import Policy
from log_debugger.reading.times import span

NAMED_MAX = 5

NameOf = Callable[[ConnectionId], str]


def missed_text(who: NameOf, room: str, event: RoomClosed, policy: Policy) -> str:
    """Return the clause for a room that closed because a match was missed under `policy`."""
    grace = f" within {span(policy.confirm_grace_ms)} (confirm_grace_ms)" if policy.confirm_grace_ms else ""
    by, other = who(event.closed_by), who(event.other)
    if event.other in event.missed_by:
        return f"neither {by} nor {other} gave a sign of life{grace}, so their match in {room} was missed"
    end = "" if event.is_other_requeued else f", and {other} does not wait again"
    return f"{by} gave no sign of life{grace}, so the match with {other} in {room} was missed{end}"


def reported_text(who: NameOf, room: str, event: PartnerReported, note: str) -> str:
    """Return the clause for a report; `note` is shown as it is."""
    evidence = f"{event.category}; positions {event.first:,} to {event.last:,}"
    return f"{who(event.reporter)} reports {who(event.reported)} in {room} ({evidence})" + (f": {note}" if note else "")


def forgotten_text(who: NameOf, event: NamesForgotten) -> str:
    """Return the clause for forgotten names: some of them, and the number of the rest."""
    people = event.connection_ids
    more = f" and {len(people) - NAMED_MAX:,} more" if len(people) > NAMED_MAX else ""
    return f"the names and interests of {', '.join(map(who, people[:NAMED_MAX]))}{more} are forgotten"
