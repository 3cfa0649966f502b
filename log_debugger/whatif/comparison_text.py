"""A comparison of a log with its counterfactual run, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from log_debugger.reading.short_names import ShortNames
from log_debugger.reading.times import span
from log_debugger.telling.narrative import count
from log_debugger.whatif.comparison import Comparison, WaitChange
from log_debugger.whatif.match_stats import MatchedPair

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
)


def comparison_lines(comparison: Comparison, names: ShortNames) -> Iterator[str]:
    """Yield the comparison as lines, with long lists cut."""
    patience = f" (patience {span(comparison.patience_ms)})" if comparison.patience_ms is not None else ""
    was = " and ".join(comparison.matching_before) or "none, since nobody entered"
    decided = f"{count(comparison.commits, 'commit')} decided again under {comparison.matching_after}{patience}"
    yield f"{decided}; it was {was}"
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
    yield from _pairs(comparison, names)
    yield from _people(comparison, names)
    if comparison.refused:
        yield f"{count(comparison.refused, 'command')} would have been refused"
    yield from (f"assumed: {one}" for one in comparison.assumed)


def _pairs(comparison: Comparison, names: ShortNames) -> Iterator[str]:
    def listed(mark: str, pairs: Sequence[MatchedPair]) -> Iterator[str]:
        comparison_lines = (
            " and ".join(names.person(who, comparison.names.get(who)) for who in pair) for pair in pairs[:LISTED_MAX]
        )
        return _some(mark, comparison_lines, len(pairs))

    lost, new = comparison.pairs_lost, comparison.pairs_new
    yield f"pairs that stay {comparison.pairs_kept:,}, that are not (-) {len(lost):,}, that are new (+) {len(new):,}"
    yield from listed("-", lost)
    yield from listed("+", new)


def _people(comparison: Comparison, names: ShortNames) -> Iterator[str]:
    def listed(mark: str, changes: Sequence[WaitChange]) -> Iterator[str]:
        comparison_lines = (
            f"{names.person(c.connection_id, comparison.names.get(c.connection_id))} "
            f"{span(c.after_ms)} instead of {span(c.before_ms)}"
            for c in changes[:LISTED_MAX]
        )
        return _some(mark, comparison_lines, len(changes))

    longer, shorter = comparison.longer, comparison.shorter
    yield f"people who wait as long {comparison.alike:,}, longer (>) {len(longer):,}, less long (<) {len(shorter):,}"
    yield from listed(">", longer)
    yield from listed("<", shorter)


def _some(mark: str, lines: Iterator[str], total: int) -> Iterator[str]:
    yield from (f"  {mark} {line}" for line in lines)
    if total > LISTED_MAX:
        yield f"  {mark} and {total - LISTED_MAX:,} more"


def _value(field: str, value: int | list[str]) -> str:
    if isinstance(value, list):
        return f"{len(value):,}"
    return span(value) if field.endswith("_ms") else f"{value:,}"
