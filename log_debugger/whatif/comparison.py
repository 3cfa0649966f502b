"""Comparison of a log with its counterfactual run under another matching."""

from __future__ import annotations

import msgspec

from events.commit import check_link
from events.ids import ConnectionId
from log_debugger.reading.sources import Source, commits
from log_debugger.terminal import Advance
from log_debugger.whatif.counterfactual import CounterfactualRun, Rule
from log_debugger.whatif.match_stats import MatchedPair, MatchStats, MatchSummary
from projections.state import State

PAGE_COMMITS = 1_000

ASSUMED = (
    "people come, speak, block and go when they did, wherever they are; who was left alone and did no more stays",
    "next_partner is nothing to one who waits, and is what entering from a room means; patience ends on the dot",
)


class WaitChange(msgspec.Struct, frozen=True):
    """The total waiting time of one person before and after."""

    connection_id: ConnectionId
    before_ms: int
    after_ms: int


class Comparison(msgspec.Struct, frozen=True):
    """All differences. A pair that met twice counts twice."""

    log: str
    commits: int
    matching_before: list[str]
    matching_after: str
    patience_ms: int | None
    before: MatchSummary
    after: MatchSummary
    pairs_kept: int
    pairs_lost: list[MatchedPair]
    pairs_new: list[MatchedPair]
    longer: list[WaitChange]  # the greatest first
    shorter: list[WaitChange]
    alike: int
    refused: int  # commands rejected in the run
    names: dict[ConnectionId, str]
    assumed: tuple[str, ...] = ASSUMED


def compare(source: Source, rule: Rule, advance: Advance = lambda steps: None) -> Comparison:
    """Compare `source` with a counterfactual run under `rule` from its base on.

    Raises:
        UsageError: the matching failed, or named a connection that is not in the queue.
        BrokenChainError: a commit was altered, or does not follow the one before.
    """
    base: State = source.base.state
    before, after = MatchStats(base), MatchStats(base)
    other = CounterfactualRun(base, rule, after.record)
    tip, at_ms = base.tip, base.at_ms
    for commit in commits(source, base.position):
        check_link(tip, commit)
        tip, at_ms = commit.tip, commit.at_ms
        before.record(commit.events, at_ms)
        other.follow(commit)
        if tip.position % PAGE_COMMITS == 0:
            advance(PAGE_COMMITS)
    summaries = before.finish(at_ms), after.finish(at_ms)
    kept = before.pairs & after.pairs
    changes = _changes(before, after)
    return Comparison(
        log=source.name,
        commits=tip.position - base.position,
        matching_before=[*before.matchings],
        matching_after=rule.name,
        patience_ms=other.state.policy.interest_patience_ms if rule.has_patience else None,
        before=summaries[0],
        after=summaries[1],
        pairs_kept=kept.total(),
        pairs_lost=[*(before.pairs - kept).elements()],
        pairs_new=[*(after.pairs - kept).elements()],
        longer=_sorted([change for change in changes if change.after_ms > change.before_ms]),
        shorter=_sorted([change for change in changes if change.after_ms < change.before_ms]),
        alike=sum(change.after_ms == change.before_ms for change in changes),
        refused=other.refused,
        names=after.names | before.names,
    )


def _changes(before: MatchStats, after: MatchStats) -> list[WaitChange]:
    everyone = before.waited_ms | after.waited_ms
    return [WaitChange(who, before.waited_ms.get(who, 0), after.waited_ms.get(who, 0)) for who in everyone]


def _sorted(changes: list[WaitChange]) -> list[WaitChange]:
    return sorted(changes, key=lambda change: (-abs(change.after_ms - change.before_ms), change.connection_id))
