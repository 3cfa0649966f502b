"""Checking a log commit by commit, as it grows.

Each commit must pass the checks of `chat-broker verify`. Its events, its notifications and the state after it must
be those of the reference model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from broker.decision import Rejection
from broker.matching import MATCHINGS, Matching, MatchingError, Seeker
from broker.own_matching import matching_of_log
from broker.testing.comparison import are_alike, differences, plain_notification
from broker.testing.reference_matching import ChoosePartner, IllegalChoiceError
from broker.testing.reference_model import ReferenceModel, ReferenceResult
from broker.verification.checking import PROMISES, check_log
from broker.verification.repetition import are_stored, is_choice_hidden, stored_partner
from broker.verification.safe_text import diff, safe, safe_repr
from events.codec import encode_commit
from events.commands import Command
from events.commit import Commit, Facts, Tip
from events.events import Event, MessageSent, RoomOpened
from events.ids import ConnectionId, Position
from events.log import Snapshot
from projections.notifications import deliveries
from projections.state import INITIAL_STATE, State, evolve

DIFFERENCES_MAX = 10


class Counterexample(msgspec.Struct, frozen=True):
    """A broken promise with its history. `str()` gives a report."""

    promise: int
    """The promise's number: see `broker.verification.checking.PROMISES`."""
    position: Position
    """The first commit of the checked history that breaks it."""
    what: str
    """One line about the violation."""
    evidence: Sequence[str] = ()
    """More lines about the last commit of `history`."""
    history: Sequence[Commit] = ()
    """Commits from position 1 on; the last one breaks the promise."""
    is_shortest: bool = False
    """True if `history` is minimal: without any one of its commits, it keeps the promise."""

    def __str__(self) -> str:
        lines = [f"promise {self.promise} is broken at position {self.position}: {self.what}"]
        lines.append(f"  {PROMISES[self.promise]}")
        if self.history:
            lines.append("the shortest history that breaks it:" if self.is_shortest else "the history that breaks it:")
        return "\n".join([*lines, *history_lines(self.history), *(f"  {line}" for line in self.evidence)])


def history_lines(history: Sequence[Commit]) -> Iterator[str]:
    """Yield each command of `history` with its events, safe for a terminal."""
    for commit in history:
        after_ms = commit.at_ms - history[0].at_ms
        yield f"  {commit.position}. after {after_ms} ms {safe_repr(commit.command)}"
        yield from (f"       {safe_repr(event)}" for event in commit.events)


class Checker:
    """Checks the commits of a log in order, from an empty one on.

    `state` is the fold of the commits so far, `reference` the model after them.
    """

    def __init__(self, matching: Matching | None = None) -> None:
        """Use `matching` in place of the policy's; see `override_matchings`."""
        self.state: State = INITIAL_STATE
        self.reference = ReferenceModel()
        self._matching = matching

    def check(self, commit: Commit) -> Counterexample | None:
        """Fold the next commit and return its first broken promise, if any.

        After a broken promise, the checker can't be used any more.
        """
        before = self.state
        try:
            expected = self._decided(commit)
        except IllegalChoiceError as error:
            return Counterexample(3, commit.position, safe(str(error)), [f"the command is {safe_repr(commit.command)}"])
        except AssertionError:
            expected = ReferenceResult()  # no broker brings such facts
        try:
            fault = check_log(_OneCommitLog(commit, before), workers=1).fault
        except MatchingError:
            raise
        except Exception as error:  # noqa: BLE001 - a wrong commit may fail in any way, and all of them are reported
            what = f"it can't even be checked: {type(error).__name__} {error}"
            return Counterexample(6, commit.position, safe(what))
        if fault is not None:
            violation = fault.violation
            return Counterexample(violation.promise, violation.position, violation.what, fault.evidence)
        self.state = evolve(before, commit)
        return _compare(expected, commit) or self._compare_states(commit.position)

    def skip(self, commit: Commit) -> bool:
        """Fold the next commit and compare nothing but its events; return false if they are not the model's."""
        expected = self._decided(commit)
        self.state = evolve(self.state, commit)
        return are_stored([*expected.events], commit)

    def decided(self, command: Command, facts: Facts) -> ReferenceResult:
        """Return the model's result of `command`, the next one."""
        matching = self._matching_in_force()
        self.reference.choose = partial(self._choose, matching) if matching is not None else None
        return self.reference.apply(command, facts)

    def _matching_in_force(self) -> Matching | None:
        """Return the matching that the model does not have: the one in place of the policy's, or an operator's own."""
        policy = self.state.policy
        is_known = self._matching is not None or policy.matching in MATCHINGS
        return self._matching if is_known else matching_of_log(policy)

    def _decided(self, commit: Commit) -> ReferenceResult:
        if not is_choice_hidden(self.state, commit):
            return self.decided(commit.command, commit.facts)
        self.reference.choose = _always(stored_partner(commit))
        return self.reference.apply(commit.command, commit.facts)

    def _choose(
        self,
        matching: Matching,
        connection_id: ConnectionId,
        interests: tuple[str, ...],
        waited_ms: int,
        at_ms: int,
        hidden: Sequence[ConnectionId],
    ) -> ConnectionId | None:
        queue = self.state.queue
        for who in hidden:
            queue = queue.without(who)
        shown = msgspec.structs.replace(self.state, queue=queue)
        return matching(shown, Seeker(connection_id, interests, waited_ms), at_ms)

    def _compare_states(self, position: Position) -> Counterexample | None:
        unlike = differences(self.reference.state, self.state)
        what = "folding the log does not give what the reference knows"
        return Counterexample(6, position, what, [safe(line) for line in unlike[:DIFFERENCES_MAX]]) if unlike else None


def _always(partner: ConnectionId | None) -> ChoosePartner:
    """Return a matching that names `partner`, if it may."""
    return lambda connection_id, interests, waited_ms, at_ms, hidden: partner if partner not in hidden else None


class _OneCommitLog:
    """A `CheckedLog` of one commit of the present schema, whose base is the state before it."""

    def __init__(self, commit: Commit, before: State) -> None:
        self.base = Snapshot(before.tip, before)
        self._commit = commit

    def tip(self) -> Tip:
        return self._commit.tip

    def lines(self, after: Position) -> Iterator[bytes]:
        if after <= self.base.tip.position:
            yield encode_commit(self._commit)

    def snapshots(self) -> Sequence[Position]:
        return [self.base.tip.position]

    def snapshot(self, at_most: Position) -> Snapshot:
        return self.base


def _compare(expected: ReferenceResult, commit: Commit) -> Counterexample | None:
    """Compare the commit's events and notifications with the model's."""
    if not are_stored([*expected.events], commit):
        decided = [expected.code] if expected.code is not None else [*expected.events]
        what = "the reference decides otherwise than was stored"
        evidence = [f"the command is {safe_repr(commit.command)}", *diff(commit.events, decided)]
        return Counterexample(_promise_about(commit.events, expected.events), commit.position, what, evidence)
    notified = sorted((plain_notification(*one) for one in deliveries(commit)), key=lambda one: one[0])
    owed = sorted(expected.notifications, key=lambda one: one[0])
    if not are_alike(notified, owed):
        evidence = [*(safe(f"- {one}") for one in notified), *(safe(f"+ {one}") for one in owed)]
        return Counterexample(7, commit.position, "the reference tells others, or something else", evidence)
    return None


def _promise_about(stored: Sequence[Event], decided: Sequence[Event]) -> int:
    """Return the promise about the kind of event in dispute: 3 for openings, 4 for messages, else 6."""
    for kind, promise in ((RoomOpened, 3), (MessageSent, 4)):
        if [event for event in stored if isinstance(event, kind)] != [e for e in decided if isinstance(e, kind)]:
            return promise
    return 6


def compare_rejection(expected: ReferenceResult, answer: Rejection | None) -> str | None:
    """Return the difference between `expected` and an answer without events (`None`: already done), if any."""
    given = (
        ReferenceResult() if answer is None else ReferenceResult(code=answer.code, retry_after_ms=answer.retry_after_ms)
    )
    return None if expected == given else f"the answer was {safe_repr(answer)}, in the reference {_text_of(expected)}"


def _text_of(result: ReferenceResult) -> str:
    if result.code is not None:
        return f"{result.code}" + (f" for {result.retry_after_ms} ms" if result.retry_after_ms is not None else "")
    return ", ".join(safe_repr(event) for event in result.events) or "that it is done already"
