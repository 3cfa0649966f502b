"""A custom matching in place of the named ones, with checks of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from unittest.mock import patch

from broker.matching import MATCHINGS, Matching, Seeker
from broker.testing.branches import BranchLog
from broker.testing.reference_matching import IllegalChoiceError
from events.ids import ConnectionId
from projections.view import StateView


class CheckedMatching:
    """A `Matching` that checks another one's answers.

    An answer must be another waiting connection or `None`, and the same when it is asked for again. `fault` is the
    last exception raised, if any.
    """

    def __init__(self, matching: Matching, branches: BranchLog | None = None) -> None:
        """Check `matching`, and note its branches in `branches`."""
        self.fault: Exception | None = None
        self._matching = matching
        self._branches = branches

    def __call__(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        """Return the matching's answer.

        Raises:
            IllegalChoiceError: the answer can't be matched, or is another one the second time.
        """
        try:
            return self._checked(state, seeker, at_ms)
        except Exception as fault:
            self.fault = fault  # a broker turns the exception into a rejection and goes on
            raise

    def _checked(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        chosen = self._matching(state, seeker, at_ms)
        again = self._asked_again(state, seeker, at_ms)
        if chosen != again:
            raise IllegalChoiceError(f"the matching named {chosen}, and {again} when it was asked the same again")
        if chosen is not None and (chosen == seeker.connection_id or chosen not in state.queue.entered):
            raise IllegalChoiceError(f"the matching named {chosen}, who is not among the others who wait")
        return chosen

    def _asked_again(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        """Ask again; the first time it was left to a debugger, or to a measurement of coverage."""
        if self._branches is None:
            return self._matching(state, seeker, at_ms)
        return self._branches.call(self._matching, state, seeker, at_ms)


@contextmanager
def override_matchings(
    matching: Matching | None, branches: BranchLog | None = None
) -> Iterator[CheckedMatching | None]:
    """Use `matching`, checked, for every name that every broker has, process-wide; `None` changes nothing."""
    if matching is None:
        yield None
        return
    checked = CheckedMatching(matching, branches)
    with patch.dict(cast("dict[str, Matching]", MATCHINGS), dict.fromkeys(MATCHINGS, checked)):
        yield checked
