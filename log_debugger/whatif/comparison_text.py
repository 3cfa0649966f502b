"""A comparison of a log with its counterfactual run, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from events.policy import Policy
from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.times import clock, span
from log_debugger.telling.describe import policy_changes
from log_debugger.telling.narrative import count
from log_debugger.whatif.comparison import Comparison, PairChanges, PolicyPeriod, WaitChange
from log_debugger.whatif.match_stats import MatchedPair, Moment

LISTED_MAX = 10

_ROWS = (
    ("pairs", "pairs"),
    ("matches missed", "missed"),
    ("those who met had waited at most", None),
    ("  half of them", "half_met_within_ms"),
    ("  nine in ten of them", "nine_in_ten_met_within_ms"),
    ("  all of them", "all_met_within_ms"),
    ("gave up", "gave_up"),
    ("wait at the end", "left_waiting"),
    ("messages", "messages"),
)


def comparison_lines(comparison: Comparison, names: ShortNames, start_ms: int) -> Iterator[str]:
    """Yield the comparison as lines, with long lists cut. `start_ms` is the time at which the log begins."""
    yield from _heading(comparison, names, start_ms)
    yield f"{'':28}{'before':>14}{'after':>14}"
    for words, field in _ROWS:
        if field is None:
            yield words
            continue
        found = [getattr(summary, field) for summary in (comparison.before, comparison.after)]
        if field == "missed" and not any(found):
            continue
        values = (_value(field, value) for value in found)
        yield f"{words:28}{''.join(f'{value:>14}' for value in values)}"
    yield from _pairs(comparison, names, start_ms)
    yield from _people(comparison, names)
    if comparison.refused:
        yield f"{count(comparison.refused, 'command')} would have been refused"
    if comparison.is_same:
        yield "nothing would have been different"
    yield from (f"assumed: {one}" for one in comparison.assumed)


def _heading(comparison: Comparison, names: ShortNames, start_ms: int) -> Iterator[str]:
    first, last = comparison.after_position + 1, comparison.after_position + comparison.commits
    where = f": {_range(first, last)}" if comparison.commits else ""
    yield f"{count(comparison.commits, 'commit')} decided again{where}"
    for one in comparison.left_out:
        who = (
            names.person(one.connection_id, comparison.names.get(one.connection_id))
            if one.connection_id
            else "the broker"
        )
        yield f"without {one.position}, {clock(one.at_ms - start_ms)}: {one.command} of {who}"
    for period in comparison.periods:
        yield f"policy of {_range(period.first, period.last)}: {_policy_text(period.policy)}"
        yield f"  in the run: {_run_text(period)}"


def _range(first: int, last: int) -> str:
    return f"position {first:,}" if first >= last else f"positions {first:,} to {last:,}"


def _policy_text(policy: Policy) -> str:
    """Return the matching, and the other fields that differ from an empty log's."""
    fields = {"matching": policy.matching}
    if policy.matching != "first-come":
        fields["interest_patience_ms"] = str(policy.interest_patience_ms)
    return ", ".join(f"{name} {value}" for name, value in (fields | policy_changes(policy)).items())


def _run_text(period: PolicyPeriod) -> str:
    """Return the fields that differ from the log's."""
    fields = [name for name in Policy.__struct_fields__ if getattr(period.run, name) != getattr(period.policy, name)]
    return ", ".join(f"{name} {getattr(period.run, name)}" for name in fields) or "the same"


def _pairs(comparison: Comparison, names: ShortNames, start_ms: int) -> Iterator[str]:
    def both(pair: MatchedPair) -> str:
        return " and ".join(names.person(who, comparison.names.get(who)) for who in pair)

    def when(moment: Moment) -> str:
        side = "after" if moment.is_after else "at"
        return f"{side} {moment.position:,} ({clock(moment.at_ms - start_ms)})"

    pairs: PairChanges = comparison.pairs
    lost, new, moved = pairs.lost, pairs.new, pairs.moved
    then = f" (at another time (~) {len(moved):,})" if moved else ""
    yield f"pairs that stay {pairs.kept:,}{then}, that are not (-) {len(lost):,}, that are new (+) {len(new):,}"
    for mark, side in (("-", lost), ("+", new)):
        yield from _some(mark, (f"{both(one.pair)} {when(one.moment)}" for one in side[:LISTED_MAX]), len(side))
    moves = (f"{both(one.pair)} {when(one.after)} instead of {when(one.before)}" for one in moved[:LISTED_MAX])
    yield from _some("~", moves, len(moved))


def _people(comparison: Comparison, names: ShortNames) -> Iterator[str]:
    def listed(mark: str, changes: Sequence[WaitChange]) -> Iterator[str]:
        lines = (
            f"{names.person(c.connection_id, comparison.names.get(c.connection_id))} "
            f"{span(c.after_ms)} instead of {span(c.before_ms)}"
            for c in changes[:LISTED_MAX]
        )
        return _some(mark, lines, len(changes))

    longer, shorter = comparison.longer, comparison.shorter
    absent = f", not at all (x) {len(comparison.absent):,}" if comparison.absent else ""
    yield (
        f"people who wait as long {comparison.alike:,}, longer (>) {len(longer):,}, less long (<) {len(shorter):,}"
        f"{absent}"
    )
    yield from listed(">", longer)
    yield from listed("<", shorter)
    who = (f"{names.person(one, comparison.names.get(one))} does not enter" for one in comparison.absent[:LISTED_MAX])
    yield from _some("x", who, len(comparison.absent))


def _some(mark: str, lines: Iterator[str], total: int) -> Iterator[str]:
    yield from (f"  {mark} {line}" for line in lines)
    if total > LISTED_MAX:
        yield f"  {mark} and {total - LISTED_MAX:,} more; --json has them all"


def _value(field: str, value: int | list[str]) -> str:
    if isinstance(value, list):
        return f"{len(value):,}"
    return span(value) if field.endswith("_ms") else f"{value:,}"
