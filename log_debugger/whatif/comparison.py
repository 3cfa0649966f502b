"""Comparison of a log with its counterfactual run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from events.commit import Commit
from events.ids import CommitId, ConnectionId, Position
from events.policy import Policy
from log_debugger.reading.sources import Source, check_position
from log_debugger.reading.traversal import state_folded
from log_debugger.terminal import Advance
from log_debugger.whatif.chain_check import checked
from log_debugger.whatif.changes import OF_PROCESS, Changes
from log_debugger.whatif.match_stats import MatchedPair, MatchStats, MatchSummary, Moment
from log_debugger.whatif.sides import PolicyChange, Sides, avoided_before
from projections.state import State

PAGE_COMMITS = 1_000

ASSUMED = (
    "people come, speak, block and go when they did, wherever they are; who was left alone and did no more stays",
    "next_partner is nothing to one who waits, and is what entering from a room means; patience ends on the dot",
)
"""Nothing is assumed of the part before the first change: there the run is the log."""


class PolicyPeriod(msgspec.Struct, frozen=True):
    """The commits `first` to `last`, for which the log had one policy, and the policy of the run in their place."""

    first: Position
    last: Position
    policy: Policy
    run: Policy


class LeftOut(msgspec.Struct, frozen=True):
    """A commit of the log that did not happen in the run."""

    position: Position
    commit_id: CommitId
    at_ms: int
    command: str
    connection_id: ConnectionId | None


class PairMeeting(msgspec.Struct, frozen=True):
    """A match of one side alone."""

    pair: MatchedPair
    moment: Moment


class PairMove(msgspec.Struct, frozen=True):
    """A match of both sides at different moments."""

    pair: MatchedPair
    before: Moment
    after: Moment


class WaitChange(msgspec.Struct, frozen=True):
    """The total waiting time of one person before and after."""

    connection_id: ConnectionId
    before_ms: int
    after_ms: int


class PairChanges(msgspec.Struct, frozen=True):
    """The differences between the matches of the two sides, each kind in its order."""

    kept: int  # those that moved among them
    moved: list[PairMove]
    lost: list[PairMeeting]
    new: list[PairMeeting]


class Comparison(msgspec.Struct, frozen=True):
    """All differences. A pair that met twice counts twice."""

    log: str
    commits: int
    after_position: Position  # the run begins with the log's state there
    left_out: list[LeftOut]
    periods: list[PolicyPeriod]
    before: MatchSummary
    after: MatchSummary
    pairs: PairChanges
    longer: list[WaitChange]  # the greatest first
    shorter: list[WaitChange]
    absent: list[ConnectionId]  # those who do not enter the queue in the run
    alike: int
    refused: int  # commands rejected in the run
    names: dict[ConnectionId, str]
    assumed: tuple[str, ...] = ASSUMED

    @property
    def is_same(self) -> bool:
        """True if nothing would have been different."""
        pairs = self.pairs
        return self.before == self.after and not (
            pairs.moved or pairs.lost or pairs.new or self.longer or self.shorter or self.absent or self.refused
        )


def compare(
    source: Source,
    changes: Changes,
    after: Position | None = None,
    last: Position | None = None,
    advance: Advance = lambda steps: None,
) -> Comparison:
    """Compare `source` with a counterfactual run.

    Args:
        source: the log.
        changes: the differences of the run.
        after: the position with whose state the run begins; the log's base by default.
        last: the position of the last commit; the log's last by default.
        advance: told of the progress, in commits.

    Raises:
        UsageError: a matching failed, or named a connection that is not in the queue; or there is no such position.
        UnreadableCommitError: a commit can't be decoded.
        BrokenChainError: a commit was altered, or does not follow the one before.
    """
    base: State = source.base.state
    if after is not None:
        check_position(source, after)
        base = state_folded(source, source.snapshot(after).state, after)
    last = last if last is not None else source.tip().position
    sides = Sides(base, changes, avoided_before(source, base), last)
    with checked(source, base.tip, last) as following:
        for commit in following:
            if not sides.add(commit):
                break
            if commit.position % PAGE_COMMITS == 0:
                advance(PAGE_COMMITS)
        sides.finish()
    before, after_it = sides.before, sides.after
    summaries = before.finish(sides.at_ms), after_it.finish(sides.at_ms)
    waits = _wait_changes(before, after_it)
    return Comparison(
        log=source.name,
        commits=sides.position - base.position,
        after_position=base.position,
        left_out=[_left_out(commit) for commit in sides.left_out],
        periods=[*_periods(sides.policies, sides.position)],
        before=summaries[0],
        after=summaries[1],
        pairs=_pair_changes(before, after_it),
        longer=_sorted([change for change in waits if change.after_ms > change.before_ms]),
        shorter=_sorted([change for change in waits if change.after_ms < change.before_ms]),
        absent=sorted(before.waited_ms.keys() - after_it.waited_ms.keys()),
        alike=sum(change.after_ms == change.before_ms for change in waits),
        refused=sides.refused,
        names=after_it.names | before.names,
        assumed=(*ASSUMED, *_of_process(changes)),
    )


def _left_out(commit: Commit) -> LeftOut:
    command = commit.command
    who = getattr(command, "connection_id", None)
    tag = str(command.__struct_config__.tag)
    return LeftOut(commit.position, commit.commit_id, commit.at_ms, tag, who)


def _periods(began: Sequence[PolicyChange], last: Position) -> Iterator[PolicyPeriod]:
    """Yield the periods that have commits; the only one if none has."""
    for one, after in pairwise(began):
        if one.first < after.first:
            yield PolicyPeriod(one.first, after.first - 1, one.policy, one.run)
    yield PolicyPeriod(began[-1].first, last, began[-1].policy, began[-1].run)


def _pair_changes(before: MatchStats, after: MatchStats) -> PairChanges:
    kept, moved, lost, new = 0, list[PairMove](), list[PairMeeting](), list[PairMeeting]()
    for pair in before.meetings | after.meetings:
        was, now = before.meetings.get(pair, []), after.meetings.get(pair, [])
        # A match at the same time is the same one; of the others, those that come first on each side.
        both = Counter(one.at_ms for one in was) & Counter(one.at_ms for one in now) if was and now else _NEVER
        was_else, now_else = _besides(was, both), _besides(now, both)
        shared = min(len(was_else), len(now_else))
        kept += len(was) - len(was_else) + shared
        moved += [PairMove(pair, *two) for two in zip(was_else[:shared], now_else[:shared], strict=True)]
        lost += [PairMeeting(pair, one) for one in was_else[shared:]]
        new += [PairMeeting(pair, one) for one in now_else[shared:]]
    return PairChanges(
        kept,
        sorted(moved, key=lambda one: (one.before, one.pair)),
        sorted(lost, key=lambda one: (one.moment, one.pair)),
        sorted(new, key=lambda one: (one.moment, one.pair)),
    )


_NEVER = Counter[int]()


def _besides(moments: Sequence[Moment], times: Counter[int]) -> Sequence[Moment]:
    """Return `moments` without the first at each of `times`, as often as it is in them."""
    if not times:
        return moments
    left, others = times.copy(), list[Moment]()
    for one in moments:
        if left[one.at_ms] > 0:
            left[one.at_ms] -= 1
        else:
            others.append(one)
    return others


def _wait_changes(before: MatchStats, after: MatchStats) -> list[WaitChange]:
    return [WaitChange(who, before.waited_ms.get(who, 0), waited_ms) for who, waited_ms in after.waited_ms.items()]


def _sorted(changes: list[WaitChange]) -> list[WaitChange]:
    return sorted(changes, key=lambda change: (-abs(change.after_ms - change.before_ms), change.connection_id))


def _of_process(changes: Changes) -> Iterator[str]:
    fields = sorted(OF_PROCESS & {*changes.policy})
    if fields:
        yield f"no decision reads {', '.join(fields)}: what a broker does by it happens when it did"
