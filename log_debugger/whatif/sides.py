"""A log and its counterfactual run, followed commit by commit.

Up to the first commit that the changes concern, the run is the log: what happened under the same policy needs no
decision. There it begins, from the log's state.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from events.commands import AdoptPolicy, EnterQueue, MatchDue, NextPartner
from events.commit import Commit
from events.ids import ConnectionId, Position
from events.policy import Policy
from log_debugger.reading.iterate import FOLD_ERRORS, commit_at, misfit
from log_debugger.reading.sources import Source
from log_debugger.whatif.changes import OF_PROCESS, Changes
from log_debugger.whatif.counterfactual import LATE_MS, CounterfactualRun
from log_debugger.whatif.match_stats import MatchStats
from projections.state import State

_SEARCHES = (b'"enter_queue"', b'"next_partner"', b'"match_due"')
_USUAL = {field: getattr(Policy(), field) for field in OF_PROCESS}


class PolicyChange(NamedTuple):
    """The policies of the log and of the run from position `first` on."""

    first: Position
    policy: Policy
    run: Policy


class Sides:
    """The statistics of both sides, so far.

    Args:
        base: the log's state before the first commit.
        changes: the differences of the run.
        avoid: the connections that waiting ones avoid, by the facts of their last search.
        last: the position of the last commit to follow.
    """

    def __init__(
        self, base: State, changes: Changes, avoid: dict[ConnectionId, tuple[ConnectionId, ...]], last: Position
    ) -> None:
        self.before, self.after = MatchStats(base), MatchStats(base)
        self.position, self.at_ms = base.position, base.at_ms
        self.left_out: list[Commit] = []
        self.policies = [PolicyChange(base.position + 1, base.policy, changes.policy_of(base.policy))]
        self._changes, self._avoid = changes, avoid
        self._ahead: deque[Commit] = deque()
        self._folding = base.mutate()  # until the run begins
        self._run: CounterfactualRun | None = None
        self._is_changed = changes.matching is not None or self._is_other(base.policy)
        self._last = last

    @property
    def refused(self) -> int:
        """The number of commands refused in the run."""
        return self._run.refused if self._run is not None else 0

    def add(self, commit: Commit) -> bool:
        """Take in the next commit of the log. Both sides follow later, when the commits of a moment are known.

        Returns:
            Whether there is more to follow.
        """
        if self._run is not None:
            self._run.announce(commit)
        ahead, known_ms, last = self._ahead, commit.at_ms - LATE_MS, self._last
        ahead.append(commit)
        while (first := ahead[0]).at_ms < known_ms and first.position <= last:
            self._follow(ahead.popleft())
        return ahead[0].position <= last

    def finish(self) -> None:
        """Let both sides follow the last commits."""
        while self._ahead and self._ahead[0].position <= self._last:
            self._follow(self._ahead.popleft())

    def _follow(self, commit: Commit) -> None:
        command = commit.command
        self.position, self.at_ms = commit.position, commit.at_ms
        self.before.record(commit.events, commit.at_ms, commit.position)
        if commit.position in self._changes.without:
            self.left_out.append(commit)
        if self._run is None and self._is_concerned(commit):
            base, coming = self._folding.finish(), (commit, *self._ahead)
            self._run = CounterfactualRun(base, self._changes, self.after.record, self._avoid, coming)
        if self._run is not None:
            self._run.follow(commit)
        else:
            self._fold(commit)
        if isinstance(command, AdoptPolicy):
            run = self._run.state.policy if self._run is not None else self._changes.policy_of(command.policy)
            self.policies.append(PolicyChange(commit.position, command.policy, run))

    def _fold(self, commit: Commit) -> None:
        try:
            self._folding.fold(commit)
        except FOLD_ERRORS as error:
            raise misfit(commit.position, error) from error
        self.after.record(commit.events, commit.at_ms, commit.position)
        if isinstance(commit.command, EnterQueue | NextPartner | MatchDue):
            self._avoid[commit.command.connection_id] = commit.facts.avoid

    def _is_concerned(self, commit: Commit) -> bool:
        """Return whether `commit` may be decided otherwise in the run."""
        is_adopted = isinstance(commit.command, AdoptPolicy) and self._is_other(commit.command.policy)
        is_left_out = commit.position in self._changes.without
        return is_left_out or is_adopted or self._is_changed

    def _is_other(self, policy: Policy) -> bool:
        """Return whether decisions under the run's policy may differ from those under the log's `policy`."""
        run = self._changes.policy_of(policy)
        return msgspec.structs.replace(run, **_USUAL) != msgspec.structs.replace(policy, **_USUAL)


def avoided_before(source: Source, state: State) -> dict[ConnectionId, tuple[ConnectionId, ...]]:
    """Return the connections that those who wait in `state` avoid by the facts of their last search."""
    found: dict[ConnectionId, tuple[ConnectionId, ...]] = {}
    start = max(source.base.tip.position, min(state.queue.entered.values(), default=state.position + 1) - 1)
    for position, line in enumerate(source.lines(start) if start < state.position else (), start + 1):
        if position > state.position:
            break
        if b'"avoid"' in line or (found and any(search in line for search in _SEARCHES)):
            commit = commit_at(position, line)
            if isinstance(commit.command, EnterQueue | NextPartner | MatchDue):
                found[commit.command.connection_id] = commit.facts.avoid
    return found
