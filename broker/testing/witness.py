"""A witness to a log: it sees each commit, in order, and says which promise is broken, if one is.

It holds every commit against the checks that `chat-broker verify` makes, and against the naive reference: the
events, whom they tell of what, and all that is known afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from broker.decide import Rejection
from broker.matching import Matching, Seeker
from broker.testing.comparison import differences, plain_told
from broker.testing.history import History
from broker.testing.reference import Answer, IllegalChoiceError, Reference
from broker.verification.checking import PROMISES, check_log
from broker.verification.safe_text import diff, safe, shown
from events.commit import Commit
from events.events import Event, MessageSent, RoomOpened
from events.ids import ConnectionId, Position
from projections.notifications import deliveries
from projections.state import INITIAL_STATE, State, evolve

DIFFERENCES_MAX = 10


class Broken(msgspec.Struct, frozen=True):
    """A promise that does not hold. As text it is a report: what is broken, and the history that shows it."""

    promise: int
    """Its number, from 1 to 7: see `broker.verification.checking.PROMISES`."""
    position: Position
    """At which commit of the history that was checked."""
    what: str
    """What is wrong there, in one line."""
    evidence: Sequence[str] = ()
    """More lines that show it, on the last commit of `history`."""
    history: Sequence[Commit] = ()
    """Commits from position 1 on, of which the last breaks the promise."""
    is_shortest: bool = False
    """Whether no commit can be left out of `history`: the promise would not be broken."""

    def __str__(self) -> str:
        begun = self.history[0].at_ms if self.history else 0
        lines = [f"promise {self.promise} is broken at position {self.position}: {self.what}"]
        lines.append(f"  {PROMISES[self.promise]}")
        if self.history:
            lines.append("the shortest history that breaks it:" if self.is_shortest else "the history that breaks it:")
        for commit in self.history:
            lines.append(f"  {commit.position}. after {commit.at_ms - begun} ms {shown(commit.command)}")
            lines += [f"       {shown(event)}" for event in commit.events]
        return "\n".join([*lines, *(f"  {line}" for line in self.evidence)])


class Witness:
    """Begins with an empty log. `state` is the fold of what it has seen, `reference` what the reference makes of it."""

    def __init__(self, matching: Matching | None = None) -> None:
        """`matching` stands in for those that a policy can name; see `broker.testing.matchings.standing_in`."""
        self.state: State = INITIAL_STATE
        self.reference = Reference(self._choose if matching is not None else None)
        self._matching = matching

    def see(self, commit: Commit) -> Broken | None:
        """Take in the next commit; which promise it breaks, if any. Then there is no going on."""
        before = self.state
        try:
            answer = self.reference.apply(commit.command, commit.facts)
        except IllegalChoiceError as error:
            return Broken(3, commit.position, safe(str(error)), [f"the command is {shown(commit.command)}"])
        except AssertionError:
            answer = Answer()  # facts that no broker has brought
        try:
            fault = check_log(History([commit], before), workers=1).fault
        except Exception as error:  # noqa: BLE001 - what is wrong may be so in any way, and is to be reported
            return Broken(6, commit.position, safe(f"it can't even be checked: {type(error).__name__} {error}"))
        if fault is not None:
            return Broken(fault.breach.promise, fault.breach.position, fault.breach.what, fault.evidence)
        self.state = evolve(before, commit)
        return _unlike(answer, commit) or self._unlike_state(commit.position)

    def pass_over(self, commit: Commit) -> bool:
        """Take in the next commit with no more than a glance: whether the reference decides it alike."""
        answer = self.reference.apply(commit.command, commit.facts)
        self.state = evolve(self.state, commit)
        return answer.events == commit.events

    def _choose(self, who: ConnectionId, interests: tuple[str, ...], waited_ms: int, at_ms: int) -> ConnectionId | None:
        assert self._matching is not None
        return self._matching(self.state, Seeker(who, interests, waited_ms), at_ms)

    def _unlike_state(self, position: Position) -> Broken | None:
        unlike = differences(self.reference.world, self.state)
        what = "folding the log does not give what the reference knows"
        return Broken(6, position, what, [safe(line) for line in unlike[:DIFFERENCES_MAX]]) if unlike else None


def _unlike(answer: Answer, commit: Commit) -> Broken | None:
    """Where the reference decides or tells something else than `commit` does."""
    if answer.events != commit.events:
        instead = [answer.code] if answer.code is not None else [*answer.events]
        what = "the reference decides otherwise than was stored"
        evidence = [f"the command is {shown(commit.command)}", *diff(commit.events, instead)]
        return Broken(_promise_about(commit.events, answer.events), commit.position, what, evidence)
    told = sorted((plain_told(*one) for one in deliveries(commit)), key=lambda one: one[0])
    owed = sorted(answer.told, key=lambda one: one[0])
    if told != owed:
        evidence = [*(safe(f"- {one}") for one in told), *(safe(f"+ {one}") for one in owed)]
        return Broken(7, commit.position, "the reference tells others, or something else", evidence)
    return None


def _promise_about(stored: Sequence[Event], decided: Sequence[Event]) -> int:
    """Which promise it is whose events are others."""
    for kind, promise in ((RoomOpened, 3), (MessageSent, 4)):
        if [event for event in stored if isinstance(event, kind)] != [e for e in decided if isinstance(e, kind)]:
            return promise
    return 6


def unlike_refusal(answer: Answer, given: Rejection | None) -> str | None:
    """How the reference answers otherwise than with a refusal, or with 'already done' where `given` is `None`."""
    expected = Answer() if given is None else Answer(code=given.code, retry_after_ms=given.retry_after_ms)
    return None if answer == expected else f"the answer was {shown(given)}, in the reference {_said(answer)}"


def _said(answer: Answer) -> str:
    if answer.code is not None:
        return f"{answer.code}" + (f" for {answer.retry_after_ms} ms" if answer.retry_after_ms is not None else "")
    return ", ".join(shown(event) for event in answer.events) or "that it is done already"
