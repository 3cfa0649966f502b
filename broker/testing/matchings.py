"""A matching of somebody's own in the place of those that a log can name, and an eye on what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from unittest.mock import patch

from broker.matching import MATCHINGS, Matching, Seeker
from broker.testing.reference import IllegalChoiceError
from events.ids import ConnectionId
from projections.view import StateView


class WatchedMatching:
    """A `Matching` that makes sure of what every one has to hold to. `fault` is what the last one raised, if any did.

    It names someone else who waits, or nobody, and names the same when it is asked the same again.
    """

    def __init__(self, matching: Matching) -> None:
        self.fault: Exception | None = None
        self._matching = matching

    def __call__(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        """Whom the matching names.

        Raises:
            IllegalChoiceError: someone who can't be met, or another one when asked again.
        """
        try:
            return self._checked(state, seeker, at_ms)
        except Exception as fault:
            self.fault = fault  # a broker that serves goes on after it
            raise

    def _checked(self, state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
        chosen = self._matching(state, seeker, at_ms)
        again = self._matching(state, seeker, at_ms)
        if chosen != again:
            raise IllegalChoiceError(f"the matching named {chosen}, and {again} when it was asked the same again")
        if chosen is not None and (chosen == seeker.connection_id or chosen not in state.queue.entered):
            raise IllegalChoiceError(f"the matching named {chosen}, who is not among the others who wait")
        return chosen


@contextmanager
def standing_in(matching: Matching | None) -> Iterator[WatchedMatching | None]:
    """While it is open, whatever a policy names is `matching`, everywhere in this process; `None` changes nothing."""
    if matching is None:
        yield None
        return
    watched = WatchedMatching(matching)
    with patch.dict(cast("dict[str, Matching]", MATCHINGS), dict.fromkeys(MATCHINGS, watched)):
        yield watched
