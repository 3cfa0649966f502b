"""A custom matching in place of the named ones, with checks of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from unittest.mock import patch

from broker.matching import MATCHINGS, Matching, Seeker
from broker.matching_trial import answer_fault, check_signature
from broker.testing.branches import BranchLog
from broker.testing.impurity import impure_calls
from broker.testing.reference_matching import IllegalChoiceError
from events.ids import ConnectionId
from projections.view import StateView


class AskedBefore:
    """The answers of a matching to all questions of a run, whose examples often ask the same."""

    def __init__(self) -> None:
        self._answers: dict[int, ConnectionId | None] = {}
        self._others: dict[int, ConnectionId | None] = {}

    def other_answer(self, state: StateView, seeker: Seeker, at_ms: int, answer: ConnectionId | None) -> str | None:
        """Return the contradiction between `answer` and one given to this question before, if any.

        The question is contradicted from then on, so a test runner can repeat what it found.
        """
        question = hash((state.tip.commit_id, *state.queue.entries.items(), *seeker, at_ms))
        first = self._answers.setdefault(question, answer)
        if answer != first:
            self._others[question] = answer
        other = self._others.get(question, first)
        return _contradiction(first, other) if other != first else None


class CheckedMatching:
    """A `Matching` that checks another one's answers.

    An answer must be another waiting connection or `None`, and the same when it is asked for again. `fault` is the
    last exception raised, if any.
    """

    def __init__(
        self, matching: Matching, branches: BranchLog | None = None, asked_before: AskedBefore | None = None
    ) -> None:
        """Check `matching`, note its branches in `branches`, and compare its answers with those of `asked_before`.

        Raises:
            MatchingError: it takes other arguments than a matching, or is async.
        """
        check_signature(f"the matching {getattr(matching, '__qualname__', type(matching).__qualname__)}", matching)
        self.fault: Exception | None = None
        self._matching = matching
        self._branches = branches
        self._asked_before = asked_before if asked_before is not None else AskedBefore()

    def __call__(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        """Return the matching's answer.

        Raises:
            IllegalChoiceError: the answer can't be matched, is another one the second time, or rests on more than the
                arguments.
        """
        try:
            return self._checked(state, seeker, at_ms)
        except Exception as fault:
            self.fault = fault  # a broker turns the exception into a rejection and goes on
            raise
        except SystemExit as error:  # it would end the test run, and no broker
            self.fault = RuntimeError(f"the matching raised SystemExit: {error}")
            raise self.fault from error

    def _checked(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        chosen = self._matching(state, seeker, at_ms)
        again, impure = impure_calls(self._asked_again, state, seeker, at_ms)
        fault = answer_fault(chosen, state, seeker)
        other_fault = answer_fault(again, state, seeker)
        if impure:
            fault = f"{impure[0]}. It has to decide by its arguments alone"
        elif chosen != again and isinstance(chosen or "", str) and isinstance(again or "", str):
            fault = _contradiction(chosen, again)
        fault = fault or other_fault or self._asked_before.other_answer(state, seeker, at_ms, chosen)
        if fault is not None:
            raise IllegalChoiceError(f"the matching {fault}")
        return chosen

    def _asked_again(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        """Ask again; the first time it was left to a debugger, or to a measurement of coverage."""
        if self._branches is None:
            return self._matching(state, seeker, at_ms)
        return self._branches.call(self._matching, state, seeker, at_ms)


def _contradiction(first: ConnectionId | None, other: ConnectionId | None) -> str:
    return f"named {first or 'nobody'}, and {other or 'nobody'} when it was asked the same again"


@contextmanager
def override_matchings(
    matching: Matching | None, branches: BranchLog | None = None, asked_before: AskedBefore | None = None
) -> Iterator[CheckedMatching | None]:
    """Use `matching`, checked, for every name that every broker has, process-wide; `None` changes nothing."""
    if matching is None:
        yield None
        return
    checked = CheckedMatching(matching, branches, asked_before)
    with patch.dict(cast("dict[str, Matching]", MATCHINGS), dict.fromkeys(MATCHINGS, checked)):
        yield checked
